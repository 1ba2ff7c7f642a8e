//! Listing, showing and replaying dead letters: what the command line calls.
//!
//! Invariant: a letter is marked as replayed (by a tombstone) only after its record is acknowledged in
//! its topic. A crash in between replays it once more; sinks bear duplicates.

use super::writer::producer_options;
use super::{HEADER_REPLAYED, decode};
use affluent_bus::{Admin, Bus, BusError, Outgoing, Producer, TopicPartition};
use affluent_model::names::TOPIC_DEAD_LETTERS;
use affluent_model::{DeadLetter, Reason};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};

/// Offsets read at once.
const READ_RECORDS: i64 = 500;
/// Letters held in memory by one call.
const LETTERS_MAX: usize = 100_000;

/// Which letters are meant; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Topic of the original record.
    pub topic: Option<String>,
    pub stage: Option<String>,
    pub reason: Option<Reason>,
    /// Ids, as [`Listed::id`].
    pub ids: BTreeSet<String>,
}

impl Filter {
    fn admits(&self, id: &str, letter: &DeadLetter) -> bool {
        self.topic.as_ref().is_none_or(|topic| *topic == letter.topic)
            && self.stage.as_ref().is_none_or(|stage| *stage == letter.stage)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && (self.ids.is_empty() || self.ids.contains(id))
    }
}

/// One letter and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    pub letter: DeadLetter,
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    pub replayed: u64,
    /// Ids of rows that never reached Kafka: mend the source or the configuration, then take a
    /// snapshot of the table again.
    pub not_replayable: Vec<String>,
}

/// The letters of one bus.
pub struct DeadLetters {
    bus: Bus,
    admin: Admin,
}

impl DeadLetters {
    /// The letters on `bus`.
    ///
    /// # Errors
    /// [`BusError::Kafka`] when the client cannot start.
    pub fn new(bus: Bus) -> Result<Self, BusError> {
        Ok(DeadLetters { admin: bus.admin()?, bus })
    }

    /// The letters that are waiting, oldest first; at most 100,000.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the broker is away.
    pub fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, BusError>> {
        Box::pin(self.read(filter))
    }

    async fn read(&self, filter: &Filter) -> Result<Vec<Listed>, BusError> {
        let mut letters: BTreeMap<String, DeadLetter> = BTreeMap::new();
        for partition in 0..self.admin.partitions(TOPIC_DEAD_LETTERS).await?.unwrap_or(0) {
            let partition = TopicPartition::new(TOPIC_DEAD_LETTERS, partition);
            let (mut next, end) = self.admin.watermarks(&partition).await?;
            while next < end {
                let until = end.min(next + READ_RECORDS);
                for record in self.admin.read_range(&partition, next, until).await? {
                    let id = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
                    match record.value.as_deref().map(decode) {
                        None => drop(letters.remove(&id)),
                        Some(Ok(letter)) if filter.admits(&id, &letter) && letters.len() < LETTERS_MAX => {
                            letters.insert(id, letter);
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => {
                            tracing::warn!(%partition, offset = record.offset, %error, "foreign record skipped");
                        }
                    }
                }
                next = until;
            }
        }
        let mut listed: Vec<Listed> = letters.into_iter().map(|(id, letter)| Listed { id, letter }).collect();
        listed.sort_by_key(|listed| listed.letter.first_seen);
        Ok(listed)
    }

    /// The letter of this id, where it is waiting.
    ///
    /// # Errors
    /// As [`DeadLetters::list`].
    pub async fn show(&self, id: &str) -> Result<Option<DeadLetter>, BusError> {
        let filter = Filter { ids: BTreeSet::from([id.to_owned()]), ..Filter::default() };
        Ok(self.list(&filter).await?.pop().map(|listed| listed.letter))
    }

    /// Sends the original records of the matching letters to their topics again: the same key, value
    /// and headers, and the header `replayed`. What was replayed is not listed any more.
    ///
    /// # Errors
    /// [`BusError`]; repeating goes on with what was not replayed yet.
    pub async fn replay(&self, filter: &Filter) -> Result<Replayed, BusError> {
        let mut outcome = Replayed::default();
        let letters = self.list(filter).await?;
        if letters.is_empty() {
            return Ok(outcome);
        }
        let producer = self.bus.producer(producer_options())?;
        let (sources, records): (Vec<Listed>, Vec<Listed>) =
            letters.into_iter().partition(|listed| listed.letter.partition < 0);
        outcome.not_replayable = sources.into_iter().map(|listed| listed.id).collect();
        for chunk in records.chunks(256) {
            send(&producer, chunk.iter().map(original)).await?;
            send(&producer, chunk.iter().map(|listed| tombstone(&listed.id))).await?;
            outcome.replayed += chunk.len() as u64;
        }
        Ok(outcome)
    }
}

async fn send(producer: &Producer, records: impl Iterator<Item = Outgoing>) -> Result<(), BusError> {
    let mut last = 0;
    for record in records {
        last = producer.send(record).await?;
    }
    producer.wait_acked(last).await
}

/// The record as it was, to the partition where it was, so that its place among its key's stays.
fn original(listed: &Listed) -> Outgoing {
    let letter = &listed.letter;
    let kept = letter.headers.iter().filter(|(name, _)| name != HEADER_REPLAYED);
    let mut headers: Vec<(String, Bytes)> =
        kept.map(|(name, value)| (name.clone(), Bytes::copy_from_slice(value))).collect();
    headers.push((HEADER_REPLAYED.to_owned(), Bytes::copy_from_slice(listed.id.as_bytes())));
    Outgoing {
        topic: letter.topic.as_str().into(),
        partition: Some(letter.partition),
        key: letter.key.clone().map(Bytes::from),
        value: letter.value.clone().map(Bytes::from),
        headers,
        timestamp_ms: None,
    }
}

fn tombstone(id: &str) -> Outgoing {
    Outgoing {
        topic: TOPIC_DEAD_LETTERS.into(),
        partition: None,
        key: Some(Bytes::copy_from_slice(id.as_bytes())),
        value: None,
        headers: Vec::new(),
        timestamp_ms: None,
    }
}
