//! Logistic regression on standardised features with a ridge: the baseline that every model has to beat.
//!
//! Fitted by Newton's method to the minimum of the sum of log losses plus half the ridge times the squared weights (the intercept is free):
//! what scikit-learn's `LogisticRegression(C = 1 / ridge)` minimises. Missing values count as the mean.

use super::linear::Square;
use super::{FitError, logistic_function};
use crate::dataset::Matrix;
use affluent_features::transform::{Numeric, NumericFit};
use serde::{Deserialize, Serialize};

/// A fitted regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// Mean and standard deviation of each feature.
    centres: Vec<f64>,
    scales: Vec<f64>,
    weights: Vec<f64>,
    intercept: f64,
}

const STEPS_MAX: usize = 50;
const HALVINGS_MAX: usize = 30;
/// Largest change of a weight at which the minimum is reached.
const TOLERANCE: f64 = 1e-9;
/// Weights of less than this kept away from the curvature, so that it stays invertible.
const CURVATURE_MIN: f64 = 1e-12;

impl Logistic {
    /// Learns the probability of a label.
    ///
    /// # Errors
    /// [`FitError::Singular`]
    pub fn fit(matrix: &Matrix, labels: &[bool], ridge: f64) -> Result<Self, FitError> {
        let (centres, scales): (Vec<f64>, Vec<f64>) =
            (0..matrix.columns).map(|column| standard(matrix.column(column))).unzip();
        let rows = standardised(matrix, &centres, &scales);
        let width = matrix.columns + 1;
        let mut weights = vec![0.0; width];
        let mut loss = loss_of(&rows, labels, &weights, ridge);
        for _ in 0..STEPS_MAX {
            let mut gradient = vec![0.0; width];
            let mut curvature = Square::zero(width);
            for (row, &label) in rows.chunks_exact(width).zip(labels) {
                let p = logistic_function(dot(row, &weights));
                let error = p - f64::from(u8::from(label));
                gradient.iter_mut().zip(row).for_each(|(gradient, x)| *gradient += error * x);
                curvature.add_outer(row, (p * (1.0 - p)).max(CURVATURE_MIN));
            }
            for at in 0..matrix.columns {
                gradient[at] += ridge * weights[at];
                curvature.add_diagonal(at, ridge);
            }
            let step = curvature.solve(&gradient).ok_or(FitError::Singular)?;
            // A full step may overshoot where classes are far apart.
            let mut part = 1.0;
            for _ in 0..HALVINGS_MAX {
                let next: Vec<f64> = weights.iter().zip(&step).map(|(w, s)| w - part * s).collect();
                let next_loss = loss_of(&rows, labels, &next, ridge);
                if next_loss <= loss {
                    (weights, loss) = (next, next_loss);
                    break;
                }
                part /= 2.0;
            }
            if step.iter().all(|step| (part * step).abs() < TOLERANCE) {
                break;
            }
        }
        let intercept = weights.pop().unwrap_or(0.0);
        Ok(Logistic { centres, scales, weights, intercept })
    }

    /// The probability of each row.
    #[must_use]
    pub fn predict(&self, matrix: &Matrix) -> Vec<f64> {
        let rows = standardised(matrix, &self.centres, &self.scales);
        let score = |row: &[f64]| dot(&row[..matrix.columns], &self.weights) + self.intercept;
        rows.chunks_exact(matrix.columns + 1).map(|row| logistic_function(score(row))).collect()
    }

    /// The probability of one row, with the bits of [`Logistic::predict`].
    #[must_use]
    pub fn predict_row(&self, row: &[f64]) -> f64 {
        let terms = terms(&self.centres, &self.scales, &self.weights, row);
        logistic_function(terms.sum::<f64>() + self.intercept)
    }

    /// Adds to each feature what it contributes to the log odds, times `share`; the intercept, times `share`, is returned.
    pub(super) fn explain(&self, row: &[f64], share: f64, contributions: &mut [f64]) -> f64 {
        let terms = terms(&self.centres, &self.scales, &self.weights, row);
        contributions.iter_mut().zip(terms).for_each(|(sum, term)| *sum += share * term);
        share * self.intercept
    }

    /// Weights of the standardised features.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    #[must_use]
    pub fn intercept(&self) -> f64 {
        self.intercept
    }
}

