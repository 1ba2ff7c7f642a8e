//! The table of all metrics: what a name means, of which kind it is, and how many series it may have.
//!
//! `docs/metrics.md` shows it; a test holds the two, and what is really recorded, against each other.

use std::fmt::Write as _;

/// Bounds of the latency histograms in seconds, dense around the promises (10 ms, 100 ms, 2 s, 3 s).
pub(super) const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0,
];
/// Bounds of the durations of batch runs and their tasks in seconds: from a blink to a night.
pub(super) const BATCH_BUCKETS: &[f64] = &[
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0,
];

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows until the process ends.
    Counter,
    Gauge,
    /// Seconds in buckets: `_bucket`, `_sum` and `_count` of its name.
    Histogram,
}

impl Kind {
    /// As Prometheus writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric. Its unit is in its name: `_seconds`, `_bytes`, `_ratio`; else a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// In the order in which they are recorded.
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// Combinations of values that data or configuration bring to its labels, at most: what is beyond is counted under
    /// `other`. 0: every value is named in code.
    pub series_max: usize,
    /// Upper bounds of the buckets of a histogram, seconds.
    pub buckets: &'static [f64],
}

const fn of(kind: Kind, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, labels, help, series_max: 0, buckets: &[] }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    of(Kind::Counter, name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    of(Kind::Gauge, name, labels, help)
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { buckets, ..of(Kind::Histogram, name, labels, help) }
}

impl Metric {
    const fn open(self, series_max: usize) -> Self {
        Metric { series_max, ..self }
    }
}

pub(super) const PIPELINE_LATENCY: Metric = histogram(
    "affluent_pipeline_latency_seconds",
    &["pipeline", "stop"],
    LATENCY_BUCKETS,
    "From commit or occurrence of a record until it has reached a stop of its pipeline",
);
pub(super) const RECORDS: Metric = counter(
    "affluent_records_total",
    &["pipeline", "stage", "outcome"],
    "Records that passed a stage, by outcome",
);
pub(super) const DEAD_LETTERS: Metric = counter(
    "affluent_dead_letters_total",
    &["pipeline", "reason"],
    "Records quarantined, by reason (a code)",
)
.open(64);
pub(super) const COLLECT_REQUESTS: Metric = counter(
    "affluent_collect_requests_total",
    &["endpoint", "outcome"],
    "Requests to the collector, by outcome (ok, or the code of a refusal)",
);
pub(super) const COLLECT_REJECTED: Metric = counter(
    "affluent_collect_rejected_total",
    &["pipeline", "reason"],
    "Items that the collector did not accept, by reason (a code)",
);
pub(super) const COLLECT_INFLIGHT: Metric =
    gauge("affluent_collect_inflight_bytes", &[], "Bodies of the collector's requests under way");
pub(super) const HTTP_REQUESTS: Metric = counter(
    "affluent_http_requests_total",
    &["endpoint", "status"],
    "Requests to the HTTP interface, by path of the route and class of the answer (2xx, 4xx, …)",
);
pub(super) const HTTP_REQUEST: Metric = histogram(
    "affluent_http_request_seconds",
    &["endpoint"],
    LATENCY_BUCKETS,
    "From a request to the head of its answer",
);
pub(super) const CONSUMER_LAG: Metric = gauge(
    "kafka_consumergroup_lag",
    &["consumergroup", "topic", "partition"],
    "Records between the position of the group and the end of the partition",
)
.open(5000);
pub(super) const CONSUMER_LAG_SECONDS: Metric = gauge("kafka_consumergroup_group_lag_seconds", &["consumergroup", "topic", "partition"], "Age of the oldest record that the group has not read, estimated from when the end of the partition stood there; 0 where nothing waits").open(5000);
pub(super) const SLOT_RETAINED: Metric = gauge(
    "affluent_replication_slot_retained_bytes",
    &["slot"],
    "Write-ahead log that the replication slot keeps on the source",
)
.open(64);
pub(super) const SLOT_LIMIT: Metric = gauge(
    "affluent_replication_slot_limit_bytes",
    &["slot"],
    "Write-ahead log from which on the source warns (cdc.retained_warning_bytes)",
)
.open(64);
pub(super) const DOCUMENTS_BYTES: Metric =
    gauge("affluent_documents_store_bytes", &[], "Files of the embedded document store");
pub(super) const LAKE_FILES: Metric = gauge(
    "affluent_lake_table_files",
    &["table"],
    "Data files of a table of the lake, in its newest snapshot",
)
.open(1000);
pub(super) const LAKE_BYTES: Metric =
    gauge("affluent_lake_table_bytes", &["table"], "Size of these files").open(1000);
pub(super) const LAKE_RECORDS: Metric =
    gauge("affluent_lake_table_records", &["table"], "Rows of the newest snapshot").open(1000);
pub(super) const LAKE_SNAPSHOTS: Metric =
    gauge("affluent_lake_table_snapshots", &["table"], "Snapshots of a table that are kept").open(1000);
