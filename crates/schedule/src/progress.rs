//! What is said of runs and tasks while they run: log lines and metrics. Decides nothing.

use crate::attempt::Ended;
use crate::interval::Interval;
use crate::ledger::{RunState, Started, TaskEnd};
use crate::runner::{Request, RunEnd};
use crate::work::Pipeline;
use affluent_telemetry::metrics_list;
use std::time::Duration;
use tracing::{info, warn};

/// Label `task` of the metrics of a whole run.
const WHOLE_RUN: &str = "all";

/// How an attempt of a task ended, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskReport {
    pub(crate) state: RunState,
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) notes: Option<String>,
    pub(crate) error: Option<String>,
}

impl TaskReport {
    pub(crate) fn of(ended: &Ended, pipeline: &Pipeline) -> Self {
        let without =
            |state, error: Option<String>| TaskReport { state, rows_in: 0, rows_out: 0, notes: None, error };
        match ended {
            Ended::Done(outcome) => TaskReport {
                state: if outcome.skipped { RunState::Skipped } else { RunState::Succeeded },
                rows_in: outcome.rows_in,
                rows_out: outcome.rows_out,
                notes: outcome.notes.clone(),
                error: None,
            },
            Ended::Failed(error) => without(RunState::Failed, Some(error.message.clone())),
            Ended::Overran => {
                let limit = pipeline.options.task_limit_s;
                without(RunState::Failed, Some(format!("stopped after task_limit_s = {limit}")))
            }
            Ended::Cancelled => without(RunState::Cancelled, Some("told to stop".to_owned())),
            Ended::Lost => without(RunState::Lost, Some("the run has lost its lease".to_owned())),
        }
    }

    pub(crate) fn as_end(&self) -> TaskEnd<'_> {
        TaskEnd {
            state: self.state,
            rows_in: self.rows_in,
            rows_out: self.rows_out,
            notes: self.notes.as_deref(),
            error: self.error.as_deref(),
        }
    }
}

pub(crate) fn run_began(pipeline: &Pipeline, request: &Request, started: &Started) {
    let (interval, reason) = (&request.interval, request.reason.as_str());
    let first = pipeline.tasks.get(started.first).copied().unwrap_or_default();
    info!(pipeline = pipeline.name, run = started.run, %interval, reason, attempt = started.attempt, first, "run began");
}

pub(crate) fn task_ended(
    pipeline: &Pipeline,
    task: &'static str,
    interval: Interval,
    (run, attempt): (i64, u32),
    report: &TaskReport,
    took: Duration,
) {
    let (pipeline, seconds, outcome) = (pipeline.name, took.as_secs_f64(), report.state.as_str());
    metrics_list::batch_run(pipeline, task, outcome, seconds);
    let (rows_in, rows_out) = (report.rows_in, report.rows_out);
    match &report.error {
        None => {
            info!(pipeline, run, %interval, task, attempt, outcome, rows_in, rows_out, seconds, "task ended")
        }
        Some(error) => warn!(pipeline, run, %interval, task, attempt, outcome, seconds, error, "task ended"),
    }
}

pub(crate) fn run_ended(pipeline: &Pipeline, interval: Interval, end: &RunEnd, took: Duration) {
    let (pipeline, seconds) = (pipeline.name, took.as_secs_f64());
    let (run, state) = match end {
        RunEnd::Succeeded { run } => (*run, RunState::Succeeded),
        RunEnd::Skipped { run } => (*run, RunState::Skipped),
        RunEnd::Failed { run, .. } => (*run, RunState::Failed),
        RunEnd::Cancelled { run } => (*run, RunState::Cancelled),
        RunEnd::Lost { run } => (*run, RunState::Lost),
        RunEnd::Done | RunEnd::Busy(_) | RunEnd::GivenUp { .. } => return,
    };
    let outcome = state.as_str();
    metrics_list::batch_run(pipeline, WHOLE_RUN, outcome, seconds);
    info!(pipeline, run, %interval, outcome, seconds, "run ended");
}
