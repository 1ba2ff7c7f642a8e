//! Work for the installation while things happen to it: payments without end, and on request
//! everything rarer that has failpoints of its own.

use affluent_testkit::Database;
use affluent_testkit::payments::{Payments, PaymentsError, PaymentsOptions, Progress};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Payments that go on until told to stop.
pub(crate) struct Load {
    shutdown: CancellationToken,
    run: JoinHandle<Result<(), PaymentsError>>,
    progress: Arc<Progress>,
}

impl Load {
    /// Prepares the reference schema and starts `rate` row changes a second.
    pub(crate) async fn start(database: &Database, rate: u32, seed: u64) -> Self {
        let options = PaymentsOptions {
            rate,
            seed,
            connections: 3,
            customers: 300,
            merchants: 30,
            history: 2_000,
            patience: Duration::from_secs(120),
            ..PaymentsOptions::default()
        };
        let payments = Payments::new(database.clone(), options);
        payments.prepare().await.unwrap();
        let (progress, shutdown) = (payments.progress(), CancellationToken::new());
        let run = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { payments.run(shutdown).await }
        });
        Load { shutdown, run, progress }
    }

    pub(crate) fn changes(&self) -> u64 {
        self.progress.changes()
    }

    /// Stops it; the row changes it made.
    pub(crate) async fn stop(self) -> u64 {
        self.shutdown.cancel();
        self.run.await.unwrap().unwrap();
        self.progress.changes()
    }
}

/// One of everything that payments do not do: a table that appears with rows in it, grows a column,
/// loses a row and is truncated, and one transaction larger than the rest.
///
/// `fresh` makes a table that was not there before; else there are six that take turns, since tables
/// without end would make a round slower than the one before.
pub(crate) async fn stir(database: &Database, round: u32, fresh: bool) {
    let client = database.connect().await.unwrap();
    let table = if fresh { affluent_testkit::unique("fresh") } else { format!("stirred_{}", round % 6) };
    let sql = format!(
        "create table if not exists {table} (id bigint generated always as identity primary key, \
           note text, amount numeric(18,4) not null default 0, currency char(3) not null default 'EUR');\
         insert into {table} (note, amount) select 'row ' || i, i / 100.0 from generate_series(1, 2400) i;\
         update {table} set note = note || '!' where id % 7 = 0;\
         delete from {table} where id % 11 = 0"
    );
    client.batch_execute(&sql).await.unwrap();
    if round >= 6 {
        let sql = format!(
            "alter table {table} add column if not exists extra_{} integer default 7;\
             insert into {table} (note) values ('after the change of the table')",
            round / 6 % 3,
        );
        client.batch_execute(&sql).await.unwrap();
    }
    if round % 6 == 5 {
        client
            .batch_execute(&format!("truncate {table}; insert into {table} (note) values ('new')"))
            .await
            .unwrap();
    }
}
