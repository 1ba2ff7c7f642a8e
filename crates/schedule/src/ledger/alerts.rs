//! What needs a person, written once for each cause.

use super::records::AlertKind;
use super::{Ledger, LedgerError};
use crate::interval::Interval;

/// Something that needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert<'a> {
    pub pipeline: &'a str,
    pub kind: AlertKind,
    pub interval: Interval,
    /// Where it is about one run.
    pub run: Option<i64>,
    /// Where it is about one task.
    pub task: Option<&'a str>,
    /// What happened and what to do, for a person.
    pub detail: &'a str,
}

impl Ledger {
    /// Writes the alert down; `false` where it is there already, whoever wrote it.
    ///
    /// # Errors
    /// Faults of the database.
    pub async fn alert(&self, alert: Alert<'_>) -> Result<bool, LedgerError> {
        let written = sqlx::query(
            "INSERT INTO alerts (pipeline, kind, from_us, to_us, run_id, task, at_us, detail)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(alert.pipeline)
        .bind(alert.kind.as_str())
        .bind(alert.interval.from_us())
        .bind(alert.interval.to_us())
        .bind(alert.run.unwrap_or(0))
        .bind(alert.task.unwrap_or_default())
        .bind(self.clock.now_us())
        .bind(alert.detail)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }
}
