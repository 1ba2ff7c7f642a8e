//! What follows from payments once they are applied: the port of whoever scores them.
//!
//! It has a progress of its own: after a crash the topic is read again from there, also what the state has already, so that storing the state
//! waits for nobody.

use super::LiveRow;
use affluent_bus::{Admin, TopicPartition};
use affluent_model::ChangeEvent;
use affluent_stream::sinks::SinkError;
use affluent_telemetry::traces::TraceContext;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// A row that was inserted into a source's table, as its topic has it: never an update, nor what a snapshot of the table has read.
#[derive(Debug)]
pub struct Followed {
    pub partition: TopicPartition,
    pub offset: i64,
    pub change: Box<ChangeEvent>,
    /// Its row right after it was applied; none where it came too late to be applied, or has a value that no event can have: then it is
    /// in the dead letters, too, and is not sure to have an id.
    pub row: Option<LiveRow>,
    /// False where the state has only a part of the partitions: then the row lacks events.
    pub is_whole: bool,
    /// How long the row took.
    pub took: Duration,
    /// Where the record is followed.
    pub trace: Option<TraceContext>,
}

/// Takes what is inserted into the table of one source. Not called by two at a time.
///
/// - **Delivery** is at least once: after a crash, and where the loop starts again, rows from [`Follower::next`] on are taken again.
/// - **Order**: of one partition in offset order; between partitions none.
/// - **Durability**: what was taken is done once [`Follower::settle`] returns `Ok`, or is kept so that a later call does it, while
///   [`Follower::next`] says after a restart what has to be read again.
#[async_trait]
pub trait Follower: Send + Sync {
    /// The source whose rows it takes.
    fn source(&self) -> &str;

    /// Makes ready before the first records are read; and again where a partition ends before what was taken of it, since its topic was made anew: then
    /// [`Follower::next`] goes back.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn begin(&mut self, admin: &Admin) -> Result<(), SinkError>;

    /// The first offset of a partition that it has not taken; none where it needs nothing of it.
    fn next(&self, partition: &TopicPartition) -> Option<i64>;

    /// Takes a row, without any outside effect.
    fn take(&mut self, followed: Followed);

    /// All records below these offsets were read, and what came of them taken. Does what follows. Repeated after a passing fault.
    ///
    /// # Errors
    /// See [`SinkError`].
    async fn settle(&mut self, read: &BTreeMap<TopicPartition, i64>) -> Result<(), SinkError>;
}
