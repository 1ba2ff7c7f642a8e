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
    /// Lowest staged offset of each partition: where reading starts again if they are dropped. It is the first, unless
    /// the partition went back.
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
        let firsts = runs(records).filter_map(<[Incoming]>::first);
        self.begins_at(firsts.map(|first| (first.topic_partition(), first.offset)));
    }

    /// Reading starts again at these offsets, where nothing staged is from before them.
    pub(super) fn begins_at(&mut self, first: impl IntoIterator<Item = (TopicPartition, i64)>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_read_again_from_its_lowest_offset() {
        let record = |(partition, offset): (i32, i64)| Incoming {
            topic: "t".into(),
            partition,
            offset,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let mut staged = Staged::default();
        // Partition 1 goes back.
        for polled in [[(0, 7), (0, 8), (1, 5)], [(1, 0), (1, 1), (0, 9)]] {
            let records = polled.map(record);
            staged.add(&records, &[], "sink");
        }
        let at = |zero, one| {
            BTreeMap::from([(TopicPartition::new("t", 0), zero), (TopicPartition::new("t", 1), one)])
        };
        assert_eq!((staged.first, staged.next, staged.records), (at(7, 0), at(10, 2), 6));
    }
}
