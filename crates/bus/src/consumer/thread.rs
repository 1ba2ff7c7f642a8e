//! The thread that polls librdkafka: moves records into the shared buffer, serves rebalances and
//! commands, and stops reading while the caller is slow without leaving the group.
//!
//! It is the only one that polls, and it holds no record between two polls, so a seek or an assignment
//! done here leaves no stale one behind.

use super::place::Place;
use super::state::{Command, Rebalance, Shared, Stage};
use crate::bus::log_line;
use crate::{BusError, Incoming, TopicPartition};
use bytes::{Bytes, BytesMut};
use parking_lot::MutexGuard;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Message as _, Offset, Statistics, TopicPartitionList};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one poll waits; commands wait as long at most.
const POLL: Duration = Duration::from_millis(50);
/// Most records taken between two looks at commands and at the buffer's size.
const CHUNK_RECORDS: usize = 1_000;
/// A full buffer is waited on this long before the partitions are paused and polling goes on.
const STALL: Duration = Duration::from_secs(3);
/// How long a revocation waits for the caller before the partitions are given up regardless.
const REVOKE_WAIT: Duration = Duration::from_secs(60);
/// Records share allocations of this size; larger ones have their own.
const BUFFER_BYTES: usize = 64 << 10;
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives librdkafka's callbacks; all of them run on the polling thread.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if is_unknown_topic(&error) {
            tracing::debug!(%error, reason, "consumer waits for the topic");
        } else {
            tracing::warn!(%error, reason, "consumer waits for the broker");
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut state = self.shared.state.lock();
        for (topic, statistics) in statistics.topics {
            let topic: Arc<str> = topic.into();
            for (partition, statistics) in statistics.partitions {
                if partition >= 0 && statistics.hi_offset >= 0 {
                    let partition = TopicPartition { topic: Arc::clone(&topic), partition };
                    state.ends.insert(partition, statistics.hi_offset);
                }
            }
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let partitions: Vec<_> =
            list.elements().iter().map(|e| TopicPartition::new(e.topic(), e.partition())).collect();
        self.announce(consumer, assigned, &partitions, list);
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let outcome = match (assigned, cooperative) {
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.assign(list),
            (false, true) => consumer.incremental_unassign(list),
            (false, false) => consumer.unassign(),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, assigned, "rebalance failed");
        }
        let mut state = self.shared.state.lock();
        state.rebalance = None;
        for partition in partitions {
            if !assigned {
                state.positions.remove(&partition);
                state.committed.remove(&partition);
                state.ends.remove(&partition);
            }
        }
    }
}

impl Context {
    /// Shows the rebalance to the caller and waits until he has acted on it; fills in where
    /// assigned partitions shall start.
    ///
    /// Commands are served meanwhile: the caller may be waiting for one before he looks.
    fn announce(
        &self,
        consumer: &BaseConsumer<Self>,
        assigned: bool,
        partitions: &[TopicPartition],
        list: &mut TopicPartitionList,
    ) {
        let mut state = self.shared.state.lock();
        if assigned {
            state.assigned.extend(partitions.iter().map(|partition| (partition.clone(), Place::at(0))));
        } else {
            state.assigned.retain(|known, _| !partitions.contains(known));
            state.discard(partitions);
        }
        if partitions.is_empty() || state.stop || state.error.is_some() {
            return;
        }
        state.rebalance = Some(Rebalance {
            assigned,
            partitions: partitions.to_vec(),
            stage: Stage::Announced,
            starts: Default::default(),
        });
        self.shared.ready.notify_one();
        let deadline = Instant::now() + REVOKE_WAIT;
        while state.rebalance.as_ref().is_some_and(|r| r.stage != Stage::Acknowledged) && !state.stop {
            for command in std::mem::take(&mut state.commands) {
                MutexGuard::unlocked(&mut state, || execute(consumer, &self.shared, command));
            }
            let timed_out = self.shared.space.wait_for(&mut state, Duration::from_secs(1)).timed_out();
            if timed_out && !assigned && Instant::now() > deadline {
                tracing::warn!(?partitions, "revocation not acknowledged in time, partitions given up");
                state.give_up_waiting();
                break;
            }
        }
        let starts = state.rebalance.take().map(|r| r.starts).unwrap_or_default();
        for (partition, offset) in &starts {
            let set =
                list.set_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset));
            if let Err(error) = set {
                tracing::error!(%error, %partition, offset, "start offset refused");
            }
        }
        state.start(starts.into_iter().collect());
    }
}

/// Runs until the consumer is stopped or fails for good.
pub(super) fn run(consumer: Arc<BaseConsumer<Context>>, shared: &Shared) {
    let mut intake = Intake::default();
    let mut paused = false;
    loop {
        let commands = {
            let mut state = shared.state.lock();
            if state.stop {
                break;
            }
            std::mem::take(&mut state.commands)
        };
        for command in commands {
            execute(&consumer, shared, command);
        }
        match collect(&consumer, shared, &mut intake) {
            Ok(0) => {}
            Ok(_) => shared.ready.notify_one(),
            Err(error) => {
                tracing::error!(%error, "consumer stopped");
                shared.state.lock().error = Some(error);
                shared.ready.notify_one();
                break;
            }
        }
        paused = balance(&consumer, shared, paused);
    }
    // Closing leaves the group; the last owner of the client does it here, not on the caller's thread.
    drop(consumer);
    shared.state.lock().commands.clear();
}

