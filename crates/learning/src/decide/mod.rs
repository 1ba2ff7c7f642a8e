//! From scores to decisions: from which score on a payment is looked at.
//!
//! Looking costs money and people; not looking costs what the fraud takes. The threshold is the one that saves most on rows the model has not
//! seen, with no more to look at than there are people for.
//!
//! Invariant: rows of one score are decided alike.

use crate::dataset::Rows;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What decisions cost, in minor units of the currency of the amounts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Costs {
    /// Payments that can be looked at in a day.
    pub reviews_per_day: usize,
    /// Of looking at one.
    pub review: i64,
    /// Which part of its amount a fraud costs that was missed.
    pub missed_share: f64,
    /// And what it costs beside that (fees, work).
    pub missed_fixed: i64,
}

impl Default for Costs {
    fn default() -> Self {
        Costs { reviews_per_day: 100, review: 500, missed_share: 1.0, missed_fixed: 2_500 }
    }
}

impl Costs {
    /// # Errors
    /// What is wrong with which key.
    pub fn check(&self) -> Result<(), String> {
        if self.reviews_per_day == 0 {
            return Err("reviews_per_day is 0: nothing could be looked at".to_owned());
        }
        if self.review < 0 || self.missed_fixed < 0 || self.missed_share.is_nan() || self.missed_share < 0.0 {
            return Err("costs cannot be negative".to_owned());
        }
        Ok(())
    }

    /// What is lost by missing this fraud.
    #[must_use]
    pub fn of_missed(&self, amount: i64) -> f64 {
        self.missed_share * amount as f64 + self.missed_fixed as f64
    }
}

/// What a threshold brings on the rows it was judged by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// Rows of this score and above are looked at.
    pub threshold: f64,
    pub alerts: usize,
    pub alerts_per_day: f64,
    pub found: usize,
    pub missed: usize,
    /// Part of what was looked at that was fraud, and part of the fraud that was looked at.
    pub precision: f64,
    pub recall: f64,
    /// What the fraud found would have cost, less the looking; in minor units.
    pub saved: f64,
    /// The same if every fraud were found and nothing else looked at.
    pub saved_at_most: f64,
}

/// The threshold that saves most. Above the highest score, if no looking pays.
#[must_use]
pub fn choose(scores: &[f64], rows: &Rows, places: &[usize], costs: &Costs) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let capacity = costs.reviews_per_day.saturating_mul(days(rows, places).max(1));
    let (mut best, mut threshold) = (0.0, f64::MAX);
    let mut saved = 0.0;
    for (nth, &at) in order.iter().enumerate() {
        if nth >= capacity {
            break;
        }
        let row = places[at];
        saved -= costs.review as f64;
        if rows.label[row] {
            saved += costs.of_missed(rows.amount[row]);
        }
        let tie = order.get(nth + 1).is_some_and(|&next| scores[next] >= scores[at]);
        if !tie && saved > best {
            (best, threshold) = (saved, scores[at]);
        }
    }
    threshold
}

/// What a threshold brings on rows.
#[must_use]
pub fn decide(scores: &[f64], rows: &Rows, places: &[usize], threshold: f64, costs: &Costs) -> Decided {
    let (mut alerts, mut found, mut positives) = (0usize, 0usize, 0usize);
    let (mut saved, mut saved_at_most) = (0.0, 0.0);
    for (&score, &row) in scores.iter().zip(places) {
        let (alert, fraud) = (score >= threshold, rows.label[row]);
        let cost = if fraud { costs.of_missed(rows.amount[row]) } else { 0.0 };
        alerts += usize::from(alert);
        positives += usize::from(fraud);
        found += usize::from(alert && fraud);
        saved_at_most += (cost - costs.review as f64).max(0.0);
        if alert {
            saved += cost - costs.review as f64;
        }
    }
    let part = |of: usize, all: usize| if all == 0 { 0.0 } else { of as f64 / all as f64 };
    Decided {
        threshold,
        alerts,
        alerts_per_day: part(alerts, days(rows, places)),
        found,
        missed: positives - found,
        precision: part(found, alerts),
        recall: part(found, positives),
        saved,
        saved_at_most,
    }
}

fn days(rows: &Rows, places: &[usize]) -> usize {
    places.iter().map(|&row| rows.day(row)).collect::<HashSet<i64>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(of: &[(u8, bool, i64)]) -> (Vec<f64>, Rows, Vec<usize>) {
        let scores = of.iter().map(|row| f64::from(row.0) / 10.0).collect();
        let rows = Rows {
            time: (0..of.len()).map(|n| if n % 2 == 0 { 0 } else { crate::DAY }).collect(),
            card: vec![1; of.len()],
            amount: of.iter().map(|row| row.2).collect(),
            label: of.iter().map(|row| row.1).collect(),
            pattern: vec![0; of.len()],
            ..Rows::default()
        };
        let places = (0..of.len()).collect();
        (scores, rows, places)
    }

    proptest! {
        #[test]
        fn no_threshold_within_capacity_saves_more(of in prop::collection::vec((0..10u8, prop::bool::weighted(0.3), 0..50_000i64), 1..80), per_day in 1..30usize) {
            let (scores, rows, places) = rows(&of);
            let costs = Costs { reviews_per_day: per_day, ..Costs::default() };
            let chosen = choose(&scores, &rows, &places, &costs);
            let saved = decide(&scores, &rows, &places, chosen, &costs);
            let days = days(&rows, &places);
            prop_assert!(saved.alerts <= per_day * days);
            prop_assert!(saved.saved >= 0.0 && saved.saved <= saved.saved_at_most);
            for &other in &scores {
                let other = decide(&scores, &rows, &places, other, &costs);
                prop_assert!(other.alerts > per_day * days || other.saved <= saved.saved + 1e-6);
            }
        }
    }

    #[test]
    fn money_by_hand() {
        let (scores, rows, places) =
            rows(&[(9, true, 10_000), (8, false, 100), (7, true, 200), (1, true, 90_000)]);
        let costs = Costs { reviews_per_day: 100, review: 1_000, missed_share: 0.5, missed_fixed: 100 };
        let decided = decide(&scores, &rows, &places, 0.7, &costs);
        // Found: 5,000 + 100 and 100 + 100; looked at: three.
        assert_eq!((decided.alerts, decided.found, decided.missed, decided.saved), (3, 2, 1, 2_300.0));
        assert_eq!(decided.saved_at_most, 4_100.0 + 44_100.0);
        assert_eq!(choose(&scores, &rows, &places, &costs), 0.1);
    }
}
