//! Runs the tasks of one interval in their order: claims the interval, keeps the lease, tries each task as
//! often as it may be tried, and writes down how it went.
//!
//! Invariant: a run that has lost its lease writes nothing more, starts nothing more and ends as lost.

use crate::attempt::{Ended, Stop, Timers, attempt};
use crate::interval::Interval;
use crate::ledger::{Alert, AlertKind, Begun, Claim, Holder, Ledger, LedgerError, Reason, RunState, Started};
use crate::options::ScheduleOptions;
use crate::progress::{self, TaskReport};
use crate::retry::{Next, Retry};
use crate::work::{Outcome, Pipeline, RunContext, commit_key};
use affluent_telemetry::{failpoint, metrics_list};
use futures::future::BoxFuture;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Request {
    pub interval: Interval,
    /// One task alone, whatever is done already; else all that is not done.
    pub only: Option<String>,
    /// All tasks, whatever is done already.
    pub fresh: bool,
    pub reason: Reason,
    /// Waits so long for a run that is in the way.
    pub wait: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunEnd {
    Succeeded {
        run: i64,
    },
    /// Every task found nothing to do.
    Skipped {
        run: i64,
    },
    /// The interval was done before.
    Done,
    /// Another run is at it.
    Busy(Holder),
    /// It has failed as often as it may by schedule.
    GivenUp {
        attempts: u32,
    },
    Failed {
        run: i64,
        task: String,
        error: String,
    },
    /// Told to stop before the end.
    Cancelled {
        run: i64,
    },
    /// The lease went to another process, or could not be renewed.
    Lost {
        run: i64,
    },
}

/// Why a run could not even be tried, or its outcome not be written down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{pipeline} has no task `{task}`; it has {known}")]
    Task { pipeline: &'static str, task: String, known: String },
}

/// Runs pipelines on one ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runner {
    pub(crate) ledger: Ledger,
    pub(crate) options: ScheduleOptions,
}

/// How a task ended, after all its attempts.
enum TaskEnd {
    Done(Outcome),
    Failed(String),
    Cancelled,
    Lost,
}

impl Runner {
    /// A runner on `ledger`.
    #[must_use]
    pub fn new(ledger: Ledger, options: ScheduleOptions) -> Self {
        Runner { ledger, options }
    }

    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Runs what is requested, until it is done, has failed, or `shutdown`.
    ///
    /// # Errors
    /// Faults of the ledger, and a task that the pipeline does not have. The failure of a task is no
    /// error: see [`RunEnd`].
    pub fn run<'a>(
        &'a self,
        pipeline: &'a Pipeline,
        request: &'a Request,
        shutdown: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<RunEnd, RunError>> {
        Box::pin(self.run_request(pipeline, request, shutdown))
    }

    async fn run_request(
        &self,
        pipeline: &Pipeline,
        request: &Request,
        shutdown: &CancellationToken,
    ) -> Result<RunEnd, RunError> {
        if let Some(task) = &request.only
            && !pipeline.tasks.contains(&task.as_str())
        {
            let known = pipeline.tasks.join(", ");
            return Err(RunError::Task { pipeline: pipeline.name, task: task.clone(), known });
        }
        let started = match self.claim(pipeline, request, shutdown).await? {
            Begun::Started(started) => started,
            Begun::Busy(holder) => return Ok(RunEnd::Busy(holder)),
            Begun::Done => return Ok(RunEnd::Done),
            Begun::GivenUp { attempts } => return Ok(RunEnd::GivenUp { attempts }),
        };
        let begun = Instant::now();
        progress::run_began(pipeline, request, &started);
        let lost = CancellationToken::new();
        let keeper = self.keep_lease(started.run, lost.clone());
        let stop = Stop { shutdown: shutdown.clone(), lost };
        let end = self.tasks(pipeline, request, &started, &stop).await;
        let end = match end {
            Ok(end) => self.write_end(pipeline, request.interval, end).await,
            Err(error) => Err(error),
        };
        drop(keeper);
        let end = match end {
            Err(LedgerError::Lost { run }) => RunEnd::Lost { run },
            other => other?,
        };
        progress::run_ended(pipeline, request.interval, &end, begun.elapsed());
        Ok(end)
    }

