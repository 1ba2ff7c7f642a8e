//! Reading records, as a member of a group or by assignment.
//!
//! Offsets are committed only when the caller says so. A slow caller stops the reading, never the
//! membership: a thread of its own keeps polling.
//!
//! Invariant: a partition's records are returned in offset order, only between its `Assigned` and
//! its `Revoked`, and after a seek none from before it. Where a partition goes back (its topic was made
//! anew, or has lost its end), they begin again at a lower offset: none is left out.

mod place;
mod state;
pub(crate) mod thread;

use crate::{BatchLimits, BusError, Polled, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use state::{Command, Shared, Stage};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use thread::{Context, offsets_list};
use tokio::sync::oneshot;

const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds and group behaviour of a consumer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerOptions {
    /// Records that wait in this process, beside what librdkafka prefetches; bytes.
    pub buffer_bytes: usize,
    /// What librdkafka prefetches, all partitions together; bytes.
    pub prefetch_bytes: usize,
    /// A member that is silent for this long is out of the group, milliseconds.
    pub session_timeout_ms: u64,
    /// Where a group without offsets begins: `earliest`, `latest` or `error`.
    pub offset_reset: String,
    /// Static membership: the same id after a restart takes its partitions over at once.
    pub instance_id: Option<String>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            buffer_bytes: 8 << 20,
            prefetch_bytes: 32 << 20,
            session_timeout_ms: 10_000,
            offset_reset: "earliest".to_owned(),
            instance_id: None,
        }
    }
}

/// Reads records. See [`Polled`] for the order of events.
pub struct Consumer {
    shared: Arc<Shared>,
    /// Owned by the polling thread, so that closing (which waits for the broker) happens there.
    client: Weak<BaseConsumer<Context>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Commits the offsets of a consumer. Keeps it from nothing: a closed one commits no more.
#[derive(Clone)]
pub struct Committer {
    shared: Arc<Shared>,
    client: Weak<BaseConsumer<Context>>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) fn new(
        mut config: ClientConfig,
        group: Option<&str>,
        options: ConsumerOptions,
    ) -> Result<Self, BusError> {
        configure(&mut config, group, &options);
        let shared = Arc::new(Shared::new(options.buffer_bytes));
        let context = Context { shared: Arc::clone(&shared) };
        let client = BaseConsumer::from_config_and_context(&config, context)
            .map_err(BusError::kafka("start consumer"))?;
        let owner = Arc::new(client);
        let client = Arc::downgrade(&owner);
        let thread = std::thread::Builder::new()
            .name("bus-consumer".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || thread::run(owner, &shared)
            })
            .map_err(|error| BusError::ConsumerStopped(error.to_string()))?;
        Ok(Consumer { shared, client, thread: Some(thread) })
    }

    /// Joins the group for these topics: names, or regular expressions that begin with `^`. Topics
    /// that match later are added within seconds.
    ///
    /// # Errors
    /// [`BusError::Kafka`] for an invalid name or expression.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), BusError> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.client()?.subscribe(&topics).map_err(BusError::kafka("subscribe"))
    }

    fn client(&self) -> Result<Arc<BaseConsumer<Context>>, BusError> {
        self.client.upgrade().ok_or_else(|| BusError::ConsumerStopped("closed".to_owned()))
    }

    /// Reads these partitions from these offsets, outside any group. Replaces what was assigned;
    /// there is no `Assigned` event.
    ///
    /// # Errors
    /// [`BusError::Kafka`], [`BusError::ConsumerStopped`].
    pub async fn assign(&self, partitions: &[(TopicPartition, i64)]) -> Result<(), BusError> {
        let partitions = partitions.to_vec();
        self.command(|reply| Command::Assign(partitions, reply)).await
    }

    /// Sets the next offset of assigned partitions. After `Assigned` and before the next poll it
    /// decides where reading starts; later it goes back or forth, and what was buffered is dropped.
    ///
    /// # Errors
    /// [`BusError::Kafka`] where a partition is not assigned, [`BusError::ConsumerStopped`].
    pub async fn seek(&self, partitions: &[(TopicPartition, i64)]) -> Result<(), BusError> {
        let mut active = Vec::new();
        {
            let mut state = self.shared.state.lock();
            let starting = state.rebalance.as_mut().filter(|r| r.assigned);
            match starting {
                Some(rebalance) => {
                    for (partition, offset) in partitions {
                        if rebalance.partitions.contains(partition) {
                            rebalance.starts.insert(partition.clone(), *offset);
                        } else {
                            active.push((partition.clone(), *offset));
                        }
                    }
                }
                None => active.extend_from_slice(partitions),
            }
        }
        if active.is_empty() {
            return Ok(());
        }
        self.command(|reply| Command::Seek(active, reply)).await
    }

    async fn command(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), BusError>>) -> Command,
    ) -> Result<(), BusError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            if let Some(error) = &state.error {
                return Err(error.clone());
            }
            state.commands.push_back(command(reply));
        }
        self.shared.space.notify_all();
        answer.await.unwrap_or_else(|_| Err(BusError::ConsumerStopped("closed".to_owned())))
    }

    /// The next event, or records up to `limits`. Returns an empty batch when nothing came within
    /// the linger. Cancel safe: what is not returned stays buffered.
    ///
    /// # Errors
    /// Only what no waiting mends (authorisation, fatal client errors); the consumer is then dead.
    pub async fn poll_batch(&mut self, limits: BatchLimits) -> Result<Polled, BusError> {
        self.acknowledge();
        let deadline = tokio::time::Instant::now() + limits.linger;
        loop {
            // Registered before looking, so that no wake-up is lost in between.
            let ready = self.shared.ready.notified();
            {
                let mut state = self.shared.state.lock();
                if let Some(event) = state.take_event() {
                    return Ok(event);
                }
                let timed_out = tokio::time::Instant::now() >= deadline;
                let full = state.bytes >= limits.max_bytes.min(self.shared.buffer_bytes)
                    || state.queue.len() >= limits.max_records;
                if (full || timed_out) && !state.queue.is_empty() {
                    let (mut batch, mut bytes) = (Vec::new(), 0);
                    state.drain(&mut batch, &mut bytes, &limits);
                    drop(state);
                    self.shared.space.notify_all();
                    return Ok(Polled::Records(batch));
                }
                if let Some(error) = &state.error {
                    return Err(error.clone());
                }
                if timed_out {
                    return Ok(Polled::Records(Vec::new()));
                }
            }
            let _ = tokio::time::timeout_at(deadline, ready).await;
        }
    }

    /// The caller polls again: the rebalance that he has seen may go on.
    fn acknowledge(&self) {
        let mut state = self.shared.state.lock();
        if let Some(rebalance) = state.rebalance.as_mut().filter(|r| r.stage == Stage::Delivered) {
            rebalance.stage = Stage::Acknowledged;
            self.shared.space.notify_all();
        }
    }

    /// Commits the next offsets to the group and waits for the coordinator's answer.
    ///
    /// # Errors
    /// [`BusError::Kafka`]; passing while the group rebalances or the coordinator is away.
    pub async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), BusError> {
        self.committer().commit(offsets).await
    }

    /// Commits offsets of this consumer while it is polled elsewhere.
    #[must_use]
    pub fn committer(&self) -> Committer {
        Committer { shared: Arc::clone(&self.shared), client: Weak::clone(&self.client) }
    }

    /// The group's committed next offsets; partitions without one are absent.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the coordinator is away.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let client = self.client()?;
        let list =
            blocking("read offsets", move || client.committed_offsets(list, COMMITTED_TIMEOUT)).await?;
        Ok(known_offsets(&list))
    }

    /// Records between the end of each assigned partition and the committed offset, as [`Consumer::progress`].
    #[must_use]
    pub fn lag(&self) -> BTreeMap<TopicPartition, i64> {
        let lag = |(partition, (next, end)): (TopicPartition, (i64, i64))| (partition, (end - next).max(0));
        self.progress().into_iter().map(lag).collect()
    }

    /// The committed offset of each assigned partition (before the first commit: what `poll_batch` returned) and its end.
    /// From figures at most two seconds old; asks nobody.
    #[must_use]
    pub fn progress(&self) -> BTreeMap<TopicPartition, (i64, i64)> {
        let state = self.shared.state.lock();
        let read = |partition: &TopicPartition| {
            state.committed.get(partition).or_else(|| state.positions.get(partition)).copied()
        };
        state
            .ends
            .iter()
            .filter_map(|(partition, end)| read(partition).map(|next| (partition.clone(), (next, *end))))
            .collect()
    }

    /// Leaves the group and waits for it, 5 seconds at most.
    pub async fn close(mut self) {
        let thread = self.thread.take();
        drop(self);
        let join = tokio::task::spawn_blocking(move || thread.map(std::thread::JoinHandle::join));
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, join).await;
    }
}

