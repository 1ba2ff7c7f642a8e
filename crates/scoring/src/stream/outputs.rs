//! Scores and alerts in their topics, each once.
//!
//! Each record says in a header where its payment stood in its topic. What was sent and not yet noted in the progress is read back from the topics when
//! this process begins to lead, and is not sent again.

use super::ScoreOptions;
use super::progress::Offsets;
use super::waiting::Waiting;
use crate::record::{SCORE_SCHEMA, TOPIC_ALERTS, TOPIC_SCORES};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Admin, Bus, Incoming, Outgoing, Producer, ProducerOptions, TopicPartition, TopicSpec};
use affluent_stream::sinks::SinkError;
use affluent_telemetry::traces::HEADER_TRACE;
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

/// Header: where the payment stood, `topic/partition/offset`.
const HEADER_SOURCE: &str = "source";
/// How long what was sent may take to be acknowledged; then the topics are looked at again.
const ACK_LIMIT: Duration = Duration::from_secs(20);
/// Records that are read back at once.
const BLOCK: i64 = 4_096;
/// The ends of a partition stand still once they are the same for so many looks.
const LOOKS: u32 = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// A payment's place in its topic.
type Place = (TopicPartition, i64);
/// The id of the payment at each place: in a topic that was made anew, another may stand where one stood.
type Sent = HashMap<Place, Bytes>;

/// A topic, the id of its schema, and what it holds of payments that are not covered.
struct Output {
    topic: &'static str,
    schema: u32,
    sent: Sent,
}

/// The two topics, and what they hold beyond the progress.
pub(super) struct Outputs {
    admin: Admin,
    producer: Producer,
    scores: Output,
    alerts: Output,
    /// Sequence number of the last record.
    last: u64,
}

impl Outputs {
    /// Makes the topics where they are missing, and reads back what they hold from `ends` on.
    ///
    /// # Errors
    /// Passing, but for options that the bus or the registry refuses.
    pub(super) async fn open(
        bus: &Bus,
        registry: &RegistryClient,
        options: &ScoreOptions,
        ends: &Offsets,
    ) -> Result<Self, SinkError> {
        let admin = bus.admin().map_err(of_bus)?;
        let scores = Output::open(TOPIC_SCORES, &admin, registry, options, ends).await?;
        let alerts = Output::open(TOPIC_ALERTS, &admin, registry, options, ends).await?;
        // Alerts are waited for.
        let producer = ProducerOptions { linger_ms: 1, ..ProducerOptions::default() };
        let producer = bus.producer(producer).map_err(of_bus)?;
        Ok(Outputs { admin, producer, scores, alerts, last: 0 })
    }

    /// Sends the score of a payment, and its alert where there is one, unless they were sent before.
    ///
    /// # Errors
    /// Passing.
    pub(super) async fn send(&mut self, waiting: &Waiting) -> Result<(), SinkError> {
        let place = (waiting.partition.clone(), waiting.offset);
        if !self.scores.has_sent(&place, waiting) {
            let record = self.scores.outgoing(&place, waiting, &waiting.record.score());
            self.last = self.producer.send(record).await.map_err(of_bus)?;
        }
        if waiting.record.is_alert() && !self.alerts.has_sent(&place, waiting) {
            let record = self.alerts.outgoing(&place, waiting, &waiting.record.alert());
            self.last = self.producer.send(record).await.map_err(of_bus)?;
        }
        Ok(())
    }

    /// Waits until everything sent is acknowledged.
    ///
    /// # Errors
    /// Passing: then it is not known what was.
    pub(super) async fn flush(&self) -> Result<(), SinkError> {
        match tokio::time::timeout(ACK_LIMIT, self.producer.wait_acked(self.last)).await {
            Ok(acked) => acked.map_err(of_bus),
            Err(_) => Err(SinkError::Passing("scores are not acknowledged in time".to_owned())),
        }
    }

    /// What is covered is not asked for again.
    pub(super) fn forget(&mut self, covered: &Offsets) {
        let is_open = |(partition, offset): &Place| covered.get(partition).is_none_or(|next| offset >= next);
        self.scores.sent.retain(|place, _| is_open(place));
        self.alerts.sent.retain(|place, _| is_open(place));
    }

    /// Whether no other process had sent more than this one has taken.
    pub(super) fn is_ahead(&self) -> bool {
        self.scores.sent.is_empty() && self.alerts.sent.is_empty()
    }

    /// The ends of the partitions of both topics.
    ///
    /// # Errors
    /// Passing.
    pub(super) async fn ends(&self) -> Result<Offsets, SinkError> {
        let mut ends = Offsets::new();
        for topic in [TOPIC_SCORES, TOPIC_ALERTS] {
            for number in 0..self.admin.partitions(topic).await.map_err(of_bus)?.unwrap_or(0) {
                let partition = TopicPartition::new(topic, number);
                let (_, end) = self.admin.watermarks(&partition).await.map_err(of_bus)?;
                ends.insert(partition, end);
            }
        }
        Ok(ends)
    }
}

