//! What happens: records, requests, runs, judgements. Called on the hot paths.

use super::labels::open;
use super::{exemplars, table};
use crate::traces::TraceContext;
use metrics::{counter, gauge, histogram};

/// Seconds from commit (or occurrence) until `stop` (`bus`, `documents`, `lake_visible`, `staged`, `online`, `score`, `end_to_end`,
/// `oltp_updated`), of `count` records.
pub fn pipeline_latency(pipeline: &'static str, stop: &'static str, seconds: f64, count: u64) {
    let histogram = histogram!(table::PIPELINE_LATENCY.name, "pipeline" => pipeline, "stop" => stop);
    histogram.record_many(seconds.max(0.0), usize::try_from(count).unwrap_or(usize::MAX));
    crate::latency::record(pipeline, stop, seconds, count);
}

/// As [`pipeline_latency`], of records that began at these times and reached `stop` now (microseconds UTC).
pub fn pipeline_latencies<'a>(
    pipeline: &'static str,
    stop: &'static str,
    now_us: i64,
    begun_us: impl Iterator<Item = &'a i64>,
) {
    let histogram = histogram!(table::PIPELINE_LATENCY.name, "pipeline" => pipeline, "stop" => stop);
    let measured = begun_us.map(|begun_us| {
        let seconds = now_us.saturating_sub(*begun_us) as f64 / 1e6;
        histogram.record(seconds.max(0.0));
        (seconds, 1)
    });
    crate::latency::record_each(pipeline, stop, measured);
}

/// Of what [`pipeline_latency`] has just counted, the records that are followed: each with its trace and when it began, microseconds UTC.
/// They become exemplars of their buckets.
pub fn pipeline_exemplars(
    pipeline: &'static str,
    stop: &'static str,
    now_us: i64,
    followed: impl Iterator<Item = (TraceContext, i64)>,
) {
    for (trace, begun_us) in followed {
        let seconds = now_us.saturating_sub(begun_us) as f64 / 1e6;
        exemplars::keep(&table::PIPELINE_LATENCY, &[pipeline, stop], seconds, &trace);
    }
}

/// `count` records passed `stage` with `outcome` (`ok`, `duplicate`, `stale`, `dead_letter`).
pub fn records(pipeline: &'static str, stage: &'static str, outcome: &'static str, count: u64) {
    counter!(table::RECORDS.name, "pipeline" => pipeline, "stage" => stage, "outcome" => outcome)
        .increment(count);
}

/// One record was quarantined for `reason` (a code, not the message).
pub fn dead_letter(pipeline: &'static str, reason: &str) {
    counter!(table::DEAD_LETTERS.name, open(&table::DEAD_LETTERS, [pipeline, reason])).increment(1);
}

/// A request to `endpoint` (`events`, `logs`, `otlp`) of the collector ended with `outcome`: `ok`, or the
/// code of a refusal.
pub fn collect_request(endpoint: &'static str, outcome: &'static str) {
    counter!(table::COLLECT_REQUESTS.name, "endpoint" => endpoint, "outcome" => outcome).increment(1);
}

/// `count` items were not accepted for `reason` (a code).
pub fn collect_rejected(pipeline: &'static str, reason: &'static str, count: u64) {
    counter!(table::COLLECT_REJECTED.name, "pipeline" => pipeline, "reason" => reason).increment(count);
}

/// Bytes of bodies that the collector's requests hold.
pub fn collect_inflight_bytes(bytes: usize) {
    gauge!(table::COLLECT_INFLIGHT.name).set(bytes as f64);
}

/// A request to a route of the HTTP interface was answered with a status of this class (`2xx`, …) after so many seconds.
pub fn http_request(endpoint: &'static str, status: &'static str, seconds: f64) {
    counter!(table::HTTP_REQUESTS.name, "endpoint" => endpoint, "status" => status).increment(1);
    histogram!(table::HTTP_REQUEST.name, "endpoint" => endpoint).record(seconds.max(0.0));
}

