//! The pipelines `train-fraud`, `train-churn` and `train-score`, as the scheduler and Airflow call them.
//!
//! | task | |
//! |---|---|
//! | `dataset` | rows as they were known by the end of the interval, into tables of the lake; skipped where too few labels are new. Rows of old runs go |
//! | `split` | who is learned from and who is judged |
//! | `fit` | model, earlier folds, calibration, threshold |
//! | `evaluate` | every metric, on the judged rows |
//! | `validate` | the gates |
//! | `compare` | the gate against the model that serves |
//! | `drift` | what has moved since the period of learning |
//! | `register` | a version of the registry, the challenger |
//! | `promote` | it serves, where `learning.rows.promote` is set and no gate failed |
//!
//! Invariant: a task that is called again leaves the same, and one version comes of an interval whose run is kept.

mod dataset;
mod done;
mod fitted;
mod registered;
mod retention;

use super::kind::Kind;
use super::lake;
use super::options::{LearningOptions, Store};
use super::state::{Run, Runs};
use crate::config::Config;
use crate::features;
use affluent_feature_store::offline::Offline;
use affluent_lake::Lake;
use affluent_learning::dataset::Dataset;
use affluent_learning::train::TrainOptions;
use affluent_schedule::{
    Interval, Pipeline, RunContext, TRAIN_CHURN, TRAIN_FRAUD, TRAIN_SCORE, Work, WorkError,
};
use async_trait::async_trait;
use done::{Done, failed};
use std::sync::Arc;

/// The tasks in their order.
const TASKS: &[&str] =
    &["dataset", "split", "fit", "evaluate", "validate", "compare", "drift", "register", "promote"];

/// The pipelines on their calendars.
///
/// # Errors
/// Definitions or seeds that are wrong, a registry that cannot be reached at all, a cron line that cannot be read.
pub(crate) fn pipelines(config: &Config, lake: &Lake) -> anyhow::Result<Vec<Pipeline>> {
    let (options, offline) = (&config.schedule, features::offline(config, lake)?);
    let registry = config.learning.store(&config.data_dir)?;
    let mut pipelines = Vec::new();
    for (name, kind, own) in [
        (TRAIN_FRAUD, Kind::Fraud, &options.train_fraud),
        (TRAIN_CHURN, Kind::Churn, &options.train_churn),
        (TRAIN_SCORE, Kind::Score, &options.train_score),
    ] {
        let work = TrainJob {
            kind,
            offline: offline.clone(),
            options: config.learning.clone(),
            registry: Arc::clone(&registry),
            runs: Runs::new(&config.data_dir, kind),
        };
        pipelines.push(Pipeline::new(name, TASKS, own.clone(), &options.time_zone, Arc::new(work))?);
    }
    Ok(pipelines)
}

/// The tasks of one model.
struct TrainJob {
    kind: Kind,
    offline: Offline,
    options: LearningOptions,
    registry: Store,
    runs: Runs,
}

#[async_trait]
impl Work for TrainJob {
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Done, WorkError> {
        let run = self.runs.of(interval);
        let done = match task {
            "dataset" => Box::pin(self.dataset(&run, interval, context)).await,
            "split" => Box::pin(self.split(&run)).await,
            "fit" => Box::pin(self.fit(&run, context)).await,
            "evaluate" | "validate" | "compare" | "drift" => Box::pin(self.judge(task, &run, context)).await,
            "register" => Box::pin(self.register(&run, context)).await,
            "promote" => Box::pin(self.promote(&run, context)).await,
            other => {
                let known = TASKS.join(", ");
                return Err(WorkError::lasting(format!("there is no task {other}; there are {known}")));
            }
        };
        done.map_err(|error| failed(&error))
    }
}

impl TrainJob {
    /// The plan and its rows; none where the run has nothing to do.
    async fn planned(&self, run: &Run) -> anyhow::Result<Option<(lake::Planned, Dataset)>> {
        let Some(plan) = run.plan()? else { return Ok(None) };
        let dataset = lake::read_again(&self.offline, &plan.manifest).await?;
        Ok(Some((plan, dataset)))
    }

    fn train_options(&self) -> &TrainOptions {
        self.kind.options(&self.options)
    }
}
