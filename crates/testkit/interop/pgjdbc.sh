#!/bin/sh
# Runs a command with PostgreSQL's JDBC driver at hand, from Maven Central.
#
#   pgjdbc.sh run COMMAND...   sets AFFLUENT_TEST_PGJDBC to the directory of the jars, runs COMMAND; exits as COMMAND does
#
# Needs a JDK 17 or later and Maven. The jars are fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
*) sed -n '4p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need java javac mvn 'openjdk-17-jdk-headless maven'

AFFLUENT_TEST_PGJDBC=$(jars pgjdbc "$here/pgjdbc.xml")
export AFFLUENT_TEST_PGJDBC
"$@"
