//! What is logged of a model: bodies of calls, within the limits of the interface.
//!
//! A batch has at most 1,000 metrics, 100 parameters and 100 tags; a parameter's value 6,000 characters, a key 250.

use crate::train::Report;
use chrono::Utc;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const METRICS_MAX: usize = 1_000;
const PARAMS_MAX: usize = 100;
const KEY_MAX: usize = 250;
const VALUE_MAX: usize = 6_000;

pub(super) fn run(experiment: &str, model: &str) -> Value {
    let name = format!("{model}-{}", Utc::now().format("%Y%m%d-%H%M%S"));
    json!({
        "experiment_id": experiment,
        "run_name": name,
        "start_time": Utc::now().timestamp_millis(),
        "tags": [{"key": "affluent.model", "value": model}],
    })
}

pub(super) fn finished(run: &str) -> Value {
    json!({"run_id": run, "status": "FINISHED", "end_time": Utc::now().timestamp_millis()})
}

/// A version says of itself what a list shows.
pub(super) fn version(model: &str, run: &str, source: &str, report: &Report) -> Value {
    let failed: Vec<&str> = report.failed().map(|gate| gate.name.as_str()).collect();
    json!({
        "name": model,
        "source": source,
        "run_id": run,
        "tags": [
            {"key": "auc_roc", "value": report.evaluation.auc_roc.to_string()},
            {"key": "average_precision", "value": report.evaluation.average_precision.to_string()},
            {"key": "failed_gates", "value": failed.join(", ")},
        ],
    })
}

pub(super) fn read_tags(version: &Value) -> BTreeMap<String, String> {
    let tags = version.get("tags").and_then(Value::as_array).into_iter().flatten();
    let text = |tag: &Value, key: &str| tag.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    tags.map(|tag| (text(tag, "key"), text(tag, "value"))).collect()
}

/// Metrics and parameters, as many calls as they need.
pub(super) fn batches(run: &str, report: &Report) -> Vec<Value> {
    let now = Utc::now().timestamp_millis();
    let metrics: Vec<Value> = metrics(report)
        .into_iter()
        .filter(|(_, _, value)| value.is_finite())
        .map(|(key, step, value)| {
            json!({"key": cut(&key, KEY_MAX), "value": value, "timestamp": now, "step": step})
        })
        .collect();
    let params: Vec<Value> = params(report)
        .into_iter()
        .map(|(key, value)| json!({"key": cut(&key, KEY_MAX), "value": cut(&value, VALUE_MAX)}))
        .collect();
    let of_metrics = metrics.chunks(METRICS_MAX).map(|part| json!({"run_id": run, "metrics": part}));
    let of_params = params.chunks(PARAMS_MAX).map(|part| json!({"run_id": run, "params": part}));
    of_metrics.chain(of_params).collect()
}

/// Name, step, value.
fn metrics(report: &Report) -> Vec<(String, usize, f64)> {
    let mut all = Vec::new();
    for (prefix, of) in [("", &report.evaluation), ("baseline_", &report.baseline)] {
        let one = |name: &str, value: f64| (format!("{prefix}{name}"), 0, value);
        all.extend([
            one("auc_roc", of.auc_roc),
            one("average_precision", of.average_precision),
            one("card_precision_at_100", of.card_precision_at_100),
            one("brier", of.brier),
            one("log_loss", of.log_loss),
            one("saved", of.decisions.saved),
            one("alerts_per_day", of.decisions.alerts_per_day),
            one("precision", of.decisions.precision),
            one("recall", of.decisions.recall),
        ]);
    }
    for (nth, fold) in report.folds.iter().enumerate() {
        all.push(("fold_auc_roc".to_owned(), nth, fold.auc_roc));
        all.push(("fold_average_precision".to_owned(), nth, fold.average_precision));
        all.push(("fold_card_precision_at_100".to_owned(), nth, fold.card_precision_at_100));
    }
    for segment in &report.evaluation.segments {
        let name = format!("segment/{}/{}/average_precision", segment.by, segment.value.replace(' ', "_"));
        all.extend(segment.average_precision.map(|value| (name, 0, value)));
    }
    all.extend(report.importance.iter().map(|(name, part)| (format!("importance/{name}"), 0, *part)));
    all.extend(report.drift.iter().map(|drift| (format!("drift_psi/{}", drift.name), 0, drift.psi)));
    all
}

fn params(report: &Report) -> Vec<(String, String)> {
    let protocol = &report.protocol;
    let mut all = vec![
        ("train".to_owned(), protocol.train.to_string()),
        ("test".to_owned(), protocol.test.to_string()),
        ("label_delay_days".to_owned(), (protocol.delay / crate::DAY).to_string()),
        ("train_rows".to_owned(), report.train_rows.to_string()),
        ("train_positives".to_owned(), report.train_positives.to_string()),
        ("source".to_owned(), report.manifest.source.clone()),
        ("features".to_owned(), report.manifest.columns.len().to_string()),
    ];
    if let Ok(Value::Object(boost)) = serde_json::to_value(&report.options.boost) {
        all.extend(boost.into_iter().map(|(key, value)| (format!("boost.{key}"), value.to_string())));
    }
    all
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}
