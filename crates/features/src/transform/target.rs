//! Target encoding: a text becomes the mean label of its rows, shrunk towards the mean of all.
//!
//! Invariant: a training row never sees its own label, nor one that was not known yet: rows are encoded in the order of time, each with the
//! labels whose time has come. What serving uses is the table at the end of training.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Labels known so far. Labels are 0 or 1, so everything is a whole number until a value is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetTable {
    /// How many rows the mean of all counts for.
    pub smoothing: u32,
    pub rows: u64,
    pub positive: u64,
    /// Text to its rows and how many of them are positive.
    pub texts: BTreeMap<String, (u64, u64)>,
}

impl TargetTable {
    #[must_use]
    pub fn new(smoothing: u32) -> Self {
        TargetTable { smoothing, rows: 0, positive: 0, texts: BTreeMap::new() }
    }

    /// (positive + smoothing * mean of all) / (rows + smoothing), NaN before the first label. Source: D. Micci-Barreca, "A preprocessing
    /// scheme for high-cardinality categorical attributes" (2001), with a fixed weight.
    #[must_use]
    pub fn apply(&self, text: Option<&str>) -> f64 {
        let mean = self.positive as f64 / self.rows as f64;
        let (rows, positive) = text.and_then(|text| self.texts.get(text)).copied().unwrap_or((0, 0));
        let smoothing = f64::from(self.smoothing);
        let weight = rows as f64 + smoothing;
        if weight == 0.0 { mean } else { (positive as f64 + smoothing * mean) / weight }
    }

    fn learn(&mut self, text: Option<&str>, label: bool) {
        self.rows += 1;
        self.positive += u64::from(label);
        if let Some(text) = text {
            let (rows, positive) = self.texts.entry(text.to_owned()).or_default();
            *rows += 1;
            *positive += u64::from(label);
        }
    }
}

/// Encodes training rows in the order of time, each by the labels known before.
#[derive(Debug, Clone)]
pub struct TargetEncoder {
    table: TargetTable,
    /// Labels that are not known yet: when they will be, and which row they belong to.
    waiting: BTreeSet<(i64, u64, Option<String>, bool)>,
    rows: u64,
}

impl TargetEncoder {
    /// `smoothing`: how many rows the mean of all counts for.
    #[must_use]
    pub fn new(smoothing: u32) -> Self {
        TargetEncoder { table: TargetTable::new(smoothing), waiting: BTreeSet::new(), rows: 0 }
    }

    /// The value of a row at its time (microseconds), and takes on its label, which will be known at `known_at`. Times do not fall.
    pub fn encode(&mut self, time: i64, text: Option<&str>, label: Option<(bool, i64)>) -> f64 {
        while let Some((_, _, text, label)) =
            self.waiting.first().filter(|(known, ..)| *known < time).cloned()
        {
            self.table.learn(text.as_deref(), label);
            self.waiting.pop_first();
        }
        self.rows += 1;
        if let Some((label, known_at)) = label {
            self.waiting.insert((known_at.max(time), self.rows, text.map(str::to_owned), label));
        }
        self.table.apply(text)
    }

    /// The table for serving at `time`: every label known before.
    #[must_use]
    pub fn finish(mut self, time: i64) -> TargetTable {
        self.encode(time, None, None);
        self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sees_labels_of_the_past_alone() {
        let mut encoder = TargetEncoder::new(1);
        // A label is known two units after its row.
        let mut row =
            |time: i64, text: &str, label: bool| encoder.encode(time, Some(text), Some((label, time + 2)));
        assert!(row(0, "a", true).is_nan());
        assert!(row(2, "a", false).is_nan(), "what becomes known at the time itself is not yet known");
        assert_eq!(row(3, "a", true), 1.0);
        assert_eq!(row(5, "b", true), 0.5, "the mean of all, for a text without rows");
        assert_eq!(row(5, "a", true), (1.0 + 0.5) / 3.0);
        let table = encoder.finish(100);
        assert_eq!((table.rows, table.positive, table.texts["a"]), (5, 4, (4, 3)));
        assert_eq!(table.apply(Some("a")), (3.0 + 0.8) / 5.0);
        let stored: TargetTable = toml::from_str(&toml::to_string(&table).unwrap()).unwrap();
        assert_eq!(stored, table);
    }
}
