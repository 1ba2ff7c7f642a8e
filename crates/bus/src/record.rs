//! The nouns of the bus: records that go out and come in, and the partitions they live in.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A record to send. Without a partition, the key's murmur2 hash chooses it (as the Java client
/// does); without a key either, any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: Arc<str>,
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
    /// Milliseconds since the epoch; now, if absent.
    pub timestamp_ms: Option<i64>,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; -1 where the record has none.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

impl Incoming {
    /// The partition the record was read from.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition: self.partition }
    }

    /// The last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// Bytes that the record occupies in a buffer: key, value and headers.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    /// A partition by topic and number.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    pub max_records: usize,
    /// Bytes of keys, values and headers; a larger record is still returned, alone. No batch is
    /// larger than [`crate::ConsumerOptions::buffer_bytes`] either.
    pub max_bytes: usize,
    /// How long a poll lasts at most; it returns earlier with a full batch or an event.
    pub linger: Duration,
}

/// What a poll found. The order is the contract: a partition's `Assigned` comes before any of its
/// records, and after its `Revoked` there are none.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// Records, in offset order within each partition. Empty where nothing came within the linger. A
    /// batch that begins again at a lower offset of a partition says that this went back: its topic was made
    /// anew or cut, and is read from its beginning (or where [`crate::ConsumerOptions::offset_reset`] says).
    Records(Vec<Incoming>),
    /// These partitions are now this member's. Reading starts at the group's offsets, or where
    /// [`crate::Consumer::seek`] says before the next poll. The next poll starts the reading.
    Assigned(Vec<TopicPartition>),
    /// These partitions are being taken away: what is staged of them must be committed or dropped
    /// before the next poll, which gives them up.
    Revoked(Vec<TopicPartition>),
}
