//! Exact latencies of this process, from commit or occurrence to each stop of a pipeline.
//!
//! Prometheus buckets answer which of a few bounds a latency kept; the demo and `affluent status` show
//! percentiles, which need every record. Fed by [`crate::metrics_list::pipeline_latency`] alone, so the
//! two never disagree on what was measured.

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// One hour in microseconds; more is recorded as one hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Percentiles are right to three digits.
const SIGNIFICANT_DIGITS: u8 = 3;

static LATENCIES: Mutex<BTreeMap<(&'static str, &'static str), Histogram<u64>>> = Mutex::new(BTreeMap::new());

/// What was measured between a commit and one stop. Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub pipeline: &'static str,
    pub stop: &'static str,
    pub records: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

pub(crate) fn record(pipeline: &'static str, stop: &'static str, seconds: f64, count: u64) {
    record_each(pipeline, stop, std::iter::once((seconds, count)));
}

/// Many at once: seconds, and how many records took them.
pub(crate) fn record_each(
    pipeline: &'static str,
    stop: &'static str,
    measured: impl Iterator<Item = (f64, u64)>,
) {
    let mut latencies = LATENCIES.lock();
    let histogram = match latencies.entry((pipeline, stop)) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            match Histogram::new_with_bounds(1, LATENCY_MAX_US, SIGNIFICANT_DIGITS) {
                Ok(histogram) => entry.insert(histogram),
                // The bounds are constant; the test below holds that they are possible.
                Err(_) => return,
            }
        }
    };
    for (seconds, count) in measured {
        let micros = ((seconds.max(0.0) * 1e6) as u64).clamp(1, LATENCY_MAX_US);
        histogram.saturating_record_n(micros, count);
    }
}

/// Every stop that records have reached since the start, or since [`reset`].
#[must_use]
pub fn latencies() -> Vec<Latency> {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let latencies = LATENCIES.lock();
    let summary =
        |(&(pipeline, stop), histogram): (&(&'static str, &'static str), &Histogram<u64>)| Latency {
            pipeline,
            stop,
            records: histogram.len(),
            p50: seconds(histogram.value_at_quantile(0.5)),
            p99: seconds(histogram.value_at_quantile(0.99)),
            max: seconds(histogram.max()),
        };
    latencies.iter().filter(|(_, histogram)| !histogram.is_empty()).map(summary).collect()
}

/// Forgets what was measured so far, where a measurement begins.
pub fn reset() {
    LATENCIES.lock().clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        for millis in 1..=1_000u32 {
            record("test", "stop", f64::from(millis) / 1e3, 2);
        }
        record("test", "stop", -1.0, 1);
        let found = latencies().into_iter().find(|l| l.pipeline == "test").expect("recorded");
        assert_eq!(found.records, 2_001);
        for (measured, expected) in [(found.p50, 0.5), (found.p99, 0.99), (found.max, 1.0)] {
            assert!((measured / expected - 1.0).abs() < 0.001, "{measured} for {expected}");
        }
    }
}
