//! Questions to the ledger: what the scheduler needs to know of intervals, and what a person wants to see.

use super::records::{self, AlertRecord, RUN_COLUMNS, Reason, RunRecord, RunState};
use super::{Ledger, LedgerError};
use crate::interval::Interval;
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::Row as _;
use std::collections::HashMap;

/// What the ledger knows of the intervals of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// What is done, the oldest first.
    pub done: Vec<Interval>,
    /// Intervals that runs were about.
    pub runs: HashMap<Interval, Seen>,
}

/// What became of the runs of one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub running: bool,
    /// Runs by schedule that failed or were lost since one succeeded.
    pub failed: u32,
    /// When the last of these ended, microseconds since the epoch.
    pub failed_us: Option<i64>,
}

/// Which runs are wanted; the newest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Of one pipeline; else of all.
    pub pipeline: Option<String>,
    /// In this state; else in any.
    pub state: Option<RunState>,
    /// Whose intervals overlap this one.
    pub within: Option<Interval>,
    /// At most so many.
    pub limit: u32,
}

/// Everything that `affluent batch status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The ledger's time of this answer, microseconds since the epoch.
    pub at_us: i64,
    pub pipelines: Vec<PipelineStatus>,
    /// The newest alerts first.
    pub alerts: Vec<AlertRecord>,
}

/// Where one pipeline stands. Times in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PipelineStatus {
    pub pipeline: String,
    /// The newest interval that is done: its end is how fresh the results are.
    pub newest_done: Option<Interval>,
    /// When an interval was finished last.
    pub done_at_us: Option<i64>,
    /// Runs under way, with their tasks.
    pub running: Vec<RunRecord>,
    /// The last run that has ended, with its tasks.
    pub last: Option<RunRecord>,
    /// The last run that failed or was lost, where its interval is not done since.
    pub open_failure: Option<RunRecord>,
    pub runs: u64,
    pub intervals_done: u64,
}

impl Ledger {
    /// The start of the first interval that the schedule of `pipeline` is to run, where `newest_us` is that of the
    /// newest one: this itself where it was never asked for before. One that is still to come was set before the clock
    /// went back, and gives way too.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn first(&self, pipeline: &str, newest_us: i64) -> Result<i64, LedgerError> {
        let known = sqlx::query("SELECT first_us FROM pipelines WHERE pipeline = ?").bind(pipeline);
        if let Some(row) = known.fetch_optional(&self.pool).await? {
            let first_us: i64 = row.try_get(0)?;
            if first_us <= newest_us {
                return Ok(first_us);
            }
        }
        let row = sqlx::query(
            "INSERT INTO pipelines VALUES (?, ?)
             ON CONFLICT (pipeline) DO UPDATE SET first_us = min(first_us, excluded.first_us) RETURNING first_us",
        )
        .bind(pipeline)
        .bind(newest_us)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// The schedule of `pipeline` runs nothing that begins before `first_us` any more.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn leave_out_before(&self, pipeline: &str, first_us: i64) -> Result<(), LedgerError> {
        sqlx::query("UPDATE pipelines SET first_us = ?1 WHERE pipeline = ?2 AND first_us < ?1")
            .bind(first_us)
            .bind(pipeline)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The end of the newest interval of `pipeline` that is done, microseconds since the epoch.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn done_to(&self, pipeline: &str) -> Result<Option<i64>, LedgerError> {
        let row = sqlx::query("SELECT max(to_us) FROM done WHERE pipeline = ?").bind(pipeline);
        Ok(row.fetch_one(&self.pool).await?.try_get(0)?)
    }