/// Waits while the buffer is full; after a while pauses the partitions, so that polling (which
/// keeps the membership) can go on. Returns whether they are paused.
fn balance(consumer: &BaseConsumer<Context>, shared: &Shared, paused: bool) -> bool {
    let change = |pause: bool| {
        let outcome = consumer.assignment().and_then(|list| match pause {
            true => consumer.pause(&list),
            false => consumer.resume(&list),
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, pause, "pausing or resuming failed");
        }
    };
    let mut state = shared.state.lock();
    if paused {
        if state.bytes <= shared.buffer_bytes / 2 {
            drop(state);
            change(false);
            return false;
        }
        return true;
    }
    let deadline = Instant::now() + STALL;
    while state.bytes > shared.buffer_bytes && !state.stop && state.commands.is_empty() {
        if shared.space.wait_until(&mut state, deadline).timed_out() {
            drop(state);
            change(true);
            return true;
        }
    }
    false
}

fn execute(consumer: &BaseConsumer<Context>, shared: &Shared, command: Command) {
    let (reply, partitions, outcome) = match command {
        Command::Assign(partitions, reply) => {
            let outcome = offsets_list(&partitions)
                .and_then(|list| consumer.assign(&list).map_err(BusError::kafka("assign")));
            let mut state = shared.state.lock();
            state.positions.clear();
            state.assigned = partitions.iter().map(|(p, offset)| (p.clone(), Place::at(*offset))).collect();
            drop(state);
            (reply, partitions, outcome)
        }
        Command::Seek(partitions, reply) => {
            let outcome = offsets_list(&partitions).and_then(|list| {
                let seeked = consumer.seek_partitions(list, SEEK_TIMEOUT).map_err(BusError::kafka("seek"))?;
                seeked.elements().iter().try_for_each(|e| e.error().map_err(BusError::kafka("seek")))
            });
            (reply, partitions, outcome)
        }
    };
    let mut state = shared.state.lock();
    let names: Vec<_> = partitions.iter().map(|(p, _)| p.clone()).collect();
    state.discard(&names);
    if outcome.is_ok() {
        state.start(partitions);
    }
    drop(state);
    let _ = reply.send(outcome);
}

/// One wait for a record, then all that are there, up to a chunk. Returns how many came.
///
/// Each goes into the shared buffer before the next poll: that poll may serve a rebalance or a seek,
/// which drops what is buffered of its partitions, and could not drop what were still in hand here.
fn collect(
    consumer: &BaseConsumer<Context>,
    shared: &Shared,
    intake: &mut Intake,
) -> Result<usize, BusError> {
    let mut count = 0;
    let mut timeout = POLL;
    while count < CHUNK_RECORDS {
        match consumer.poll(timeout) {
            None => break,
            Some(Ok(message)) => {
                let record = intake.incoming(&message);
                shared.state.lock().push(record);
                count += 1;
                timeout = Duration::ZERO;
            }
            Some(Err(error)) if is_final(&error) => {
                return Err(BusError::Kafka { action: "consume", source: error });
            }
            Some(Err(error)) if is_unknown_topic(&error) => {
                tracing::debug!(%error, "consumer waits for the topic");
            }
            Some(Err(error)) => tracing::warn!(%error, "consumer waits"),
        }
    }
    Ok(count)
}

/// A subscribed topic that does not exist yet: its source makes it with the first table.
fn is_unknown_topic(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition)
}

/// Errors that no waiting mends.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::SaslAuthenticationFailed
                    | Code::AutoOffsetReset
            )
        )
}

/// Makes records of librdkafka's messages.
#[derive(Default)]
pub(crate) struct Intake {
    names: HashSet<Arc<str>>,
    /// Records share allocations: one each costs more than copying it.
    buffer: BytesMut,
}

impl Intake {
    pub(crate) fn incoming(&mut self, message: &BorrowedMessage<'_>) -> Incoming {
        let topic = match self.names.get(message.topic()) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = message.topic().into();
                self.names.insert(Arc::clone(&name));
                name
            }
        };
        let (key, value) = (message.key(), message.payload());
        let length = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if length > self.buffer.capacity() {
            // What is left of the old one is freed with its last record.
            self.buffer = BytesMut::with_capacity(length.max(BUFFER_BYTES));
        }
        let buffer = &mut self.buffer;
        let mut copy = |part: &[u8]| {
            buffer.extend_from_slice(part);
            buffer.split().freeze()
        };
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|h| (h.key.to_owned(), h.value.map_or_else(Bytes::new, Bytes::copy_from_slice)))
                .collect()
        });
        Incoming {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: key.map(&mut copy),
            value: value.map(&mut copy),
            headers,
            topic,
        }
    }
}

/// The partitions as librdkafka takes them.
pub(crate) fn offsets_list(partitions: &[(TopicPartition, i64)]) -> Result<TopicPartitionList, BusError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))
            .map_err(BusError::kafka("name offset"))?;
    }
    Ok(list)
}
