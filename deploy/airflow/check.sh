#!/bin/sh
# Runs the DAGs of this folder in a real Airflow against a real installation: one interval of a quarter of an hour
# with news, one without, the nightly rebuild, an interval without length, the features, training and drift.
#
#   check.sh AFFLUENT     AFFLUENT is the binary
#
# Needs Python 3.10 or later with venv, and what `affluent demo` needs. Airflow comes from PyPI once, into
# $AFFLUENT_CACHE (default: ${XDG_CACHE_HOME:-$HOME/.cache}/affluent). Takes some five minutes after that.
set -eu

if [ $# -ne 1 ]; then
    sed -n '5p' "$0" >&2
    exit 2
fi
affluent=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../crates/testkit/interop/server.sh"
need python3 curl 'python3-venv curl'
# PostgreSQL does not run as root, and has to reach its directory.
chmod 711 "$work"

version=3.3.2
venv=$cache/airflow-$version
if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "apache-airflow==$version"
    touch "$venv/complete"
fi

fail() {
    echo "$script: $1" >&2
    for log in "$work"/*.log; do
        echo "--- end of $log" >&2
        tail -n 40 "$log" >&2
    done
    exit 1
}
json() { # EXPRESSION: of the JSON `it` that comes in
    python3 -c "import json, sys; it = json.load(sys.stdin); print($1)"
}
in_config() { "$affluent" --config "$work/affluent.toml" "$@"; }
version() { in_config batch status --format json | json "it['versions'][0]['version']"; }
count() { in_config sql --format json "select count(*) as n from $1" | json "int((it if isinstance(it, list) else [it])[0]['n'])"; }

echo "$script: an installation with payments and clicks"
"$affluent" demo --no-models --seconds 30 --rate 500 --clicks 50 --logs 20 --keep "$work/demo" > "$work/demo.log" 2>&1 &
demo=$!
# It stays up for people to look around.
until grep -q 'until Ctrl-C' "$work/demo.log"; do
    kill -0 "$demo" 2> /dev/null || fail 'the demo failed'
    sleep 1
done
kill -TERM "$demo"
wait "$demo" || fail 'the demo failed'
ports=$(free_ports 3)
set -- $ports
cat > "$work/affluent.toml" <<TOML
data_dir = "$work/demo/data"
[schedule.raw_to_dwh]
cron = ""
[schedule.rebuild]
cron = ""
[schedule.features_5m]
cron = ""
[schedule.features_1h]
cron = ""
[schedule.features_nightly]
cron = ""
[schedule.features_parity]
cron = ""
[schedule.train_fraud]
cron = ""
[schedule.train_churn]
cron = ""
[schedule.train_score]
cron = ""
[schedule.drift]
cron = ""
# Two weeks of payments tell who stays away for a day.
[learning.rows]
churn_horizon_s = 86_400
every_s = 43_200
active_s = 259_200
[learning.churn]
folds = 1
draws = 50
[learning.churn.boost]
budget = 0.3
max_bin = 255
boosters = 1
[http]
listen = "127.0.0.1:$1"
[broker]
listen = "127.0.0.1:$2"
[registry_server]
listen = "127.0.0.1:$3"
TOML

# More clicks, so that there is something to do.
staged=$(count staged.clickstream_events)
"$affluent" --config "$work/affluent.toml" up > "$work/up.log" 2>&1 &
server=$!
waited=0
until curl --silent --fail --output /dev/null "http://127.0.0.1:$1/readyz"; do
    waited=$((waited + 1))
    [ "$waited" -lt 120 ] || fail 'the installation did not start'
    sleep 0.5
done
python3 - > "$work/clicks.ndjson" <<'PYTHON'
import json, uuid
for n in range(300):
    print(json.dumps({"event_id": str(uuid.uuid4()), "event_type": "page_view", "user_id": f"airflow {n % 20}"}))
PYTHON
curl --silent --show-error --fail --output /dev/null -H 'content-type: application/x-ndjson' \
    --data-binary "@$work/clicks.ndjson" "http://127.0.0.1:$1/collect/events" || fail 'the clicks were not taken'
waited=0
until [ "$(count staged.clickstream_events)" -ge $((staged + 300)) ]; do
    waited=$((waited + 1))
    [ "$waited" -lt 60 ] || fail 'the clicks were not staged'
    sleep 1
done
kill -TERM "$server"
wait "$server" || fail 'the installation did not stop cleanly'
server=

echo "$script: Airflow $version"
export AIRFLOW_HOME="$work/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__DAGS_FOLDER="$here/dags" AIRFLOW__CORE__PLUGINS_FOLDER="$here/plugins"
# `dags test` fails at the end of a DAG with a deadline, see README.md.
export AIRFLOW_VAR_AFFLUENT_BATCH='{"raw_to_dwh_deadline_s": 0, "rebuild_deadline_s": 0, "features_5m_deadline_s": 0,
 "features_1h_deadline_s": 0, "features_nightly_deadline_s": 0, "train_churn_cron": "0 * * * *"}'
airflow() { "$venv/bin/airflow" "$@"; }
airflow db migrate > "$work/migrate.log" 2>&1 || fail 'airflow db migrate failed'
airflow connections add affluent --conn-type generic \
    --conn-extra "{\"binary\": \"$affluent\", \"config\": \"$work/affluent.toml\"}" > "$work/connection.log" 2>&1 ||
    fail 'the connection could not be added'

# dag_test DAG TIME TASKS: runs it, and leaves the states of these tasks in $states, in their order.
dag_test() {
    ended=0
    airflow dags test "$1" "$2" > "$work/$1.log" 2>&1 || ended=$?
    states=$("$venv/bin/python" - "$AIRFLOW_HOME/airflow.db" "$1" "$3" <<'PYTHON'
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
run, = database.execute("select run_id from dag_run where dag_id = ? order by id desc limit 1", sys.argv[2:3]).fetchone()
states = dict(database.execute("select task_id, state from task_instance where dag_id = ? and run_id = ?", [sys.argv[2], run]))
print(*(states[task] for task in sys.argv[3].split()))
PYTHON
    ) || fail "Airflow knows no run of $1"
}
expect() { # WHAT FOUND EXPECTED
    echo "$script: $1: $2"
    [ "$2" = "$3" ] || fail "$1: expected $3"
}

steps='ingest clean deduplicate enrich load check publish'

before=$(version)
dag_test raw_to_dwh 2026-11-22T10:15:00+00:00 "$steps"
# Clicks are not enriched.
expect 'an interval with news' "$states" 'success success success skipped success success success'
expect 'published version' "$(version)" $((before + 1))
sessions=$(count dwh.fact_clickstream)
[ "$sessions" -gt 0 ] || fail 'the warehouse has no sessions'

dag_test raw_to_dwh 2026-11-22T10:30:00+00:00 "$steps"
expect 'one without' "$states" 'skipped skipped skipped skipped skipped skipped skipped'
expect 'published version' "$(version)" $((before + 1))

dag_test nightly_rebuild 2026-11-22T02:30:00+00:00 "$steps"
expect 'the nightly rebuild' "$states" 'skipped success success success success success skipped'
expect 'differences that it found' \
    "$(count "ops.checks where \"check\" = 'rebuild_equal' and failures > 0")" 0
expect 'sessions after it' "$(count dwh.fact_clickstream)" "$sessions"

# Features are as of what the warehouse knows: an interval that ends later takes in all that there is. The embedded document
# store is the platform's, so nothing is served from here, and nothing compared.
later=$(python3 -c 'import datetime as d; print((d.datetime.now(d.timezone.utc) + d.timedelta(days=2)).isoformat(timespec="minutes"))')
for pair in features_5m:merchants features_1h:users features_nightly:merchant_history; do
    dag=${pair%%:*}
    table=features.${pair#*:}
    dag_test "$dag" "$later" 'materialise serve'
    expect "$dag" "$states" 'success skipped'
    [ "$(count "$table")" -gt 0 ] || fail "$table has no rows"
done
dag_test features_parity "$later" compare
expect 'parity without the online store' "$states" skipped

# Churn is learned of what there is, and left to a person to promote. Fraud is known after a month and a customer's value after three, which the
# history has not. No model serves, so none is looked at: what drift tells goes to the bus, which is not up here.
training='dataset split fit evaluate validate compare drift register promote'
dag_test train_churn "$later" "$training"
expect train_churn "$states" 'success success success success success success success success skipped'
[ "$(in_config models list --format json | json "any(one['model'] == 'churn' for one in it)")" = True ] || fail 'there is no version of churn'
for dag in train_fraud train_score; do
    dag_test "$dag" "$later" "$training"
    expect "$dag" "$states" 'skipped skipped skipped skipped skipped skipped skipped skipped skipped'
done
dag_test drift "$later" 'compare retrain'
expect 'drift without a model that serves' "$states" 'skipped skipped'

# What a plain cron line would do: both ends of the interval alike.
mkdir "$work/plain"
sed -e 's/schedule=CronDataIntervalTimetable(cron, timezone=TIME_ZONE)/schedule=cron/' -e 's/"retries": 3/"retries": 0/' \
    "$here/dags/affluent_batch.py" > "$work/plain/affluent_batch.py"
AIRFLOW__CORE__DAGS_FOLDER="$work/plain" dag_test raw_to_dwh 2026-11-22T10:45:00+00:00 "$steps"
expect 'an interval without length' "${states%% *}" failed
grep -q 'interval' "$work/raw_to_dwh.log" || fail 'the refusal does not say why'
echo "$script: passed"
