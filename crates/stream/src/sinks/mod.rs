//! The sinks, one folder each, and the contract that they keep.
//!
//! A sink is one backend. Choosing what it reads, retrying, dead letters and offsets are the consume
//! loop's ([`crate::consume`]). A new sink is one folder here, one line below and one config section.

pub mod documents;
pub mod events;
pub mod lake;

use affluent_bus::{Incoming, TopicPartition};
use affluent_documents::DocumentError;
use affluent_model::Reason;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// A record that can never be written to this sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Index in the records given to [`Sink::prepare`].
    pub index: usize,
    pub reason: Reason,
    /// For people; holds no values of protected columns.
    pub error: String,
}

/// Why a sink could not do its work now. What can never succeed is a [`Rejected`] record instead,
/// or [`SinkError::Fatal`] where no record is to blame.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A passing fault: the loop repeats the call, with growing pauses.
    #[error("{0}")]
    Passing(String),
    /// What is stored moved under this sink (another member wrote this partition): the loop drops
    /// what is staged and starts again from [`Sink::resume`].
    #[error("{0}")]
    Fenced(String),
    /// The loop stops with this error.
    #[error("{0}")]
    Fatal(String),
}

impl From<DocumentError> for SinkError {
    fn from(error: DocumentError) -> Self {
        if error.is_passing() {
            SinkError::Passing(error.to_string())
        } else {
            SinkError::Fatal(error.to_string())
        }
    }
}

/// Where records of the bus go.
///
/// The loop calls, for an assignment: `resume`, then any number of `prepare`s followed by one
/// `commit` or `hand_over`, and `revoke` when partitions leave. Never two calls at a time; but what
/// was handed over is written beside them.
///
/// - **Delivery** is at least once: after a crash, records from the last committed offset on arrive
///   again, in batches cut differently. Writing them again must change nothing.
/// - **Order**: records of one partition arrive in offset order. Between partitions there is none. A `prepare`
///   that begins at a lower offset of a partition, without a `resume` in between, says that this went back: its topic was
///   made anew or cut. What is there now is no repetition of what was there before.
/// - **Durability**: the offsets of staged records are committed to the group only after `commit`, or
///   [`Batch::write`] of what was handed over, returned `Ok` and their rejected ones are durable in the
///   dead letters. So these return only when all of it would survive a crash of the machine.
/// - **Failure**: a failed `prepare` stages nothing of that call; a failed `commit` or `write` keeps
///   what it had to write and may have written any part of it; all are repeated. A batch that is given
///   up is dropped, and its records arrive again.
/// - **Memory**: the loop bounds what is staged between two commits (records, bytes and time), and has
///   one batch at the most written beside that: twice as much in all.
#[async_trait]
pub trait Sink: Send {
    /// The stage's name in logs, metrics and dead letters: `sink-documents`.
    fn name(&self) -> &'static str;

    /// Makes ready for newly assigned partitions. Returned offsets (the next record to read)
    /// override the group's: for sinks that keep offsets beside the data. Partitions left out begin
    /// at the group's committed offset, or at the beginning.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn resume(
        &mut self,
        assigned: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SinkError>;

    /// Decodes and stages records, without any outside effect. Returns the ones that can never be
    /// written; all others are staged.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, SinkError>;

    /// Makes everything staged durable, then forgets it. Nothing staged: does nothing.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn commit(&mut self) -> Result<(), SinkError>;

    /// For sinks that can stage while they write: everything staged, to be written while `prepare` goes
    /// on. No other batch is being written at that time, nor is one while `commit` or `revoke` is called.
    /// Where it is `None` (what it is unless a sink says otherwise) the loop calls `commit` and waits.
    fn hand_over(&mut self) -> Option<Box<dyn Batch>> {
        None
    }

    /// The partitions belong to another member from now on. Everything staged was committed before
    /// where that was possible; what is still staged of them must be dropped.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError>;
}

/// What a sink has handed over to be written.
#[async_trait]
pub trait Batch: Send {
    /// Makes it durable. Repeated until it returns `Ok`, or given up.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn write(&mut self) -> Result<(), SinkError>;
}
