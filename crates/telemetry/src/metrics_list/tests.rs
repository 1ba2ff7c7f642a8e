//! The table, what is recorded, and `docs/metrics.md`, held against each other.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// Records every metric, with `text` for whatever data brings.
fn record_all(text: &str) {
    pipeline_latency("cdc", "bus", 0.5, 1);
    pipeline_latencies("cdc", "bus", 2, [1].iter());
    records("cdc", "bus", "ok", 1);
    dead_letter("cdc", text);
    collect_request("events", "ok");
    collect_rejected("logs", "too_large", 1);
    collect_inflight_bytes(1);
    http_request("/v1/score", "2xx", 0.01);
    batch_run("raw-to-dwh", "all", "succeeded", 1.0);
    batch_alert("raw-to-dwh", "missed");
    features_stored(1.0, 1, 1);
    scoring_reload("model", "ok");
    inference(0.001);
    scored(text, "approve");
    shadowed(text, 1, "approve", "review");
    bi_publication("copied");
    bi_connections(1);
    bi_refused("28P01");
    bi_statement(text, "00000", 0.1, 1);
    trace_spans("sent", 1);
    own_log_lines("sent", 1);
    consumer_lag(text, text, 0, 1, 1.0);
    lag_partitions_left_out(0);
    slot_retained(text, 1, 2);
    documents_store_bytes(1);
    lake_table(text, LakeTableState::default());
    batch_standing("raw-to-dwh", Some(1.0), 0.0);
    reconcile_difference(text, "days", 0);
    feature_skew(text, 0.0);
    scoring_stale("model", false);
    model_version(text, "champion", Some(1));
    drift_score(text, text, "psi", 0.1);
    alert_firing("lag", "page", true);
    role_ready("api", true);
    build_info("1", "2");
    disk("data", 1, 2);
    certificate_expiry("http", 1);
    process(ProcessState { open_files_max: Some(1), ..ProcessState::default() });
}

/// Name and labels of each series that `work` records, histograms under their own name.
fn series(work: impl FnOnce()) -> Vec<(String, Vec<(String, String)>)> {
    let recorder = builder().unwrap().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, work);
    let mut found = BTreeSet::new();
    for line in handle.render().lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let is_known = |name: &&str| METRICS.iter().any(|metric| metric.name == *name);
        let name = base.filter(is_known).unwrap_or(name);
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels: Vec<(String, String)> = labels
            .map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()))
            .filter(|(label, _)| label != "le")
            .collect();
        found.insert((name.to_owned(), labels));
    }
    found.into_iter().collect()
}

#[test]
fn what_is_recorded_is_in_the_table_and_what_is_in_the_table_is_recorded() {
    let recorded: BTreeMap<String, BTreeSet<String>> = series(|| record_all("x"))
        .into_iter()
        .map(|(name, labels)| (name, labels.into_iter().map(|(label, _)| label).collect()))
        .collect();
    let listed: BTreeMap<String, BTreeSet<String>> = METRICS
        .iter()
        .map(|metric| {
            (metric.name.to_owned(), metric.labels.iter().map(|label| (*label).to_owned()).collect())
        })
        .collect();
    assert_eq!(recorded, listed);
    assert_eq!(listed.len(), METRICS.len(), "a name is there twice");
}

/// Names follow Prometheus: the unit at the end, `_total` for counters (<https://prometheus.io/docs/practices/naming/>).
#[test]
fn names_say_kind_and_unit() {
    for Metric { name, kind, buckets, help, .. } in METRICS {
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert_eq!(buckets.is_empty(), *kind != Kind::Histogram, "{name}");
        assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(!help.is_empty() && !help.ends_with('.') && !help.contains('|'), "{name}: {help}");
    }
    for promise in [0.01, 0.1, 2.0, 3.0] {
        assert!(table::LATENCY_BUCKETS.contains(&promise), "{promise} s is a promise");
    }
}

#[test]
fn whatever_data_brings_the_number_of_series_is_bounded() {
    let largest = METRICS.iter().map(|metric| metric.series_max).max().unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in series(|| (0..largest + 100).for_each(|n| record_all(&format!("value-{n}")))) {
        *counts.entry(name).or_default() += 1;
    }
    for metric in METRICS {
        // One more for all others.
        let bound = if metric.series_max == 0 { 1 } else { metric.series_max + 1 };
        assert!(counts[metric.name] <= bound, "{}: {} series", metric.name, counts[metric.name]);
    }
    let total: usize = METRICS.iter().map(|metric| metric.series_max + 1).sum();
    assert!(total < 50_000, "{total} series of one process");
}

#[test]
fn the_documentation_has_the_table() {
    let page = include_str!("../../../../docs/metrics.md");
    let shown = page.split_once("| name |").map(|(_, rest)| format!("| name |{rest}")).unwrap_or_default();
    let shown: String =
        shown.lines().take_while(|line| line.starts_with('|')).map(|l| format!("{l}\n")).collect();
    assert_eq!(shown, markdown(), "write the output of `affluent metrics --markdown` into docs/metrics.md");
}
