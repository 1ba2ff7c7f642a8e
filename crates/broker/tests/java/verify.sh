#!/usr/bin/env bash
# Checks a running broker with the console tools of Apache Kafka itself, one client version a run:
#   tests/java/verify.sh 127.0.0.1:9092 3.9.1
#   tests/java/verify.sh 127.0.0.1:9092 4.1.0
# Needs java and mvn; the tools come from Maven Central and are kept in ${TMPDIR:-/tmp}.
set -euo pipefail
bootstrap=$1 version=$2
home=${TMPDIR:-/tmp}/kafka-tools-$version
if [ ! -d "$home/lib" ]; then
    mkdir -p "$home"
    cat > "$home/pom.xml" <<POM
<project><modelVersion>4.0.0</modelVersion><groupId>t</groupId><artifactId>t</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
</dependencies></project>
POM
    (cd "$home" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib)
fi
kafka() { timeout 60 java -Xmx256m -cp "$home/lib/*" "$@" --bootstrap-server "$bootstrap"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
case $version in
    3.*) producer=kafka.tools.ConsoleProducer compress=--compression-codec ;;
    *) producer=org.apache.kafka.tools.ConsoleProducer compress=--compression-codec ;;
esac
topic=java-$version-$$ group=java-group-$version-$$
kafka org.apache.kafka.tools.TopicCommand --create --topic "$topic" --partitions 3 --config segment.bytes=1048576
shows() { local pattern=$1; shift; local out; out=$(kafka "$@" 2>&1) || fail "$out"; grep -q "$pattern" <<< "$out" || fail "$* shows no $pattern: $out"; }
shows 'PartitionCount: 3' org.apache.kafka.tools.TopicCommand --describe --topic "$topic"
for codec in none gzip snappy lz4 zstd; do
    seq 1 100 | kafka $producer --topic "$topic" $compress $codec > /dev/null || fail "produce with $codec"
done
read=$(kafka org.apache.kafka.tools.consumer.ConsoleConsumer --topic "$topic" --from-beginning --max-messages 500 --group "$group" | sort -n | uniq -c | awk '$1 != 5' | wc -l)
[ "$read" = 0 ] || fail consume
shows "$group" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --list
described=$(kafka org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --describe --group "$group" 2> /dev/null | awk '$1 == g {sum += $4} END {print sum}' g="$group")
[ "$described" = 500 ] || fail "describe group: committed $described"
kafka org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --reset-offsets --to-earliest --execute --group "$group" --topic "$topic" > /dev/null || fail "reset offsets"
kafka org.apache.kafka.tools.GetOffsetShell --topic "$topic" | awk -F: '{sum += $3} END {exit sum != 500}' || fail "list offsets"
kafka org.apache.kafka.tools.TopicCommand --alter --topic "$topic" --partitions 5
kafka kafka.admin.ConfigCommand --alter --topic "$topic" --add-config retention.ms=60000 > /dev/null || fail "alter configs"
shows 'retention.ms=60000' kafka.admin.ConfigCommand --describe --topic "$topic"
kafka org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --delete --group "$group" || fail "delete group"
kafka org.apache.kafka.tools.TopicCommand --delete --topic "$topic" || fail "delete topic"
echo "java $version: ok"
