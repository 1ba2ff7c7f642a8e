"""The batch pipelines of Affluent: `raw_to_dwh` every quarter of an hour, `nightly_rebuild` every night, the features of
freshness 5m, 1h and nightly, their parity with what was served, the training of the models fraud, churn and score, and
the look whether they drift.

One Airflow task is one call of `affluent batch run PIPELINE --task T --from F --to T`, which is idempotent for its
interval: clearing a task, a retry and a backfill are all the same call again. Exit code 99 means that there was nothing
to do. What is configured, and where, is in README.md beside this folder.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import (
    DAG,
    AsyncCallback,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    TriggerRule,
    Variable,
    chain,
)

TASKS = ["ingest", "clean", "deduplicate", "enrich", "load", "check", "publish"]
FEATURE_TASKS = ["materialise", "serve"]
PARITY_TASKS = ["compare"]
DRIFT_TASKS = ["compare", "retrain"]
TRAINING_TASKS = ["dataset", "split", "fit", "evaluate", "validate", "compare", "drift", "register", "promote"]

# One JSON object; every key has a default.
SETTINGS = Variable.get("affluent_batch", default={}, deserialize_json=True)
TIME_ZONE = SETTINGS.get("time_zone", "UTC")
# With a start, Airflow makes up for every interval since; without, for the newest only.
START = SETTINGS.get("start")
START_DATE = datetime.fromisoformat(START) if START else datetime(2026, 1, 1)
if START_DATE.tzinfo is None:
    START_DATE = START_DATE.replace(tzinfo=timezone.utc)

# `exec`, so that Airflow's signal reaches the binary, which then stops cleanly. Values come by the environment: they are
# never read by the shell as commands.
COMMAND = (
    'exec "$AFFLUENT_BINARY" ${AFFLUENT_CONFIG:+--config "$AFFLUENT_CONFIG"} '
    'batch run "$AFFLUENT_PIPELINE" --task "$AFFLUENT_TASK" --from "$AFFLUENT_FROM" --to "$AFFLUENT_TO"'
)


def pipeline(
    dag_id: str,
    name: str,
    cron: str,
    deadline: timedelta | None,
    task_limit: timedelta,
    tasks: list[str] = TASKS,
) -> DAG:
    """The DAG `dag_id`: the tasks of Affluent's pipeline `name`, one after the other. Without a deadline, no alert."""
    alert = deadline and DeadlineAlert(
        # By the time of queueing, so that a backfill of old intervals raises no alert for being old.
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=deadline,
        callback=AsyncCallback(
            "affluent_alerts.deadline_missed", kwargs={"pipeline": name, "deadline_s": int(deadline.total_seconds())}
        ),
    )
    with DAG(
        dag_id=dag_id,
        description=f"affluent batch run {name}",
        schedule=CronDataIntervalTimetable(cron, timezone=TIME_ZONE),
        start_date=START_DATE,
        catchup=START is not None,
        # Intervals one after the other: they write the same tables. A failed one does not hold up the next.
        max_active_runs=1,
        deadline=alert,
        default_args={
            "retries": 3,
            "retry_delay": timedelta(seconds=30),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": task_limit,
            "depends_on_past": False,
        },
        tags=["affluent"],
    ) as dag:
        chain(
            *[
                BashOperator(
                    task_id=task,
                    bash_command=COMMAND,
                    append_env=True,
                    env={
                        "AFFLUENT_BINARY": "{{ conn.affluent.extra_dejson.get('binary', 'affluent') }}",
                        "AFFLUENT_CONFIG": "{{ conn.affluent.extra_dejson.get('config', '') }}",
                        "AFFLUENT_PIPELINE": name,
                        "AFFLUENT_TASK": task,
                        "AFFLUENT_FROM": "{{ data_interval_start.isoformat() }}",
                        "AFFLUENT_TO": "{{ data_interval_end.isoformat() }}",
                    },
                    skip_on_exit_code=99,
                    # A step without work does not skip those after it.
                    trigger_rule=TriggerRule.NONE_FAILED,
                )
                for task in tasks
            ]
        )
    return dag


