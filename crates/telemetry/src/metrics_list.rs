//! Every metric the platform exports: name, kind, unit, labels and help in one place.
//!
//! Adding a metric is one constant, one line in [`describe`] and one function.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
pub use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

const PIPELINE_LATENCY: &str = "affluent_pipeline_latency_seconds";
const RECORDS: &str = "affluent_records_total";
const DEAD_LETTERS: &str = "affluent_dead_letters_total";
/// Gauge by consumergroup, topic, partition; see [`consumer_lag`].
pub const CONSUMER_LAG: &str = "kafka_consumergroup_lag";
/// Gauge by slot; see [`slot_retained`].
pub const SLOT_RETAINED: &str = "affluent_replication_slot_retained_bytes";
const COLLECT_REQUESTS: &str = "affluent_collect_requests_total";
const COLLECT_REJECTED: &str = "affluent_collect_rejected_total";
const COLLECT_INFLIGHT: &str = "affluent_collect_inflight_bytes";
const BATCH_RUN: &str = "affluent_batch_run_seconds";
const BATCH_RUNS: &str = "affluent_batch_runs_total";
const BATCH_ALERTS: &str = "affluent_batch_alerts_total";
/// Gauge by feature; see [`feature_skew`].
pub const FEATURE_SKEW: &str = "feature_skew_ratio";
const FEATURES_SNAPSHOT: &str = "affluent_features_snapshot_seconds";
const FEATURES_STATE: &str = "affluent_features_state_bytes";
const FEATURES_KEYS: &str = "affluent_features_keys";
const SCORING_RELOADS: &str = "affluent_scoring_reloads_total";
const SCORING_STALE: &str = "affluent_scoring_stale";
const INFERENCE: &str = "affluent_inference_seconds";
const SCORES: &str = "affluent_scores_total";
const SHADOWS: &str = "affluent_shadow_scores_total";
const DRIFT_SCORE: &str = "drift_score";
const BI_PUBLICATIONS: &str = "affluent_bi_publications_total";
const BI_CONNECTIONS: &str = "affluent_bi_connections";
const BI_REFUSED: &str = "affluent_bi_refused_total";
const BI_STATEMENTS: &str = "affluent_bi_statements_total";
const BI_STATEMENT: &str = "affluent_bi_statement_seconds";
const BI_ROWS: &str = "affluent_bi_rows_total";
const RESIDENT_MEMORY: &str = "process_resident_memory_bytes";

/// Bounds of the latency histograms in seconds, dense around the promises (10 ms, 100 ms, 2 s, 3 s).
const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0,
];

/// Bounds of the durations of batch runs and their tasks in seconds: from a blink to a night.
const BATCH_BUCKETS: &[f64] = &[
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0,
];

/// Installs the process-wide recorder; the handle renders the Prometheus text format.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_RUN.to_owned()), BATCH_BUCKETS)?
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    describe_histogram!(
        PIPELINE_LATENCY,
        Unit::Seconds,
        "From commit or occurrence to a stop of the pipeline"
    );
    describe_counter!(RECORDS, "Records by pipeline, stage and outcome");
    describe_counter!(DEAD_LETTERS, "Records quarantined, by pipeline and reason");
    describe_gauge!(CONSUMER_LAG, "Records between the end of the partition and the group's position");
    describe_gauge!(
        SLOT_RETAINED,
        Unit::Bytes,
        "Write-ahead log that the replication slot keeps on the source"
    );
    describe_counter!(COLLECT_REQUESTS, "Requests to the collector, by endpoint and outcome (a code)");
    describe_counter!(COLLECT_REJECTED, "Items that the collector did not accept, by pipeline and reason");
    describe_gauge!(COLLECT_INFLIGHT, Unit::Bytes, "Bodies of the collector's requests under way");
    describe_histogram!(BATCH_RUN, Unit::Seconds, "Time of a task of a batch run, or of all its tasks");
    describe_counter!(BATCH_RUNS, "Attempts at tasks of batch runs, and whole runs (task = all), by outcome");
    describe_counter!(BATCH_ALERTS, "What needs a person about batch runs, by pipeline and kind");
    describe_gauge!(
        FEATURE_SKEW,
        "Served values that the lake recomputes otherwise, by feature: a part of the last sample; 0 is well"
    );
    describe_histogram!(FEATURES_SNAPSHOT, Unit::Seconds, "Time of storing the state of streamed features");
    describe_gauge!(FEATURES_STATE, Unit::Bytes, "State of streamed features as it was stored last");
    describe_gauge!(FEATURES_KEYS, "Keys that have state, over all entities and sources");
    describe_counter!(
        SCORING_RELOADS,
        "Models and rules that were put in place or refused, by what and outcome"
    );
    describe_gauge!(
        SCORING_STALE,
        "1 while older models or rules judge because newer ones are refused, by what"
    );
    describe_histogram!(INFERENCE, Unit::Seconds, "Time of a payment's features and of its judgement");
    describe_counter!(SCORES, "Payments scored, by model and decision");
    describe_counter!(
        SHADOWS,
        "Payments that a challenger scored beside the champion, by its version and the decisions of both models"
    );
    describe_gauge!(
        DRIFT_SCORE,
        "How far what a model sees and says has moved, by model, feature (or score, label, error) and test"
    );
    describe_counter!(BI_PUBLICATIONS, "Copies of the warehouse into a PostgreSQL, by outcome");
    describe_gauge!(BI_CONNECTIONS, "Connections of the PostgreSQL protocol");
    describe_counter!(BI_REFUSED, "Connections that were refused before their first statement, by code");
    describe_counter!(
        BI_STATEMENTS,
        "Statements over the PostgreSQL protocol, by user and code (00000: well)"
    );
    describe_histogram!(BI_STATEMENT, Unit::Seconds, "Time of a statement, to its last row, by user");
    describe_counter!(BI_ROWS, "Rows sent over the PostgreSQL protocol, by user");
    describe_gauge!(RESIDENT_MEMORY, Unit::Bytes, "Resident memory of this process");
}

