#!/bin/sh
# Runs one FerretDB (MongoDB's protocol on SQLite) on a free port of 127.0.0.1, built from the Go proxy.
#
#   ferretdb.sh run COMMAND...   starts it, sets AFFLUENT_TEST_MONGODB=mongodb://127.0.0.1:PORT, runs
#                                COMMAND, stops it; exits as COMMAND does
#   ferretdb.sh serve            starts it, prints its address, and serves until it is interrupted
#
# Needs Go 1.22 or later. The program is built once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '4,6p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need go python3 'golang python3'

version=$(sed -n 's:.*github.com/FerretDB/FerretDB v\([0-9.]*\).*:\1:p' "$here/ferretdb/go.mod" | head -n 1)
program=$cache/ferretdb-$version
if [ ! -x "$program" ]; then
    mkdir -p "$cache"
    # Without the PostgreSQL handler, which nothing here uses.
    (cd "$here/ferretdb" && go build -tags ferretdb_no_postgresql -o "$program.new" .) >&2
    mv "$program.new" "$program"
fi

port=$(free_ports 1)
mkdir "$work/data"
"$program" "127.0.0.1:$port" "$work/data" > "$work/log" 2>&1 &
server=$!
await_port "$port" 60
serve "mongodb://127.0.0.1:$port" AFFLUENT_TEST_MONGODB "$@"
