#!/bin/sh
# Runs one real Apache Kafka (KRaft, one node) on free ports of 127.0.0.1, from the jars of Maven Central.
#
#   kafka.sh run COMMAND...   starts it, sets AFFLUENT_TEST_KAFKA=127.0.0.1:PORT, runs COMMAND, stops it;
#                             exits as COMMAND does
#   kafka.sh serve            starts it, prints 127.0.0.1:PORT, and serves until it is interrupted
#
# Needs Java 17 or later and Maven. The jars are fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent). The log of the server is left in the temporary
# directory when it does not start, and removed with it otherwise.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${AFFLUENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/affluent}
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
jars=$cache/kafka-$version

for program in java mvn python3; do
    command -v "$program" >/dev/null || {
        echo "kafka.sh: $program is missing (Debian, Ubuntu: apt-get install openjdk-17-jre-headless maven python3)" >&2
        exit 2
    }
done

if [ ! -e "$jars/complete" ]; then
    mkdir -p "$jars"
    mvn --quiet --batch-mode -f "$here/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$jars" -DincludeScope=runtime >&2
    touch "$jars/complete"
fi

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '4,6p' "$0" >&2; exit 2 ;;
esac

work=$(mktemp -d)
server=
finish() {
    status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ "$status" -ne 3 ]; then rm -rf "$work"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_ports='import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))'
set -- "$(python3 -c "$free_ports")" "$@"
port=${1% *}
controller=${1#* }
shift

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
    { echo "kafka.sh: storage could not be formatted: $work/log" >&2; exit 3; }
$java kafka.Kafka "$work/server.properties" >> "$work/log" 2>&1 &
server=$!

# Kafka opens its port when it is ready to serve.
waited=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
    waited=$((waited + 1))
    if ! kill -0 "$server" 2>/dev/null || [ "$waited" -gt 240 ]; then
        echo "kafka.sh: Apache Kafka did not start: $work/log" >&2
        exit 3
    fi
    sleep 0.5
done
set +f

if [ $# -eq 0 ]; then
    echo "127.0.0.1:$port"
    wait "$server"
else
    AFFLUENT_TEST_KAFKA=127.0.0.1:$port "$@"
fi