/// Seconds from commit (or occurrence) until `stop` (`bus`, `documents`, `lake_visible`, `online`, `score`, `end_to_end`, `oltp_updated`), of
/// `count` records.
pub fn pipeline_latency(pipeline: &'static str, stop: &'static str, seconds: f64, count: u64) {
    let histogram = histogram!(PIPELINE_LATENCY, "pipeline" => pipeline, "stop" => stop);
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
    let histogram = histogram!(PIPELINE_LATENCY, "pipeline" => pipeline, "stop" => stop);
    let measured = begun_us.map(|begun_us| {
        let seconds = now_us.saturating_sub(*begun_us) as f64 / 1e6;
        histogram.record(seconds.max(0.0));
        (seconds, 1)
    });
    crate::latency::record_each(pipeline, stop, measured);
}

/// `count` records passed `stage` with `outcome` (`ok`, `duplicate`, `stale`, `dead_letter`).
pub fn records(pipeline: &'static str, stage: &'static str, outcome: &'static str, count: u64) {
    counter!(RECORDS, "pipeline" => pipeline, "stage" => stage, "outcome" => outcome).increment(count);
}

/// One record was quarantined for `reason` (a code, not the message).
pub fn dead_letter(pipeline: &'static str, reason: &str) {
    counter!(DEAD_LETTERS, "pipeline" => pipeline, "reason" => reason.to_owned()).increment(1);
}

/// Records between the end of a partition and the position of `group`.
pub fn consumer_lag(group: &str, topic: &str, partition: i32, records: i64) {
    gauge!(CONSUMER_LAG, "consumergroup" => group.to_owned(), "topic" => topic.to_owned(),
        "partition" => partition.to_string())
    .set(records as f64);
}

/// Bytes of write-ahead log that `slot` keeps on its server.
pub fn slot_retained(slot: &str, bytes: u64) {
    gauge!(SLOT_RETAINED, "slot" => slot.to_owned()).set(bytes as f64);
}

/// A request to `endpoint` (`events`, `logs`, `otlp`) of the collector ended with `outcome`: `ok`, or the
/// code of a refusal.
pub fn collect_request(endpoint: &'static str, outcome: &'static str) {
    counter!(COLLECT_REQUESTS, "endpoint" => endpoint, "outcome" => outcome).increment(1);
}

/// `count` items were not accepted for `reason` (a code).
pub fn collect_rejected(pipeline: &'static str, reason: &'static str, count: u64) {
    counter!(COLLECT_REJECTED, "pipeline" => pipeline, "reason" => reason).increment(count);
}

/// Bytes of bodies that the collector's requests hold.
pub fn collect_inflight_bytes(bytes: usize) {
    gauge!(COLLECT_INFLIGHT).set(bytes as f64);
}

