//! Change data capture: PostgreSQL's logical replication to Kafka.
//!
//! The way of a change: `connect` (the replication connection) -> `decode` (pgoutput messages) ->
//! `spill` (large transactions on disk until they commit) -> `relation` and `types` (rows of values)
//! -> `protect` -> `left_out`, `publish` and `emit` (encode, skip what Kafka has, send) -> `acks` ->
//! `checkpoint` -> feedback to the slot. `snapshot` reads the tables themselves, beside the stream;
//! `begin` and `identity` decide whether to start at all; `source` holds a run together. `survey` looks at a database that is not
//! captured yet.
//!
//! Invariant: the slot is advanced only to a position that is saved in the checkpoint topic, and a
//! position is saved only after Kafka has acknowledged every record up to it.

mod acks;
mod begin;
mod catalog;
mod checkpoint;
mod connect;
mod context;
pub mod decode;
mod emit;
mod error;
mod identity;
mod left_out;
mod options;
mod protect;
mod publish;
mod relation;
mod resume;
mod service;
mod slot;
mod snapshot;
mod source;
mod spill;
pub mod survey;
mod transactions;
mod types;
mod upkeep;

pub use error::CdcError;
pub use options::{CdcOptions, OnRename, SnapshotMode, SnapshotOptions};
pub use protect::Protection;
pub use service::CdcService;

use affluent_bus::Admin;
use affluent_model::TableId;
use std::collections::BTreeSet;

/// An SQL session with the source for whoever compares it with its copies: reached and set up as the
/// capture's own sessions are. It ends when the client is dropped.
///
/// # Errors
/// [`CdcError::Config`] for a connection that cannot be read, [`CdcError::Postgres`] from the server.
pub async fn connect_source(options: &CdcOptions) -> Result<tokio_postgres::Client, CdcError> {
    connect::sql(&connect::address::Address::parse(&options.connection)?).await
}

/// Object ids of the tables whose rows are in Kafka: their first reading has ended, or none is to be.
/// Read-only; empty where the source has never run.
///
/// # Errors
/// [`CdcError::Bus`] while the broker is away, [`CdcError::Checkpoint`] for a memory that cannot be read.
pub async fn tables_read(admin: &Admin, options: &CdcOptions) -> Result<BTreeSet<u32>, CdcError> {
    if admin.partitions(&checkpoint::topic(&options.source)).await?.is_none() {
        return Ok(BTreeSet::new());
    }
    let saved = checkpoint::read(admin, &options.source).await?;
    let initial = options.snapshot.mode == SnapshotMode::Initial;
    let read = |entry: &checkpoint::TableEntry| match &entry.snapshot {
        Some(snapshot) => snapshot.complete.is_some(),
        None => !initial,
    };
    Ok(saved.tables.iter().filter(|(_, entry)| read(entry)).map(|(&oid, _)| oid).collect())
}

impl CdcOptions {
    /// How the column is transformed before it leaves the process; `None` for as it is.
    #[must_use]
    pub fn protection(&self, table: &TableId, column: &str) -> Option<Protection> {
        let protector = protect::Protector::new(self.protect.clone(), None);
        protector.rule(&table.schema, &table.name, column)
    }
}
