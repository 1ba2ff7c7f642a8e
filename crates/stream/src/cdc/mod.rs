//! Change data capture: PostgreSQL's logical replication to Kafka.
//!
//! The way of a change: `connect` (the replication connection) -> `decode` (pgoutput messages) ->
//! `transaction` (order, positions, large transactions on disk) -> `relation` and `types` (rows of
//! values) -> `protect` -> `publish` (encode, skip what Kafka has, send) -> acknowledgement ->
//! `checkpoint` -> feedback to the slot. `snapshot` reads the tables themselves, beside the stream.
//!
//! Invariant: the slot is advanced only to a position that is saved in the checkpoint topic, and a
//! position is saved only after Kafka has acknowledged every record up to it.

mod error;
mod options;
mod protect;
mod service;

pub use error::CdcError;
pub use options::{CdcOptions, OnRename, SnapshotMode, SnapshotOptions};
pub use protect::Protection;
pub use service::CdcService;
