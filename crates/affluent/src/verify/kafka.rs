//! Kafka's side: every change event of a topic, folded; what came after the barrier is kept apart.

use super::digest::{Digest, KEY_SEPARATOR, Measures, TableShape};
use super::fold::{Event, Fold, Later, Repeats};
use super::keyless::Keyless;
use super::source::Visible;
use crate::erase::Erased;
use affluent_bus::codec::{ChangeDecoder, Decoded};
use affluent_bus::{Admin, BatchLimits, Bus, ConsumerOptions, Incoming, Polled, TopicPartition};
use affluent_model::{ChangeEvent, Op, Row};
use anyhow::{Context as _, bail};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

const BATCH: BatchLimits =
    BatchLimits { max_records: 10_000, max_bytes: 8 << 20, linger: Duration::from_millis(200) };
/// A read that brings nothing for this long has failed.
const STALLED: Duration = Duration::from_secs(30);

/// Offsets of a topic: partition -> first, next.
pub(super) type Watermarks = BTreeMap<i32, (i64, i64)>;

/// Where a topic begins and ends now; empty where it does not exist.
pub(super) async fn watermarks(admin: &Admin, topic: &str) -> anyhow::Result<Watermarks> {
    let mut marks = Watermarks::new();
    for partition in 0..admin.partitions(topic).await?.unwrap_or(0) {
        marks.insert(partition, admin.watermarks(&TopicPartition::new(topic, partition)).await?);
    }
    Ok(marks)
}

/// What the topic of a table says.
pub(super) struct KafkaRows {
    pub(super) fold: Fold,
    pub(super) keyless: Keyless,
    /// Events of transactions that the source's snapshot did not see.
    pub(super) later: Later,
    /// Their places in the topic.
    pub(super) later_offsets: HashSet<(i32, i64)>,
    pub(super) records: u64,
    /// Records that are no change event of this table.
    pub(super) undecodable: u64,
    /// Records about customers who were erased: the lake has them no longer.
    pub(super) erased: u64,
}

impl KafkaRows {
    pub(super) fn new() -> Self {
        KafkaRows {
            fold: Fold::default(),
            keyless: Keyless::default(),
            later: Later::default(),
            later_offsets: HashSet::new(),
            records: 0,
            undecodable: 0,
            erased: 0,
        }
    }

    /// Reads `[from, to)` of every partition; the source's snapshot tells what came later.
    pub(super) async fn read(
        &mut self,
        reader: &mut TopicReader<'_>,
        range: &Watermarks,
        visible: &Visible,
        erased: &Erased,
    ) -> anyhow::Result<()> {
        let (shape, measures) = (reader.shape, reader.measures.clone());
        reader
            .read(range, |record, change| {
                self.records += 1;
                let Some(change) = change else {
                    self.undecodable += 1;
                    return;
                };
                self.erased += u64::from(erased.has(&change));
                let event = event(shape, &measures, &change);
                if change.source.tx_id.is_some_and(|id| !visible.saw(id)) {
                    self.later_offsets.insert((record.partition, record.offset));
                    self.later.add(event);
                } else if shape.key.is_empty() {
                    self.keyless.apply(event);
                } else {
                    self.fold.apply(&measures, event);
                }
            })
            .await
    }

    /// Events that were in the topic more than once.
    pub(super) fn repeats(&self) -> Vec<&Repeats> {
        vec![&self.fold.repeats, &self.keyless.repeats, &self.later.repeats]
    }
}

/// Reads ranges of one table's topic.
pub(super) struct TopicReader<'a> {
    bus: &'a Bus,
    decoder: ChangeDecoder,
    shape: &'a TableShape,
    measures: Measures,
}

impl<'a> TopicReader<'a> {
    pub(super) fn new(bus: &'a Bus, decoder: ChangeDecoder, shape: &'a TableShape) -> Self {
        TopicReader { bus, decoder, shape, measures: shape.measures() }
    }

    /// Calls `each` with every record of the range that is not a tombstone, and its change if it has one.
    async fn read(
        &mut self,
        range: &Watermarks,
        mut each: impl FnMut(&Incoming, Option<ChangeEvent>),
    ) -> anyhow::Result<()> {
        let topic = self.shape.topic.as_str();
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        let mut begin = Vec::new();
        for (&partition, &(from, to)) in range.iter().filter(|(_, (from, to))| from < to) {
            begin.push((TopicPartition::new(topic, partition), from));
            ends.insert(partition, to);
        }
        if begin.is_empty() {
            return Ok(());
        }
        let mut consumer = self.bus.consumer(None, ConsumerOptions::default())?;
        consumer.assign(&begin).await.with_context(|| format!("read {topic}"))?;
        let mut progressed = Instant::now();
        while !ends.is_empty() {
            let records = match consumer.poll_batch(BATCH).await.with_context(|| format!("read {topic}"))? {
                Polled::Records(records) => records,
                Polled::Assigned(_) | Polled::Revoked(_) => continue,
            };
            if !records.is_empty() {
                progressed = Instant::now();
            } else if progressed.elapsed() > STALLED {
                bail!("{topic} brought nothing for {} s before its end at {ends:?}", STALLED.as_secs());
            }
            for record in records {
                let Some(&end) = ends.get(&record.partition) else { continue };
                if record.offset + 1 >= end {
                    ends.remove(&record.partition);
                }
                if record.offset >= end {
                    continue;
                }
                match self.decoder.decode(&record).await {
                    Ok(Decoded::Change(change)) => each(&record, Some(change)),
                    Ok(Decoded::Tombstone) => {}
                    Ok(Decoded::Other) => each(&record, None),
                    Err(error) if error.reason().is_some() => each(&record, None),
                    Err(error) => return Err(error).with_context(|| format!("decode {topic}")),
                }
            }
        }
        consumer.close().await;
        Ok(())
    }
}

/// The event of a change, by the shape's columns.
fn event(shape: &TableShape, measures: &Measures, change: &ChangeEvent) -> Event {
    let places: Vec<Option<usize>> =
        shape.columns.iter().map(|column| change.schema.index_of(&column.name)).collect();
    let digest = |row: &Row, unchanged: &[usize]| -> Digest {
        shape.digest(measures, |index, column| {
            let place = places[index].filter(|place| !unchanged.contains(place))?;
            Some(row.get(place).and_then(|value| column.kind.of_value(value)))
        })
    };
    let unchanged = (0..shape.columns.len())
        .filter(|&index| places[index].is_some_and(|place| change.unchanged.contains(&place)))
        .collect();
    let key_of = |row: &Row| -> String {
        let text = |&index: &usize| {
            let value = places[index].and_then(|place| row.get(place))?;
            shape.columns[index].kind.of_value(value)
        };
        let texts: Vec<_> = shape.key.iter().map(|index| text(index).unwrap_or_default()).collect();
        texts.join(&KEY_SEPARATOR.to_string())
    };
    let after_key = change.after.as_ref().map(&key_of);
    let before_key = change.before.as_ref().map(&key_of);
    let moved_from = match (&before_key, &after_key) {
        (Some(before), Some(after)) if !shape.key.is_empty() && before != after => Some(before.clone()),
        _ => None,
    };
    Event {
        key: after_key.or(before_key).unwrap_or_default(),
        moved_from,
        op: change.op,
        position: change.source.position,
        before: change.before.as_ref().map(|row| digest(row, &[])),
        after: change
            .after
            .as_ref()
            .filter(|_| change.op != Op::Delete)
            .map(|row| digest(row, &change.unchanged)),
        unchanged,
    }
}
