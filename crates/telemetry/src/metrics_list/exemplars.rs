//! Exemplars: for each bucket of a latency histogram, the trace of the last followed record that fell into it.
//!
//! Invariant: an exemplar lies within its bucket, and there is one at most for each: the memory is that of the series.

use super::table::Metric;
use crate::traces::TraceContext;
use affluent_model::time::now_micros;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// A measured value, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: String,
    pub(super) seconds: f64,
    /// When it was measured, microseconds UTC.
    pub(super) at_us: i64,
}

/// By name and labels (as they are rendered, without `le`) of a series: one place for each bucket, the last is that without a bound.
pub(super) type Exemplars = BTreeMap<(&'static str, String), Vec<Option<Exemplar>>>;

static EXEMPLARS: Mutex<Exemplars> = Mutex::new(BTreeMap::new());

/// Keeps the trace for the bucket of the value. `values` are those of the metric's labels, named in code.
pub(super) fn keep(metric: &Metric, values: &[&'static str], seconds: f64, trace: &TraceContext) {
    let labels: Vec<String> =
        metric.labels.iter().zip(values).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let exemplar = Exemplar { trace: trace.trace_id(), seconds: seconds.max(0.0), at_us: now_micros() };
    put(&mut EXEMPLARS.lock(), metric, labels.join(","), exemplar);
}

fn put(exemplars: &mut Exemplars, metric: &Metric, labels: String, exemplar: Exemplar) {
    let places = exemplars.entry((metric.name, labels)).or_default();
    places.resize(metric.buckets.len() + 1, None);
    let place = metric.buckets.partition_point(|bound| *bound < exemplar.seconds);
    if let Some(place) = places.get_mut(place) {
        *place = Some(exemplar);
    }
}

/// All that are kept.
pub(super) fn kept() -> Exemplars {
    EXEMPLARS.lock().clone()
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn each_bucket_has_the_newest_of_its_own() {
        let mut exemplars = Exemplars::new();
        let metric = &table::INFERENCE;
        for (trace, seconds) in [("first", 0.001), ("other", 0.002), ("newer", 0.0005), ("slow", 1_000.0)] {
            put(
                &mut exemplars,
                metric,
                String::new(),
                Exemplar { trace: trace.to_owned(), seconds, at_us: 1 },
            );
        }
        let places = &exemplars[&(metric.name, String::new())];
        assert_eq!(places.len(), metric.buckets.len() + 1);
        let found: Vec<(usize, &str)> = places
            .iter()
            .enumerate()
            .filter_map(|(place, kept)| Some((place, kept.as_ref()?.trace.as_str())))
            .collect();
        // A bound belongs to its bucket.
        assert_eq!(found, [(0, "newer"), (1, "other"), (metric.buckets.len(), "slow")]);
    }
}
