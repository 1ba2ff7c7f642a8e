//! What makes the score: boosters beside a regression that were learned here, or trees that were learned elsewhere.

use super::boost::{Ensemble, Target};
use super::model::{Model, ModelError, read, shown, write};
use super::row::{blended, mixed};
use super::{FitError, Logistic, Ridge, Transforms};
use crate::dataset::{FeatureVersion, Matrix};
use crate::forest::{Forest, ForestError, Origin};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Numbers of features in, a score of each row out.
#[derive(Debug, Clone)]
pub enum Learner {
    Boosted {
        ensemble: Ensemble,
        /// The regression that has a say beside the boosters.
        linear: Logistic,
        /// How much of the log odds is the boosters'; the rest is the regression's.
        boost_share: f64,
    },
    /// The same for a number: the score is the number itself.
    Regressed {
        ensemble: Ensemble,
        linear: Ridge,
        /// How much of the number is the boosters'; the rest is the regression's.
        boost_share: f64,
    },
    Imported(Imported),
}

/// A model of another library, as it wrote it.
#[derive(Debug, Clone)]
pub struct Imported {
    pub origin: Origin,
    pub forest: Forest,
    text: Arc<str>,
}

/// What `model.json` says of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredLearner {
    Boosted { target: Target, boosters: Vec<StoredBooster>, linear: Logistic, boost_share: f64 },
    Regressed { target: Target, boosters: Vec<StoredBooster>, linear: Ridge, boost_share: f64 },
    Imported { origin: Origin, file: String },
}

/// A booster's file, and which of the features it takes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredBooster {
    file: String,
    columns: Vec<usize>,
}

impl Imported {
    /// Reads XGBoost's JSON or LightGBM's text.
    ///
    /// # Errors
    /// [`ForestError`]: which part of it is not supported.
    pub fn read(text: &str) -> Result<Self, ForestError> {
        let origin = Origin::of(text)?;
        Ok(Imported { origin, forest: Forest::read(origin, text)?, text: text.into() })
    }

    /// The model that scores with it: `features` are what it reads, in the order of its own. Scores of the library are probabilities already, so they are not
    /// calibrated.
    ///
    /// # Errors
    /// [`ForestError::Malformed`]: more or fewer features than the model has.
    pub fn into_model(
        self,
        name: &str,
        features: Vec<FeatureVersion>,
        threshold: Option<f64>,
    ) -> Result<Model, ForestError> {
        let own = self.forest.features.len();
        if own != features.len() {
            return Err(ForestError::Malformed(format!(
                "it has {own} features, {} are named",
                features.len()
            )));
        }
        Ok(Model {
            name: name.to_owned(),
            features,
            transforms: Transforms::default(),
            learner: Learner::Imported(self),
            calibration: None,
            threshold,
        })
    }
}

impl Learner {
    /// The score of each row.
    #[must_use]
    pub fn predict(&self, matrix: &Matrix) -> Vec<f64> {
        match self {
            Learner::Boosted { ensemble, linear, boost_share } => {
                both(&ensemble.predict(matrix), &linear.predict(matrix), *boost_share, blended)
            }
            Learner::Regressed { ensemble, linear, boost_share } => {
                both(&ensemble.predict(matrix), &linear.predict(matrix), *boost_share, mixed)
            }
            Learner::Imported(imported) => imported.forest.predict(matrix),
        }
    }

    /// How much of what trees decide is each feature's: of the gain, or of the splits where gains are not known; adds up to 1.
    #[must_use]
    pub fn importance(&self, features: usize) -> Vec<f64> {
        match self {
            Learner::Boosted { ensemble, .. } | Learner::Regressed { ensemble, .. } => {
                ensemble.importance(features)
            }
            Learner::Imported(imported) => imported.forest.importance(),
        }
    }

    #[must_use]
    pub fn trees(&self) -> usize {
        match self {
            Learner::Boosted { ensemble, .. } | Learner::Regressed { ensemble, .. } => ensemble.trees(),
            Learner::Imported(imported) => imported.forest.trees(),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<StoredLearner, ModelError> {
        match self {
            Learner::Boosted { ensemble, linear, boost_share } => {
                let (target, boosters) = (ensemble.target(), write_boosters(ensemble, folder)?);
                let (linear, boost_share) = (linear.clone(), *boost_share);
                Ok(StoredLearner::Boosted { target, boosters, linear, boost_share })
            }
            Learner::Regressed { ensemble, linear, boost_share } => {
                let (target, boosters) = (ensemble.target(), write_boosters(ensemble, folder)?);
                let (linear, boost_share) = (linear.clone(), *boost_share);
                Ok(StoredLearner::Regressed { target, boosters, linear, boost_share })
            }
            Learner::Imported(imported) => {
                let file = imported.origin.file().to_owned();
                write(&folder.join(&file), &imported.text)?;
                Ok(StoredLearner::Imported { origin: imported.origin, file })
            }
        }
    }

    pub(super) fn read(folder: &Path, stored: StoredLearner, features: usize) -> Result<Self, ModelError> {
        match stored {
            StoredLearner::Boosted { target, boosters, linear, boost_share } => {
                let ensemble = read_boosters(folder, boosters, target, features)?;
                Ok(Learner::Boosted { ensemble, linear, boost_share })
            }
            StoredLearner::Regressed { target, boosters, linear, boost_share } => {
                let ensemble = read_boosters(folder, boosters, target, features)?;
                Ok(Learner::Regressed { ensemble, linear, boost_share })
            }
            StoredLearner::Imported { file, .. } => {
                let path = folder.join(&file);
                let wrong = |source| ModelError::Forest { file: shown(&path), source };
                let imported = Imported::read(&read(&path)?).map_err(wrong)?;
                let own = imported.forest.features.len();
                if own != features {
                    let message = format!("it has {own} features, model.json names {features}");
                    return Err(wrong(ForestError::Malformed(message)));
                }
                Ok(Learner::Imported(imported))
            }
        }
    }
}

fn write_boosters(ensemble: &Ensemble, folder: &Path) -> Result<Vec<StoredBooster>, ModelError> {
    let mut boosters = Vec::new();
    for (nth, (text, columns)) in ensemble.to_json()?.into_iter().enumerate() {
        let file = format!("booster-{nth}.json");
        write(&folder.join(&file), &text)?;
        boosters.push(StoredBooster { file, columns });
    }
    Ok(boosters)
}

fn read_boosters(
    folder: &Path,
    stored: Vec<StoredBooster>,
    target: Target,
    features: usize,
) -> Result<Ensemble, ModelError> {
    let mut boosters = Vec::new();
    for StoredBooster { file, columns } in stored {
        if let Some(column) = columns.iter().find(|&&column| column >= features) {
            return Err(FitError::Boost(format!("{file}: there is no feature {column}")).into());
        }
        boosters.push((read(&folder.join(&file))?, columns));
    }
    Ok(Ensemble::from_json(boosters, target)?)
}

/// Both scores of each row as one.
///
/// Boosters rank what stands out; among the many rows that do not, a regression has the smoother order.
pub(crate) fn both(
    boosted: &[f64],
    linear: &[f64],
    boost_share: f64,
    one: impl Fn(f64, f64, f64) -> f64,
) -> Vec<f64> {
    boosted.iter().zip(linear).map(|(b, l)| one(*b, *l, boost_share)).collect()
}
