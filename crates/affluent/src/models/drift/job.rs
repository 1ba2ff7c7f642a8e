//! The pipeline `drift`, as the scheduler calls it.
//!
//! | task | |
//! |---|---|
//! | `compare` | every champion that was learned from the lake: report, `drift_score`, alerts |
//! | `retrain` | those of which the last comparison was an alarm are trained anew, where `[learning.drift] retrain` says so |

use super::tell::{self, Place};
use super::{Looked, look};
use crate::config::Config;
use affluent_bus::Bus;
use affluent_lake::Lake;
use affluent_learning::drift::Level;
use affluent_schedule::{
    DRIFT, Interval, Outcome, Pipeline, Reason, Request, RunContext, RunEnd, Runner, Work, WorkError,
};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Its tasks, in their order.
const TASKS: &[&str] = &["compare", "retrain"];
/// How long is waited for another training that is under way.
const PATIENCE: Duration = Duration::from_secs(1800);

struct DriftJob {
    config: Config,
    lake: Lake,
    bus: Bus,
    runner: Runner,
    training: Vec<Pipeline>,
}

/// The pipeline on its calendar; alerts go to `bus`, and `training` are the pipelines that train models, `train-MODEL`, run by `runner`.
///
/// # Errors
/// A cron line that cannot be read.
pub(crate) fn pipeline(
    config: &Config,
    lake: &Lake,
    bus: &Bus,
    runner: Runner,
    training: Vec<Pipeline>,
) -> anyhow::Result<Pipeline> {
    let (config_of, lake, bus) = (config.clone(), lake.clone(), bus.clone());
    let work = Arc::new(DriftJob { config: config_of, lake, bus, runner, training });
    let schedule = &config.schedule;
    Ok(Pipeline::new(DRIFT, TASKS, schedule.drift.clone(), &schedule.time_zone, work)?)
}

impl DriftJob {
    /// The models that there are.
    async fn models(&self) -> Result<Vec<String>, WorkError> {
        let registry = self.config.learning.store(&self.config.data_dir).map_err(failed)?;
        registry.models().await.map_err(WorkError::passing)
    }

    /// One that cannot be looked at does not keep the others from it.
    async fn compare(&self, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        let (mut outcome, mut notes, mut errors) = (Outcome::default(), Vec::new(), Vec::new());
        for model in self.models().await? {
            match self.compare_one(&model, interval, context).await {
                Ok(Ok((rows, told))) => {
                    outcome.rows_in += rows;
                    outcome.rows_out += 1;
                    notes.push(told);
                }
                Ok(Err(why)) => notes.push(why),
                Err(error) => errors.push(format!("{model}: {error:#}")),
            }
        }
        if !errors.is_empty() {
            return Err(WorkError::passing(errors.join("; ")));
        }
        outcome.skipped = outcome.rows_out == 0;
        outcome.notes =
            Some(if notes.is_empty() { "there is no model yet".to_owned() } else { notes.join("; ") });
        Ok(outcome)
    }

    /// Rows that were looked at and what came of it, or why there was nothing to look at.
    async fn compare_one(
        &self,
        model: &str,
        interval: Interval,
        context: &RunContext,
    ) -> anyhow::Result<Result<(u64, String), String>> {
        let looking = look(&self.config, &self.lake, model, Some(interval.to_us()), context);
        let watched = match Box::pin(looking).await? {
            Looked::Found(watched) => watched,
            Looked::Nothing(why) => return Ok(Err(why)),
        };
        context.check().await?;
        tell::export(&watched);
        let place = Place::of(&self.config.data_dir, model);
        place.keep(&watched)?;
        let calm_runs = self.config.learning.drift.calm_runs;
        let alerts = place.tell(&watched, &self.bus, interval.to_us(), calm_runs).await?;
        for alert in &alerts {
            tracing::warn!(rule = alert.rule, state = ?alert.state, value = alert.value, "drift");
        }
        let level = watched.level;
        Ok(Ok((watched.current.rows as u64, format!("{model}: {level:?}, {} alerts told", alerts.len()))))
    }

    async fn retrain(&self, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        if !self.config.learning.drift.retrain {
            return Ok(skipped("learning.drift.retrain is false".to_owned()));
        }
        let mut notes = Vec::new();
        for model in self.models().await? {
            let report = Place::of(&self.config.data_dir, &model).report().map_err(failed)?;
            // Of this interval's comparison alone: an alarm lets a model be trained once.
            let is_alarm = report.is_some_and(|watched| {
                let to = watched.current.period.to;
                watched.level == Level::Alarm && interval.from_us() < to && to <= interval.to_us()
            });
            if is_alarm {
                notes.push(self.train(&model, interval, context).await?);
            }
        }
        if notes.is_empty() {
            return Ok(skipped("no alarm".to_owned()));
        }
        Ok(Outcome { rows_out: notes.len() as u64, notes: Some(notes.join("; ")), ..Outcome::default() })
    }

    /// Runs the pipeline that trains a model; its new version is the challenger.
    async fn train(
        &self,
        model: &str,
        interval: Interval,
        context: &RunContext,
    ) -> Result<String, WorkError> {
        let name = format!("train-{model}");
        let Some(pipeline) = self.training.iter().find(|pipeline| pipeline.name() == name) else {
            return Ok(format!("{model}: there is no pipeline {name}"));
        };
        let request = Request { interval, only: None, fresh: true, reason: Reason::Manual, wait: PATIENCE };
        let end = self.runner.run(pipeline, &request, context.cancelled()).await;
        told(model, &end.map_err(WorkError::passing)?)
    }
}

/// How a training ended.
fn told(model: &str, end: &RunEnd) -> Result<String, WorkError> {
    match end {
        RunEnd::Succeeded { run } => Ok(format!("{model} trained anew by run {run}")),
        RunEnd::Skipped { run } => Ok(format!("{model}: nothing to learn anew, run {run}")),
        RunEnd::Done => Ok(format!("{model} was trained before")),
        RunEnd::Busy(holder) => Err(WorkError::passing(format!("{model} is being trained: {holder:?}"))),
        RunEnd::GivenUp { attempts } => {
            Err(WorkError::lasting(format!("{model} could not be trained {attempts} times before")))
        }
        RunEnd::Failed { run, task, error } => {
            Err(WorkError::lasting(format!("{model}: run {run} failed at {task}: {error}")))
        }
        RunEnd::Cancelled { run } | RunEnd::Lost { run } => {
            Err(WorkError::passing(format!("{model}: run {run} was stopped")))
        }
    }
}

fn skipped(why: String) -> Outcome {
    Outcome { skipped: true, notes: Some(why), ..Outcome::default() }
}

fn failed(error: anyhow::Error) -> WorkError {
    WorkError::lasting(format!("{error:#}"))
}

#[async_trait]
impl Work for DriftJob {
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        match task {
            "compare" => self.compare(interval, context).await,
            "retrain" => self.retrain(interval, context).await,
            other => {
                Err(WorkError::lasting(format!("there is no task {other}; there are {}", TASKS.join(", "))))
            }
        }
    }
}
