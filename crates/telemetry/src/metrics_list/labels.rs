//! Labels whose values come from data or configuration, within a bound.
//!
//! Invariant: a metric never has more such combinations than its [`Metric::series_max`] says, and one more, `other`: whatever
//! topics, tables, models or features there are, a process exports a bounded number of series.

use super::table::Metric;
use metrics::Label;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The value of every label of what is beyond the bound.
pub(super) const OTHER: &str = "other";

/// The combinations of each metric, as hashes.
static SEEN: Mutex<BTreeMap<&'static str, HashSet<u64>>> = Mutex::new(BTreeMap::new());

/// The labels of `metric` with these values, in the order of its table.
pub(super) fn open<const N: usize>(metric: &Metric, values: [&str; N]) -> Vec<Label> {
    let is_within = is_known(metric, &values);
    let value = |value: &str| if is_within { value.to_owned() } else { OTHER.to_owned() };
    metric.labels.iter().zip(values).map(|(name, given)| Label::new(*name, value(given))).collect()
}

fn is_known(metric: &Metric, values: &[&str]) -> bool {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    let hash = hasher.finish();
    let mut seen = SEEN.lock();
    let known = seen.entry(metric.name).or_default();
    if known.contains(&hash) {
        return true;
    }
    let has_room = known.len() < metric.series_max;
    if has_room {
        known.insert(hash);
    }
    has_room
}
