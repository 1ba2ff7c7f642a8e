//! What the polling thread and the caller share: buffered records, the rebalance under way,
//! commands, positions.
//!
//! Invariant: records of a partition are in the buffer only between its assignment, acknowledged
//! by the caller, and its revocation.

use super::place::{Arrival, Place};
use crate::{BatchLimits, BusError, Incoming, Polled, TopicPartition};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::{Notify, oneshot};

/// What the caller asks the polling thread to do between two polls.
pub(super) enum Command {
    Assign(Vec<(TopicPartition, i64)>, oneshot::Sender<Result<(), BusError>>),
    Seek(Vec<(TopicPartition, i64)>, oneshot::Sender<Result<(), BusError>>),
}

/// A rebalance that waits for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The caller has not seen it yet.
    Announced,
    /// `poll_batch` has returned it.
    Delivered,
    /// The caller has polled again.
    Acknowledged,
}

pub(super) struct Rebalance {
    pub(super) assigned: bool,
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) stage: Stage,
    /// Where the caller wants assigned partitions to start.
    pub(super) starts: BTreeMap<TopicPartition, i64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Incoming>,
    pub(super) bytes: usize,
    /// What is read, from an assignment to its revocation, and where that stands.
    pub(super) assigned: BTreeMap<TopicPartition, Place>,
    pub(super) rebalance: Option<Rebalance>,
    /// Partitions that were given up before the caller saw it.
    pub(super) given_up: Vec<TopicPartition>,
    pub(super) commands: VecDeque<Command>,
    /// The next offset of each assigned partition that `poll_batch` will return.
    pub(super) positions: BTreeMap<TopicPartition, i64>,
    pub(super) committed: BTreeMap<TopicPartition, i64>,
    /// The end of each partition, from librdkafka's statistics.
    pub(super) ends: BTreeMap<TopicPartition, i64>,
    pub(super) stop: bool,
    pub(super) error: Option<BusError>,
}

pub(super) struct Shared {
    /// The buffer counts as full from here on.
    pub(super) buffer_bytes: usize,
    pub(super) state: Mutex<State>,
    /// Something for the caller.
    pub(super) ready: Notify,
    /// Something for the polling thread: space, an acknowledgement, a command, the end.
    pub(super) space: Condvar,
}

impl Shared {
    pub(super) fn new(buffer_bytes: usize) -> Self {
        let buffer_bytes = buffer_bytes.max(1);
        Shared { buffer_bytes, state: Mutex::default(), ready: Notify::new(), space: Condvar::new() }
    }
}

impl State {
    /// Buffers a record, unless its partition was given up while it was on its way or it was buffered before.
    pub(super) fn push(&mut self, record: Incoming) {
        let Some(place) = self.assigned.get_mut(&record.topic_partition()) else { return };
        match place.take(&record) {
            Arrival::Next => {}
            Arrival::Repeat => return,
            Arrival::Back { expected } => tracing::warn!(
                topic = %record.topic, partition = record.partition, offset = record.offset, expected,
                "the partition goes back: its topic was made anew or cut"
            ),
        }
        self.bytes += record.size();
        self.queue.push_back(record);
    }

    /// Reading goes on from these offsets.
    pub(super) fn start(&mut self, partitions: Vec<(TopicPartition, i64)>) {
        for (partition, offset) in partitions {
            if let Some(place) = self.assigned.get_mut(&partition) {
                *place = Place::at(offset);
                self.positions.insert(partition, offset);
            }
        }
    }

    /// Forgets buffered records of these partitions.
    pub(super) fn discard(&mut self, partitions: &[TopicPartition]) {
        let gone = |r: &Incoming| partitions.iter().any(|p| p.partition == r.partition && p.topic == r.topic);
        self.queue.retain(|r| !gone(r));
        self.bytes = self.queue.iter().map(Incoming::size).sum();
    }

    /// The rebalance event that the caller has to see first, if there is one.
    pub(super) fn take_event(&mut self) -> Option<Polled> {
        if !self.given_up.is_empty() {
            return Some(Polled::Revoked(std::mem::take(&mut self.given_up)));
        }
        let rebalance = self.rebalance.as_mut().filter(|r| r.stage == Stage::Announced)?;
        rebalance.stage = Stage::Delivered;
        let partitions = rebalance.partitions.clone();
        Some(if rebalance.assigned { Polled::Assigned(partitions) } else { Polled::Revoked(partitions) })
    }

    /// Ends the rebalance without the caller; he sees it afterwards.
    pub(super) fn give_up_waiting(&mut self) {
        if let Some(rebalance) = self.rebalance.take_if(|r| r.stage == Stage::Announced) {
            self.given_up.extend(rebalance.partitions);
        }
    }

    /// Moves records from the buffer to `batch` up to the limits, or to where a partition goes back; true when the batch is full.
    pub(super) fn drain(
        &mut self,
        batch: &mut Vec<Incoming>,
        bytes: &mut usize,
        limits: &BatchLimits,
    ) -> bool {
        while let Some(record) = self.queue.front() {
            let (size, partition) = (record.size(), record.topic_partition());
            let position = self.positions.entry(partition).or_insert(record.offset);
            let goes_back = record.offset < *position;
            let is_full = batch.len() >= limits.max_records || *bytes + size > limits.max_bytes;
            if !batch.is_empty() && (is_full || goes_back) {
                return true;
            }
            let Some(record) = self.queue.pop_front() else { break };
            self.bytes -= size;
            *bytes += size;
            *position = record.offset + 1;
            batch.push(record);
        }
        batch.len() >= limits.max_records || *bytes >= limits.max_bytes
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for command in self.commands.drain(..) {
            let (Command::Assign(_, reply) | Command::Seek(_, reply)) = command;
            let _ = reply.send(Err(BusError::ConsumerStopped("closed".to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(offset: i64) -> Incoming {
        Incoming {
            topic: "t".into(),
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    fn offsets(state: &State) -> Vec<i64> {
        state.queue.iter().map(|r| r.offset).collect()
    }

    #[test]
    fn a_repeated_record_is_buffered_once_and_a_seek_reads_again() {
        let partition = TopicPartition::new("t", 0);
        let mut state = State::default();
        state.push(record(0));
        assert!(state.queue.is_empty(), "not assigned");
        state.assigned.insert(partition.clone(), Place::at(0));
        state.start(vec![(partition.clone(), 5)]);
        for offset in [5, 6, 6, 9] {
            state.push(record(offset));
        }
        assert_eq!(offsets(&state), [5, 6, 9]);
        state.discard(std::slice::from_ref(&partition));
        state.start(vec![(partition.clone(), 5), (TopicPartition::new("other", 0), 3)]);
        assert_eq!(state.assigned.len(), 1);
        state.push(record(5));
        assert_eq!(offsets(&state), [5]);
    }

    #[test]
    fn a_batch_ends_where_a_partition_goes_back() {
        let partition = TopicPartition::new("t", 0);
        let mut state = State::default();
        state.assigned.insert(partition.clone(), Place::at(0));
        state.start(vec![(partition.clone(), 5)]);
        for offset in [5, 6, 0, 1] {
            state.push(record(offset));
        }
        let limits = BatchLimits { max_records: 10, max_bytes: 1 << 20, linger: Duration::ZERO };
        for (expected, position) in [([5, 6], 7), ([0, 1], 2)] {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            state.drain(&mut batch, &mut bytes, &limits);
            assert_eq!(batch.iter().map(|r| r.offset).collect::<Vec<_>>(), expected);
            assert_eq!(state.positions[&partition], position);
        }
    }
}
