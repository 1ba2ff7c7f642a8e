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
    pub(crate) fraud: TrainOptions,
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
        self.fraud.check().map_err(|problem| format!("fraud.{problem}"))
    }
}
