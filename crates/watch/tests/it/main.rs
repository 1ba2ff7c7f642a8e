//! The files for Prometheus and Grafana against the code: the same rules, only metrics that there are, every query understood.

mod grafana;
mod prometheus;

use affluent_telemetry::metrics_list::{Kind, METRICS};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder that end like this, by name.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; see `make setup`"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
}

/// Panics where PromQL names a metric or a label that there is not.
fn check_names(place: &str, query: &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut rest = query;
    while let Some(start) = rest.find(is_word) {
        let word: String = rest[start..].chars().take_while(|c| is_word(*c)).collect();
        rest = &rest[start + word.len()..];
        let ours = ["affluent_", "kafka_", "process_", "feature_skew", "drift_score"];
        if !ours.iter().any(|begin| word.starts_with(begin)) {
            continue;
        }
        let known = METRICS.iter().find(|metric| match metric.kind {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().any(|end| word == format!("{}{end}", metric.name))
            }
            Kind::Counter | Kind::Gauge => word == metric.name,
        });
        let Some(metric) = known else { panic!("{place}: there is no metric {word}") };
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for label in braces.map(|(inner, _)| labels(inner)).unwrap_or_default() {
            let known = metric.labels.contains(&label) || ["le", "job", "instance"].contains(&label);
            assert!(known, "{place}: {word} has no label {label}");
        }
    }
}

/// The names in `a="x", b=~"y|z"`; values hold neither commas nor braces.
fn labels(inner: &str) -> Vec<&str> {
    inner.split(',').filter_map(|part| Some(part.split_once(['=', '!'])?.0.trim())).collect()
}

#[test]
#[should_panic(expected = "affluent_records_total has no label pipe")]
fn a_label_that_there_is_not_is_found() {
    check_names("here", "sum by (pipeline) (rate(affluent_records_total{stage=\"x\", pipe=~\"y\"}[1m]))");
}

#[test]
#[should_panic(expected = "there is no metric affluent_record_total")]
fn a_metric_that_there_is_not_is_found() {
    check_names("here", "rate(affluent_record_total[1m])");
}
