//! The Kafka client side: producer, consumer, admin, codecs, schema registry client and server.
//!
//! Everything that speaks to Kafka goes through here; librdkafka is named nowhere else. What a
//! record means (a change, a click) is the codec's; where it goes and when an offset may be
//! committed is the caller's.
//!
//! Invariant: a record that was accepted by [`Producer::send`] is either acknowledged by every
//! in-sync replica, or the producer is poisoned and says so; nothing is given up in silence.

pub mod admin;
mod alerts;
mod bus;
pub mod codec;
pub mod consumer;
mod error;
mod partitioner;
pub mod producer;
mod record;
pub mod registry;

pub use alerts::Alerts;
pub use admin::{Admin, TopicSpec};
pub use bus::{Bus, BusOptions};
pub use consumer::{Committer, Consumer, ConsumerOptions};
pub use error::BusError;
pub use partitioner::partition_for;
pub use producer::{Producer, ProducerOptions};
pub use record::{BatchLimits, Incoming, Outgoing, Polled, TopicPartition};
