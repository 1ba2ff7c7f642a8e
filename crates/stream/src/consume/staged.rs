//! What is staged between two commits: offsets, sizes, refused records.

use super::traced::{self, Traced};
use crate::sinks::Rejected;
use affluent_bus::{Incoming, TopicPartition};
use affluent_model::{DeadLetter, time::now_micros};
use std::collections::BTreeMap;
use std::time::Instant;

/// Everything since the last commit.
#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Next offset of each partition that has staged records.
    pub(super) next: BTreeMap<TopicPartition, i64>,
    /// First staged offset of each partition: where reading starts again if they are dropped.
    pub(super) first: BTreeMap<TopicPartition, i64>,
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) since: Option<Instant>,
    pub(super) letters: Vec<DeadLetter>,
    pub(super) traced: Vec<Traced>,
}

impl Staged {
    /// Takes note of records that the sink has staged or rejected.
    pub(super) fn add(&mut self, records: &[Incoming], rejected: &[Rejected], stage: &str) {
        self.starts_at(records);
        for run in runs(records) {
            if let Some(last) = run.last() {
                self.next.insert(last.topic_partition(), last.offset + 1);
            }
        }
        self.bytes += records.iter().map(Incoming::size).sum::<usize>();
        self.records += records.len();
        self.since.get_or_insert_with(Instant::now);
        self.traced.extend(traced::among(records, rejected));
        let refused = rejected.iter().filter_map(|refused| Some((records.get(refused.index)?, refused)));
        self.letters.extend(refused.map(|(record, refused)| letter(record, refused, stage)));
    }

    /// Notes where reading starts again if it comes to that.
    pub(super) fn starts_at(&mut self, records: &[Incoming]) {
        for first in runs(records).filter_map(<[Incoming]>::first) {
            self.first.entry(first.topic_partition()).or_insert(first.offset);
        }
    }

    /// Reading starts again at these offsets, where nothing staged is from before them.
    pub(super) fn begins_at(&mut self, first: BTreeMap<TopicPartition, i64>) {
        for (partition, offset) in first {
            let known = self.first.entry(partition).or_insert(offset);
            *known = offset.min(*known);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }
}

/// Records that follow each other in one partition.
fn runs(records: &[Incoming]) -> impl Iterator<Item = &[Incoming]> {
    records.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic)
}

fn letter(record: &Incoming, refused: &Rejected, stage: &str) -> DeadLetter {
    let headers = record.headers.iter().map(|(name, value)| (name.clone(), value.to_vec()));
    DeadLetter {
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
        stage: stage.to_owned(),
        reason: refused.reason,
        error: refused.error.clone(),
        first_seen: now_micros(),
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()),
        headers: headers.collect(),
    }
}
