//! The scheduler: keeps every pipeline on its calendar until it is told to stop. Any number of processes
//! may do so on one ledger; which of them runs an interval is decided there.

use crate::calendar::Calendar;
use crate::interval::Interval;
use crate::ledger::{Alert, AlertKind, Ledger, LedgerError, Reason};
use crate::options::ScheduleOptions;
use crate::plan::{Facts, Plan, left_out, plan};
use crate::runner::{Request, RunEnd, RunError, Runner};
use crate::work::Pipeline;
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::metrics_list;
use futures::future::BoxFuture;
use std::collections::HashSet;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "schedule";
/// How often history that is too old is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Why the scheduler cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("schedule.{0}")]
    Options(String),
}

/// Keeps pipelines on their schedules.
#[derive(Debug)]
pub struct ScheduleService {
    runner: Runner,
    pipelines: Vec<Pipeline>,
    health: Health,
}

impl ScheduleService {
    /// Schedules `pipelines` on `ledger`; those without a cron line are left alone.
    ///
    /// # Errors
    /// Options that cannot work.
    pub fn new(
        options: ScheduleOptions,
        ledger: Ledger,
        pipelines: Vec<Pipeline>,
        health: Health,
    ) -> Result<Self, ScheduleError> {
        options.check().map_err(ScheduleError::Options)?;
        Ok(ScheduleService { runner: Runner::new(ledger, options), pipelines, health })
    }

    /// Schedules until `shutdown`; runs under way are then told to stop and waited for. Faults of the
    /// ledger are waited out.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(self.schedule(shutdown))
    }

    async fn schedule(self, shutdown: CancellationToken) {
        self.health.set(ROLE, State::Ready);
        let mut loops = JoinSet::new();
        for pipeline in self.pipelines {
            let Some(calendar) = pipeline.calendar.clone() else { continue };
            let (runner, health) = (self.runner.clone(), self.health.clone());
            let scheduled = Scheduled {
                runner,
                pipeline,
                calendar,
                health,
                under_way: HashSet::new(),
                told: HashSet::new(),
            };
            loops.spawn(scheduled.run(shutdown.clone()));
        }
        loops.spawn(prune(self.runner.clone(), shutdown));
        while loops.join_next().await.is_some() {}
        self.health.set(ROLE, State::Stopped);
    }
}

/// One pipeline on its calendar.
struct Scheduled {
    runner: Runner,
    pipeline: Pipeline,
    calendar: Calendar,
    health: Health,
    /// Intervals that this process runs now.
    under_way: HashSet<Interval>,
    /// Alerts that this process knows to be written down.
    told: HashSet<(AlertKind, Interval)>,
}

