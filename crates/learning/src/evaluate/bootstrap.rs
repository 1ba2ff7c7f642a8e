//! How far metrics may be off by chance: cards are drawn with repetition, again and again (a cluster bootstrap: payments of one card
//! are not independent), and the metric computed of each draw.
//!
//! Two models are compared on the same draws, so that what is hard for both cancels out.

use super::ranking::Ranking;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The middle 95 of 100 draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Of draws, those that are no number left out.
    #[must_use]
    pub fn of(mut draws: Vec<f64>) -> Self {
        draws.retain(|draw| draw.is_finite());
        draws.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (part * draws.len().saturating_sub(1) as f64).round() as usize;
            draws.get(place).copied().unwrap_or(f64::NAN)
        };
        Interval { low: at(0.025), high: at(0.975) }
    }
}

/// Metrics of one model, and how much better it is than another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    pub auc_roc: Interval,
    pub average_precision: Interval,
    /// Gain over the other model.
    pub auc_roc_gain: Interval,
    pub average_precision_gain: Interval,
}

/// Which rows are drawn together: those of one card, or customer.
pub(super) struct Clusters {
    of_row: Vec<usize>,
    count: usize,
}

impl Clusters {
    pub(super) fn new(owners: &[i64]) -> Self {
        let mut number = HashMap::new();
        let of_owner = |owner| {
            let next = number.len();
            *number.entry(owner).or_insert(next)
        };
        let of_row = owners.iter().map(of_owner).collect();
        Clusters { of_row, count: number.len() }
    }

    /// Hands how often each row was drawn to `draw`, the same each time that this is called.
    pub(super) fn draw(&self, draws: usize, mut draw: impl FnMut(&[f64])) {
        let mut rng = SmallRng::seed_from_u64(1);
        let (mut drawn, mut weights) = (vec![0u32; self.count], vec![0.0; self.of_row.len()]);
        for _ in 0..draws {
            drawn.fill(0);
            for _ in 0..self.count {
                drawn[rng.random_range(0..self.count)] += 1;
            }
            for (weight, &cluster) in weights.iter_mut().zip(&self.of_row) {
                *weight = f64::from(drawn[cluster]);
            }
            draw(&weights);
        }
    }
}

/// Draws cards `draws` times.
#[must_use]
pub fn compare(scores: &[f64], other: &[f64], labels: &[bool], cards: &[i64], draws: usize) -> Intervals {
    let (one, two) = (Ranking::new(scores), Ranking::new(other));
    let mut found: [Vec<f64>; 4] = Default::default();
    Clusters::new(cards).draw(draws, |weights| {
        let auc = [&one, &two].map(|ranking| ranking.auc_roc(labels, Some(weights)));
        let precision = [&one, &two].map(|ranking| ranking.average_precision(labels, Some(weights)));
        let values = [auc[0], precision[0], auc[0] - auc[1], precision[0] - precision[1]];
        found.iter_mut().zip(values).for_each(|(found, value)| found.push(value));
    });
    let [auc_roc, average_precision, auc_roc_gain, average_precision_gain] = found.map(Interval::of);
    Intervals { auc_roc, average_precision, auc_roc_gain, average_precision_gain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_metric_and_tell_better_from_equal() {
        let noise = |n: usize| ((n * 7919) % 1_000) as f64 / 1_000.0;
        let labels: Vec<bool> = (0..2_000).map(|n| n % 10 == 0).collect();
        let good: Vec<f64> = (0..2_000).map(|n| noise(n) + if labels[n] { 0.6 } else { 0.0 }).collect();
        let poor: Vec<f64> = (0..2_000).map(noise).collect();
        let cards: Vec<i64> = (0..2_000).map(|n| n / 4).collect();
        let better = compare(&good, &poor, &labels, &cards, 200);
        let auc = Ranking::new(&good).auc_roc(&labels, None);
        assert!(better.auc_roc.low < auc && auc < better.auc_roc.high);
        assert!(better.auc_roc_gain.low > 0.0 && better.average_precision_gain.low > 0.0);
        assert_eq!(better, compare(&good, &poor, &labels, &cards, 200), "draws are the same each time");
        let equal = compare(&good, &good, &labels, &cards, 50);
        assert_eq!(equal.auc_roc_gain, Interval { low: 0.0, high: 0.0 });
    }
}
