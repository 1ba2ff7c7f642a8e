//! The port: what a pipeline is to the scheduler, and what its tasks are given and answer.

use crate::calendar::{Calendar, CalendarError};
use crate::interval::Interval;
use crate::ledger::{Ledger, LedgerError, Scope};
use crate::options::PipelineOptions;
use affluent_model::time::format_micros;
use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The tasks of a pipeline.
///
/// - A task may be called again for an interval that it has done before, whole or in part: after a crash, a time limit, a
///   retry, or because somebody asks. It must then leave the same result, once.
/// - Tasks of one interval are called in the pipeline's order, one at a time. Of two runs of one interval at most one
///   holds the lease, but one that lost it may not know yet. So a commit names [`RunContext::commit_key`], under which
///   it may happen once, and [`RunContext::fence`]; a store that has seen a higher fence of the pipeline refuses it.
///   [`RunContext::check`] right before a commit finds out early.
/// - When [`RunContext::cancelled`] fires, the task should return soon; the future is dropped a grace period later, so
///   what it does must be safe to stop at any await.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// Does `task` for the records of `interval`.
    ///
    /// # Errors
    /// [`WorkError`], which says whether another attempt may help.
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError>;
}

/// What a task has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub rows_in: u64,
    pub rows_out: u64,
    /// There was nothing to do for this interval. Later tasks still run.
    pub skipped: bool,
    /// For the history: what a person wants to know.
    pub notes: Option<String>,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WorkError {
    /// What failed, where, and what to do. Goes into ledger and logs: no secrets, no personal data.
    pub message: String,
    /// Another attempt may succeed without anybody's help.
    pub retryable: bool,
}

impl WorkError {
    /// A fault that may pass.
    pub fn passing(error: impl fmt::Display) -> Self {
        WorkError { message: error.to_string(), retryable: true }
    }

    /// A fault that stays until somebody does something about it.
    pub fn lasting(error: impl fmt::Display) -> Self {
        WorkError { message: error.to_string(), retryable: false }
    }
}

impl From<LedgerError> for WorkError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Lost { .. } => WorkError::lasting(error),
            LedgerError::Open { .. }
            | LedgerError::Directory { .. }
            | LedgerError::Newer { .. }
            | LedgerError::Sql(_)
            | LedgerError::Foreign { .. } => WorkError::passing(error),
        }
    }
}

/// What a task knows of the run that calls it.
#[derive(Debug, Clone)]
pub struct RunContext {
    pub(crate) run: i64,
    pub(crate) attempt: u32,
    pub(crate) commit_key: String,
    pub(crate) cancelled: CancellationToken,
    pub(crate) ledger: Ledger,
}

impl RunContext {
    /// Number of the run in the ledger.
    #[must_use]
    pub fn run(&self) -> i64 {
        self.run
    }

    /// Grows from run to run of all pipelines, and from one ledger to the next. Carried by every commit of the run.
    #[must_use]
    pub fn fence(&self) -> i64 {
        self.ledger.token(self.run)
    }

    /// The how manieth attempt of the task within this run, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The same for all attempts at this task of this interval, also of later runs, until one succeeds: what was
    /// committed under it is not committed again.
    #[must_use]
    pub fn commit_key(&self) -> &str {
        &self.commit_key
    }

    /// Fires when the task is to stop: shutdown, time limit, lost lease.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// The run still holds its lease.
    ///
    /// # Errors
    /// Not retryable where it is lost.
    pub async fn check(&self) -> Result<(), WorkError> {
        Ok(self.ledger.check(self.run).await?)
    }
}

/// The name under which a commit may happen once. `since` is the last success before, see the ledger.
pub(crate) fn commit_key(pipeline: &str, task: &str, interval: Interval, since: i64) -> String {
    let (from, to) = (format_micros(interval.from_us(), true), format_micros(interval.to_us(), true));
    format!("{pipeline}/{task}/{from}/{to}/{since}")
}

/// A pipeline: tasks in their order, when they run, and who does them.
#[derive(Clone)]
pub struct Pipeline {
    pub(crate) name: &'static str,
    pub(crate) tasks: Arc<[&'static str]>,
    pub(crate) calendar: Option<Calendar>,
    pub(crate) options: PipelineOptions,
    pub(crate) work: Arc<dyn Work>,
}

impl Pipeline {
    /// The pipeline `name`, with its cron line read in `time_zone`.
    ///
    /// # Errors
    /// A cron line or time zone that does not exist.
    pub fn new(
        name: &'static str,
        tasks: &[&'static str],
        options: PipelineOptions,
        time_zone: &str,
        work: Arc<dyn Work>,
    ) -> Result<Self, CalendarError> {
        let calendar = options.calendar(time_zone)?;
        Ok(Pipeline { name, tasks: tasks.into(), calendar, options, work })
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// In the order in which they run.
    #[must_use]
    pub fn tasks(&self) -> &[&'static str] {
        &self.tasks
    }

    /// When it runs; `None` where it only runs on demand.
    #[must_use]
    pub fn calendar(&self) -> Option<&Calendar> {
        self.calendar.as_ref()
    }

    pub(crate) fn scope(&self) -> Scope {
        match self.options.lock.as_str() {
            "" => Scope::Intervals,
            name => Scope::Named(name.to_owned()),
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.name)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}
