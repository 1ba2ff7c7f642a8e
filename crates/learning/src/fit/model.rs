//! A model as it is stored and applied: which features in which order, what makes the score, calibration, threshold.
//!
//! It is a folder: `model.json` and the files of its learner: `booster-N.json`, which the Python package of the same library reads as well, or the model
//! of another library as it was.
//!
//! Invariant: what is read back predicts the same numbers, to the bit.

use super::learner::{Learner, StoredLearner};
use super::{Calibration, FitError, Transforms};
use crate::dataset::{Dataset, FeatureVersion, Problem};
use crate::forest::ForestError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The first form of the folder, and the one of a model with transformations, which who knows the first alone must not apply.
const FORMAT: u32 = 1;
const FORMAT_TRANSFORMS: u32 = 2;

/// Features in, probability out.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    pub features: Vec<FeatureVersion>,
    /// From features to the columns that the learner takes.
    pub transforms: Transforms,
    pub learner: Learner,
    pub calibration: Option<Calibration>,
    /// From this score on a row is looked at.
    pub threshold: Option<f64>,
}

/// `model.json`
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    format: u32,
    name: String,
    features: Vec<FeatureVersion>,
    #[serde(default)]
    transforms: Transforms,
    learner: StoredLearner,
    calibration: Option<Calibration>,
    threshold: Option<f64>,
}

/// Why a model cannot be stored, read or applied.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error("{file}: {source}")]
    Json { file: String, source: serde_json::Error },
    #[error(
        "{file} has form {format}, known are {FORMAT} and {FORMAT_TRANSFORMS}: it was written by a newer version"
    )]
    Format { file: String, format: u32 },
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("{file}: {source}")]
    Forest { file: String, source: ForestError },
    #[error("the model reads version {wanted} of feature {name}, the dataset has version {found}")]
    Version { name: String, wanted: u32, found: u32 },
}

impl Model {
    /// The score of each of these rows: what rows are ordered by.
    ///
    /// # Errors
    /// A feature that the dataset lacks, or has in another version.
    pub fn score(&self, dataset: &Dataset, rows: &[usize]) -> Result<Vec<f64>, ModelError> {
        let names: Vec<String> = self.features.iter().map(|feature| feature.name.clone()).collect();
        let mut values = Vec::with_capacity(rows.len() * names.len());
        for wanted in &self.features {
            let place = dataset.features.iter().position(|feature| feature.name == wanted.name);
            let place = place.ok_or_else(|| Problem::MissingFeature { name: wanted.name.clone() })?;
            let found = dataset.features[place].version;
            if found != wanted.version {
                return Err(ModelError::Version { name: wanted.name.clone(), wanted: wanted.version, found });
            }
            values.extend(rows.iter().map(|&row| dataset.columns[place][row]));
        }
        let matrix = crate::dataset::Matrix { values, rows: rows.len(), columns: names.len() };
        Ok(self.learner.predict(&self.transforms.apply(matrix)))
    }

    /// How much of what trees decide is each feature's, in their order; adds up to 1.
    #[must_use]
    pub fn importance(&self) -> Vec<f64> {
        let features = self.features.len();
        self.transforms.folded(self.learner.importance(self.transforms.width(features)), features)
    }

    /// The probability that belongs to a score.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        self.calibration.as_ref().map_or(score, |calibration| calibration.apply(score))
    }

    /// Writes the folder's files.
    ///
    /// # Errors
    /// [`ModelError`]
    pub fn write(&self, folder: &Path) -> Result<(), ModelError> {
        let stored = Stored {
            format: if self.transforms.is_empty() { FORMAT } else { FORMAT_TRANSFORMS },
            name: self.name.clone(),
            features: self.features.clone(),
            transforms: self.transforms.clone(),
            learner: self.learner.write(folder)?,
            calibration: self.calibration.clone(),
            threshold: self.threshold,
        };
        let file = folder.join("model.json");
        let text = serde_json::to_string_pretty(&stored)
            .map_err(|source| ModelError::Json { file: shown(&file), source })?;
        write(&file, &text)
    }

    /// Reads the folder that [`Model::write`] wrote.
    ///
    /// # Errors
    /// [`ModelError`]
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join("model.json");
        let stored: Stored = serde_json::from_str(&read(&file)?)
            .map_err(|source| ModelError::Json { file: shown(&file), source })?;
        if ![FORMAT, FORMAT_TRANSFORMS].contains(&stored.format) {
            return Err(ModelError::Format { file: shown(&file), format: stored.format });
        }
        let columns = stored.transforms.width(stored.features.len());
        let learner = Learner::read(folder, stored.learner, columns)?;
        Ok(Model {
            name: stored.name,
            features: stored.features,
            transforms: stored.transforms,
            learner,
            calibration: stored.calibration,
            threshold: stored.threshold,
        })
    }
}

pub(super) fn shown(file: &Path) -> String {
    file.display().to_string()
}

pub(super) fn read(file: &Path) -> Result<String, ModelError> {
    std::fs::read_to_string(file).map_err(|source| ModelError::File { file: shown(file), source })
}

pub(super) fn write(file: &Path, text: &str) -> Result<(), ModelError> {
    std::fs::write(file, text).map_err(|source| ModelError::File { file: shown(file), source })
}
