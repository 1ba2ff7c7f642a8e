//! The statement that writes scores into the payments database, and what its errors mean.

use super::WriteBackOptions;
use super::write_back::Row;
use affluent_stream::cdc::{CdcOptions, connect_source};
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio_postgres::{Client, Statement};

/// The database, connected when it is needed.
pub(super) struct Database {
    options: CdcOptions,
    statement: String,
    limit: Duration,
    lock_limit: Duration,
    connected: Option<(Client, Statement)>,
}

/// Why rows are not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The same may succeed later.
    Passing(String),
    /// Some row is refused as things stand: its value does not fit the table, a trigger does not want it, somebody holds it. Others may be taken.
    Rows(String),
}

impl Database {
    pub(super) fn new(database: CdcOptions, options: &WriteBackOptions) -> Self {
        let limit = Duration::from_millis(options.timeout_ms);
        let lock_limit = Duration::from_millis(options.lock_timeout_ms);
        let (statement, connected) = (options.statement.clone(), None);
        Database { options: database, statement, limit, lock_limit, connected }
    }

    /// Runs the statement for these rows, and says how many it changed; the connection is given up unless the fault is the rows'.
    ///
    /// # Errors
    /// [`Fault`]
    pub(super) async fn write(&mut self, rows: &[Row]) -> Result<u64, Fault> {
        let limit = self.limit;
        let written = match tokio::time::timeout(limit, self.run(rows)).await {
            Ok(written) => written,
            Err(_) => Err(Fault::Passing(format!("no answer within {limit:?}"))),
        };
        if matches!(written, Err(Fault::Passing(_))) {
            self.connected = None;
        }
        written
    }

    async fn run(&mut self, rows: &[Row]) -> Result<u64, Fault> {
        let (client, statement) = match &mut self.connected {
            Some(connected) => &*connected,
            none @ None => {
                let passing = Fault::Passing;
                let client = connect_source(&self.options).await.map_err(|e| passing(e.to_string()))?;
                // Not longer than this one waits: what it gives up does not go on there.
                let (limit, lock) = (self.limit.as_millis(), self.lock_limit.as_millis());
                let limits = format!("set statement_timeout = {limit}; set lock_timeout = {lock}");
                client.batch_execute(&limits).await.map_err(|e| passing(e.to_string()))?;
                // A statement that the database does not take may be mended there, by a column.
                let statement = client.prepare(&self.statement).await;
                let statement =
                    statement.map_err(|e| passing(format!("write_back.statement: {}", said(&e))))?;
                &*none.insert((client, statement))
            }
        };
        let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let scores: Vec<Option<f64>> = rows.iter().map(|row| row.score).collect();
        let decisions: Vec<&str> = rows.iter().map(|row| row.decision).collect();
        let times: Vec<DateTime<Utc>> =
            rows.iter().filter_map(|row| DateTime::from_timestamp_micros(row.scored_at)).collect();
        let written = client.execute(statement, &[&ids, &scores, &decisions, &times]).await;
        written.map_err(|error| fault(&error))
    }
}

fn fault(error: &tokio_postgres::Error) -> Fault {
    let is_of_rows = error.code().is_some_and(|code| is_of_rows(code.code()));
    if is_of_rows { Fault::Rows(said(error)) } else { Fault::Passing(said(error)) }
}

/// Data exceptions, violated constraints and views, what triggers raise, and locks that are not had in time are of single rows; everything else is of all,
/// and passes or is mended by somebody.
fn is_of_rows(code: &str) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    matches!(code.get(..2), Some("22" | "23" | "44" | "P0")) || code == LOCK_NOT_AVAILABLE
}

/// What the server said, with its code.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_single_rows_are_told_from_those_of_all() {
        for code in ["22P02", "23514", "44000", "P0001", "55P03"] {
            assert!(is_of_rows(code), "{code}");
        }
        for code in ["42P01", "42703", "57014", "08006", "40P01", "55006", "53300", ""] {
            assert!(!is_of_rows(code), "{code}");
        }
    }
}
