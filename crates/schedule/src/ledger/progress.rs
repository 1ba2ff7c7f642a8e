//! What a run reports while it runs and when it ends. Every write asks for the run's lease.

use super::claim::{micros, prefix};
use super::records::RunState;
use super::{Ledger, LedgerError};
use crate::interval::Interval;
use sqlx::{Row as _, Sqlite, Transaction};
use std::time::Duration;

/// An attempt of a task that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskStarted {
    /// Its number in the ledger.
    pub(crate) id: i64,
    /// Number of the attempt that succeeded last for this task and interval, 0 where none has: the same for all
    /// attempts at one result.
    pub(crate) since: i64,
}

/// How an attempt of a task ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskEnd<'a> {
    pub(crate) state: RunState,
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) notes: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

impl Ledger {
    /// An attempt of a task begins.
    pub(crate) async fn task_begins(
        &self,
        run: i64,
        task: &str,
        attempt: u32,
    ) -> Result<TaskStarted, LedgerError> {
        let mut tx = self.write().await?;
        held(&mut tx, run).await?;
        let since: i64 = sqlx::query(
            "SELECT coalesce(max(t.id), 0) FROM task_runs t JOIN runs r ON r.id = t.run_id
             JOIN runs own ON own.id = ? AND own.pipeline = r.pipeline AND own.from_us = r.from_us
                 AND own.to_us = r.to_us
             WHERE t.task = ? AND t.state IN ('succeeded', 'skipped')",
        )
        .bind(run)
        .bind(task)
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
        let id = sqlx::query(
            "INSERT INTO task_runs (run_id, task, attempt, state, started_us) VALUES (?, ?, ?, 'running', ?)",
        )
        .bind(run)
        .bind(task)
        .bind(i64::from(attempt))
        .bind(self.clock.now_us())
        .execute(&mut *tx)
        .await?
        .last_insert_rowid();
        tx.commit().await?;
        Ok(TaskStarted { id, since })
    }

    /// An attempt of a task has ended.
    pub(crate) async fn task_ends(&self, run: i64, id: i64, end: TaskEnd<'_>) -> Result<(), LedgerError> {
        let mut tx = self.write().await?;
        held(&mut tx, run).await?;
        sqlx::query(
            "UPDATE task_runs SET state = ?, ended_us = ?, rows_in = ?, rows_out = ?, notes = ?, error = ?
             WHERE id = ?",
        )
        .bind(end.state.as_str())
        .bind(self.clock.now_us())
        .bind(i64::try_from(end.rows_in).unwrap_or(i64::MAX))
        .bind(i64::try_from(end.rows_out).unwrap_or(i64::MAX))
        .bind(end.notes)
        .bind(end.error)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The run has ended and gives its lease back. Where all of `tasks` are done now, so is the interval.
    pub(crate) async fn run_ends(
        &self,
        run: i64,
        (pipeline, interval): (&str, Interval),
        tasks: &[&str],
        state: RunState,
        error: Option<&str>,
    ) -> Result<(), LedgerError> {
        let now = self.clock.now_us();
        let mut tx = self.write().await?;
        held(&mut tx, run).await?;
        sqlx::query("DELETE FROM leases WHERE run_id = ?").bind(run).execute(&mut *tx).await?;
        sqlx::query("UPDATE runs SET state = ?, ended_us = ?, error = ? WHERE id = ?")
            .bind(state.as_str())
            .bind(now)
            .bind(error)
            .bind(run)
            .execute(&mut *tx)
            .await?;
        if prefix(&mut tx, pipeline, interval, tasks).await? == tasks.len() {
            sqlx::query("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?)")
                .bind(pipeline)
                .bind(interval.from_us())
                .bind(interval.to_us())
                .bind(run)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets runs and alerts that ended longer ago than `keep`, and of the rest all but the newest
    /// `keep_runs`; how many runs. What is forgotten is not due again.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn prune(&self, keep: Duration, keep_runs: u32) -> Result<u64, LedgerError> {
        let before = self.clock.now_us().saturating_sub(micros(keep));
        let mut tx = self.write().await?;
        let gone = sqlx::query(
            "DELETE FROM runs WHERE state <> 'running' AND (ended_us < ?
                 OR id <= coalesce((SELECT id FROM runs ORDER BY id DESC LIMIT 1 OFFSET ?), 0))",
        )
        .bind(before)
        .bind(i64::from(keep_runs))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        for statement in [
            "DELETE FROM task_runs WHERE run_id NOT IN (SELECT id FROM runs)",
            // The schedule looks back no further than the newest interval that is forgotten.
            "UPDATE pipelines SET first_us = max(first_us, coalesce((SELECT max(to_us) FROM done
                 WHERE done.pipeline = pipelines.pipeline AND run_id NOT IN (SELECT id FROM runs)), first_us))",
            "DELETE FROM done WHERE run_id NOT IN (SELECT id FROM runs)
                 AND to_us < (SELECT max(to_us) FROM done d WHERE d.pipeline = done.pipeline)",
        ] {
            sqlx::query(statement).execute(&mut *tx).await?;
        }
        sqlx::query("DELETE FROM alerts WHERE at_us < ?").bind(before).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// Refuses a run whose lease is gone.
async fn held(tx: &mut Transaction<'_, Sqlite>, run: i64) -> Result<(), LedgerError> {
    let found =
        sqlx::query("SELECT 1 FROM leases WHERE run_id = ?").bind(run).fetch_optional(&mut **tx).await?;
    found.map(|_| ()).ok_or(LedgerError::Lost { run })
}
