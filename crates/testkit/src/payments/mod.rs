//! Simulated payments against the reference schema: customers sign up, pay, are refunded, dispute,
//! change their data and are erased, at a given number of row changes a second.
//!
//! The content follows from the seed; what is random about a run is only its timing. Every connection
//! changes rows of its own, so connections never wait for one another and never deadlock.
//! Invariant: a row is used again only after the commit that made it was confirmed, so the load goes on
//! across a restart of the server.

mod catalogue;
mod fraud;
mod history;
mod rows;
mod statements;
mod worker;

pub use fraud::{FraudPattern, Planted, Simulated, simulated};

use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::postgres::Database;
use worker::Worker;

/// The reference schema, `deploy/oltp/schema.sql`.
pub const SCHEMA: &str = include_str!("../../../../deploy/oltp/schema.sql");

/// The tables of [`SCHEMA`], parents first.
pub const TABLES: [&str; 5] = ["customers", "merchants", "transactions", "refunds", "disputes"];

/// What is played, and how fast.
#[derive(Debug, Clone)]
pub struct PaymentsOptions {
    /// Row changes a second over all connections; 0 is as fast as the server takes them.
    pub rate: u32,
    pub seed: u64,
    /// Concurrent connections, at least 1.
    pub connections: u32,
    /// Rows that exist before the load begins: customers, merchants, transactions.
    pub customers: u32,
    pub merchants: u32,
    pub history: u32,
    /// Days over which those transactions are spread, some of them disputed by now; 0: all are of this moment.
    pub history_days: u32,
    /// Which part of the payments of the load is fraud, 0 to 1.
    pub fraud_share: f64,
    /// How long a connection may fail before the run gives up.
    pub patience: Duration,
}

impl Default for PaymentsOptions {
    fn default() -> Self {
        PaymentsOptions {
            rate: 500,
            seed: 1,
            connections: 4,
            customers: 2_000,
            merchants: 200,
            history: 5_000,
            history_days: 0,
            fraud_share: 0.0,
            patience: Duration::from_secs(60),
        }
    }
}

/// What a run has done so far; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    changes: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
    planted: Mutex<Vec<Planted>>,
}

impl Progress {
    /// The payments of confirmed commits that are fraud.
    #[must_use]
    pub fn planted(&self) -> Vec<Planted> {
        self.planted.lock().clone()
    }

    fn plant(&self, planted: Vec<Planted>) {
        self.planted.lock().extend(planted);
    }

    /// Rows inserted, updated and deleted by confirmed commits.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Confirmed commits.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Transactions that failed; whether the server kept such a one is not known.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn committed(&self, changes: u64) {
        self.changes.fetch_add(changes, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum PaymentsError {
    #[error("payments load: {0}")]
    Sql(#[from] tokio_postgres::Error),
    #[error("payments load: no commit succeeded for {0:?}: {1}")]
    OutOfPatience(Duration, tokio_postgres::Error),
    #[error("payments load: a connection's task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A simulator of payments for one database.
#[derive(Debug)]
pub struct Payments {
    database: Database,
    options: PaymentsOptions,
    progress: Arc<Progress>,
}

impl Payments {
    /// A simulator; nothing happens before [`Payments::prepare`].
    #[must_use]
    pub fn new(database: Database, options: PaymentsOptions) -> Self {
        Payments { database, options, progress: Arc::default() }
    }

    /// Applies the schema and, where it holds no merchants yet, inserts the rows that exist beforehand.
    ///
    /// # Errors
    /// What the server answers.
    pub fn prepare(&self) -> Pin<Box<dyn Future<Output = Result<(), PaymentsError>> + Send + '_>> {
        Box::pin(self.fill())
    }

    async fn fill(&self) -> Result<(), PaymentsError> {
        let client = self.database.connect().await?;
        client.batch_execute(SCHEMA).await?;
        history::insert(&client, &self.options).await?;
        Ok(())
    }

    /// What the run has done so far.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Plays until `shutdown`; every connection finishes the transaction it is in.
    ///
    /// # Errors
    /// [`PaymentsError::OutOfPatience`] when a connection fails for longer than the options allow.
    pub fn run(
        &self,
        shutdown: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<(), PaymentsError>> + Send + '_>> {
        Box::pin(self.play(shutdown))
    }

    async fn play(&self, shutdown: CancellationToken) -> Result<(), PaymentsError> {
        let connections = self.options.connections.max(1);
        let mut workers = JoinSet::new();
        for index in 0..connections {
            let rate = f64::from(self.options.rate) / f64::from(connections);
            let worker = Worker::new(self.database.clone(), &self.options, index, self.progress());
            workers.spawn(worker.run(Pace::new(rate), shutdown.clone()));
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended? {
                shutdown.cancel();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Spreads changes evenly over time. A delay is made up for, but at most one second of it, so that a
/// server that comes back is not met by everything it missed.
#[derive(Debug)]
struct Pace {
    /// Changes a second; 0 does not wait.
    rate: f64,
    due: Instant,
}

const DEBT_MAX: Duration = Duration::from_secs(1);

impl Pace {
    fn new(rate: f64) -> Self {
        Pace { rate, due: Instant::now() }
    }

    /// Accounts for `changes` made by `now`; the time to wait before the next.
    fn after(&mut self, changes: u64, now: Instant) -> Duration {
        if self.rate <= 0.0 {
            return Duration::ZERO;
        }
        self.due += Duration::from_secs_f64(changes as f64 / self.rate);
        if let Some(earliest) = now.checked_sub(DEBT_MAX) {
            self.due = self.due.max(earliest);
        }
        self.due.saturating_duration_since(now)
    }

    /// Rows in one statement, such that a connection commits about 25 times a second.
    fn batch(&self) -> usize {
        if self.rate <= 0.0 { 200 } else { ((self.rate / 25.0) as usize).clamp(1, 200) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_keeps_the_rate_and_forgives_long_delays() {
        let start = Instant::now();
        let mut pace = Pace { rate: 100.0, due: start };
        assert_eq!(pace.after(50, start), Duration::from_millis(500));
        assert_eq!(pace.after(50, start + Duration::from_millis(900)), Duration::from_millis(100));
        // Ten seconds late: one second of it is made up for, the rest is forgotten.
        let late = start + Duration::from_secs(11);
        assert_eq!(pace.after(1, late), Duration::ZERO);
        assert_eq!(pace.after(110, late), Duration::from_millis(100));
        assert_eq!(Pace { rate: 0.0, due: start }.after(1_000, start), Duration::ZERO);
    }
}
