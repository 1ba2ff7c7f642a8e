//! What is logged of a model: bodies of calls, within the limits of the interface.
//!
//! A batch has at most 1,000 metrics, 100 parameters and 100 tags; a parameter's value 6,000 characters, a key 250. A key is made of letters, digits
//! and `_ - . / ` and the blank.

use super::super::Card;
use chrono::Utc;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const METRICS_MAX: usize = 1_000;
const PARAMS_MAX: usize = 100;
const KEY_MAX: usize = 250;
const VALUE_MAX: usize = 6_000;
/// Before the name of a metric that a list shows, among a version's tags.
const HEADLINE: &str = "metric.";
const FAILED: &str = "failed_gates";

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
pub(super) fn version(model: &str, run: &str, source: &str, card: &Card) -> Value {
    let mut tags: Vec<Value> = card
        .headline
        .iter()
        .map(|(name, value)| json!({"key": key(&format!("{HEADLINE}{name}")), "value": value.to_string()}))
        .collect();
    if !card.failed.is_empty() {
        tags.push(json!({"key": FAILED, "value": card.failed.join(", ")}));
    }
    json!({"name": model, "source": source, "run_id": run, "tags": tags})
}

/// The metrics that a version's tags say, and the gates that failed.
pub(super) fn read_tags(version: &Value) -> (BTreeMap<String, f64>, Vec<String>) {
    let (mut headline, mut failed) = (BTreeMap::new(), Vec::new());
    for tag in version.get("tags").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| tag.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, value) = (text("key"), text("value"));
        if name == FAILED {
            failed.extend(value.split(", ").filter(|gate| !gate.is_empty()).map(str::to_owned));
        } else if let (Some(name), Ok(value)) = (name.strip_prefix(HEADLINE), value.parse()) {
            headline.insert(name.to_owned(), value);
        }
    }
    (headline, failed)
}

/// Metrics and parameters, as many calls as they need.
pub(super) fn batches(run: &str, card: &Card) -> Vec<Value> {
    let now = Utc::now().timestamp_millis();
    let metrics: Vec<Value> = card
        .metrics
        .iter()
        .map(|metric| json!({"key": key(&metric.name), "value": metric.value, "timestamp": now, "step": metric.step}))
        .collect();
    let params: Vec<Value> = card
        .params
        .iter()
        .map(|(name, value)| json!({"key": key(name), "value": cut(value, VALUE_MAX)}))
        .collect();
    let of_metrics = metrics.chunks(METRICS_MAX).map(|part| json!({"run_id": run, "metrics": part}));
    let of_params = params.chunks(PARAMS_MAX).map(|part| json!({"run_id": run, "params": part}));
    of_metrics.chain(of_params).collect()
}

/// A name as the server takes it.
fn key(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    cut(name, KEY_MAX).chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Metric;

    #[test]
    fn a_card_is_cut_into_calls_and_read_back_from_tags() {
        let metric = |nth: usize| Metric { name: format!("m{nth} ≥ 1"), step: nth, value: 0.5 };
        let card = Card {
            headline: [("auc_roc".to_owned(), 0.75)].into(),
            failed: vec!["latency".to_owned(), "row_order".to_owned()],
            metrics: (0..1_001).map(metric).collect(),
            params: vec![("source".to_owned(), "x".repeat(7_000))],
        };
        let calls = batches("r", &card);
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[0]["metrics"].as_array().map(Vec::len), Some(METRICS_MAX));
        assert_eq!(calls[1]["metrics"][0]["key"], "m1000 _ 1");
        assert_eq!(calls[2]["params"][0]["value"].as_str().map(str::len), Some(VALUE_MAX));
        let told = version("fraud", "r", "s", &card);
        assert_eq!(read_tags(&told), (card.headline, card.failed));
        let none = version("fraud", "r", "s", &Card::default());
        assert_eq!(read_tags(&none), (BTreeMap::new(), Vec::new()));
    }
}
