//! Taking an interval, keeping it, losing it: leases.
//!
//! A lease is a row that names its run. The run's number grows with every run ever started and so is the
//! fencing token. Clocks decide only when a lease may be taken from a silent process, never whether a run
//! may still write: that is whether its row is there. A clock that jumps back cannot bring a row back, and
//! keeps a dead process's interval no longer than one lease: no lease may have more to live than its length.

use super::records::{self, Reason};
use super::{Ledger, LedgerError};
use crate::interval::Interval;
use crate::resume::done_prefix;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, Transaction};
use std::time::Duration;

/// Which runs exclude one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Runs of one pipeline whose intervals overlap.
    Intervals,
    /// All runs of all pipelines that give this name, and the former.
    Named(String),
}

/// What a run wants to do.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    pub pipeline: &'a str,
    pub scope: &'a Scope,
    pub interval: Interval,
    /// Every task of the pipeline, in its order.
    pub tasks: &'a [&'a str],
    /// Only this one, whatever is done already.
    pub only: Option<&'a str>,
    /// All tasks, whatever is done already.
    pub fresh: bool,
    pub reason: Reason,
    /// A run by schedule is refused once so many of them have failed or were lost.
    pub attempts_max: u32,
    /// The lease runs out when it was not renewed for so long.
    pub lease: Duration,
}

/// The answer to a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    Started(Started),
    /// Another run is at it.
    Busy(Holder),
    /// The interval is done, and nothing was asked to be done again.
    Done,
    /// It has failed as often as it may.
    GivenUp {
        attempts: u32,
    },
}

/// A run that has its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Number of the run, and its fencing token.
    pub run: i64,
    /// The how manieth run of the interval it is.
    pub attempt: u32,
    /// Index of the first task to run; those before it are done. For a single task its own.
    pub first: usize,
}

/// The run that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub run: i64,
    pub pipeline: String,
    pub interval: Interval,
    pub host: String,
    pub pid: u32,
    /// Its lease runs out then unless it is renewed, microseconds since the epoch.
    pub expires_us: i64,
}

impl Ledger {
    /// Takes the interval and starts a run of it, in one transaction. Runs in the way whose lease has
    /// run out become lost.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn begin(&self, claim: &Claim<'_>) -> Result<Begun, LedgerError> {
        let now = self.clock.now_us();
        let mut tx = self.write().await?;
        reap(&mut tx, now).await?;
        let begun = self.begin_in(&mut tx, claim, now).await?;
        tx.commit().await?;
        Ok(begun)
    }

    async fn begin_in(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        claim: &Claim<'_>,
        now: i64,
    ) -> Result<Begun, LedgerError> {
        if let Some(holder) = holder(tx, claim).await? {
            return Ok(Begun::Busy(holder));
        }
        let (pipeline, from, to) = (claim.pipeline, claim.interval.from_us(), claim.interval.to_us());
        let only = claim.only.and_then(|only| claim.tasks.iter().position(|task| *task == only));
        let fresh = claim.fresh && only.is_none();
        let done = prefix(tx, claim.pipeline, claim.interval, claim.tasks).await?;
        if only.is_none() && !fresh && done == claim.tasks.len() {
            // Of a run that did the last task and died before it could say that it was the last.
            sqlx::query(
                "INSERT OR IGNORE INTO done SELECT ?1, ?2, ?3, max(id), ?4 FROM runs
                 WHERE pipeline = ?1 AND from_us = ?2 AND to_us = ?3",
            )
            .bind(pipeline)
            .bind(from)
            .bind(to)
            .bind(now)
            .execute(&mut **tx)
            .await?;
            return Ok(Begun::Done);
        }
        let counts = sqlx::query(
            "SELECT count(*) AS total, count(*) FILTER (WHERE reason = 'schedule' AND state IN ('failed', 'lost')
                 AND id > coalesce((SELECT max(id) FROM runs WHERE pipeline = ?1 AND from_us = ?2 AND to_us = ?3
                     AND state IN ('succeeded', 'skipped')), 0)) AS failed
             FROM runs WHERE pipeline = ?1 AND from_us = ?2 AND to_us = ?3",
        )
        .bind(pipeline)
        .bind(from)
        .bind(to)
        .fetch_one(&mut **tx)
        .await?;
        let failed = u32::try_from(counts.try_get::<i64, _>("failed")?).unwrap_or(u32::MAX);
        if claim.reason == Reason::Schedule && failed >= claim.attempts_max {
            return Ok(Begun::GivenUp { attempts: failed });
        }
        let attempt = u32::try_from(counts.try_get::<i64, _>("total")?).unwrap_or(u32::MAX).saturating_add(1);
        let run = sqlx::query(
            "INSERT INTO runs (pipeline, from_us, to_us, reason, fresh, only_task, attempt, state, started_us, host, pid)
             VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?, ?, ?)",
        )
        .bind(pipeline)
        .bind(from)
        .bind(to)
        .bind(claim.reason.as_str())
        .bind(i64::from(fresh))
        .bind(claim.only)
        .bind(i64::from(attempt))
        .bind(now)
        .bind(&*self.host)
        .bind(i64::from(std::process::id()))
        .execute(&mut **tx)
        .await?
        .last_insert_rowid();
        let (scope, range) = scope_of(claim);
        let length = micros(claim.lease);
        sqlx::query("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?)")
            .bind(run)
            .bind(scope)
            .bind(range.0)
            .bind(range.1)
            .bind(length)
            .bind(now.saturating_add(length))
            .execute(&mut **tx)
            .await?;
        // What is done again is not done until then.
        sqlx::query("DELETE FROM done WHERE pipeline = ? AND from_us = ? AND to_us = ?")
            .bind(pipeline)
            .bind(from)
            .bind(to)
            .execute(&mut **tx)
            .await?;
        let first = only.unwrap_or(if fresh { 0 } else { done });
        Ok(Begun::Started(Started { run, attempt, first }))
    }

    /// Gives the run's lease its full length again. `false`: it is gone.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn renew(&self, run: i64) -> Result<bool, LedgerError> {
        let renewed = sqlx::query("UPDATE leases SET expires_us = ? + length_us WHERE run_id = ?")
            .bind(self.clock.now_us())
            .bind(run)
            .execute(&self.pool)
            .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// The run still has its lease. Ask right before a commit; the commit carries the run's number too,
    /// since what is true now may not be a moment later.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], and faults of the database.
    pub async fn check(&self, run: i64) -> Result<(), LedgerError> {
        let found = sqlx::query("SELECT 1 FROM leases WHERE run_id = ?").bind(run).fetch_optional(&self.pool);
        found.await?.map(|_| ()).ok_or(LedgerError::Lost { run })
    }

    /// Marks as lost what has run out; how many runs that were.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn reap(&self) -> Result<u64, LedgerError> {
        let mut tx = self.write().await?;
        let reaped = reap(&mut tx, self.clock.now_us()).await?;
        tx.commit().await?;
        Ok(reaped)
    }
}

