//! The registry's only storage: the compacted topic `_schemas`.
//!
//! Invariant: what is applied to the state was acknowledged by the topic before. There is one
//! writer; after a failed write nobody knows whether the record arrived, so the next write reads
//! the topic again first.

use super::state::{Record, Show, State};
use crate::{Admin, Bus, BusError, Outgoing, Producer, ProducerOptions, TopicPartition, TopicSpec};
use affluent_model::names::TOPIC_SCHEMAS;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct SchemaLog {
    bus: Bus,
    admin: Admin,
    /// Absent after a failed write.
    producer: Option<Producer>,
}

impl SchemaLog {
    /// Makes the topic if need be and reads all of it.
    pub(super) async fn open(bus: &Bus, replication: i32) -> Result<(Self, State), BusError> {
        let admin = bus.admin()?;
        let spec = TopicSpec { replication, ..TopicSpec::new(1).set("cleanup.policy", "compact") };
        admin.ensure_topic(TOPIC_SCHEMAS, &spec).await?;
        let mut log = SchemaLog { bus: bus.clone(), admin, producer: None };
        let state = log.reopen().await?;
        Ok((log, state))
    }

    /// True where the state in memory may lack a record.
    pub(super) fn is_stale(&self) -> bool {
        self.producer.is_none()
    }

    /// Reads the topic from its beginning.
    pub(super) async fn reopen(&mut self) -> Result<State, BusError> {
        // First the producer: its new epoch ends whatever an older one may still have under way.
        let options = ProducerOptions {
            linger_ms: 0,
            queue_bytes: 4 << 20,
            compression: "none".to_owned(),
            ..ProducerOptions::default()
        };
        let producer = self.bus.producer(options)?;
        let partition = TopicPartition::new(TOPIC_SCHEMAS, 0);
        let (low, high) = self.admin.watermarks(&partition).await?;
        let mut state = State::default();
        for record in self.admin.read_range(&partition, low, high).await? {
            let Some(key) = &record.key else { continue };
            if let Err(problem) = state.apply(key, record.value.as_deref()) {
                tracing::warn!(offset = record.offset, problem, "schema record not understood");
            }
        }
        self.producer = Some(producer);
        tracing::info!(
            subjects = state.subjects(Show::Live).len(),
            records_to = high,
            "schema registry read"
        );
        Ok(state)
    }

    /// Writes one record and waits for the acknowledgement.
    pub(super) async fn append(&mut self, record: &Record) -> Result<(), BusError> {
        let producer = self.producer.take().ok_or_else(|| BusError::Poisoned("not open".to_owned()))?;
        let message = Outgoing {
            topic: Arc::from(TOPIC_SCHEMAS),
            partition: Some(0),
            key: Some(Bytes::copy_from_slice(record.key.as_bytes())),
            value: record.value.as_ref().map(|value| Bytes::copy_from_slice(value.as_bytes())),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        producer.send(message).await?;
        producer.flush(WRITE_TIMEOUT).await?;
        self.producer = Some(producer);
        Ok(())
    }
}
