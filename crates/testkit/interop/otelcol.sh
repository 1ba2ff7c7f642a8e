#!/bin/sh
# An OpenTelemetry collector, built from the Go proxy: follows a file and exports its lines by OTLP over HTTP.
#
#   otelcol.sh run COMMAND...   sets AFFLUENT_TEST_OTELCOL to the program and runs COMMAND; exits as COMMAND does
#
# Needs Go 1.25 or later. The program is built once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
*) sed -n '4p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need go golang

version=$(sed -n 's:.*collector/otelcol v\([0-9.]*\).*:\1:p' "$here/otelcol/go.mod" | head -n 1)
program=$cache/otelcol-$version
if [ ! -x "$program" ]; then
    mkdir -p "$cache"
    (cd "$here/otelcol" && go build -o "$program.new" .) >&2
    mv "$program.new" "$program"
fi
env AFFLUENT_TEST_OTELCOL="$program" "$@"
