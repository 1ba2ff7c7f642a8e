#!/bin/sh
# Runs a command with Apache Spark from PyPI and Iceberg's runtime for it from Maven Central at hand.
#
#   spark.sh run COMMAND...   sets AFFLUENT_TEST_SPARK to the Python that has pyspark and AFFLUENT_TEST_SPARK_JAR to Iceberg's jar, runs
#                             COMMAND; exits as COMMAND does
#
# Needs Java 17, Maven and Python 3.9 to 3.12 with venv. Both are fetched once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
*) sed -n '4,5p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need java mvn python3 'openjdk-17-jre-headless maven python3-venv'

spark=3.5.9
iceberg=1.10.1
runtime=iceberg-spark-runtime-3.5_2.12
place=$cache/spark-$spark
if [ ! -e "$place/complete" ]; then
    rm -rf "$place"
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet "pyspark==$spark" setuptools >&2
    mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -DoutputDirectory="$place" \
        -Dartifact="org.apache.iceberg:$runtime:$iceberg" >&2
    touch "$place/complete"
fi
env AFFLUENT_TEST_SPARK="$place/bin/python" AFFLUENT_TEST_SPARK_JAR="$place/$runtime-$iceberg.jar" "$@"