    /// Takes the interval, waiting for a run that is in the way as long as the request allows.
    async fn claim(
        &self,
        pipeline: &Pipeline,
        request: &Request,
        shutdown: &CancellationToken,
    ) -> Result<Begun, RunError> {
        let scope = pipeline.scope();
        let claim = Claim {
            pipeline: pipeline.name,
            scope: &scope,
            interval: request.interval,
            tasks: &pipeline.tasks,
            only: request.only.as_deref(),
            fresh: request.fresh,
            reason: request.reason,
            attempts_max: self.options.run_attempts,
            lease: Duration::from_secs(self.options.lease_s),
        };
        let until = Instant::now() + request.wait;
        loop {
            let begun = self.ledger.begin(&claim).await?;
            let waits = matches!(begun, Begun::Busy(_)) && Instant::now() < until && !shutdown.is_cancelled();
            if !waits {
                return Ok(begun);
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(self.options.poll()) => {}
            }
        }
    }

    /// The tasks that are to be run, one after the other.
    async fn tasks(
        &self,
        pipeline: &Pipeline,
        request: &Request,
        started: &Started,
        stop: &Stop,
    ) -> Result<RunEnd, LedgerError> {
        let run = started.run;
        let last = if request.only.is_some() { started.first + 1 } else { pipeline.tasks.len() };
        let mut skipped = true;
        for task in &pipeline.tasks[started.first..last] {
            match self.task(pipeline, task, request.interval, run, stop).await? {
                TaskEnd::Done(outcome) => skipped &= outcome.skipped,
                TaskEnd::Failed(error) => return Ok(RunEnd::Failed { run, task: (*task).to_owned(), error }),
                TaskEnd::Cancelled => return Ok(RunEnd::Cancelled { run }),
                TaskEnd::Lost => return Ok(RunEnd::Lost { run }),
            }
        }
        Ok(if skipped { RunEnd::Skipped { run } } else { RunEnd::Succeeded { run } })
    }

    /// One task, with all its attempts.
    async fn task(
        &self,
        pipeline: &Pipeline,
        task: &'static str,
        interval: Interval,
        run: i64,
        stop: &Stop,
    ) -> Result<TaskEnd, LedgerError> {
        let retry = Retry {
            attempts: self.options.task_attempts,
            first: Duration::from_millis(self.options.retry_first_ms),
            max: Duration::from_millis(self.options.retry_max_ms),
        };
        for number in 1.. {
            if stop.shutdown.is_cancelled() {
                return Ok(TaskEnd::Cancelled);
            }
            let (ended, report) = self.attempt(pipeline, task, interval, (run, number), stop).await?;
            let (error, retryable) = match ended {
                Ended::Done(outcome) => return Ok(TaskEnd::Done(outcome)),
                Ended::Cancelled => return Ok(TaskEnd::Cancelled),
                Ended::Lost => return Ok(TaskEnd::Lost),
                Ended::Overran => (report.error.unwrap_or_default(), true),
                Ended::Failed(error) => (error.message, error.retryable),
            };
            match retry.after(number, retryable, rand::random()) {
                Next::Fail => return Ok(TaskEnd::Failed(error)),
                Next::Again { after } => tokio::select! {
                    () = stop.lost.cancelled() => return Ok(TaskEnd::Lost),
                    () = stop.shutdown.cancelled() => return Ok(TaskEnd::Cancelled),
                    () = tokio::time::sleep(after) => {}
                },
            }
        }
        Ok(TaskEnd::Cancelled)
    }

