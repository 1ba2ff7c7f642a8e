//! A model on one row: what a payment's score is, and what each of its features has to do with it.
//!
//! Invariant: [`Model::score_row`] has the bits of [`Model::score`].

use super::calibrate::log_odds;
use super::{Learner, Model, logistic_function};

/// From features to log odds (or to the number, of a model of numbers), additively: `baseline` and all `values` add up to them.
///
/// Of trees they are Shapley values, of a regression its terms, of both the weighted mean. They are of the mean of all boosters' log odds; the
/// score is near it, not at it: it averages probabilities over boosters and their folds.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    /// Before anything is known of the row.
    pub baseline: f64,
    /// Of each feature, in the model's order; above nought: towards the label.
    pub values: Vec<f64>,
}

/// Both scores' log odds, weighted.
#[must_use]
pub(crate) fn blended(boosted: f64, linear: f64, boost_share: f64) -> f64 {
    logistic_function(mixed(log_odds(boosted), log_odds(linear), boost_share))
}

/// Both numbers, weighted.
#[must_use]
pub(crate) fn mixed(boosted: f64, linear: f64, boost_share: f64) -> f64 {
    boost_share * boosted + (1.0 - boost_share) * linear
}

impl Model {
    /// The score of a row: the values of [`Model::features`] in their order, NaN where there is none. Of a model of probabilities it takes microseconds,
    /// and no memory where features are learned from as they are.
    ///
    /// # Panics
    /// If the row is shorter than the features.
    #[must_use]
    pub fn score_row(&self, row: &[f64]) -> f64 {
        let row = &*self.transforms.row(row);
        match &self.learner {
            Learner::Boosted { ensemble, linear, boost_share } => {
                blended(ensemble.predict_row(row), linear.predict_row(row), *boost_share)
            }
            Learner::Regressed { ensemble, linear, boost_share } => {
                mixed(ensemble.predict_row(row), linear.predict_row(row), *boost_share)
            }
            Learner::Imported(imported) => imported.forest.predict_row(row),
        }
    }

    /// What each feature of a row contributes to its score. It visits every leaf of every tree, and takes some hundred times as long as the score: for
    /// what somebody will look at.
    ///
    /// # Panics
    /// If the row is shorter than the features.
    #[must_use]
    pub fn contributions(&self, row: &[f64]) -> Contributions {
        let row = &*self.transforms.row(row);
        let features = self.features.len();
        let mut values = vec![0.0; self.transforms.width(features)];
        let baseline = match &self.learner {
            Learner::Boosted { ensemble, linear, boost_share } => {
                ensemble.explain(row, *boost_share, &mut values)
                    + linear.explain(row, 1.0 - boost_share, &mut values)
            }
            Learner::Regressed { ensemble, linear, boost_share } => {
                ensemble.explain(row, *boost_share, &mut values)
                    + linear.explain(row, 1.0 - boost_share, &mut values)
            }
            Learner::Imported(imported) => imported.forest.explain(row, &mut values),
        };
        Contributions { baseline, values: self.transforms.folded(values, features) }
    }

    /// Whether [`Model::probability`] is one: not of a model of numbers.
    #[must_use]
    pub fn tells_probabilities(&self) -> bool {
        match &self.learner {
            Learner::Boosted { .. } => true,
            Learner::Regressed { .. } => false,
            Learner::Imported(imported) => {
                self.calibration.is_some() || imported.forest.tells_probabilities()
            }
        }
    }
}
