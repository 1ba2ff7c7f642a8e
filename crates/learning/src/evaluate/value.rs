//! How good predicted numbers are, such as the expected value of a customer.

use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValueEvaluation {
    pub rows: usize,
    /// Root of the mean squared error, and the mean absolute error.
    pub rmse: f64,
    pub mae: f64,
    /// Part of the variance that is explained; negative where the mean were a better guess.
    pub r2: f64,
    /// Correlation of ranks (Spearman), ties sharing theirs.
    pub rank_correlation: f64,
    /// Which part of the true sum is with the tenth that was predicted highest.
    pub top_tenth_share: f64,
}

/// Measures everything. NaN where it is not defined.
#[must_use]
pub fn evaluate(predicted: &[f64], truth: &[f64]) -> ValueEvaluation {
    let count = truth.len() as f64;
    let mean = truth.iter().sum::<f64>() / count;
    let errors = || predicted.iter().zip(truth).map(|(p, t)| p - t);
    let squared: f64 = errors().map(|error| error * error).sum();
    let variance: f64 = truth.iter().map(|t| (t - mean).powi(2)).sum();
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by(|&a, &b| predicted[b].total_cmp(&predicted[a]));
    let top: f64 = order.iter().take(truth.len().div_ceil(10)).map(|&row| truth[row]).sum();
    ValueEvaluation {
        rows: truth.len(),
        rmse: (squared / count).sqrt(),
        mae: errors().map(f64::abs).sum::<f64>() / count,
        r2: 1.0 - squared / variance,
        rank_correlation: correlation(&ranks(predicted), &ranks(truth)),
        top_tenth_share: top / truth.iter().sum::<f64>(),
    }
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut begin = 0;
    while begin < order.len() {
        let equal =
            order[begin..].iter().take_while(|&&row| values[row] == values[order[begin]]).count().max(1);
        let rank = begin as f64 + (equal as f64 + 1.0) / 2.0;
        order[begin..begin + equal].iter().for_each(|&row| ranks[row] = rank);
        begin += equal;
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| of(x - mean_a, y - mean_b)).sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let found = evaluate(&[1.0, 2.0, 4.0], &[1.0, 3.0, 5.0]);
        assert_eq!((found.mae, found.rank_correlation), (2.0 / 3.0, 1.0));
        assert!((found.rmse - (2.0f64 / 3.0).sqrt()).abs() < 1e-15);
        assert!((found.r2 - 0.75).abs() < 1e-15);
        assert!((found.top_tenth_share - 5.0 / 9.0).abs() < 1e-15);
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), [2.5, 1.0, 2.5]);
    }
}