/// An attempt at `task` (`all`: the whole run) of `pipeline` took so many seconds and ended with `outcome`:
/// `succeeded`, `skipped`, `failed`, `cancelled` or `lost`.
pub fn batch_run(pipeline: &'static str, task: &'static str, outcome: &'static str, seconds: f64) {
    histogram!(BATCH_RUN, "pipeline" => pipeline, "task" => task).record(seconds.max(0.0));
    counter!(BATCH_RUNS, "pipeline" => pipeline, "task" => task, "outcome" => outcome).increment(1);
}

/// A batch alert of `kind` (`missed`, `slow`, `given_up`, `left_out`) was raised.
pub fn batch_alert(pipeline: &'static str, kind: &'static str) {
    counter!(BATCH_ALERTS, "pipeline" => pipeline, "kind" => kind).increment(1);
}

/// Which part of the last sample of a feature's served values the lake recomputes otherwise.
pub fn feature_skew(feature: &str, ratio: f64) {
    gauge!(FEATURE_SKEW, "feature" => feature.to_owned()).set(ratio);
}

/// The state of streamed features was stored.
pub fn features_stored(seconds: f64, bytes: u64, keys: usize) {
    histogram!(FEATURES_SNAPSHOT).record(seconds.max(0.0));
    gauge!(FEATURES_STATE).set(bytes as f64);
    gauge!(FEATURES_KEYS).set(keys as f64);
}

/// A new `model` or new `rules` for judging payments were put in place (`ok`) or `refused`.
pub fn scoring_reload(what: &'static str, outcome: &'static str) {
    counter!(SCORING_RELOADS, "what" => what, "outcome" => outcome).increment(1);
}

/// Whether an older `model` or older `rules` judge payments, because what there is now is refused or cannot be read.
pub fn scoring_stale(what: &'static str, is_stale: bool) {
    gauge!(SCORING_STALE, "what" => what).set(f64::from(u8::from(is_stale)));
}

/// Features and judgement of a payment took so many seconds.
pub fn inference(seconds: f64) {
    histogram!(INFERENCE).record(seconds.max(0.0));
    crate::latency::record("score", "inference", seconds, 1);
}

/// A payment was scored by `model` (`none`: by rules alone), and this was decided.
pub fn scored(model: &str, decision: &'static str) {
    counter!(SCORES, "model" => model.to_owned(), "decision" => decision).increment(1);
}

/// A payment was scored by this version of `model`, a challenger: what the champion decided, and what it would have decided.
pub fn shadowed(model: &str, version: u64, champion: &'static str, challenger: &'static str) {
    let (model, version) = (model.to_owned(), version.to_string());
    counter!(SHADOWS, "model" => model, "version" => version, "champion" => champion, "challenger" => challenger)
        .increment(1);
}

/// How far `feature` of `model` has moved by `test` (`psi`, `ks`, `jensen_shannon`, `wasserstein` since the training, the same with `_previous` since
/// the period before, `chi_square`, `adwin`).
pub fn drift_score(model: &str, feature: &str, test: &str, value: f64) {
    gauge!(DRIFT_SCORE, "model" => model.to_owned(), "feature" => feature.to_owned(), "test" => test.to_owned())
        .set(value);
}

/// A version of the warehouse was `copied` into a PostgreSQL, or that `failed`.
pub fn bi_publication(outcome: &'static str) {
    counter!(BI_PUBLICATIONS, "outcome" => outcome).increment(1);
}

/// Connections of the PostgreSQL protocol that there are.
pub fn bi_connections(count: usize) {
    gauge!(BI_CONNECTIONS).set(count as f64);
}

/// A connection was refused with this code of PostgreSQL.
pub fn bi_refused(code: &'static str) {
    counter!(BI_REFUSED, "code" => code).increment(1);
}

/// A statement of a configured user ended with this code of PostgreSQL (`00000`: well).
pub fn bi_statement(user: &str, code: &'static str, seconds: f64, rows: u64) {
    counter!(BI_STATEMENTS, "user" => user.to_owned(), "code" => code).increment(1);
    histogram!(BI_STATEMENT, "user" => user.to_owned()).record(seconds.max(0.0));
    counter!(BI_ROWS, "user" => user.to_owned()).increment(rows);
}

/// Resident memory of this process in bytes.
pub fn resident_memory(bytes: u64) {
    gauge!(RESIDENT_MEMORY).set(bytes as f64);
}