    /// What is known of the intervals of `pipeline` from `since_us` on.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn known(&self, pipeline: &str, since_us: i64) -> Result<Known, LedgerError> {
        let mut known = Known::default();
        let mut tx = self.pool.begin().await?;
        let runs = sqlx::query(
            "SELECT from_us, to_us, state, reason, ended_us FROM runs
             WHERE pipeline = ? AND from_us >= ? ORDER BY id",
        )
        .bind(pipeline)
        .bind(since_us)
        .fetch_all(&mut *tx)
        .await?;
        for row in &runs {
            let seen = known.runs.entry(records::interval(row)?).or_default();
            let scheduled = row.try_get::<&str, _>("reason")? == Reason::Schedule.as_str();
            match RunState::parse(row.try_get("state")?)? {
                RunState::Running => seen.running = true,
                RunState::Succeeded | RunState::Skipped => (seen.failed, seen.failed_us) = (0, None),
                RunState::Failed | RunState::Lost if scheduled => {
                    seen.failed += 1;
                    seen.failed_us = row.try_get("ended_us")?;
                }
                RunState::Failed | RunState::Lost | RunState::Cancelled => {}
            }
        }
        let done =
            sqlx::query("SELECT from_us, to_us FROM done WHERE pipeline = ? AND to_us > ? ORDER BY from_us")
                .bind(pipeline)
                .bind(since_us)
                .fetch_all(&mut *tx)
                .await?;
        known.done = done.iter().map(records::interval).collect::<Result<_, _>>()?;
        Ok(known)
    }

    /// Runs with their tasks, the newest first.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn history(&self, wanted: &History) -> Result<Vec<RunRecord>, LedgerError> {
        let (from, to) =
            wanted.within.map_or((i64::MIN, i64::MAX), |within| (within.from_us(), within.to_us()));
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs WHERE (?1 IS NULL OR pipeline = ?1) AND (?2 IS NULL OR state = ?2)
                 AND from_us < ?4 AND to_us > ?3 ORDER BY id DESC LIMIT ?5"
        );
        let rows = sqlx::query(&sql)
            .bind(wanted.pipeline.as_deref())
            .bind(wanted.state.map(RunState::as_str))
            .bind(from)
            .bind(to)
            .bind(i64::from(wanted.limit))
            .fetch_all(&self.pool)
            .await?;
        let mut runs = rows.iter().map(records::run).collect::<Result<Vec<_>, _>>()?;
        for run in &mut runs {
            let tasks = sqlx::query("SELECT * FROM task_runs WHERE run_id = ? ORDER BY id").bind(run.id);
            let tasks = tasks.fetch_all(&self.pool).await?;
            run.tasks = tasks.iter().map(records::task).collect::<Result<_, _>>()?;
        }
        Ok(runs)
    }

    /// The newest alerts first, at most `limit`.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn alerts(&self, limit: u32) -> Result<Vec<AlertRecord>, LedgerError> {
        let rows = sqlx::query("SELECT * FROM alerts ORDER BY id DESC LIMIT ?").bind(i64::from(limit));
        rows.fetch_all(&self.pool).await?.iter().map(records::alert).collect()
    }

    /// Where every pipeline stands that the ledger has heard of, with at most `alerts` alerts.
    ///
    /// # Errors
    /// Faults of the database.
    pub fn status(&self, alerts: u32) -> BoxFuture<'_, Result<Status, LedgerError>> {
        Box::pin(self.read_status(alerts))
    }

    async fn read_status(&self, alerts: u32) -> Result<Status, LedgerError> {
        let names = sqlx::query("SELECT pipeline FROM pipelines UNION SELECT pipeline FROM runs ORDER BY 1");
        let names = names.fetch_all(&self.pool).await?;
        let mut pipelines = Vec::with_capacity(names.len());
        for name in &names {
            pipelines.push(self.pipeline_status(name.try_get(0)?).await?);
        }
        Ok(Status { at_us: self.clock.now_us(), pipelines, alerts: self.alerts(alerts).await? })
    }

    async fn pipeline_status(&self, pipeline: &str) -> Result<PipelineStatus, LedgerError> {
        let newest =
            sqlx::query("SELECT from_us, to_us FROM done WHERE pipeline = ? ORDER BY to_us DESC LIMIT 1");
        let newest = newest.bind(pipeline).fetch_optional(&self.pool).await?;
        let counts = sqlx::query(
            "SELECT (SELECT count(*) FROM runs WHERE pipeline = ?1) AS runs, count(*) AS done, max(at_us) AS done_at
             FROM done WHERE pipeline = ?1",
        )
        .bind(pipeline)
        .fetch_one(&self.pool)
        .await?;
        let wanted =
            |state, limit| History { pipeline: Some(pipeline.to_owned()), state, within: None, limit };
        let ended = "SELECT max(id) FROM runs WHERE pipeline = ? AND state <> 'running'";
        let failed = "SELECT max(r.id) FROM runs r WHERE r.pipeline = ? AND r.state IN ('failed', 'lost')
             AND NOT EXISTS (SELECT 1 FROM done d WHERE d.pipeline = r.pipeline AND d.from_us = r.from_us
                 AND d.to_us = r.to_us)";
        Ok(PipelineStatus {
            pipeline: pipeline.to_owned(),
            newest_done: newest.as_ref().map(records::interval).transpose()?,
            done_at_us: counts.try_get("done_at")?,
            running: self.history(&wanted(Some(RunState::Running), 100)).await?,
            last: self.one(ended, pipeline).await?,
            open_failure: self.one(failed, pipeline).await?,
            runs: u64::try_from(counts.try_get::<i64, _>("runs")?).unwrap_or(0),
            intervals_done: u64::try_from(counts.try_get::<i64, _>("done")?).unwrap_or(0),
        })
    }

    /// The run whose number `sql` finds for a pipeline.
    async fn one(&self, sql: &str, pipeline: &str) -> Result<Option<RunRecord>, LedgerError> {
        let id: Option<i64> = sqlx::query(sql).bind(pipeline).fetch_one(&self.pool).await?.try_get(0)?;
        let Some(id) = id else { return Ok(None) };
        self.run(id).await
    }

    /// The run of this number with its tasks.
    ///
    /// # Errors
    /// Faults of the database.
    pub fn run(&self, id: i64) -> BoxFuture<'_, Result<Option<RunRecord>, LedgerError>> {
        Box::pin(self.read_run(id))
    }

    async fn read_run(&self, id: i64) -> Result<Option<RunRecord>, LedgerError> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE id = ?");
        let Some(row) = sqlx::query(&sql).bind(id).fetch_optional(&self.pool).await? else { return Ok(None) };
        let mut run = records::run(&row)?;
        let tasks = sqlx::query("SELECT * FROM task_runs WHERE run_id = ? ORDER BY id").bind(id);
        run.tasks = tasks.fetch_all(&self.pool).await?.iter().map(records::task).collect::<Result<_, _>>()?;
        Ok(Some(run))
    }
}
