#!/bin/sh
# Runs one real Apache Kafka (KRaft, one node) on free ports of 127.0.0.1, from the jars of Maven Central.
#
#   kafka.sh run COMMAND...   starts it, sets AFFLUENT_TEST_KAFKA=127.0.0.1:PORT, runs COMMAND, stops it;
#                             exits as COMMAND does
#   kafka.sh serve            starts it, prints 127.0.0.1:PORT, and serves until it is interrupted
#   kafka.sh jars COMMAND...  starts nothing: sets AFFLUENT_TEST_KAFKA_JARS to the directory of the jars, from which each system
#                             test starts a Kafka of its own (crates/testkit/src/apache_kafka.rs), and runs COMMAND
#
# Needs Java 17 or later and Maven. The jars are fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

how=${1:-}
case $how in
run | jars) shift ;;
serve) set -- ;;
*) sed -n '4,8p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need java mvn python3 'openjdk-17-jre-headless maven python3'

jars=$(jars kafka "$here/pom.xml")
if [ "$how" = jars ]; then
    env AFFLUENT_TEST_KAFKA_JARS="$jars" "$@"
    exit
fi

ports=$(free_ports 2)
port=${ports% *}
controller=${ports#* }
cat > "$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$work/data
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=100
PROPERTIES

java="java -Xmx512m -cp $jars/*"
# The wildcard is Java's, not the shell's.
set -f
$java kafka.tools.StorageTool format --standalone --cluster-id AAAAAAAAAAAAAAAAAAAAAQ \
    --config "$work/server.properties" > "$work/log" 2>&1 ||
    $java kafka.tools.StorageTool format --cluster-id AAAAAAAAAAAAAAAAAAAAAQ \
        --config "$work/server.properties" >> "$work/log" 2>&1 ||
    not_started 'storage could not be formatted'
$java kafka.Kafka "$work/server.properties" >> "$work/log" 2>&1 &
server=$!
set +f
# Kafka opens its port when it is ready to serve.
await_port "$port" 120
serve "127.0.0.1:$port" AFFLUENT_TEST_KAFKA "$@"
