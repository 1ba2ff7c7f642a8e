#!/bin/sh
# Runs a server of S3's protocol (moto, from PyPI) on a free port of 127.0.0.1. It holds objects in memory, in the bucket
# affluent-test in eu-west-3, and asks for a key: every request has to be signed with it.
#
#   s3.sh run COMMAND...   starts it, sets AFFLUENT_TEST_S3=http://127.0.0.1:PORT, AFFLUENT_TEST_S3_KEY and
#                          AFFLUENT_TEST_S3_SECRET, runs COMMAND, stops it; exits as COMMAND does
#   s3.sh serve            starts it, prints its address, key and secret, and serves until it is interrupted
#
# Needs Python 3.10 or later with venv. moto is installed once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '5,7p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need python3 'python3-venv'

version=5.2.5
venv=$cache/moto-$version
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "moto[server]==$version" >&2
    touch "$venv/complete"
fi

port=$(free_ports 1)
# The first four requests, those of s3/prepare.py, need no key.
INITIAL_NO_AUTH_ACTION_COUNT=4 "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" > "$work/log" 2>&1 &
server=$!
await_port "$port" 60
"$venv/bin/python" "$here/s3/prepare.py" "http://127.0.0.1:$port" > "$work/key" || not_started 'the server gives no key'
read -r AFFLUENT_TEST_S3_KEY AFFLUENT_TEST_S3_SECRET < "$work/key"
export AFFLUENT_TEST_S3_KEY AFFLUENT_TEST_S3_SECRET
if [ $# -eq 0 ]; then
    echo "$AFFLUENT_TEST_S3_KEY $AFFLUENT_TEST_S3_SECRET"
fi
serve "http://127.0.0.1:$port" AFFLUENT_TEST_S3 "$@"
