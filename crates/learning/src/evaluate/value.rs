//! How good predicted numbers are, such as the expected value of a customer.

use super::Interval;
use super::bootstrap::Clusters;
use super::probability::Bin;
use crate::dataset::Rows;
use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The mean that was said and the one that came, of tenths of the rows by what was said.
    pub calibration: Vec<Bin>,
}

/// How far metrics may be off by chance, and how much better they are than another's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValueIntervals {
    pub mae: Interval,
    pub rmse: Interval,
    pub r2: Interval,
    pub rank_correlation: Interval,
    /// Gain over the other model.
    pub r2_gain: Interval,
}

/// A part of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueSegment {
    /// By what rows were parted, and which part this is.
    pub by: String,
    pub value: String,
    pub rows: usize,
    pub mae: f64,
    /// Of the mean said less the mean that came: how much is promised too much.
    pub bias: f64,
    /// None where they are not defined.
    #[serde(default)]
    pub r2: Option<f64>,
    #[serde(default)]
    pub rank_correlation: Option<f64>,
}

const BINS: usize = 10;

/// Measures everything. A rank correlation of predictions that are all alike is nought; the rest is NaN where it is not defined.
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
        rank_correlation: rank_correlation(predicted, truth),
        top_tenth_share: top / truth.iter().sum::<f64>(),
        calibration: calibration(predicted, truth, &order),
    }
}

/// Spearman's; nought where one side says nothing.
#[must_use]
pub fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let found = correlation(&ranks(a), &ranks(b));
    if found.is_finite() { found } else { 0.0 }
}

/// Tenths of the rows from the lowest prediction up; `order` is from the highest down.
fn calibration(predicted: &[f64], truth: &[f64], order: &[usize]) -> Vec<Bin> {
    let rising: Vec<usize> = order.iter().rev().copied().collect();
    let edge = |bin: usize| rising.len() * bin / BINS;
    let bin = |nth: usize| {
        let rows = &rising[edge(nth)..edge(nth + 1)];
        let mean = |values: &[f64]| rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64;
        (!rows.is_empty()).then(|| Bin { rows: rows.len(), said: mean(predicted), happened: mean(truth) })
    };
    (0..BINS).filter_map(bin).collect()
}

/// Draws the owners of rows again and again, and compares two models on the same draws. Ranks are those among all rows.
#[must_use]
pub fn intervals(
    predicted: &[f64],
    other: &[f64],
    truth: &[f64],
    owners: &[i64],
    draws: usize,
) -> ValueIntervals {
    let ranks = (ranks(predicted), ranks(truth));
    let mut found: [Vec<f64>; 5] = Default::default();
    Clusters::new(owners).draw(draws, |weights| {
        let all: f64 = weights.iter().sum();
        let mean = |of: &dyn Fn(usize) -> f64| {
            weights.iter().enumerate().map(|(row, weight)| weight * of(row)).sum::<f64>() / all
        };
        let centre = mean(&|row| truth[row]);
        let variance = mean(&|row| (truth[row] - centre).powi(2));
        let squared = |of: &[f64]| mean(&|row| (of[row] - truth[row]).powi(2));
        let (one, two) = (squared(predicted), squared(other));
        let (a, b) = (mean(&|row| ranks.0[row]), mean(&|row| ranks.1[row]));
        let product = |x: &dyn Fn(usize) -> f64, y: &dyn Fn(usize) -> f64| mean(&|row| x(row) * y(row));
        let (of_a, of_b) = (|row: usize| ranks.0[row] - a, |row: usize| ranks.1[row] - b);
        let correlation = product(&of_a, &of_b) / (product(&of_a, &of_a) * product(&of_b, &of_b)).sqrt();
        let values = [
            mean(&|row| (predicted[row] - truth[row]).abs()),
            one.sqrt(),
            1.0 - one / variance,
            if correlation.is_finite() { correlation } else { 0.0 },
            (two - one) / variance,
        ];
        found.iter_mut().zip(values).for_each(|(found, value)| found.push(value));
    });
    let [mae, rmse, r2, rank_correlation, r2_gain] = found.map(Interval::of);
    ValueIntervals { mae, rmse, r2, rank_correlation, r2_gain }
}

/// The largest words of each category of the rows.
#[must_use]
pub fn segments(predicted: &[f64], rows: &Rows, places: &[usize]) -> Vec<ValueSegment> {
    let mut found = Vec::new();
    for category in &rows.categories {
        for word in super::segments::largest(category, places) {
            let of_word = |place: &usize| category.of_row[*place] == word;
            let pairs = places.iter().zip(predicted).filter(|(place, _)| of_word(place));
            let (said, truth): (Vec<f64>, Vec<f64>) =
                pairs.map(|(&place, &said)| (said, rows.value[place])).unzip();
            let measured = evaluate(&said, &truth);
            let defined = |value: f64| Some(value).filter(|value| value.is_finite());
            found.push(ValueSegment {
                by: category.name.clone(),
                value: category.words[word].clone(),
                rows: said.len(),
                mae: measured.mae,
                bias: said.iter().zip(&truth).map(|(said, truth)| said - truth).sum::<f64>()
                    / said.len() as f64,
                r2: defined(measured.r2),
                rank_correlation: defined(measured.rank_correlation),
            });
        }
    }
    found
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
        assert_eq!(evaluate(&[2.0, 2.0], &[1.0, 5.0]).rank_correlation, 0.0);
    }

    #[test]
    fn tenths_say_what_came_and_chance_is_told_from_gain() {
        let truth: Vec<f64> = (0..400).map(|n| f64::from(n % 100)).collect();
        let good: Vec<f64> = truth.iter().enumerate().map(|(n, t)| t + (n as f64 * 1.7).sin()).collect();
        let poor = vec![49.5; 400];
        let owners: Vec<i64> = (0..400).map(|n| n / 4).collect();
        let found = evaluate(&good, &truth);
        assert_eq!(found.calibration.iter().map(|bin| bin.rows).sum::<usize>(), 400);
        assert!(found.calibration.iter().all(|bin| (bin.said - bin.happened).abs() < 1.0));
        let better = intervals(&good, &poor, &truth, &owners, 100);
        assert!(better.r2.low <= found.r2 && found.r2 <= better.r2.high && better.r2_gain.low > 0.9);
        assert!(better.mae.low <= found.mae && found.mae <= better.mae.high);
        let equal = intervals(&good, &good, &truth, &owners, 50);
        assert_eq!(equal.r2_gain, Interval { low: 0.0, high: 0.0 });
        let country =
            crate::dataset::Category::new("country", (0..400).map(|n| if n < 300 { "DE" } else { "FR" }));
        let rows = Rows { value: truth, categories: vec![country], ..Rows::default() };
        let parts = segments(&poor, &rows, &(0..400).collect::<Vec<usize>>());
        assert_eq!(parts.iter().map(|part| part.rows).collect::<Vec<_>>(), [300, 100]);
        assert!(parts[1].bias.abs() < 1e-9 && parts[1].mae > 20.0, "{parts:?}");
    }
}