impl Output {
    async fn open(
        topic: &'static str,
        admin: &Admin,
        registry: &RegistryClient,
        options: &ScoreOptions,
        ends: &Offsets,
    ) -> Result<Self, SinkError> {
        let spec = TopicSpec { replication: options.replication, ..TopicSpec::new(options.partitions) };
        admin.ensure_topic(topic, &spec).await.map_err(of_bus)?;
        let schema = registry.register(&format!("{topic}-value"), SCORE_SCHEMA).await;
        let schema = schema.map_err(|error| match error.reason() {
            Some(_) => SinkError::Fatal(format!("{topic}: {error}")),
            None => SinkError::Passing(format!("{topic}: {error}")),
        })?;
        let mut sent = Sent::new();
        for number in 0..admin.partitions(topic).await.map_err(of_bus)?.unwrap_or(0) {
            let partition = TopicPartition::new(topic, number);
            let from = ends.get(&partition).copied().unwrap_or(0);
            read_back(admin, &partition, from, &mut sent).await?;
        }
        Ok(Output { topic, schema, sent })
    }

    /// Whether the topic holds what is said of this payment.
    fn has_sent(&self, place: &Place, waiting: &Waiting) -> bool {
        self.sent.get(place).is_some_and(|id| **id == *waiting.record.transaction_id.as_bytes())
    }

    /// The record of a payment: its id, where it stood, and what is said of it, in Confluent's framing.
    fn outgoing(&self, (partition, offset): &Place, waiting: &Waiting, body: &[u8]) -> Outgoing {
        let mut value = Vec::with_capacity(body.len() + 5);
        value.push(0);
        value.extend(self.schema.to_be_bytes());
        value.extend_from_slice(body);
        let source = (HEADER_SOURCE.to_owned(), Bytes::from(format!("{partition}/{offset}")));
        let trace = waiting.trace.as_ref();
        let trace = trace.map(|trace| (HEADER_TRACE.to_owned(), Bytes::from(trace.context.header())));
        Outgoing {
            topic: self.topic.into(),
            partition: None,
            key: Some(Bytes::copy_from_slice(waiting.record.transaction_id.as_bytes())),
            value: Some(value.into()),
            headers: std::iter::once(source).chain(trace).collect(),
            timestamp_ms: None,
        }
    }
}

/// The places of what a partition holds from an offset on, once it stands still: a process that was killed may have requests under way.
async fn read_back(
    admin: &Admin,
    partition: &TopicPartition,
    from: i64,
    sent: &mut Sent,
) -> Result<(), SinkError> {
    let (mut first, mut end) = admin.watermarks(partition).await.map_err(of_bus)?;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK_PAUSE).await;
        let before = end;
        (first, end) = admin.watermarks(partition).await.map_err(of_bus)?;
        if end == before {
            break;
        }
    }
    // A topic that was made anew ends before what is noted of the old one.
    let mut at = if from > end { first } else { from.max(first) };
    while at < end {
        let to = (at + BLOCK).min(end);
        let records = admin.read_range(partition, at, to).await.map_err(of_bus)?;
        sent.extend(records.iter().filter_map(|record| Some((place(record)?, record.key.clone()?))));
        at = to;
    }
    Ok(())
}

/// Where the payment of a record stood.
fn place(record: &Incoming) -> Option<Place> {
    let text = std::str::from_utf8(record.header(HEADER_SOURCE)?).ok()?;
    let (partition, offset) = text.rsplit_once('/')?;
    let (topic, number) = partition.rsplit_once('/')?;
    Some((TopicPartition::new(topic, number.parse().ok()?), offset.parse().ok()?))
}

/// A producer that has given up is made anew, and what the topics hold is read back.
fn of_bus(error: affluent_bus::BusError) -> SinkError {
    let is_passing = error.is_passing() || matches!(error, affluent_bus::BusError::Poisoned(_));
    if is_passing { SinkError::Passing(error.to_string()) } else { SinkError::Fatal(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_where_its_payment_stood() {
        let of = |source: &str| {
            let headers = vec![(HEADER_SOURCE.to_owned(), Bytes::copy_from_slice(source.as_bytes()))];
            let (key, value) = (None, None);
            let (topic, partition, offset, timestamp_ms) = (TOPIC_SCORES.into(), 0, 0, 0);
            place(&Incoming { topic, partition, offset, timestamp_ms, key, value, headers })
        };
        let expected = Some((TopicPartition::new("oltp.public.transactions", 2), 17));
        assert_eq!(of("oltp.public.transactions/2/17"), expected);
        assert_eq!(of("oltp.public.transactions"), None);
        assert_eq!(of("a/b/c"), None);
    }
}
