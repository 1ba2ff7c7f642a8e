//! Section `[learning]`: where models are kept, and how they are trained.

use affluent_learning::decide::Costs;
use affluent_learning::gate::GateOptions;
use affluent_learning::registry::{LocalRegistry, MlflowOptions, MlflowRegistry, Registry};
use affluent_learning::train::TrainOptions;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The registry in force.
pub(crate) type Store = Arc<dyn Registry>;

/// Where models are kept, and how they are trained.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LearningOptions {
    /// Folder of the registry; empty: `models` under the data directory.
    pub(crate) folder: PathBuf,
    /// A tracking server in place of the folder.
    pub(crate) mlflow: MlflowOptions,
    pub(crate) drift: WatchOptions,
    pub(crate) rows: RowOptions,
    pub(crate) fraud: TrainOptions,
    pub(crate) churn: TrainOptions,
    pub(crate) score: TrainOptions,
}

impl Default for LearningOptions {
    fn default() -> Self {
        // A customer who stayed away once may come back, and is looked at again.
        let gates = GateOptions { rising: Vec::new(), ..GateOptions::default() };
        let of_customers = TrainOptions { leave_known: false, gates, ..TrainOptions::default() };
        let costs = Costs { reviews_per_day: 100, review: 200, missed_share: 0.2, missed_fixed: 0 };
        LearningOptions {
            folder: PathBuf::new(),
            mlflow: MlflowOptions::default(),
            drift: WatchOptions::default(),
            rows: RowOptions::default(),
            fraud: TrainOptions::default(),
            churn: TrainOptions { costs, ..of_customers.clone() },
            score: of_customers,
        }
    }
}

/// What models learn from in the lake, and when they are trained.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RowOptions {
    /// Features of the fraud model; empty: all of a payment whose sources can be read.
    pub(crate) fraud_features: Vec<String>,
    /// How long after a payment its fraud is known, seconds.
    pub(crate) fraud_label_delay_s: u64,
    /// How long a customer has to stay away to be lost, and how far ahead the customer's value is told, seconds.
    pub(crate) churn_horizon_s: u64,
    pub(crate) score_horizon_s: u64,
    /// From one look at customers to the next, and how shortly before it they paid, seconds.
    pub(crate) every_s: u64,
    pub(crate) active_s: u64,
    /// Whose features a customer's row has.
    pub(crate) entities: Vec<String>,
    /// Longest periods where none are given, seconds.
    pub(crate) train_max_s: u64,
    pub(crate) test_max_s: u64,
    /// The pipelines train anew once so many labels are new.
    pub(crate) new_labels_min: usize,
    /// Whether the pipelines let a model serve that passed every gate.
    pub(crate) promote: bool,
    /// Rows are kept of so many runs of a pipeline, the newest.
    pub(crate) runs_kept: usize,
}

const DAY_S: u64 = 86_400;

impl Default for RowOptions {
    fn default() -> Self {
        RowOptions {
            fraud_features: Vec::new(),
            fraud_label_delay_s: 30 * DAY_S,
            churn_horizon_s: 30 * DAY_S,
            score_horizon_s: 90 * DAY_S,
            every_s: 7 * DAY_S,
            active_s: 30 * DAY_S,
            entities: ["customer", "user"].map(str::to_owned).to_vec(),
            train_max_s: 180 * DAY_S,
            test_max_s: 28 * DAY_S,
            new_labels_min: 50,
            promote: false,
            runs_kept: 10,
        }
    }
}

impl RowOptions {
    fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("fraud_label_delay_s", self.fraud_label_delay_s),
            ("churn_horizon_s", self.churn_horizon_s),
            ("score_horizon_s", self.score_horizon_s),
            ("every_s", self.every_s),
            ("active_s", self.active_s),
            ("train_max_s", self.train_max_s),
            ("test_max_s", self.test_max_s),
        ] {
            if !(1..=3_660 * DAY_S).contains(&value) {
                return Err(format!("{key} is {value}: take 1 second to ten years"));
            }
        }
        if !(1..=1_000).contains(&self.runs_kept) {
            return Err(format!("runs_kept is {}: take 1 to 1000", self.runs_kept));
        }
        if self.entities.is_empty() {
            return Err("entities is empty: take customer".to_owned());
        }
        Ok(())
    }
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
        self.rows.check().map_err(|problem| format!("rows.{problem}"))?;
        for (section, options) in [("fraud", &self.fraud), ("churn", &self.churn), ("score", &self.score)] {
            options.check().map_err(|problem| format!("{section}.{problem}"))?;
        }
        Ok(())
    }
}