impl Scheduled {
    async fn run(mut self, shutdown: CancellationToken) {
        let role = format!("{ROLE} {}", self.pipeline.name);
        let mut runs: JoinSet<(Interval, Result<RunEnd, RunError>)> = JoinSet::new();
        while !shutdown.is_cancelled() {
            let state = match self.round(&mut runs, &shutdown).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::warn!(pipeline = self.pipeline.name, %error, "trying again");
                    State::Degraded(error.to_string())
                }
            };
            self.health.set(&role, state);
            let ran = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = runs.join_next() => self.ended(ended),
                () = tokio::time::sleep(self.pause()) => true,
            };
            if !ran {
                // Another run is in the way, or the ledger is: looking at once would find the same.
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(self.runner.options.poll()) => {}
                }
            }
        }
        while let Some(ended) = runs.join_next().await {
            self.ended(ended);
        }
        self.health.set(&role, State::Stopped);
    }

    /// Looks at calendar and ledger, and starts what is due; with how the pipeline stands.
    async fn round(
        &mut self,
        runs: &mut JoinSet<(Interval, Result<RunEnd, RunError>)>,
        shutdown: &CancellationToken,
    ) -> Result<State, LedgerError> {
        let ledger = self.runner.ledger().clone();
        let now_us = ledger.clock().now_us();
        let Some(newest) = self.calendar.last_ended(now_us) else { return Ok(State::Ready) };
        let name = self.pipeline.name;
        ledger.reap().await?;
        let first_us = ledger.first(name, newest.from_us()).await?;
        let options = self.pipeline.options.clone();
        let intervals = self.calendar.ended(first_us, now_us, options.catchup_max);
        let stands_us = ledger.done_to(name).await?.map_or(first_us, |done| done.max(first_us));
        if let Some(gap) = left_out(stands_us, &intervals) {
            self.alert(
                AlertKind::LeftOut,
                gap,
                &format!(
                    "older than catchup_max = {}; `affluent batch backfill` runs it",
                    options.catchup_max
                ),
            )
            .await;
        }
        if let Some(oldest) = intervals.first() {
            ledger.leave_out_before(name, oldest.from_us()).await?;
        }
        let oldest_us = intervals.first().map_or(now_us, Interval::from_us);
        self.told.retain(|(_, interval)| interval.to_us() >= oldest_us);
        let known = ledger.known(name, oldest_us).await?;
        let plan = plan(&Facts {
            intervals: &intervals,
            known: &known,
            own: &self.under_way,
            now_us,
            run_attempts: self.runner.options.run_attempts,
            rerun_us: i64::try_from(self.runner.options.rerun_s)
                .unwrap_or(i64::MAX / 2)
                .saturating_mul(1_000_000),
            deadline_us: options.deadline_us(),
        });
        self.report(&plan).await;
        // Its first interval may still be to come: then nothing is done yet.
        let done_us = ledger.done_to(name).await?;
        let due_us =
            plan.missed.first().map(|open| open.to_us().saturating_add(options.deadline_us().unwrap_or(0)));
        let seconds = |micros: i64| micros as f64 / 1e6;
        let overdue_us = due_us.map_or(0, |due_us| now_us.saturating_sub(due_us));
        metrics_list::batch_standing(name, done_us.map(seconds), seconds(overdue_us));
        let free = options.runs_max.saturating_sub(runs.len());
        for &interval in plan.start.iter().take(free) {
            self.under_way.insert(interval);
            let (runner, pipeline, shutdown) = (self.runner.clone(), self.pipeline.clone(), shutdown.clone());
            runs.spawn(async move {
                let request = Request {
                    interval,
                    only: None,
                    fresh: false,
                    reason: Reason::Schedule,
                    wait: Duration::ZERO,
                };
                (interval, runner.run(&pipeline, &request, &shutdown).await)
            });
        }
        Ok(match plan.given_up.last() {
            None => State::Ready,
            Some((interval, attempts)) => State::Degraded(format!(
                "{} of {interval} failed {attempts} times; see `affluent batch status`, then `affluent batch run {name}`",
                name
            )),
        })
    }

    async fn report(&mut self, plan: &Plan) {
        for &interval in &plan.missed {
            let detail = format!("not done {} s after its end", self.pipeline.options.deadline_s);
            self.alert(AlertKind::Missed, interval, &detail).await;
        }
        for &(interval, attempts) in &plan.given_up {
            let detail = format!("failed {attempts} times; it is run again on demand only");
            self.alert(AlertKind::GivenUp, interval, &detail).await;
        }
    }

    async fn alert(&mut self, kind: AlertKind, interval: Interval, detail: &str) {
        if !self.told.insert((kind, interval)) {
            return;
        }
        let pipeline = self.pipeline.name;
        let alert = Alert { pipeline, kind, interval, run: None, task: None, detail };
        self.runner.raise(pipeline, alert).await;
    }

    /// A run of this process has come to its end; the ledger knows how, the next round decides. `false`: nothing ran.
    fn ended(&mut self, ended: Result<(Interval, Result<RunEnd, RunError>), tokio::task::JoinError>) -> bool {
        let pipeline = self.pipeline.name;
        match ended {
            Ok((interval, outcome)) => {
                self.under_way.remove(&interval);
                match outcome {
                    Ok(RunEnd::Busy(_) | RunEnd::Done | RunEnd::GivenUp { .. }) => false,
                    Ok(
                        RunEnd::Succeeded { .. }
                        | RunEnd::Skipped { .. }
                        | RunEnd::Failed { .. }
                        | RunEnd::Cancelled { .. }
                        | RunEnd::Lost { .. },
                    ) => true,
                    Err(error) => {
                        tracing::warn!(pipeline, %interval, %error, "run could not be written down");
                        false
                    }
                }
            }
            // The task's own panics are caught; this would be one of ours. The lease of its run runs out.
            Err(error) => {
                tracing::error!(pipeline, %error, "run died");
                self.under_way.clear();
                false
            }
        }
    }

    /// Until the next interval ends, at most the time between two looks at the ledger.
    fn pause(&self) -> Duration {
        let now_us = self.runner.ledger().clock().now_us();
        let next = self.calendar.next_tick(now_us).map_or(i64::MAX, |tick| tick.saturating_sub(now_us));
        self.runner.options.poll().min(Duration::from_micros(u64::try_from(next).unwrap_or(0)))
    }
}

async fn prune(runner: Runner, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match runner.ledger().prune(runner.options.keep(), runner.options.keep_runs).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, "old runs forgotten"),
            Err(error) => tracing::warn!(%error, "old runs could not be forgotten"),
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
    }
}
