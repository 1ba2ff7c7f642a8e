#!/bin/sh
# Runs Apache Iceberg's own REST catalog server (that of its compatibility tests, over SQLite) on a free port,
# from the jars of Maven Central. Its tables lie where the tests put them, on local disk.
#
#   iceberg.sh run COMMAND...  starts it, sets AFFLUENT_TEST_CATALOG=http://127.0.0.1:PORT, runs COMMAND, stops it;
#                              exits as COMMAND does
#   iceberg.sh serve           starts it, prints http://127.0.0.1:PORT, and serves until it is interrupted
#
# Needs Java 17 or later and Maven. The jars are fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '5,7p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need java mvn python3 'openjdk-17-jre-headless maven python3'

jars=$(jars iceberg "$here/iceberg/pom.xml")

port=$(free_ports 1)
# The wildcard is Java's, not the shell's.
set -f
CATALOG_REST_PORT=$port \
    CATALOG_WAREHOUSE="$work/warehouse" \
    CATALOG_URI="jdbc:sqlite:$work/catalog.db?journal_mode=WAL&busy_timeout=10000" \
    CATALOG_IO__IMPL=org.apache.iceberg.hadoop.HadoopFileIO \
    java -Xmx512m -cp "$jars/*" org.apache.iceberg.rest.RESTCatalogServer > "$work/log" 2>&1 &
server=$!
set +f
await_port "$port" 60
serve "http://127.0.0.1:$port" AFFLUENT_TEST_CATALOG "$@"
