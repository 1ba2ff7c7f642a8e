//! A model on one row: what a payment's score is, and what each of its features has to do with it.
//!
//! Invariant: [`Model::score_row`] has the bits of [`Model::score`].

use super::calibrate::log_odds;
use super::{Model, logistic_function};

/// From features to log odds, additively: `baseline` and all `values` add up to them.
///
/// The log odds are the weighted mean of the boosters' and the regression's. The score is near them, not at them: of boosters and their folds it
/// averages the probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    /// Before anything is known of the row.
    pub baseline: f64,
    /// Of each feature, in the model's order; above nought: towards the label.
    pub values: Vec<f64>,
}

/// Both scores' log odds, weighted.
#[must_use]
pub(super) fn blended(boosted: f64, linear: f64, boost_share: f64) -> f64 {
    logistic_function(boost_share * log_odds(boosted) + (1.0 - boost_share) * log_odds(linear))
}

impl Model {
    /// The score of a row: the values of [`Model::features`] in their order, NaN where there is none. It takes microseconds and no memory.
    ///
    /// # Panics
    /// If the row is shorter than the features.
    #[must_use]
    pub fn score_row(&self, row: &[f64]) -> f64 {
        blended(self.ensemble.predict_row(row), self.linear.predict_row(row), self.boost_share)
    }

    /// What each feature of a row contributes to its score. It takes about as long as the score.
    ///
    /// # Panics
    /// If the row is shorter than the features.
    #[must_use]
    pub fn contributions(&self, row: &[f64]) -> Contributions {
        let mut values = vec![0.0; self.features.len()];
        let boosted = self.ensemble.explain(row, self.boost_share, &mut values);
        let linear = self.linear.explain(row, 1.0 - self.boost_share, &mut values);
        Contributions { baseline: boosted + linear, values }
    }
}