/// How many tasks of the interval are done, in order.
pub(super) async fn prefix(
    tx: &mut Transaction<'_, Sqlite>,
    pipeline: &str,
    interval: Interval,
    tasks: &[&str],
) -> Result<usize, LedgerError> {
    let rows = sqlx::query(
        "SELECT t.task FROM task_runs t JOIN runs r ON r.id = t.run_id
         WHERE r.pipeline = ?1 AND r.from_us = ?2 AND r.to_us = ?3 AND t.state IN ('succeeded', 'skipped')
             AND r.id >= coalesce((SELECT max(id) FROM runs
                 WHERE pipeline = ?1 AND from_us = ?2 AND to_us = ?3 AND fresh = 1), 0)
         ORDER BY t.id",
    )
    .bind(pipeline)
    .bind(interval.from_us())
    .bind(interval.to_us())
    .fetch_all(&mut **tx)
    .await?;
    let successes = rows.iter().map(|row| row.try_get("task")).collect::<Result<Vec<String>, _>>()?;
    Ok(done_prefix(tasks, &successes))
}

/// Takes the leases that have run out away from their runs. Leases with more to live than their length
/// were given before the clock went back: they get their length.
async fn reap(tx: &mut Transaction<'_, Sqlite>, now: i64) -> Result<u64, LedgerError> {
    sqlx::query("UPDATE leases SET expires_us = ?1 + length_us WHERE expires_us > ?1 + length_us")
        .bind(now)
        .execute(&mut **tx)
        .await?;
    let expired = sqlx::query("DELETE FROM leases WHERE expires_us <= ? RETURNING run_id")
        .bind(now)
        .fetch_all(&mut **tx)
        .await?;
    for row in &expired {
        let run: i64 = row.try_get(0)?;
        sqlx::query(
            "UPDATE task_runs SET state = 'lost', ended_us = ? WHERE run_id = ? AND state = 'running'",
        )
        .bind(now)
        .bind(run)
        .execute(&mut **tx)
        .await?;
        sqlx::query(
            "UPDATE runs SET state = 'lost', ended_us = ?, error = 'its process renewed the lease no more'
             WHERE id = ? AND state = 'running'",
        )
        .bind(now)
        .bind(run)
        .execute(&mut **tx)
        .await?;
    }
    Ok(expired.len() as u64)
}

/// The run whose lease excludes the claim: of the same scope, or of the same pipeline and time under another one.
async fn holder(tx: &mut Transaction<'_, Sqlite>, claim: &Claim<'_>) -> Result<Option<Holder>, LedgerError> {
    let (scope, (from, to)) = scope_of(claim);
    let row = sqlx::query(
        "SELECT r.id, r.pipeline, r.from_us, r.to_us, r.host, r.pid, l.expires_us
         FROM leases l JOIN runs r ON r.id = l.run_id
         WHERE (l.scope = ?1 AND l.from_us < ?2 AND l.to_us > ?3)
             OR (r.pipeline = ?4 AND r.from_us < ?5 AND r.to_us > ?6) ORDER BY l.run_id LIMIT 1",
    )
    .bind(scope)
    .bind(to)
    .bind(from)
    .bind(claim.pipeline)
    .bind(claim.interval.to_us())
    .bind(claim.interval.from_us())
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(read_holder).transpose()
}

fn read_holder(row: &SqliteRow) -> Result<Holder, LedgerError> {
    Ok(Holder {
        run: row.try_get("id")?,
        pipeline: row.try_get("pipeline")?,
        interval: records::interval(row)?,
        host: row.try_get("host")?,
        pid: records::number(row, "pid")?,
        expires_us: row.try_get("expires_us")?,
    })
}

/// The name under which a claim excludes others, and for which times.
fn scope_of(claim: &Claim<'_>) -> (String, (i64, i64)) {
    match claim.scope {
        Scope::Intervals => {
            (format!("intervals of {}", claim.pipeline), (claim.interval.from_us(), claim.interval.to_us()))
        }
        Scope::Named(name) => (format!("all of {name}"), (i64::MIN, i64::MAX)),
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