pub(super) const FRESHNESS: Metric = gauge(
    "affluent_table_freshness_seconds",
    &["table"],
    "Time since the newest snapshot of a table of the lake, when it was looked at last",
)
.open(1000);
pub(super) const BATCH_RUN: Metric = histogram(
    "affluent_batch_run_seconds",
    &["pipeline", "task"],
    BATCH_BUCKETS,
    "Time of an attempt at a task of a batch run, or of all its tasks (task = all)",
);
pub(super) const BATCH_RUNS: Metric = counter(
    "affluent_batch_runs_total",
    &["pipeline", "task", "outcome"],
    "Attempts at tasks of batch runs, and whole runs (task = all), by outcome",
);
pub(super) const BATCH_ALERTS: Metric = counter(
    "affluent_batch_alerts_total",
    &["pipeline", "kind"],
    "What needs a person about batch runs (missed, slow, given_up, left_out, different)",
);
pub(super) const BATCH_DONE: Metric = gauge(
    "affluent_batch_done_timestamp_seconds",
    &["pipeline"],
    "End of the newest interval that is done (Unix time)",
);
pub(super) const BATCH_OVERDUE: Metric = gauge(
    "affluent_batch_overdue_seconds",
    &["pipeline"],
    "Time since the deadline of the oldest interval that is not done; 0 in time. Absent where no process plays the role schedule",
);
pub(super) const RECONCILE: Metric = gauge("affluent_reconcile_difference", &["table", "measure"], "What the last nightly rebuild found to differ from the increments (measure = days), before it put it right").open(1000);
pub(super) const FEATURE_SKEW: Metric = gauge(
    "feature_skew_ratio",
    &["feature"],
    "Served values that the lake recomputes otherwise: a part of the last sample; 0 is well",
)
.open(1000);
pub(super) const FEATURES_SNAPSHOT: Metric = histogram(
    "affluent_features_snapshot_seconds",
    &[],
    LATENCY_BUCKETS,
    "Time of storing the state of streamed features",
);
pub(super) const FEATURES_STATE: Metric =
    gauge("affluent_features_state_bytes", &[], "State of streamed features as it was stored last");
pub(super) const FEATURES_KEYS: Metric =
    gauge("affluent_features_keys", &[], "Keys that have state, over all entities and sources");
pub(super) const INFERENCE: Metric = histogram(
    "affluent_inference_seconds",
    &[],
    LATENCY_BUCKETS,
    "Time of a payment's features and of its judgement",
);
pub(super) const SCORES: Metric = counter(
    "affluent_scores_total",
    &["model", "decision"],
    "Payments scored, by model (none: by rules alone) and decision",
)
.open(64);
pub(super) const SHADOWS: Metric = counter(
    "affluent_shadow_scores_total",
    &["model", "version", "champion", "challenger"],
    "Payments that a challenger scored beside the champion, by its version and the decisions of both",
)
.open(64);
pub(super) const SCORING_RELOADS: Metric = counter(
    "affluent_scoring_reloads_total",
    &["what", "outcome"],
    "Models and rules that were put in place (ok) or refused",
);
pub(super) const SCORING_STALE: Metric = gauge(
    "affluent_scoring_stale",
    &["what"],
    "1 while older models or rules judge because newer ones are refused or cannot be read",
);
pub(super) const BI_PUBLICATIONS: Metric = counter(
    "affluent_bi_publications_total",
    &["outcome"],
    "Copies of the warehouse into a PostgreSQL, by outcome",
);
pub(super) const BI_CONNECTIONS: Metric =
    gauge("affluent_bi_connections", &[], "Connections of the PostgreSQL protocol");
pub(super) const BI_REFUSED: Metric = counter(
    "affluent_bi_refused_total",
    &["code"],
    "Connections that were refused before their first statement, by code",
);
pub(super) const BI_STATEMENTS: Metric = counter(
    "affluent_bi_statements_total",
    &["user", "code"],
    "Statements over the PostgreSQL protocol, by user and code (00000: well)",
)
.open(256);
pub(super) const BI_STATEMENT: Metric = histogram(
    "affluent_bi_statement_seconds",
    &["user"],
    LATENCY_BUCKETS,
    "Time of a statement over the PostgreSQL protocol, to its last row, by user",
)
.open(64);
pub(super) const BI_ROWS: Metric =
    counter("affluent_bi_rows_total", &["user"], "Rows sent over the PostgreSQL protocol, by user").open(64);
