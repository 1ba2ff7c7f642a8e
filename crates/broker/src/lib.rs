//! The embedded one-node broker that speaks the Kafka protocol.
//!
//! What lives here: the wire (`wire`), the log of record batches (`log`), the catalogue of topics
//! (`topics`), consumer groups (`groups`), idempotent producers (`producers`) and one handler per
//! family of requests (`handlers`). What does not: anything about payments, any Kafka client, any
//! replication; a cluster is Apache Kafka's work.
//!
//! Invariant: an offset that a consumer may read, and a batch or group offset that was
//! acknowledged under [`Flush::Group`], is on disk; a batch is served whole and with a valid
//! checksum, or not at all.

mod broker;
#[cfg(test)]
mod broker_tests;
mod error;
mod flush;
mod groups;
mod handlers;
mod journal;
mod log;
mod options;
mod producers;
mod topics;
mod wire;

pub use broker::Broker;
pub use error::Error;
pub use options::{BrokerOptions, Flush};
pub use wire::fuzz_frame;
