//! The run ledger: which intervals were run, by whom, how it ended, and who may run now. SQLite, shared
//! by any number of processes of one machine.
//!
//! Here lie opening it and its tables; taking and keeping an interval in `claim`, what a run reports in
//! `progress`, questions in `history` and `days`, upkeep in `alerts`. Times are microseconds since the epoch, UTC.
//!
//! Invariant: what a run writes is refused once its lease is gone, whatever any clock shows: a lease is
//! taken away by deleting its row, and every write of a run asks for that row in the same transaction.

mod alerts;
mod claim;
mod days;
mod history;
#[cfg(test)]
mod interleavings;
mod progress;
mod records;

pub use alerts::Alert;
pub use claim::{Begun, Claim, Holder, Scope, Started};
pub use days::DayCount;
pub use history::{History, Known, PipelineStatus, Seen, Status};
pub(crate) use progress::TaskEnd;
pub use records::{AlertKind, AlertRecord, Reason, RunRecord, RunState, TaskRecord};

use affluent_model::time::now_micros;
use futures::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, Transaction};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Two processes that make the same new file at once: one of them may have to look again.
const OPEN_ATTEMPTS: u32 = 20;
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// The layout below; a ledger of a higher number was made by a newer version.
const LAYOUT: i64 = 2;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, from_us INTEGER NOT NULL, to_us INTEGER NOT NULL,
    reason TEXT NOT NULL, fresh INTEGER NOT NULL, only_task TEXT, attempt INTEGER NOT NULL, state TEXT NOT NULL,
    started_us INTEGER NOT NULL, ended_us INTEGER, error TEXT, host TEXT NOT NULL, pid INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS runs_of_interval ON runs (pipeline, from_us, to_us);
CREATE TABLE IF NOT EXISTS task_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL, task TEXT NOT NULL, attempt INTEGER NOT NULL,
    state TEXT NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER, rows_in INTEGER NOT NULL DEFAULT 0,
    rows_out INTEGER NOT NULL DEFAULT 0, notes TEXT, error TEXT) STRICT;
CREATE INDEX IF NOT EXISTS task_runs_of_run ON task_runs (run_id);
CREATE TABLE IF NOT EXISTS leases (
    run_id INTEGER PRIMARY KEY, scope TEXT NOT NULL, from_us INTEGER NOT NULL, to_us INTEGER NOT NULL,
    length_us INTEGER NOT NULL, expires_us INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS done (
    pipeline TEXT NOT NULL, from_us INTEGER NOT NULL, to_us INTEGER NOT NULL, run_id INTEGER NOT NULL,
    at_us INTEGER NOT NULL, PRIMARY KEY (pipeline, from_us, to_us)) STRICT;
CREATE TABLE IF NOT EXISTS pipelines (pipeline TEXT PRIMARY KEY, first_us INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, kind TEXT NOT NULL, from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL, run_id INTEGER NOT NULL, task TEXT NOT NULL, at_us INTEGER NOT NULL, detail TEXT NOT NULL,
    UNIQUE (pipeline, kind, from_us, to_us, run_id, task)) STRICT;
CREATE TABLE IF NOT EXISTS origin (at_s INTEGER NOT NULL) STRICT;
";

/// Notes when the ledger was made: by its first run where there is one.
const ORIGIN: &str = "INSERT INTO origin SELECT coalesce((SELECT min(started_us) FROM runs), ?) / 1000000
    WHERE NOT EXISTS (SELECT 1 FROM origin)";
/// Fencing tokens of one ledger: its runs are fewer.
const TOKENS: i64 = 1_000_000_000;

/// Why the ledger could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("open the run ledger {path}: {source}; schedule.ledger names the file", path = path.display())]
    Open { path: PathBuf, source: Box<sqlx::Error> },
    #[error("make the directory of the run ledger {path}: {source}; schedule.ledger names the file", path = path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the run ledger {path} has layout {found}, this version knows {LAYOUT}; use the newer version of affluent", path = path.display())]
    Newer { path: PathBuf, found: i64 },
    #[error("run ledger: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("run ledger: `{value}` is not a {what}; the file was changed by something else")]
    Foreign { what: &'static str, value: String },
    #[error(
        "run {run} has lost its lease: another process has taken its interval over, or may at any moment"
    )]
    Lost { run: i64 },
}

/// Where the ledger takes the time from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Clock(Arc::new(now_micros))
    }

    /// A clock that answers with `now`, microseconds since the epoch.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// The open ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: SqlitePool,
    clock: Clock,
    host: Arc<str>,
    /// When it was made, seconds since the epoch.
    origin_s: i64,
}

/// What was found in the file.
struct Found {
    pool: SqlitePool,
    layout: i64,
    origin_s: i64,
}

impl Ledger {
    /// Opens the ledger at `path`, making directory, file and tables where they are missing.
    ///
    /// # Errors
    /// A file that cannot be opened or was made by a newer version.
    pub fn open(path: &Path, clock: Clock) -> BoxFuture<'_, Result<Self, LedgerError>> {
        Box::pin(Self::open_file(path, clock))
    }

    async fn open_file(path: &Path, clock: Clock) -> Result<Self, LedgerError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|source| LedgerError::Directory { path: path.to_owned(), source })?;
        }
        let mut attempt = 1;
        let found = loop {
            match connect(path, clock.now_us()).await {
                Ok(opened) => break opened,
                Err(source) if attempt == OPEN_ATTEMPTS || !is_busy(&source) => {
                    return Err(LedgerError::Open { path: path.to_owned(), source: Box::new(source) });
                }
                Err(_) => attempt += 1,
            }
            tokio::time::sleep(OPEN_PAUSE).await;
        };
        if found.layout > LAYOUT {
            return Err(LedgerError::Newer { path: path.to_owned(), found: found.layout });
        }
        Ok(Ledger { pool: found.pool, clock, host: host().into(), origin_s: found.origin_s.max(0) })
    }

    /// The fencing token of a run: grows from run to run, and from a ledger to one that is made after it.
    #[must_use]
    pub fn token(&self, run: i64) -> i64 {
        self.origin_s.saturating_mul(TOKENS).saturating_add(run)
    }

    /// The clock by which leases are given and expire.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A transaction that has the right to write from its beginning: what it reads stays true.
    async fn write(&self) -> Result<Transaction<'_, Sqlite>, LedgerError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Opens the file and makes what is missing.
async fn connect(path: &Path, now_us: i64) -> Result<Found, sqlx::Error> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await?;
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let layout: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *tx).await?.try_get(0)?;
    if layout < LAYOUT {
        sqlx::query(TABLES).execute(&mut *tx).await?;
        sqlx::query(ORIGIN).bind(now_us).execute(&mut *tx).await?;
        sqlx::query(&format!("PRAGMA user_version = {LAYOUT}")).execute(&mut *tx).await?;
    }
    let origin_s = match layout <= LAYOUT {
        true => sqlx::query("SELECT at_s FROM origin").fetch_one(&mut *tx).await?.try_get(0)?,
        false => 0,
    };
    tx.commit().await?;
    Ok(Found { pool, layout, origin_s })
}

/// Another process holds the file at this moment.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    // SQLITE_BUSY and SQLITE_LOCKED, and their extended codes.
    code.and_then(|code| code.parse::<i64>().ok()).is_some_and(|code| [5, 6].contains(&(code & 0xff)))
}

/// The name of this machine, as far as it has one.
fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
