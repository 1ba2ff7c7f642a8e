//! The last steps of a change, common to stream and snapshot: encode, send, or quarantine.
//!
//! Invariant: an event that was handed over is sent or quarantined before the function returns;
//! passing faults are waited out here, so that the order of events stays.

use super::relation::Shape;
use super::{CdcError, CdcOptions};
use crate::dead_letters;
use affluent_bus::codec::{ChangeEncoder, EncodedRecord};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{BusError, Outgoing, Producer, partition_for};
use affluent_model::names::{HEADER_EVENT_TYPE, HEADER_POSITION};
use affluent_model::{ChangeEvent, DeadLetter, Op, Position, Reason};
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::metrics_list;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The name of the role in health and metrics.
pub(crate) const ROLE: &str = "cdc";

/// Longest pause between two tries of a passing fault.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Why an event could not be encoded.
#[derive(Debug, Clone)]
pub(crate) struct Unfit {
    pub(crate) reason: Reason,
    pub(crate) error: String,
}

/// Where a quarantined row came from.
pub(crate) struct Origin<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) op: Op,
    pub(crate) position: Position,
    /// LSN of the change's record.
    pub(crate) lsn: u64,
}

/// Encodes and sends, one at a time.
pub(crate) struct Emitter {
    pub(crate) producer: Producer,
    encoder: ChangeEncoder,
    max_record_bytes: usize,
    health: Health,
    /// The topic whose rows were quarantined last, while that lasts.
    degraded: Option<Arc<str>>,
}

impl Emitter {
    pub(crate) fn new(
        producer: Producer,
        options: &CdcOptions,
        registry: Option<RegistryClient>,
        health: Health,
    ) -> Self {
        let encoder = ChangeEncoder::new(options.format, registry);
        Emitter { producer, encoder, max_record_bytes: options.max_record_bytes, health, degraded: None }
    }

    /// The record of an event. Waits while the registry is away.
    pub(crate) async fn encode(
        &mut self,
        topic: &Arc<str>,
        event: &ChangeEvent,
    ) -> Result<EncodedRecord, Unfit> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.encoder.encode(topic, event).await {
                Ok(record) => {
                    let size = record.value.len() + record.key.as_ref().map_or(0, Bytes::len);
                    if size > self.max_record_bytes {
                        let error =
                            format!("{size} bytes, cdc.max_record_bytes is {}", self.max_record_bytes);
                        return Err(Unfit { reason: Reason::TooLarge, error });
                    }
                    if self.degraded.as_ref() == Some(topic) {
                        self.degraded = None;
                        self.health.set(ROLE, State::Ready);
                    }
                    return Ok(record);
                }
                Err(error) => match error.reason() {
                    Some(reason) => return Err(Unfit { reason, error: error.to_string() }),
                    None => {
                        tracing::warn!(%error, topic = %topic, "encoding waits");
                        self.health.set(ROLE, State::Degraded(format!("encoding waits: {error}")));
                        self.degraded = Some(Arc::clone(topic));
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(MAX_PAUSE);
                    }
                },
            }
        }
    }

    /// Sends a record of `shape`'s topic and returns its sequence number; none where the broker
    /// takes no record of this size.
    pub(crate) async fn send(&self, record: Outgoing) -> Result<Option<u64>, CdcError> {
        match self.producer.send(record).await {
            Ok(sequence) => Ok(Some(sequence)),
            Err(BusError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a row that does not fit to the dead letters. `row` is protected already.
    pub(crate) async fn quarantine(
        &mut self,
        origin: &Origin<'_>,
        row: &serde_json::Value,
        unfit: &Unfit,
    ) -> Result<u64, CdcError> {
        let Origin { shape, op, position, lsn } = origin;
        tracing::error!(
            table = %shape.table, position = %position, reason = unfit.reason.code(), error = unfit.error,
            "row quarantined"
        );
        if matches!(unfit.reason, Reason::IncompatibleSchema | Reason::UnknownSchema) {
            self.degraded = Some(Arc::clone(&shape.topic));
            self.health.set(
                ROLE,
                State::Degraded(format!("{}: rows go to dead-letters: {}", shape.table, unfit.error)),
            );
        }
        metrics_list::dead_letter(ROLE, unfit.reason.code());
        let letter = DeadLetter {
            topic: shape.topic.to_string(),
            partition: -1,
            offset: i64::try_from(*lsn).unwrap_or(i64::MAX),
            stage: ROLE.to_owned(),
            reason: unfit.reason,
            error: unfit.error.clone(),
            first_seen: affluent_model::time::now_micros(),
            key: None,
            value: Some(row.to_string().into_bytes()),
            headers: vec![
                (HEADER_POSITION.to_owned(), position.to_string().into_bytes()),
                (HEADER_EVENT_TYPE.to_owned(), shape.event_type(*op).to_vec()),
            ],
        };
        match self.producer.send(dead_letters::outgoing(&letter)).await {
            Err(BusError::TooLarge { .. }) => {
                let error = format!("{}; the row itself is too large to be kept", letter.error);
                let letter = DeadLetter { value: None, error, ..letter };
                Ok(self.producer.send(dead_letters::outgoing(&letter)).await?)
            }
            sent => Ok(sent?),
        }
    }
}

/// The partition of a record: by its key as every Kafka client does it; rows without a key stay in
/// the order of the source in the first one.
pub(crate) fn target_partition(key: Option<&Bytes>, partitions: i32) -> i32 {
    key.map_or(0, |key| partition_for(key, partitions))
}

/// The headers of a change.
pub(crate) fn headers(position: Position, event_type: Bytes) -> Vec<(String, Bytes)> {
    vec![
        (HEADER_POSITION.to_owned(), Bytes::from(position.to_string())),
        (HEADER_EVENT_TYPE.to_owned(), event_type),
    ]
}
