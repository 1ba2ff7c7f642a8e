#!/bin/sh
# Runs a command with Kafka Connect, Debezium, Kafka's tools, the examples of Kafka Streams, and the sinks of MongoDB, Iceberg
# and Debezium (JDBC) at hand, from Maven Central. Tests start the programs themselves (crates/testkit/src/connect.rs).
#
#   connect.sh run COMMAND...   sets AFFLUENT_TEST_CONNECT to the directory of the jars and AFFLUENT_TEST_CONNECT_PLUGINS to the
#                               one of the sinks, runs COMMAND; exits as COMMAND does
#
# Needs Java 17 or later and Maven. The jars are fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
*) sed -n '5,6p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need java mvn 'openjdk-17-jre-headless maven'

jars=$(jars connect "$here/connect/pom.xml")
# A directory for each plugin, as the worker wants it.
mkdir "$work/plugins"
for sink in mongodb iceberg jdbc; do
    place=$(jars "$sink-sink" "$here/connect/$sink.xml")
    ln -s "$place" "$work/plugins/$sink"
done
env AFFLUENT_TEST_CONNECT="$jars" AFFLUENT_TEST_CONNECT_PLUGINS="$work/plugins" "$@"
