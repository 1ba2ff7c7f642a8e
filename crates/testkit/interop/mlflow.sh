#!/bin/sh
# Runs an MLflow tracking server from PyPI on a free port of 127.0.0.1, its store SQLite, its files behind its proxy.
#
#   mlflow.sh run COMMAND...   starts it, sets AFFLUENT_TEST_MLFLOW=http://127.0.0.1:PORT and AFFLUENT_TEST_MLFLOW_PYTHON
#                              (the Python that has mlflow), runs COMMAND, stops it; exits as COMMAND does
#   mlflow.sh serve            starts it, prints its address, and serves until it is interrupted
#
# Needs Python 3.10 or later with venv. MLflow is installed once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '4,6p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need python3 'python3-venv'

version=3.17.2
venv=$cache/mlflow-$version
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "mlflow==$version" 'perpetual==3.0.0rc2' >&2
    touch "$venv/complete"
fi

port=$(free_ports 1)
# No background jobs, which outlive their parent, and no figures of use sent to anybody.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
(cd "$work" && exec "$venv/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 --serve-artifacts \
    --backend-store-uri "sqlite:///$work/mlflow.db" --artifacts-destination "$work/artefacts") > "$work/log" 2>&1 &
server=$!
await_port "$port" 120
export AFFLUENT_TEST_MLFLOW_PYTHON="$venv/bin/python"
serve "http://127.0.0.1:$port" AFFLUENT_TEST_MLFLOW "$@"
