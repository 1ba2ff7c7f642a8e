//! Sending records: idempotent, acknowledged by all replicas, bounded in memory.
//!
//! Each accepted record has a sequence number (1, 2, 3, …). Deliveries arrive in any order across
//! partitions; what callers see is a watermark: every record up to it is acknowledged.
//!
//! Invariant: after the first record that could not be delivered, nothing is accepted any more and
//! the watermark never passes that record. A broker that is away is not such a failure: records
//! wait in the bounded queue until it returns, and `send` waits with them.

mod watermark;

use crate::bus::log_line;
use crate::{BusError, Outgoing};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use watermark::Watermark;

/// How long a full queue is waited on before it is looked at again without a delivery.
const QUEUE_RETRY: Duration = Duration::from_millis(10);

/// Bounds and batching of a producer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerOptions {
    /// How long a batch waits for more records, milliseconds.
    pub linger_ms: u64,
    /// Largest batch, bytes before compression.
    pub batch_bytes: u64,
    /// Payload that may wait in the queue; `send` waits when it is full. librdkafka needs about
    /// 200 bytes a record beside it.
    pub queue_bytes: u64,
    /// Records that may wait in the queue.
    pub queue_records: u64,
    /// Largest record; more than the broker's `message.max.bytes` makes the broker refuse it.
    pub max_message_bytes: u64,
    /// `lz4`, `zstd`, `gzip` or `none`.
    pub compression: String,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            linger_ms: 5,
            batch_bytes: 1_000_000,
            queue_bytes: 32 << 20,
            queue_records: 200_000,
            max_message_bytes: 1_000_000,
            compression: "lz4".to_owned(),
        }
    }
}

/// Sends records. Cheap to clone; all clones share one queue and one watermark.
///
/// Dropping the last clone gives up what is still queued: [`Producer::flush`] before.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    client: ThreadedProducer<Deliveries>,
}

struct Shared {
    /// The sequence number of the last accepted record.
    sent: Mutex<u64>,
    watermark: Mutex<Watermark>,
    acked: watch::Sender<u64>,
    /// Set once, by the first failure.
    failure: watch::Sender<Option<Arc<str>>>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("acked", &*self.shared.acked.borrow()).finish_non_exhaustive()
    }
}

impl Producer {
    pub(crate) fn new(mut config: ClientConfig, options: &ProducerOptions) -> Result<Self, BusError> {
        config
            .set("enable.idempotence", "true")
            // A batch that fails for good stops the producer instead of leaving a gap.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            // Outages are ridden out without an end; the bounded queue is what limits them.
            .set("message.timeout.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("compression.type", &options.compression)
            .set("linger.ms", options.linger_ms.to_string())
            .set("batch.size", options.batch_bytes.to_string())
            .set("message.max.bytes", options.max_message_bytes.to_string())
            .set("queue.buffering.max.kbytes", (options.queue_bytes / 1024).max(1).to_string())
            .set("queue.buffering.max.messages", options.queue_records.max(1).to_string());
        let shared = Arc::new(Shared {
            sent: Mutex::new(0),
            watermark: Mutex::default(),
            acked: watch::Sender::new(0),
            failure: watch::Sender::new(None),
        });
        let client = ThreadedProducer::from_config_and_context(&config, Deliveries(Arc::clone(&shared)))
            .map_err(BusError::kafka("start producer"))?;
        Ok(Producer { shared, client })
    }

    /// Hands a record to the queue, waiting while that is full, and returns its sequence number.
    /// Records of one partition arrive in the order of their sequence numbers.
    ///
    /// # Errors
    /// [`BusError::Poisoned`] after a failed delivery; [`BusError::TooLarge`] for this record only,
    /// the producer stays usable.
    pub async fn send(&self, record: Outgoing) -> Result<u64, BusError> {
        let mut acked = None;
        loop {
            if let Some(sequence) = self.try_send(&record)? {
                return Ok(sequence);
            }
            let acked = acked.get_or_insert_with(|| self.shared.acked.subscribe());
            let _ = tokio::time::timeout(QUEUE_RETRY, acked.changed()).await;
        }
    }

    /// As [`Producer::send`], but `None` instead of waiting where the queue is full.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn try_send(&self, record: &Outgoing) -> Result<Option<u64>, BusError> {
        // Held across the (never blocking) hand-over, so that numbers follow the queue's order.
        let mut sent = self.shared.sent.lock();
        self.check()?;
        let sequence = *sent + 1;
        match self.client.send(to_native(record, sequence)?) {
            Ok(()) => {
                *sent = sequence;
                Ok(Some(sequence))
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(None),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                let bytes = record.value.as_ref().map_or(0, bytes::Bytes::len);
                Err(BusError::TooLarge { topic: record.topic.to_string(), bytes })
            }
            Err((source, _)) => Err(BusError::Kafka { action: "send", source }),
        }
    }