/// Mean and deviation. Without values a feature says nothing: it stands at its centre, nought.
pub(super) fn standard(values: &[f64]) -> (f64, f64) {
    match Numeric::fit(NumericFit::Standard, values) {
        Ok(Numeric::Linear { centre, scale }) => (centre, scale),
        Ok(Numeric::Log1p | Numeric::Quantile { .. }) | Err(_) => (0.0, 1.0),
    }
}

/// Row after row, each with a one for the intercept at its end.
pub(super) fn standardised(matrix: &Matrix, centres: &[f64], scales: &[f64]) -> Vec<f64> {
    let width = matrix.columns + 1;
    let mut rows = vec![1.0; matrix.rows * width];
    for (column, (&centre, &scale)) in centres.iter().zip(scales).enumerate() {
        let scale = Numeric::Linear { centre, scale };
        for (row, &value) in matrix.column(column).iter().enumerate() {
            rows[row * width + column] = scale.apply(value);
        }
    }
    rows
}

/// What each feature of a row adds to the sum.
pub(super) fn terms<'a>(
    centres: &'a [f64],
    scales: &'a [f64],
    weights: &'a [f64],
    row: &'a [f64],
) -> impl Iterator<Item = f64> + 'a {
    let scales = centres.iter().zip(scales);
    row.iter()
        .zip(scales)
        .zip(weights)
        .map(|((&value, (&centre, &scale)), weight)| Numeric::Linear { centre, scale }.apply(value) * weight)
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Log losses and ridge. ln(1 + e^s) without overflow.
fn loss_of(rows: &[f64], labels: &[bool], weights: &[f64], ridge: f64) -> f64 {
    let losses = rows.chunks_exact(weights.len()).zip(labels).map(|(row, &label)| {
        let score = dot(row, weights);
        score.max(0.0) + (-score.abs()).exp().ln_1p() - if label { score } else { 0.0 }
    });
    let weights = &weights[..weights.len() - 1];
    losses.sum::<f64>() + ridge / 2.0 * dot(weights, weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in which the first feature tells, the second does not, and the third is missing here and there.
    fn rows(count: usize) -> (Matrix, Vec<bool>) {
        let noise = |n: usize, by: f64| (n as f64 * by).sin();
        let column = |by: f64| (0..count).map(|n| noise(n, by) * 3.0).collect::<Vec<f64>>();
        let (one, two, mut three) = (column(1.7), column(0.9), column(2.3));
        let labels = (0..count).map(|n| one[n] + noise(n, 5.1) > 1.5).collect();
        (0..count).step_by(7).for_each(|n| three[n] = f64::NAN);
        (Matrix { values: [one, two, three].concat(), rows: count, columns: 3 }, labels)
    }

    #[test]
    fn at_the_minimum_no_direction_leads_down() {
        let (matrix, labels) = rows(400);
        let fitted = Logistic::fit(&matrix, &labels, 1.0).unwrap();
        let scaled = standardised(&matrix, &fitted.centres, &fitted.scales);
        let weights = [fitted.weights.as_slice(), &[fitted.intercept]].concat();
        let loss = loss_of(&scaled, &labels, &weights, 1.0);
        for at in 0..weights.len() {
            for by in [-1e-4, 1e-4] {
                let mut other = weights.clone();
                other[at] += by;
                assert!(loss_of(&scaled, &labels, &other, 1.0) > loss, "weight {at}");
            }
        }
        assert!(fitted.weights[0] > 10.0 * fitted.weights[1].abs());
        let text = serde_json::to_string(&fitted).unwrap();
        let stored: Logistic = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.predict(&matrix), fitted.predict(&matrix));
    }

    #[test]
    fn classes_that_are_far_apart_have_finite_weights() {
        let values: Vec<f64> = (0..200).map(|n| if n % 2 == 0 { 1e6 } else { -1e6 }).collect();
        let labels: Vec<bool> = (0..200).map(|n| n % 2 == 0).collect();
        let matrix = Matrix { values, rows: 200, columns: 1 };
        let fitted = Logistic::fit(&matrix, &labels, 1e-3).unwrap();
        let predicted = fitted.predict(&matrix);
        assert!(predicted.iter().zip(&labels).all(|(p, &label)| (*p > 0.5) == label && p.is_finite()));
    }
}
