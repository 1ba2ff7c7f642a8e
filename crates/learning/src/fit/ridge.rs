//! Ridge regression on standardised features: the baseline that a model of numbers has to beat.
//!
//! The minimum of the squared errors plus the ridge times the squared weights (the intercept is free), in one step: what scikit-learn's
//! `Ridge(alpha = ridge)` finds. Missing values count as the mean.

use super::FitError;
use super::linear::Square;
use super::logistic::{dot, standard, standardised, terms};
use crate::dataset::Matrix;
use serde::{Deserialize, Serialize};

/// A fitted regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ridge {
    /// Mean and standard deviation of each feature.
    centres: Vec<f64>,
    scales: Vec<f64>,
    weights: Vec<f64>,
    intercept: f64,
}

impl Ridge {
    /// Learns a number.
    ///
    /// # Errors
    /// [`FitError::Singular`]
    pub fn fit(matrix: &Matrix, target: &[f64], ridge: f64) -> Result<Self, FitError> {
        let (centres, scales): (Vec<f64>, Vec<f64>) =
            (0..matrix.columns).map(|column| standard(matrix.column(column))).unzip();
        let rows = standardised(matrix, &centres, &scales);
        let width = matrix.columns + 1;
        let (mut products, mut sums) = (Square::zero(width), vec![0.0; width]);
        for (row, &target) in rows.chunks_exact(width).zip(target) {
            products.add_outer(row, 1.0);
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += target * x);
        }
        (0..matrix.columns).for_each(|at| products.add_diagonal(at, ridge));
        let mut weights = products.solve(&sums).ok_or(FitError::Singular)?;
        let intercept = weights.pop().unwrap_or(0.0);
        Ok(Ridge { centres, scales, weights, intercept })
    }

    /// The number of each row.
    #[must_use]
    pub fn predict(&self, matrix: &Matrix) -> Vec<f64> {
        let rows = standardised(matrix, &self.centres, &self.scales);
        let value = |row: &[f64]| dot(&row[..matrix.columns], &self.weights) + self.intercept;
        rows.chunks_exact(matrix.columns + 1).map(value).collect()
    }

    /// The number of one row, with the bits of [`Ridge::predict`].
    #[must_use]
    pub fn predict_row(&self, row: &[f64]) -> f64 {
        terms(&self.centres, &self.scales, &self.weights, row).sum::<f64>() + self.intercept
    }

    /// Adds to each feature what it contributes to the number, times `share`; the intercept, times `share`, is returned.
    pub(super) fn explain(&self, row: &[f64], share: f64, contributions: &mut [f64]) -> f64 {
        let terms = terms(&self.centres, &self.scales, &self.weights, row);
        contributions.iter_mut().zip(terms).for_each(|(sum, term)| *sum += share * term);
        share * self.intercept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_ridge_flattens_it() {
        let x: Vec<f64> = (0..50).map(f64::from).collect();
        let matrix = Matrix { values: x.clone(), rows: 50, columns: 1 };
        let target: Vec<f64> = x.iter().map(|x| 3.0 * x - 2.0).collect();
        let found = Ridge::fit(&matrix, &target, 1e-9).unwrap().predict(&matrix);
        assert!(found.iter().zip(&target).all(|(a, b)| (a - b).abs() < 1e-6));
        let flat = Ridge::fit(&matrix, &target, 1e9).unwrap().predict(&matrix);
        let mean = target.iter().sum::<f64>() / 50.0;
        assert!(flat.iter().all(|value| (value - mean).abs() < 1e-3));
        // A missing value is that of the mean.
        let missing = Matrix { values: vec![f64::NAN], rows: 1, columns: 1 };
        let of_mean = Ridge::fit(&matrix, &target, 1e-9).unwrap().predict(&missing);
        assert!((of_mean[0] - mean).abs() < 1e-6);
    }
}
