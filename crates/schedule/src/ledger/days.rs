//! Runs by day, for a calendar.

use super::records::RunState;
use super::{Ledger, LedgerError};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// How many runs of the intervals that began on one day ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DayCount {
    /// Days since 1970-01-01, UTC.
    pub day: i64,
    pub state: RunState,
    pub runs: u64,
}

impl Ledger {
    /// The runs of `pipeline` by the day on which their interval began (UTC) and by how they ended, from `since_us` (microseconds since
    /// the epoch) on; the oldest day first.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn days(&self, pipeline: &str, since_us: i64) -> Result<Vec<DayCount>, LedgerError> {
        let rows = sqlx::query(
            "SELECT from_us / 86400000000 AS day, state, count(*) AS runs FROM runs
             WHERE pipeline = ? AND from_us >= ? GROUP BY 1, 2 ORDER BY 1, 2",
        )
        .bind(pipeline)
        .bind(since_us.max(0))
        .fetch_all(&self.pool)
        .await?;
        let count = |row: &SqliteRow| -> Result<DayCount, LedgerError> {
            Ok(DayCount {
                day: row.try_get("day")?,
                state: RunState::parse(row.try_get("state")?)?,
                runs: u64::try_from(row.try_get::<i64, _>("runs")?).unwrap_or(0),
            })
        };
        rows.iter().map(count).collect()
    }
}