def seconds(key: str, default: int) -> timedelta | None:
    """A time in seconds of the settings; None for 0."""
    return timedelta(seconds=int(SETTINGS.get(key, default))) or None


raw_to_dwh = pipeline(
    "raw_to_dwh",
    "raw-to-dwh",
    SETTINGS.get("raw_to_dwh_cron", "*/15 * * * *"),
    deadline=seconds("raw_to_dwh_deadline_s", 900),
    task_limit=seconds("raw_to_dwh_task_limit_s", 3600),
)

nightly_rebuild = pipeline(
    "nightly_rebuild",
    "rebuild",
    SETTINGS.get("rebuild_cron", "30 2 * * *"),
    deadline=seconds("rebuild_deadline_s", 14_400),
    task_limit=seconds("rebuild_task_limit_s", 14_400),
)

# The next three write the same tables as one another: the lock of the run ledger lets one of them run at a time, and a task that meets it
# is tried again.
features_5m = pipeline(
    "features_5m",
    "features-5m",
    SETTINGS.get("features_5m_cron", "*/5 * * * *"),
    deadline=seconds("features_5m_deadline_s", 600),
    task_limit=seconds("features_5m_task_limit_s", 900),
    tasks=FEATURE_TASKS,
)

features_1h = pipeline(
    "features_1h",
    "features-1h",
    SETTINGS.get("features_1h_cron", "0 * * * *"),
    deadline=seconds("features_1h_deadline_s", 3600),
    task_limit=seconds("features_1h_task_limit_s", 3600),
    tasks=FEATURE_TASKS,
)

features_nightly = pipeline(
    "features_nightly",
    "features-nightly",
    SETTINGS.get("features_nightly_cron", "30 3 * * *"),
    deadline=seconds("features_nightly_deadline_s", 14_400),
    task_limit=seconds("features_nightly_task_limit_s", 14_400),
    tasks=FEATURE_TASKS,
)

features_parity = pipeline(
    "features_parity",
    "features-parity",
    SETTINGS.get("features_parity_cron", "15 * * * *"),
    deadline=seconds("features_parity_deadline_s", 0),
    task_limit=seconds("features_parity_task_limit_s", 1800),
    tasks=PARITY_TASKS,
)

# Alerts go to the topic ops.alerts; the metric drift_score is exported by the platform's own scheduler alone.
drift = pipeline(
    "drift",
    "drift",
    SETTINGS.get("drift_cron", "45 4 * * *"),
    deadline=seconds("drift_deadline_s", 0),
    task_limit=seconds("drift_task_limit_s", 7200),
    tasks=DRIFT_TASKS,
)

# Without enough new labels every task is skipped. What one task leaves for the next lies in the data directory.
train_fraud = pipeline(
    "train_fraud",
    "train-fraud",
    SETTINGS.get("train_fraud_cron", "0 4 * * *"),
    deadline=seconds("train_fraud_deadline_s", 0),
    task_limit=seconds("train_fraud_task_limit_s", 7200),
    tasks=TRAINING_TASKS,
)

train_churn = pipeline(
    "train_churn",
    "train-churn",
    SETTINGS.get("train_churn_cron", "0 5 * * 1"),
    deadline=seconds("train_churn_deadline_s", 0),
    task_limit=seconds("train_churn_task_limit_s", 7200),
    tasks=TRAINING_TASKS,
)

train_score = pipeline(
    "train_score",
    "train-score",
    SETTINGS.get("train_score_cron", "30 5 * * 1"),
    deadline=seconds("train_score_deadline_s", 0),
    task_limit=seconds("train_score_task_limit_s", 7200),
    tasks=TRAINING_TASKS,
)
