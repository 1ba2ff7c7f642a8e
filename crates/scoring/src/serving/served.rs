//! A model made ready for rows of one vocabulary, off the hot path.

use crate::decide::{DecideOptions, Thresholds};
use crate::judge::Row;
use crate::vocabulary::Vocabulary;
use affluent_learning::fit::Model;
use affluent_model::score::{Decision, ModelRef};

/// A model, and where its features stand in a row.
#[derive(Debug)]
pub struct Served {
    reference: ModelRef,
    model: Model,
    places: Vec<usize>,
    thresholds: Thresholds,
}

/// Why a model cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("version {version} of {model} tells a number, not how likely fraud is")]
    Number { model: String, version: u64 },
    #[error("version {version} of {model} reads the feature {feature}, which payments do not have here")]
    Missing { model: String, version: u64, feature: String },
    #[error(
        "version {version} of {model} reads version {wanted} of the feature {feature}, payments have version {found}"
    )]
    Version { model: String, version: u64, feature: String, wanted: u32, found: u32 },
}

/// What a model says of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scored {
    /// In the model's order.
    pub(crate) values: Vec<f64>,
    pub(crate) raw: f64,
    pub(crate) probability: f64,
    pub(crate) decision: Decision,
}

impl Served {
    /// Makes a version of a model ready.
    ///
    /// # Errors
    /// [`Refused`]: it does not tell probabilities, or rows do not have what it was learned from.
    pub fn new(
        model: Model,
        version: u64,
        vocabulary: &Vocabulary,
        options: &DecideOptions,
    ) -> Result<Self, Refused> {
        if !model.tells_probabilities() {
            return Err(Refused::Number { model: model.name, version });
        }
        let mut places = Vec::with_capacity(model.features.len());
        for feature in &model.features {
            let place = vocabulary.place(&feature.name).ok_or_else(|| Refused::Missing {
                model: model.name.clone(),
                version,
                feature: feature.name.clone(),
            })?;
            let found = vocabulary.names[place].version;
            if found != feature.version {
                return Err(Refused::Version {
                    model: model.name.clone(),
                    version,
                    feature: feature.name.clone(),
                    wanted: feature.version,
                    found,
                });
            }
            places.push(place);
        }
        let thresholds = Thresholds::of(&model, options);
        let reference = ModelRef { name: model.name.as_str().into(), version };
        let served = Served { reference, model, places, thresholds };
        served.warm();
        Ok(served)
    }

    #[must_use]
    pub fn model_ref(&self) -> &ModelRef {
        &self.reference
    }

    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The row is of the vocabulary that the model was made ready for.
    pub(crate) fn score(&self, row: &Row) -> Scored {
        let values: Vec<f64> = self.places.iter().map(|&place| row.values[place]).collect();
        let raw = self.model.score_row(&values);
        let probability = self.model.probability(raw);
        Scored { values, raw, probability, decision: self.thresholds.decide(raw, probability) }
    }

    pub(crate) fn contributions(&self, values: &[f64]) -> Vec<f64> {
        self.model.contributions(values).values
    }

    /// Walks every tree on both sides, so that the first payment finds them in memory.
    fn warm(&self) {
        for value in [f64::NEG_INFINITY, 0.0, f64::INFINITY, f64::NAN] {
            let values = vec![value; self.places.len()];
            let score = self.model.score_row(&values);
            tracing::trace!(score, "warmed");
        }
    }
}
