//! What is looked at now and then: lag, stores, schedules, models, the process itself.

use super::labels::open;
use super::table;
use metrics::{counter, gauge};

/// How far `group` is behind the end of a partition: records, and the age of the oldest of them in seconds.
pub fn consumer_lag(group: &str, topic: &str, partition: i32, records: i64, seconds: f64) {
    let values = [group, topic, &partition.to_string()];
    gauge!(table::CONSUMER_LAG.name, open(&table::CONSUMER_LAG, values)).set(records as f64);
    gauge!(table::CONSUMER_LAG_SECONDS.name, open(&table::CONSUMER_LAG_SECONDS, values)).set(seconds);
}

/// Partitions of the cluster's groups that are not looked at.
pub fn lag_partitions_left_out(partitions: usize) {
    gauge!(table::GROUPS_LEFT_OUT.name).set(partitions as f64);
}

/// Bytes of write-ahead log that `slot` keeps on its server, and from how many on that is too much.
pub fn slot_retained(slot: &str, bytes: u64, limit: u64) {
    gauge!(table::SLOT_RETAINED.name, open(&table::SLOT_RETAINED, [slot])).set(bytes as f64);
    gauge!(table::SLOT_LIMIT.name, open(&table::SLOT_LIMIT, [slot])).set(limit as f64);
}

/// Bytes of the files of the embedded document store.
pub fn documents_store_bytes(bytes: u64) {
    gauge!(table::DOCUMENTS_BYTES.name).set(bytes as f64);
}

/// A table of the lake as its newest snapshot has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LakeTableState {
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
    /// Snapshots that are kept.
    pub snapshots: usize,
    /// Age of the newest snapshot, seconds.
    pub age_s: f64,
}

/// How the table `namespace.name` stands.
pub fn lake_table(name: &str, state: LakeTableState) {
    gauge!(table::LAKE_FILES.name, open(&table::LAKE_FILES, [name])).set(state.files as f64);
    gauge!(table::LAKE_BYTES.name, open(&table::LAKE_BYTES, [name])).set(state.bytes as f64);
    gauge!(table::LAKE_RECORDS.name, open(&table::LAKE_RECORDS, [name])).set(state.records as f64);
    gauge!(table::LAKE_SNAPSHOTS.name, open(&table::LAKE_SNAPSHOTS, [name])).set(state.snapshots as f64);
    gauge!(table::FRESHNESS.name, open(&table::FRESHNESS, [name])).set(state.age_s.max(0.0));
}

/// Where the schedule of a pipeline stands: the end of the newest interval that is done (Unix time, seconds), and for how long the
/// deadline of the oldest one that is not has passed, seconds.
pub fn batch_standing(pipeline: &'static str, done_s: Option<f64>, overdue_s: f64) {
    if let Some(done_s) = done_s {
        gauge!(table::BATCH_DONE.name, "pipeline" => pipeline).set(done_s);
    }
    gauge!(table::BATCH_OVERDUE.name, "pipeline" => pipeline).set(overdue_s.max(0.0));
}

/// How much of `measure` a comparison of `table` found to differ.
pub fn reconcile_difference(table: &str, measure: &'static str, count: usize) {
    gauge!(table::RECONCILE.name, open(&table::RECONCILE, [table, measure])).set(count as f64);
}

/// Which part of the last sample of a feature's served values the lake recomputes otherwise.
pub fn feature_skew(feature: &str, ratio: f64) {
    gauge!(table::FEATURE_SKEW.name, open(&table::FEATURE_SKEW, [feature])).set(ratio);
}

/// Whether an older `model` or older `rules` judge payments, because what there is now is refused or cannot be read.
pub fn scoring_stale(what: &'static str, is_stale: bool) {
    gauge!(table::SCORING_STALE.name, "what" => what).set(f64::from(u8::from(is_stale)));
}

/// The version of `model` that judges as `alias` (`champion`, `challenger`).
pub fn model_version(model: &str, alias: &'static str, version: Option<u64>) {
    gauge!(table::MODEL_VERSION.name, open(&table::MODEL_VERSION, [model, alias]))
        .set(version.unwrap_or(0) as f64);
}

/// How far `feature` of `model` has moved by `test` (`psi`, `ks`, `jensen_shannon`, `wasserstein` since the training, the same with `_previous` since
/// the period before, `chi_square`, `adwin`).
pub fn drift_score(model: &str, feature: &str, test: &str, value: f64) {
    gauge!(table::DRIFT_SCORE.name, open(&table::DRIFT_SCORE, [model, feature, test])).set(value);
}

/// Whether an alert of the built-in evaluator fires.
pub fn alert_firing(rule: &'static str, severity: &'static str, firing: bool) {
    gauge!(table::ALERT_FIRING.name, "rule" => rule, "severity" => severity).set(f64::from(u8::from(firing)));
}

/// Whether a role of this process does its work. `role` is one of its code, or of a service within one.
pub fn role_ready(role: &str, is_ready: bool) {
    gauge!(table::ROLE_READY.name, "role" => role.to_owned()).set(f64::from(u8::from(is_ready)));
}

/// Which binary this is.
pub fn build_info(version: &'static str, profile: &'static str) {
    gauge!(table::BUILD_INFO.name, "version" => version, "profile" => profile).set(1.0);
}

/// Space on the file system of `volume`, bytes.
pub fn disk(volume: &'static str, free: u64, size: u64) {
    gauge!(table::DISK_FREE.name, "volume" => volume).set(free as f64);
    gauge!(table::DISK_SIZE.name, "volume" => volume).set(size as f64);
}

/// When `certificate` ceases to be valid, Unix time in seconds.
pub fn certificate_expiry(certificate: &'static str, at_s: u64) {
    gauge!(table::CERTIFICATE_EXPIRY.name, "certificate" => certificate).set(at_s as f64);
}

/// What the system tells of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessState {
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub cpu_seconds: f64,
    pub threads: u64,
    pub open_files: u64,
    /// How many it may have open; none where there is no limit.
    pub open_files_max: Option<u64>,
    /// Unix time in seconds.
    pub started_s: f64,
}

/// How this process stands.
pub fn process(state: ProcessState) {
    gauge!(table::RESIDENT_MEMORY.name).set(state.resident_bytes as f64);
    gauge!(table::VIRTUAL_MEMORY.name).set(state.virtual_bytes as f64);
    counter!(table::CPU_SECONDS.name).absolute(state.cpu_seconds.max(0.0) as u64);
    gauge!(table::THREADS.name).set(state.threads as f64);
    gauge!(table::OPEN_FDS.name).set(state.open_files as f64);
    if let Some(limit) = state.open_files_max {
        gauge!(table::MAX_FDS.name).set(limit as f64);
    }
    gauge!(table::START_TIME.name).set(state.started_s);
}
