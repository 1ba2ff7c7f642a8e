//! What the ledger holds, as records: runs, their tasks, alerts. Plain data that a command line or a page
//! can show; reading them from rows is here too.

use super::LedgerError;
use crate::interval::Interval;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// Where a run, or an attempt of a task, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Succeeded,
    /// There was nothing to do.
    Skipped,
    Failed,
    /// Stopped on demand before its end; no fault of its own.
    Cancelled,
    /// Its process went silent, and the lease ran out.
    Lost,
}

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The calendar said so.
    Schedule,
    /// A range is done again or for the first time.
    Backfill,
    /// A person, or another scheduler, asked for it.
    Manual,
}

/// What needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// An interval was not done within its deadline.
    Missed,
    /// A task takes longer than it should.
    Slow,
    /// An interval failed as often as it may and is left alone.
    GivenUp,
    /// Intervals were too many to catch up and are not run; a backfill does them.
    LeftOut,
}

impl RunState {
    const ALL: [RunState; 6] = [
        RunState::Running,
        RunState::Succeeded,
        RunState::Skipped,
        RunState::Failed,
        RunState::Cancelled,
        RunState::Lost,
    ];

    /// As the ledger and the metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Skipped => "skipped",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Lost => "lost",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, LedgerError> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| LedgerError::Foreign { what: "state of a run", value: text.to_owned() })
    }
}

impl Reason {
    const ALL: [Reason; 3] = [Reason::Schedule, Reason::Backfill, Reason::Manual];

    /// As the ledger and the metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Schedule => "schedule",
            Reason::Backfill => "backfill",
            Reason::Manual => "manual",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, LedgerError> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| LedgerError::Foreign { what: "reason of a run", value: text.to_owned() })
    }
}

impl AlertKind {
    const ALL: [AlertKind; 4] = [AlertKind::Missed, AlertKind::Slow, AlertKind::GivenUp, AlertKind::LeftOut];

    /// As the ledger and the metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::Missed => "missed",
            AlertKind::Slow => "slow",
            AlertKind::GivenUp => "given_up",
            AlertKind::LeftOut => "left_out",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, LedgerError> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| LedgerError::Foreign { what: "kind of alert", value: text.to_owned() })
    }
}

/// One run of an interval. Times in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRecord {
    /// Also the fencing token: of two runs of an interval the later one has the higher number.
    pub id: i64,
    pub pipeline: String,
    pub interval: Interval,
    pub reason: Reason,
    /// Tasks that had succeeded before were run again.
    pub fresh: bool,
    /// The one task that was asked for, where it was not all.
    pub only_task: Option<String>,
    /// The how manieth run of its interval it is.
    pub attempt: u32,
    pub state: RunState,
    pub started_us: i64,
    pub ended_us: Option<i64>,
    pub error: Option<String>,
    pub host: String,
    pub pid: u32,
    /// In the order in which they were started; one for each attempt.
    pub tasks: Vec<TaskRecord>,
}

/// One attempt of a task within a run. Times in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRecord {
    pub task: String,
    pub attempt: u32,
    pub state: RunState,
    pub started_us: i64,
    pub ended_us: Option<i64>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub notes: Option<String>,
    pub error: Option<String>,
}

/// Something that needed a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertRecord {
    pub pipeline: String,
    pub kind: AlertKind,
    pub interval: Interval,
    pub run: Option<i64>,
    pub task: Option<String>,
    pub at_us: i64,
    pub detail: String,
}

/// Columns of [`run`], in its order.
pub(super) const RUN_COLUMNS: &str = "id, pipeline, from_us, to_us, reason, fresh, only_task, attempt, state, \
     started_us, ended_us, error, host, pid";

/// A run without its tasks.
pub(super) fn run(row: &SqliteRow) -> Result<RunRecord, LedgerError> {
    Ok(RunRecord {
        id: row.try_get("id")?,
        pipeline: row.try_get("pipeline")?,
        interval: interval(row)?,
        reason: Reason::parse(row.try_get("reason")?)?,
        fresh: row.try_get::<i64, _>("fresh")? != 0,
        only_task: row.try_get("only_task")?,
        attempt: number(row, "attempt")?,
        state: RunState::parse(row.try_get("state")?)?,
        started_us: row.try_get("started_us")?,
        ended_us: row.try_get("ended_us")?,
        error: row.try_get("error")?,
        host: row.try_get("host")?,
        pid: number(row, "pid")?,
        tasks: Vec::new(),
    })
}

pub(super) fn task(row: &SqliteRow) -> Result<TaskRecord, LedgerError> {
    Ok(TaskRecord {
        task: row.try_get("task")?,
        attempt: number(row, "attempt")?,
        state: RunState::parse(row.try_get("state")?)?,
        started_us: row.try_get("started_us")?,
        ended_us: row.try_get("ended_us")?,
        rows_in: rows(row, "rows_in")?,
        rows_out: rows(row, "rows_out")?,
        notes: row.try_get("notes")?,
        error: row.try_get("error")?,
    })
}

pub(super) fn alert(row: &SqliteRow) -> Result<AlertRecord, LedgerError> {
    Ok(AlertRecord {
        pipeline: row.try_get("pipeline")?,
        kind: AlertKind::parse(row.try_get("kind")?)?,
        interval: interval(row)?,
        run: Some(row.try_get("run_id")?).filter(|run| *run != 0),
        task: Some(row.try_get("task")?).filter(|task: &String| !task.is_empty()),
        at_us: row.try_get("at_us")?,
        detail: row.try_get("detail")?,
    })
}

/// The interval in the columns `from_us` and `to_us`.
pub(super) fn interval(row: &SqliteRow) -> Result<Interval, LedgerError> {
    let (from, to): (i64, i64) = (row.try_get("from_us")?, row.try_get("to_us")?);
    Interval::new(from, to)
        .map_err(|error| LedgerError::Foreign { what: "interval", value: error.to_string() })
}

pub(super) fn number(row: &SqliteRow, column: &str) -> Result<u32, LedgerError> {
    let value: i64 = row.try_get(column)?;
    u32::try_from(value).map_err(|_| LedgerError::Foreign { what: "number", value: value.to_string() })
}

fn rows(row: &SqliteRow, column: &str) -> Result<u64, LedgerError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value)
        .map_err(|_| LedgerError::Foreign { what: "number of rows", value: value.to_string() })
}