    /// The watermark: every record with a sequence number up to it is acknowledged.
    #[must_use]
    pub fn acked(&self) -> watch::Receiver<u64> {
        self.shared.acked.subscribe()
    }

    /// The sequence number of the last accepted record.
    #[must_use]
    pub fn sent(&self) -> u64 {
        *self.shared.sent.lock()
    }

    /// Waits until the watermark reaches `sequence`.
    ///
    /// # Errors
    /// [`BusError::Poisoned`].
    pub async fn wait_acked(&self, sequence: u64) -> Result<(), BusError> {
        let (mut acked, mut failure) = (self.shared.acked.subscribe(), self.shared.failure.subscribe());
        tokio::select! {
            biased;
            _ = acked.wait_for(|&acked| acked >= sequence) => Ok(()),
            _ = failure.wait_for(Option::is_some) => self.check(),
        }
    }

    /// Returns when the producer is poisoned, with the reason.
    pub async fn failed(&self) -> BusError {
        let mut failure = self.shared.failure.subscribe();
        let _ = failure.wait_for(Option::is_some).await;
        self.check().err().unwrap_or_else(|| BusError::Poisoned("closed".to_owned()))
    }

    /// Waits until everything sent so far is acknowledged.
    ///
    /// # Errors
    /// [`BusError::FlushTimeout`], [`BusError::Poisoned`].
    pub async fn flush(&self, timeout: Duration) -> Result<(), BusError> {
        let started = Instant::now();
        tokio::time::timeout(timeout, self.wait_acked(self.sent()))
            .await
            .map_err(|_| BusError::FlushTimeout(started.elapsed().as_millis()))?
    }

    fn check(&self) -> Result<(), BusError> {
        match &*self.shared.failure.borrow() {
            Some(reason) => Err(BusError::Poisoned(reason.to_string())),
            None => Ok(()),
        }
    }
}

fn to_native(record: &Outgoing, sequence: u64) -> Result<BaseRecord<'_, [u8], [u8], usize>, BusError> {
    let opaque = usize::try_from(sequence).map_err(|_| BusError::Config("32-bit platform".to_owned()))?;
    let mut native = BaseRecord::with_opaque_to(&record.topic, opaque);
    native.partition = record.partition;
    native.key = record.key.as_deref();
    native.payload = record.value.as_deref();
    native.timestamp = record.timestamp_ms;
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value.as_ref()) });
        }
        native.headers = Some(headers);
    }
    Ok(native)
}

/// Receives what became of each record, on librdkafka's polling thread.
pub(crate) struct Deliveries(Arc<Shared>);

impl Deliveries {
    fn poison(&self, reason: String) {
        self.0.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(reason, "producer stopped");
                *failure = Some(reason.into());
            }
            first
        });
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.poison(reason.to_owned());
        } else {
            tracing::warn!(%error, reason, "producer waits for the broker");
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        match result {
            Ok(_) => {
                let moved = self.0.watermark.lock().deliver(sequence as u64);
                if let Some(acked) = moved {
                    self.0.acked.send_replace(acked);
                }
            }
            Err((error, message)) => {
                use rdkafka::Message as _;
                self.poison(format!("topic {}: {error}", message.topic()));
            }
        }
    }
}
