#!/bin/sh
# Runs one FerretDB (MongoDB's protocol on SQLite) on a free port of 127.0.0.1, built from the Go proxy.
#
#   ferretdb.sh run COMMAND...   starts it, sets AFFLUENT_TEST_MONGODB=mongodb://127.0.0.1:PORT, runs
#                                COMMAND, stops it; exits as COMMAND does
#   ferretdb.sh serve            starts it, prints its address, and serves until it is interrupted
#
# Needs Go 1.22 or later. The program is built once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent). The log of the server is left in the temporary
# directory when it does not start, and removed with it otherwise.
set -eu

here=$(cd "$(dirname "$0")" && pwd)/ferretdb
cache=${AFFLUENT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/affluent}
version=$(sed -n 's:.*github.com/FerretDB/FerretDB v\([0-9.]*\).*:\1:p' "$here/go.mod" | head -n 1)
program=$cache/ferretdb-$version

for tool in go python3; do
    command -v "$tool" >/dev/null || {
        echo "ferretdb.sh: $tool is missing (Debian, Ubuntu: apt-get install golang python3)" >&2
        exit 2
    }
done

if [ ! -x "$program" ]; then
    mkdir -p "$cache"
    # Without the PostgreSQL handler, which nothing here uses.
    (cd "$here" && go build -tags ferretdb_no_postgresql -o "$program.new" .) >&2
    mv "$program.new" "$program"
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

port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
mkdir "$work/data"
"$program" "127.0.0.1:$port" "$work/data" > "$work/log" 2>&1 &
server=$!

waited=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
    waited=$((waited + 1))
    if ! kill -0 "$server" 2>/dev/null || [ "$waited" -gt 120 ]; then
        echo "ferretdb.sh: FerretDB did not start: $work/log" >&2
        exit 3
    fi
    sleep 0.5
done

if [ $# -eq 0 ]; then
    echo "mongodb://127.0.0.1:$port"
    wait "$server"
else
    AFFLUENT_TEST_MONGODB=mongodb://127.0.0.1:$port "$@"
fi