/// An attempt at `task` (`all`: the whole run) of `pipeline` took so many seconds and ended with `outcome`:
/// `succeeded`, `skipped`, `failed`, `cancelled` or `lost`.
pub fn batch_run(pipeline: &'static str, task: &'static str, outcome: &'static str, seconds: f64) {
    histogram!(table::BATCH_RUN.name, "pipeline" => pipeline, "task" => task).record(seconds.max(0.0));
    counter!(table::BATCH_RUNS.name, "pipeline" => pipeline, "task" => task, "outcome" => outcome)
        .increment(1);
}

/// A batch alert of `kind` (`missed`, `slow`, `given_up`, `left_out`, `different`) was raised.
pub fn batch_alert(pipeline: &'static str, kind: &'static str) {
    counter!(table::BATCH_ALERTS.name, "pipeline" => pipeline, "kind" => kind).increment(1);
}

/// The state of streamed features was stored.
pub fn features_stored(seconds: f64, bytes: u64, keys: usize) {
    histogram!(table::FEATURES_SNAPSHOT.name).record(seconds.max(0.0));
    gauge!(table::FEATURES_STATE.name).set(bytes as f64);
    gauge!(table::FEATURES_KEYS.name).set(keys as f64);
}

/// A new `model` or new `rules` for judging payments were put in place (`ok`) or `refused`.
pub fn scoring_reload(what: &'static str, outcome: &'static str) {
    counter!(table::SCORING_RELOADS.name, "what" => what, "outcome" => outcome).increment(1);
}

/// Features and judgement of a payment took so many seconds.
pub fn inference(seconds: f64) {
    histogram!(table::INFERENCE.name).record(seconds.max(0.0));
    crate::latency::record("score", "inference", seconds, 1);
}

/// The judgement that [`inference`] has just counted is followed by this trace: the exemplar of its bucket.
pub fn inference_exemplar(seconds: f64, trace: &TraceContext) {
    exemplars::keep(&table::INFERENCE, &[], seconds, trace);
}

/// A payment was scored by `model` (`none`: by rules alone), and this was decided.
pub fn scored(model: &str, decision: &'static str) {
    counter!(table::SCORES.name, open(&table::SCORES, [model, decision])).increment(1);
}

/// A payment was scored by this version of `model`, a challenger: what the champion decided, and what it would have decided.
pub fn shadowed(model: &str, version: u64, champion: &'static str, challenger: &'static str) {
    let labels = open(&table::SHADOWS, [model, &version.to_string(), champion, challenger]);
    counter!(table::SHADOWS.name, labels).increment(1);
}

/// `count` spans were `sent`, `failed` or `dropped`.
pub fn trace_spans(outcome: &'static str, count: u64) {
    counter!(table::TRACE_SPANS.name, "outcome" => outcome).increment(count);
}

/// `count` log lines of the platform were `sent` into its own pipeline, or `dropped`.
pub fn own_log_lines(outcome: &'static str, count: u64) {
    counter!(table::OWN_LOG_LINES.name, "outcome" => outcome).increment(count);
}

/// A version of the warehouse was `copied` into a PostgreSQL, or that `failed`.
pub fn bi_publication(outcome: &'static str) {
    counter!(table::BI_PUBLICATIONS.name, "outcome" => outcome).increment(1);
}

/// Connections of the PostgreSQL protocol that there are.
pub fn bi_connections(count: usize) {
    gauge!(table::BI_CONNECTIONS.name).set(count as f64);
}

/// A connection was refused with this code of PostgreSQL.
pub fn bi_refused(code: &'static str) {
    counter!(table::BI_REFUSED.name, "code" => code).increment(1);
}

/// A statement of a configured user ended with this code of PostgreSQL (`00000`: well).
pub fn bi_statement(user: &str, code: &'static str, seconds: f64, rows: u64) {
    counter!(table::BI_STATEMENTS.name, open(&table::BI_STATEMENTS, [user, code])).increment(1);
    histogram!(table::BI_STATEMENT.name, open(&table::BI_STATEMENT, [user])).record(seconds.max(0.0));
    counter!(table::BI_ROWS.name, open(&table::BI_ROWS, [user])).increment(rows);
}
