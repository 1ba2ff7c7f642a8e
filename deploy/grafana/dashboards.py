#!/usr/bin/env python3
"""The dashboards for Grafana (10 or newer), written to the folder `dashboards` beside this file.

    deploy/grafana/dashboards.py            writes them
    deploy/grafana/dashboards.py --check    fails where what is there is not what would be written

A panel is one line below: title, unit, queries with their legends, thresholds (amber, red). `$i` stands for the chosen instances,
`$p` for the chosen pipelines.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "$__rate_interval"
I, P = 'instance=~"$instance"', 'pipeline=~"$pipeline"'
RUNBOOK = "docs/runbook/README.md"


def panel(title, unit, *queries, warn=None, bad=None, below=False, kind="timeseries", wide=False, about=""):
    return dict(title=title, unit=unit, queries=queries, warn=warn, bad=bad, below=below, kind=kind, wide=wide, about=about)


def p99(metric, by, where=""):
    where = f", {where}" if where else ""
    return f"histogram_quantile(0.99, sum by (le, {by}) (rate({metric}_bucket{{{I}{where}}}[{RATE}])))"


def rate(metric, by, where=""):
    where = f", {where}" if where else ""
    return f"sum by ({by}) (rate({metric}{{{I}{where}}}[{RATE}]))"


def newest(metric, by, where="", fold="max"):
    where = f", {where}" if where else ""
    return f"{fold} by ({by}) ({metric}{{{I}{where}}})"


LATENCY = "affluent_pipeline_latency_seconds"

DASHBOARDS = {
    "overview": ("Affluent: overview", [
        panel("Alerts that fire", "none", ('count(ALERTS{alertstate="firing", alertname=~"Affluent.*"}) or vector(0)', "alerts"), kind="stat", warn=1, bad=3),
        panel("Roles at work", "percentunit", (f"avg(affluent_role_ready{{{I}}})", "ready"), kind="stat", warn=1, bad=0.99, below=True),
        panel("Pace at which budgets of latency are used up, one hour", "none", ("affluent:slo_burn:1h", "{{slo}}"), warn=1, bad=14.4,
              about="1: just as fast as allowed. Above 14.4: AffluentSloBurnFast."),
        panel("Latency from commit or occurrence, p99", "s", (p99(LATENCY, "pipeline, stop"), "{{pipeline}} {{stop}}"), warn=2, bad=3),
        panel("Records", "cps", (rate("affluent_records_total", "pipeline, outcome"), "{{pipeline}} {{outcome}}")),
        panel("Lag", "s", (newest("kafka_consumergroup_group_lag_seconds", "consumergroup"), "{{consumergroup}}"), warn=10, bad=60),
        panel("Processor", "percentunit", (f"rate(process_cpu_seconds_total{{{I}}}[{RATE}])", "{{instance}}")),
        panel("Resident memory", "bytes", (newest("process_resident_memory_bytes", "instance"), "{{instance}}")),
        panel("Open files", "percentunit", (f"process_open_fds{{{I}}} / process_max_fds{{{I}}}", "{{instance}}"), warn=0.7, bad=0.9),
        panel("Free disk", "percentunit", (f"affluent_disk_free_bytes{{{I}}} / affluent_disk_size_bytes{{{I}}}", "{{instance}} {{volume}}"), warn=0.15, bad=0.05, below=True),
        panel("Versions", "none", (newest("affluent_build_info", "instance, version, profile"), "{{instance}} {{version}} {{profile}}"), kind="table"),
    ]),
    "cdc": ("Affluent: change capture", [
        panel("Changes", "cps", (rate("affluent_records_total", "stage, outcome", 'pipeline="cdc"'), "{{stage}} {{outcome}}")),
        panel("Latency from commit, p99", "s", (p99(LATENCY, "stop", 'pipeline="cdc"'), "{{stop}}"), warn=2, bad=3),
        panel("Write-ahead log kept on the source", "bytes", (newest("affluent_replication_slot_retained_bytes", "slot"), "{{slot}}"),
              (newest("affluent_replication_slot_limit_bytes", "slot"), "{{slot}}, limit")),
        panel("Document store on disk", "bytes", (newest("affluent_documents_store_bytes", "instance"), "{{instance}}")),
    ]),
    "events": ("Affluent: clickstream and logs", [
        panel("Items accepted", "cps", (rate("affluent_records_total", "pipeline, stage", 'pipeline=~"clickstream|logs", outcome="ok"'), "{{pipeline}} {{stage}}")),
        panel("Latency from occurrence, p99", "s", (p99(LATENCY, "pipeline, stop", 'pipeline=~"clickstream|logs"'), "{{pipeline}} {{stop}}"), warn=2, bad=3),
        panel("Requests to the collector", "reqps", (rate("affluent_collect_requests_total", "endpoint, outcome"), "{{endpoint}} {{outcome}}")),
        panel("Items refused", "cps", (rate("affluent_collect_rejected_total", "pipeline, reason"), "{{pipeline}} {{reason}}")),
        panel("Bodies under way", "bytes", (newest("affluent_collect_inflight_bytes", "instance"), "{{instance}}")),
    ]),
    "kafka": ("Affluent: Kafka lag", [
        panel("Lag in records", "none", (newest("kafka_consumergroup_lag", "consumergroup, topic", fold="sum"), "{{consumergroup}} {{topic}}")),
        panel("Lag in seconds", "s", (newest("kafka_consumergroup_group_lag_seconds", "consumergroup, topic"), "{{consumergroup}} {{topic}}"), warn=10, bad=60),
        panel("Dead letters", "cps", (rate("affluent_dead_letters_total", "pipeline, reason", P), "{{pipeline}} {{reason}}"), wide=True),
    ]),
    "lake": ("Affluent: lake and batch", [
        panel("Time past the deadline", "s", (newest("affluent_batch_overdue_seconds", "pipeline"), "{{pipeline}}"), warn=1, bad=3600),
        panel("Age of what is done", "s", ("time() - " + newest("affluent_batch_done_timestamp_seconds", "pipeline"), "{{pipeline}}")),
        panel("Runs", "none", (f'sum by (pipeline, outcome) (increase(affluent_batch_runs_total{{{I}, task="all"}}[1h]))', "{{pipeline}} {{outcome}}")),
        panel("Time of a task, p99", "s", (p99("affluent_batch_run_seconds", "pipeline, task"), "{{pipeline}} {{task}}")),
        panel("Time since a table's newest snapshot", "s", (newest("affluent_table_freshness_seconds", "table"), "{{table}}")),
        panel("Bytes of a table", "bytes", (newest("affluent_lake_table_bytes", "table"), "{{table}}")),
        panel("Files of a table", "none", (newest("affluent_lake_table_files", "table"), "{{table}}")),
        panel("Snapshots of a table", "none", (newest("affluent_lake_table_snapshots", "table"), "{{table}}")),
        panel("What needed a person, last day", "none", (f"sum by (pipeline, kind) (increase(affluent_batch_alerts_total{{{I}}}[1d]))", "{{pipeline}} {{kind}}"), bad=1),
        panel("Stores that differ", "none", (newest("affluent_reconcile_difference", "table, measure"), "{{table}} {{measure}}"), bad=1),
    ]),
    "features": ("Affluent: features and models", [
        panel("Freshness of features, p99", "s", (p99(LATENCY, "stop", 'pipeline="features"'), "{{stop}}"), warn=2, bad=3),
        panel("Skew: served values that the lake recomputes otherwise", "percentunit", (newest("feature_skew_ratio", "feature"), "{{feature}}"), warn=0.001, bad=0.01),
        panel("Drift since the training, psi", "none", (newest("drift_score", "model, feature", 'test="psi"'), "{{model}} {{feature}}"), warn=0.1, bad=0.25),
        panel("Keys with a state", "none", (newest("affluent_features_keys", "instance"), "{{instance}}")),
        panel("Stored state", "bytes", (newest("affluent_features_state_bytes", "instance"), "{{instance}}")),
        panel("Time of storing the state, p99", "s", (p99("affluent_features_snapshot_seconds", "instance"), "{{instance}}")),
        panel("Model in use", "none", (newest("affluent_model_version", "model, alias"), "{{model}} {{alias}}"), kind="stat"),
    ]),
    "scoring": ("Affluent: scoring", [
        panel("Payments scored", "cps", (rate("affluent_scores_total", "model, decision"), "{{model}} {{decision}}")),
        panel("Latency of scores from commit, p99", "s", (p99(LATENCY, "stop", 'pipeline="score"'), "{{stop}}"), warn=0.5, bad=1),
        panel("Time of a judgement, p99", "s", (p99("affluent_inference_seconds", "instance"), "{{instance}}"), warn=0.01, bad=0.1),
        panel("Judged by rules alone", "percentunit", (f'sum(rate(affluent_scores_total{{{I}, model="none"}}[{RATE}])) / sum(rate(affluent_scores_total{{{I}}}[{RATE}]))', "part"), warn=0.01, bad=0.05),
        panel("Champion and challenger disagree", "cps", (rate("affluent_shadow_scores_total", "model, version, champion, challenger"), "{{model}} {{version}}: {{champion}}, {{challenger}}")),
        panel("Older models or rules judge", "none", (newest("affluent_scoring_stale", "what"), "{{what}}"), bad=1),
        panel("Models and rules put in place or refused", "cps", (rate("affluent_scoring_reloads_total", "what, outcome"), "{{what}} {{outcome}}")),
        panel("HTTP requests", "reqps", (rate("affluent_http_requests_total", "endpoint, status"), "{{endpoint}} {{status}}")),
        panel("Time of a request, p99", "s", (p99("affluent_http_request_seconds", "endpoint"), "{{endpoint}}"), warn=0.05, bad=0.1),
    ]),
    "alerts": ("Affluent: alerts", [
        panel("Firing, as Prometheus sees it", "none", ('ALERTS{alertname=~"Affluent.*"}', "{{alertname}}"), kind="table", wide=True),
        panel("Firing, as the processes see it", "none", (newest("affluent_alerts_firing", "rule, severity"), "{{rule}} {{severity}}"), bad=1, wide=True),
        panel("Seconds until a certificate ends", "s", (newest("affluent_certificate_expiry_timestamp_seconds", "certificate", fold="min") + " - time()", "{{certificate}}"), warn=1814400, bad=259200, below=True),
        panel("Spans and own log lines", "cps", (rate("affluent_trace_spans_total", "outcome"), "spans {{outcome}}"), (rate("affluent_own_log_lines_total", "outcome"), "lines {{outcome}}")),
    ]),
}


def thresholds(spec):
    """Green where all is well; with `below`, what is lower is worse."""
    steps = {level: spec[level] for level in ("warn", "bad") if spec[level] is not None}
    colors = {"warn": "orange", "bad": "red"}
    if not spec["below"]:
        return [{"color": "green", "value": None}] + [{"color": colors[level], "value": at} for level, at in steps.items()]
    worst_first = sorted(steps.items(), key=lambda step: step[1])
    after = [colors[level] for level, _ in worst_first[1:]] + ["green"]
    first = {"color": colors[worst_first[0][0]], "value": None}
    return [first] + [{"color": color, "value": at} for color, (_, at) in zip(after, worst_first)]


def rendered(spec, number, place):
    has_limit = spec["warn"] is not None or spec["bad"] is not None
    defaults = {"unit": spec["unit"], "thresholds": {"mode": "absolute", "steps": thresholds(spec)}, "min": 0}
    if spec["kind"] == "timeseries":
        style = "dashed" if has_limit else "off"
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "thresholdsStyle": {"mode": style}}
    options = {
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"colorMode": "background", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": "auto"},
        "table": {"showHeader": True},
    }
    is_table = spec["kind"] == "table"
    targets = [
        {"datasource": SOURCE, "expr": expr, "legendFormat": legend, "refId": chr(65 + n), "instant": is_table, "range": not is_table, "format": "table" if is_table else "time_series"}
        for n, (expr, legend) in enumerate(spec["queries"])
    ]
    return {
        "id": number, "title": spec["title"], "description": spec["about"], "type": spec["kind"], "datasource": SOURCE, "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options[spec["kind"]], "targets": targets,
    }


def variable(name, label, metric):
    query = f"label_values({metric}, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query, "query": {"query": query, "refId": name},
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard(name, title, specs):
    panels, x, y = [], 0, 0
    for number, spec in enumerate(specs, 1):
        width = 24 if spec["wide"] else 12
        if x + width > 24:
            x, y = 0, y + 8
        panels.append(rendered(spec, number, {"x": x, "y": y, "w": width, "h": 8}))
        x += width
    link = {"icon": "external link", "tags": [], "type": "link", "targetBlank": True, "includeVars": False, "keepTime": False, "asDropdown": False, "tooltip": ""}
    others = {**link, "type": "dashboards", "title": "Affluent", "tags": ["affluent"], "icon": "", "url": "", "targetBlank": False, "includeVars": True, "keepTime": True}
    source = {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0, "refresh": 1}
    return {
        "uid": f"affluent-{name}", "title": title, "tags": ["affluent"], "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
        "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "annotations": {"list": []},
        "links": [others, {**link, "title": "Runbook", "url": RUNBOOK}],
        "templating": {"list": [source, variable("instance", "Instance", "affluent_build_info"), variable("pipeline", "Pipeline", "affluent_records_total")]},
        "panels": panels,
    }


def main():
    texts = {f"{name}.json": json.dumps(dashboard(name, *of), indent=1) + "\n" for name, of in DASHBOARDS.items()}
    if sys.argv[1:] == ["--check"]:
        there = {path.name: path.read_text() for path in HERE.glob("*.json")}
        wrong = sorted(name for name in there.keys() | texts.keys() if there.get(name) != texts.get(name))
        sys.exit(f"not what {pathlib.Path(__file__).name} writes: {', '.join(wrong)}" if wrong else 0)
    for name, text in texts.items():
        (HERE / name).write_text(text)


main()