impl Committer {
    /// As [`Consumer::commit`].
    ///
    /// # Errors
    /// As [`Consumer::commit`]; [`BusError::ConsumerStopped`] once the consumer is closed.
    pub async fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), BusError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let list = offsets_list(offsets)?;
        let closed = || BusError::ConsumerStopped("closed".to_owned());
        let client = self.client.upgrade().ok_or_else(closed)?;
        blocking("commit offsets", move || client.commit(&list, CommitMode::Sync)).await?;
        self.shared.state.lock().committed.extend(offsets.iter().cloned());
        Ok(())
    }
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.space.notify_all();
    }
}

fn configure(config: &mut ClientConfig, group: Option<&str>, options: &ConsumerOptions) {
    let client_id = config.get("client.id").unwrap_or("affluent").to_owned();
    // librdkafka assigns partitions only to consumers with a group id; nobody joins this one.
    let group = group.map_or_else(|| format!("{client_id}.reader"), ToOwned::to_owned);
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", &options.offset_reset)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", options.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (options.session_timeout_ms / 5).clamp(100, 3_000).to_string())
        .set("max.poll.interval.ms", "300000")
        .set("queued.max.messages.kbytes", (options.prefetch_bytes / 1024).max(1).to_string())
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("check.crcs", "true")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "3000")
        .set("statistics.interval.ms", "2000");
    if let Some(id) = &options.instance_id {
        config.set("group.instance.id", id);
    }
}

pub(crate) fn known_offsets(list: &TopicPartitionList) -> BTreeMap<TopicPartition, i64> {
    list.elements()
        .iter()
        .filter_map(|e| match e.offset() {
            Offset::Offset(offset) => Some((TopicPartition::new(e.topic(), e.partition()), offset)),
            _ => None,
        })
        .collect()
}

/// Runs a call of librdkafka that waits, off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    call: impl FnOnce() -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(call).await {
        Ok(outcome) => outcome.map_err(BusError::kafka(action)),
        Err(error) => Err(BusError::ConsumerStopped(error.to_string())),
    }
}