    /// One attempt, from its first line in the ledger to its last.
    async fn attempt(
        &self,
        pipeline: &Pipeline,
        task: &'static str,
        interval: Interval,
        (run, number): (i64, u32),
        stop: &Stop,
    ) -> Result<(Ended, TaskReport), LedgerError> {
        let row = self.ledger.task_begins(run, task, number).await?;
        failpoint("schedule::task_after_begin");
        let cancelled = CancellationToken::new();
        let context = RunContext {
            run,
            attempt: number,
            commit_key: commit_key(pipeline.name, task, interval, row.since),
            cancelled: cancelled.clone(),
            ledger: self.ledger.clone(),
        };
        let grace = Duration::from_millis(self.options.stop_grace_ms);
        let timers = Timers {
            slow: passed(pipeline.options.task_slow()),
            hard: passed(Some(pipeline.options.task_limit())),
            grace: passed(Some(grace)),
        };
        let begun = Instant::now();
        let work = pipeline.work.run(task, interval, &context);
        let ended =
            attempt(work, &cancelled, timers, stop, || self.slow(pipeline, task, interval, run)).await;
        let report = TaskReport::of(&ended, pipeline);
        progress::task_ended(pipeline, task, interval, (run, number), &report, begun.elapsed());
        failpoint("schedule::task_before_end");
        if ended != Ended::Lost {
            self.ledger.task_ends(run, row.id, report.as_end()).await?;
            failpoint("schedule::task_after_end");
        }
        Ok((ended, report))
    }

    async fn slow(&self, pipeline: &Pipeline, task: &'static str, interval: Interval, run: i64) {
        let detail = format!("{task} takes longer than {} s", pipeline.options.task_slow_s);
        let alert = Alert {
            pipeline: pipeline.name,
            kind: AlertKind::Slow,
            interval,
            run: Some(run),
            task: Some(task),
            detail: &detail,
        };
        self.raise(pipeline.name, alert).await;
    }

    /// Writes the alert down and, where it is new, says and counts it. The ledger's own faults are only said.
    pub(crate) async fn raise(&self, pipeline: &'static str, alert: Alert<'_>) {
        let new = match self.ledger.alert(alert).await {
            Ok(new) => new,
            Err(error) => {
                tracing::warn!(%error, "alert could not be written down");
                true
            }
        };
        if new {
            let (kind, detail) = (alert.kind.as_str(), alert.detail);
            tracing::warn!(pipeline, kind, interval = %alert.interval, run = alert.run, detail, "batch alert");
            metrics_list::batch_alert(pipeline, kind);
        }
    }

    async fn write_end(
        &self,
        pipeline: &Pipeline,
        interval: Interval,
        end: RunEnd,
    ) -> Result<RunEnd, LedgerError> {
        let (run, state, error) = match &end {
            RunEnd::Succeeded { run } => (*run, RunState::Succeeded, None),
            RunEnd::Skipped { run } => (*run, RunState::Skipped, None),
            RunEnd::Failed { run, task, error } => (*run, RunState::Failed, Some(format!("{task}: {error}"))),
            RunEnd::Cancelled { run } => (*run, RunState::Cancelled, Some("told to stop".to_owned())),
            RunEnd::Done | RunEnd::Busy(_) | RunEnd::GivenUp { .. } | RunEnd::Lost { .. } => return Ok(end),
        };
        failpoint("schedule::run_before_end");
        let tasks = &pipeline.tasks;
        self.ledger.run_ends(run, (pipeline.name, interval), tasks, state, error.as_deref()).await?;
        failpoint("schedule::run_after_end");
        Ok(end)
    }

    /// Renews the lease until the guard is dropped; fires `lost` when it is gone, or when it was not
    /// renewed for as long as it lasts.
    fn keep_lease(&self, run: i64, lost: CancellationToken) -> DropGuard {
        let (ledger, lease) = (self.ledger.clone(), Duration::from_secs(self.options.lease_s));
        let enough = CancellationToken::new();
        let done = enough.clone();
        tokio::spawn(async move {
            let mut renewed = Instant::now();
            loop {
                tokio::select! {
                    () = done.cancelled() => return,
                    () = tokio::time::sleep(lease / 3) => {}
                }
                let asked = Instant::now();
                match ledger.renew(run).await {
                    Ok(true) => renewed = asked,
                    Ok(false) => break,
                    Err(error) if renewed.elapsed() < lease => {
                        tracing::warn!(run, %error, "lease not renewed, trying again");
                    }
                    Err(error) => {
                        tracing::warn!(run, %error, "lease not renewed in time");
                        break;
                    }
                }
            }
            tracing::warn!(run, "lease lost, stopping the run");
            lost.cancel();
        });
        enough.drop_guard()
    }
}

/// Ends once so much time has passed from when it is first waited for; never where there is no limit.
async fn passed(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
