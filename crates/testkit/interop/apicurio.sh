#!/bin/sh
# Runs an Apicurio schema registry from Maven Central (its store in memory) on a free port of 127.0.0.1.
#
#   apicurio.sh run COMMAND...   starts it, sets AFFLUENT_TEST_REGISTRY to the URL of its Confluent API, runs COMMAND, stops it;
#                                exits as COMMAND does
#   apicurio.sh serve            starts it, prints that URL, and serves until it is interrupted
#
# Needs Java 17 or later and Maven. It is fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '4,6p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need java mvn python3 'openjdk-17-jre-headless maven python3'

# The next one wants Java 21.
version=2.6.13.Final
place=$cache/apicurio-$version
if [ ! -e "$place/complete" ]; then
    mkdir -p "$place"
    mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -DoutputDirectory="$place" \
        -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" >&2
    tar -C "$place" -xzf "$place/apicurio-registry-app-$version-all.tar.gz"
    rm "$place/apicurio-registry-app-$version-all.tar.gz"
    touch "$place/complete"
fi

port=$(free_ports 1)
HTTP_PORT=$port QUARKUS_HTTP_HOST=127.0.0.1 java -Xmx512m -jar "$place/apicurio-registry-app-$version-runner.jar" \
    > "$work/log" 2>&1 &
server=$!
await_port "$port" 120
serve "http://127.0.0.1:$port/apis/ccompat/v7" AFFLUENT_TEST_REGISTRY "$@"
