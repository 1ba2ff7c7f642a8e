"""What happens when a run of a batch pipeline is not done by its deadline. Runs in Airflow's triggerer."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request

log = logging.getLogger(__name__)

TIMEOUT_S = 10


async def deadline_missed(pipeline: str, deadline_s: int, context: dict | None = None) -> None:
    """Logs the miss and, where the connection `affluent_alerts` exists, posts it as JSON to its host (a URL), with its
    password as bearer token. A webhook that fails is logged too, and not tried again."""
    run = (context or {}).get("dag_run") or {}
    run_id = run.get("dag_run_id") or run.get("run_id") if isinstance(run, dict) else getattr(run, "run_id", None)
    alert = {"rule": "batch_deadline", "pipeline": pipeline, "deadline_s": deadline_s, "run": run_id}
    log.error("batch run not done by its deadline: %s", alert)
    webhook = await asyncio.to_thread(connection)
    if webhook is None:
        return
    try:
        await asyncio.to_thread(post, webhook, alert)
    except OSError as error:
        log.error("alert could not be posted: %s", error)


def connection():
    from airflow.sdk import Connection

    try:
        return Connection.get("affluent_alerts")
    except Exception as error:  # Airflow's own classes for "not there" differ between versions.
        log.info("no webhook, connection affluent_alerts: %s", error)
        return None


def post(webhook, alert: dict) -> None:
    headers = {"Content-Type": "application/json"}
    if webhook.password:
        headers["Authorization"] = f"Bearer {webhook.password}"
    request = urllib.request.Request(webhook.host, data=json.dumps(alert).encode(), headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        log.info("alert posted, status %s", answer.status)
