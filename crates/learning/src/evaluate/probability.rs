//! How true probabilities are: the Brier score, the log loss, and what happened against what was said.

use serde::{Deserialize, Serialize};

/// Rows of like probability: what was said, and what happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub rows: usize,
    pub said: f64,
    pub happened: f64,
}

/// The mean squared difference of probability and outcome.
#[must_use]
pub fn brier(probabilities: &[f64], labels: &[bool]) -> f64 {
    mean(probabilities.iter().zip(labels).map(|(p, &label)| (p - outcome(label)).powi(2)), labels.len())
}

/// The mean negative logarithm of the probability of what happened; probabilities are kept 1e-15 off nought and one.
#[must_use]
pub fn log_loss(probabilities: &[f64], labels: &[bool]) -> f64 {
    let loss = |(p, &label): (&f64, &bool)| {
        let p = p.clamp(1e-15, 1.0 - 1e-15);
        if label { -p.ln() } else { -(-p).ln_1p() }
    };
    mean(probabilities.iter().zip(labels).map(loss), labels.len())
}

/// Bins of equally many rows, from the lowest probability up; rows of one probability are not separated.
#[must_use]
pub fn reliability(probabilities: &[f64], labels: &[bool], bins: usize) -> Vec<Bin> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut found: Vec<Bin> = Vec::new();
    let mut begin = 0;
    for bin in 1..=bins {
        let mut end = (order.len() * bin / bins).max(begin);
        while end > begin && end < order.len() && probabilities[order[end]] == probabilities[order[end - 1]] {
            end += 1;
        }
        if end > begin {
            let rows = &order[begin..end];
            found.push(Bin {
                rows: rows.len(),
                said: mean(rows.iter().map(|&row| probabilities[row]), rows.len()),
                happened: mean(rows.iter().map(|&row| outcome(labels[row])), rows.len()),
            });
        }
        begin = end;
    }
    found
}

fn outcome(label: bool) -> f64 {
    f64::from(u8::from(label))
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    values.sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bins_hold_every_row_once(rows in prop::collection::vec((0..20u8, any::<bool>()), 1..100), bins in 1..12usize) {
            let (p, labels): (Vec<f64>, Vec<bool>) = rows.iter().map(|row| (f64::from(row.0) / 20.0, row.1)).unzip();
            let found = reliability(&p, &labels, bins);
            prop_assert_eq!(found.iter().map(|bin| bin.rows).sum::<usize>(), rows.len());
            prop_assert!(found.len() <= bins && found.windows(2).all(|pair| pair[0].said < pair[1].said));
            let happened: f64 = found.iter().map(|bin| bin.happened * bin.rows as f64).sum();
            prop_assert!((happened - labels.iter().filter(|&&label| label).count() as f64).abs() < 1e-9);
        }
    }

    #[test]
    fn losses_by_hand() {
        let (p, labels) = ([0.8, 0.4], [true, false]);
        assert!((brier(&p, &labels) - (0.04 + 0.16) / 2.0).abs() < 1e-15);
        assert!((log_loss(&p, &labels) + (0.8f64.ln() + 0.6f64.ln()) / 2.0).abs() < 1e-15);
        assert!(log_loss(&[0.0], &[true]).is_finite());
    }
}
