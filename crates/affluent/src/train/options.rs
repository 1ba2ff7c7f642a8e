//! Section `[learning]`: where models are kept, and how they are trained.

use affluent_learning::registry::{LocalRegistry, MlflowOptions, MlflowRegistry, Registry};
use affluent_learning::train::TrainOptions;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The registry in force.
pub(crate) type Store = Arc<dyn Registry>;

/// Where models are kept, and how they are trained.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LearningOptions {
    /// Folder of the registry; empty: `models` under the data directory.
    pub(crate) folder: PathBuf,
    /// A tracking server in place of the folder.
    pub(crate) mlflow: MlflowOptions,
    pub(crate) drift: WatchOptions,
    pub(crate) fraud: TrainOptions,
}

/// How models in use are watched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WatchOptions {
    /// Days of a period.
    pub(crate) period_days: u32,
    /// With fewer rows in it nothing can be told.
    pub(crate) rows_min: usize,
    /// An alert is over after so many runs in a row without a reason.
    pub(crate) calm_runs: u32,
    /// Whether an alarm lets the model be trained anew.
    pub(crate) retrain: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions { period_days: 7, rows_min: 500, calm_runs: 2, retrain: false }
    }
}

impl WatchOptions {
    fn check(&self) -> Result<(), String> {
        if !(1..=366).contains(&self.period_days) {
            return Err(format!("period_days is {}: take 1 to 366", self.period_days));
        }
        if self.rows_min < 50 {
            return Err(format!("rows_min is {}: with fewer than 50 all is chance", self.rows_min));
        }
        if !(1..=100).contains(&self.calm_runs) {
            return Err(format!("calm_runs is {}: take 1 to 100", self.calm_runs));
        }
        Ok(())
    }
}

impl LearningOptions {
    /// The registry that is configured.
    ///
    /// # Errors
    /// No connection can be made at all.
    pub(crate) fn store(&self, data_dir: &Path) -> anyhow::Result<Store> {
        if !self.mlflow.url.is_empty() {
            return Ok(Arc::new(MlflowRegistry::new(&self.mlflow)?));
        }
        let folder =
            if self.folder.as_os_str().is_empty() { data_dir.join("models") } else { self.folder.clone() };
        Ok(Arc::new(LocalRegistry::new(folder)))
    }

    /// # Errors
    /// What is wrong with which key.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.drift.check().map_err(|problem| format!("drift.{problem}"))?;
        self.fraud.check().map_err(|problem| format!("fraud.{problem}"))
    }
}
