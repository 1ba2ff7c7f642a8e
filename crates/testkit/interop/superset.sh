#!/bin/sh
# Runs Apache Superset from PyPI on a free port of 127.0.0.1, its store SQLite, its user admin with the password admin.
#
#   superset.sh run COMMAND...   starts it, sets AFFLUENT_TEST_SUPERSET=http://127.0.0.1:PORT and
#                                AFFLUENT_TEST_SUPERSET_PYTHON (the Python that has it), runs COMMAND, stops it; exits as
#                                COMMAND does
#   superset.sh serve            starts it, prints its address, and serves until it is interrupted
#
# Needs Python 3.10 or 3.11 with venv. Superset is installed once, into $AFFLUENT_CACHE
# (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent).
set -eu

case ${1:-} in
run) shift ;;
serve) set -- ;;
*) sed -n '4,7p' "$0" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
. "$here/server.sh"
need python3 'python3-venv'

version=5.0.0
venv=$cache/superset-$version
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # Superset 5.0 does not name the newest marshmallow that it works with.
    "$venv/bin/pip" install --quiet "apache-superset==$version" 'marshmallow<4' psycopg2-binary requests >&2
    touch "$venv/complete"
fi

cat > "$work/superset_config.py" <<CONFIG
SECRET_KEY = "$(python3 -c 'import secrets; print(secrets.token_urlsafe(42))')"
SQLALCHEMY_DATABASE_URI = "sqlite:///$work/superset.db"
PREVENT_UNSAFE_DB_CONNECTIONS = True
WTF_CSRF_ENABLED = True
TALISMAN_ENABLED = False
CONFIG
export SUPERSET_CONFIG_PATH="$work/superset_config.py" FLASK_APP='superset.app:create_app()' PYTHONWARNINGS=ignore
superset=$venv/bin/superset
{
    "$superset" db upgrade
    "$superset" fab create-admin --username admin --firstname a --lastname b --email admin@example.com --password admin
    "$superset" init
} > "$work/log" 2>&1
port=$(free_ports 1)
(cd "$work" && exec "$superset" run --host 127.0.0.1 --port "$port" --with-threads) >> "$work/log" 2>&1 &
server=$!
await_port "$port" 180
export AFFLUENT_TEST_SUPERSET_PYTHON="$venv/bin/python"
serve "http://127.0.0.1:$port" AFFLUENT_TEST_SUPERSET "$@"