pub(super) const MODEL_VERSION: Metric = gauge(
    "affluent_model_version",
    &["model", "alias"],
    "Version of the model that judges as champion or challenger; 0: none",
)
.open(64);
pub(super) const DRIFT_SCORE: Metric = gauge(
    "drift_score",
    &["model", "feature", "test"],
    "How far what a model sees and says has moved, by feature (or score, label, error) and test",
)
.open(5000);
pub(super) const ALERT_FIRING: Metric = gauge(
    "affluent_alerts_firing",
    &["rule", "severity"],
    "1 while an alert of the built-in evaluator fires",
);
pub(super) const TRACE_SPANS: Metric = counter(
    "affluent_trace_spans_total",
    &["outcome"],
    "Spans of traces: sent, failed (refused by the receiver or not taken in time), dropped (the queue was full)",
);
pub(super) const OWN_LOG_LINES: Metric = counter(
    "affluent_own_log_lines_total",
    &["outcome"],
    "Log lines of the platform fed into its own pipeline: sent, or dropped (the queue was full, or the bus refused them)",
);
pub(super) const GROUPS_LEFT_OUT: Metric = gauge(
    "affluent_lag_partitions_left_out",
    &[],
    "Partitions of groups of the cluster whose lag is not looked at, being beyond telemetry.groups_partitions_max",
);
pub(super) const ROLE_READY: Metric =
    gauge("affluent_role_ready", &["role"], "1 while a role of this process does its work");
pub(super) const BUILD_INFO: Metric = gauge(
    "affluent_build_info",
    &["version", "profile"],
    "1; the version of the binary, and how it was built (release, or checked: with debug assertions)",
);
pub(super) const DISK_FREE: Metric = gauge(
    "affluent_disk_free_bytes",
    &["volume"],
    "Space left where a store lies (volume = data, lake or documents)",
);
pub(super) const DISK_SIZE: Metric =
    gauge("affluent_disk_size_bytes", &["volume"], "Size of the file system where a store lies");
pub(super) const CERTIFICATE_EXPIRY: Metric = gauge(
    "affluent_certificate_expiry_timestamp_seconds",
    &["certificate"],
    "When a certificate in use ceases to be valid (Unix time)",
);
pub(super) const RESIDENT_MEMORY: Metric =
    gauge("process_resident_memory_bytes", &[], "Resident memory of this process");
pub(super) const VIRTUAL_MEMORY: Metric =
    gauge("process_virtual_memory_bytes", &[], "Virtual memory of this process");
pub(super) const CPU_SECONDS: Metric =
    counter("process_cpu_seconds_total", &[], "Whole seconds of processor time that this process has used");
pub(super) const OPEN_FDS: Metric = gauge("process_open_fds", &[], "Files that this process has open");
pub(super) const MAX_FDS: Metric = gauge("process_max_fds", &[], "Files that it may have open");
pub(super) const THREADS: Metric = gauge("process_threads", &[], "Threads of this process");
pub(super) const START_TIME: Metric =
    gauge("process_start_time_seconds", &[], "When this process started (Unix time)");

/// Every metric that a process may export.
pub const METRICS: &[Metric] = &[
    PIPELINE_LATENCY,
    RECORDS,
    DEAD_LETTERS,
    COLLECT_REQUESTS,
    COLLECT_REJECTED,
    COLLECT_INFLIGHT,
    HTTP_REQUESTS,
    HTTP_REQUEST,
    CONSUMER_LAG,
    CONSUMER_LAG_SECONDS,
    SLOT_RETAINED,
    SLOT_LIMIT,
    DOCUMENTS_BYTES,
    LAKE_FILES,
    LAKE_BYTES,
    LAKE_RECORDS,
    LAKE_SNAPSHOTS,
    FRESHNESS,
    BATCH_RUN,
    BATCH_RUNS,
    BATCH_ALERTS,
    BATCH_DONE,
    BATCH_OVERDUE,
    RECONCILE,
    FEATURE_SKEW,
    FEATURES_SNAPSHOT,
    FEATURES_STATE,
    FEATURES_KEYS,
    INFERENCE,
    SCORES,
    SHADOWS,
    SCORING_RELOADS,
    SCORING_STALE,
    BI_PUBLICATIONS,
    BI_CONNECTIONS,
    BI_REFUSED,
    BI_STATEMENTS,
    BI_STATEMENT,
    BI_ROWS,
    MODEL_VERSION,
    DRIFT_SCORE,
    ALERT_FIRING,
    TRACE_SPANS,
    OWN_LOG_LINES,
    GROUPS_LEFT_OUT,
    ROLE_READY,
    BUILD_INFO,
    DISK_FREE,
    DISK_SIZE,
    CERTIFICATE_EXPIRY,
    RESIDENT_MEMORY,
    VIRTUAL_MEMORY,
    CPU_SECONDS,
    OPEN_FDS,
    MAX_FDS,
    THREADS,
    START_TIME,
];

/// The table as `docs/metrics.md` has it.
#[must_use]
pub fn markdown() -> String {
    let mut text = "| name | kind | labels | meaning | series |\n|---|---|---|---|---|\n".to_owned();
    for Metric { name, kind, labels, help, series_max, .. } in METRICS {
        let bound = if *series_max == 0 { String::new() } else { format!("≤ {series_max}") };
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{name}` | {} | {} | {help} | {bound} |", kind.as_str(), labels.join(", "));
    }
    text
}
