//! The one consume loop: bus to sink, with dead letters and offsets in the right order.
//!
//! What is written where is the sink's ([`crate::sinks`]); here are the policies around it: batching,
//! retrying, dead letters, offsets, rebalances, shutdown. A sink that is slow or away stops the polling
//! of its own records and nothing else; the consumer keeps its membership meanwhile.
//!
//! Invariant: an offset is committed to the group only after everything before it is durable in the
//! sink, or in the dead letters.

mod attempts;
mod flight;
mod options;
mod staged;
mod traced;

pub use options::ConsumeOptions;
pub(crate) use traced::context as trace_of;

use crate::dead_letters::DeadLetterWriter;
use crate::sinks::Sink;
use affluent_bus::{
    BatchLimits, Bus, BusError, Committer, Consumer, ConsumerOptions, Incoming, Polled, TopicPartition,
};
use affluent_model::time::now_micros;
use affluent_telemetry::failpoint;
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::lag::Ends;
use affluent_telemetry::metrics_list;
use flight::Flight;
use futures::future::BoxFuture;
use staged::Staged;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long what is staged may take to become durable once the process is asked to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// How long the group's coordinator may take to note offsets.
const OFFSETS_LIMIT: Duration = Duration::from_secs(2);
/// How long partitions that are taken away may be held for a last commit.
const REVOKE_LIMIT: Duration = Duration::from_secs(20);
/// How often the lag is published.
const LAG_INTERVAL: Duration = Duration::from_secs(3);

/// A member without partitions counts as ready after this time.
const STANDBY_AFTER: Duration = Duration::from_secs(10);

/// Why a loop stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    #[error("{role}: invalid options: {problem}")]
    Options { role: &'static str, problem: String },
    #[error("{role}: {source}")]
    Bus { role: &'static str, source: BusError },
    #[error("{role}: {error}")]
    Sink { role: &'static str, error: String },
}

/// One sink with its consumer.
pub struct ConsumeService {
    sink: Box<dyn Sink>,
    bus: Bus,
    options: ConsumeOptions,
    /// Label of the metrics: `cdc`, `clickstream`, `logs`.
    pipeline: &'static str,
    health: Health,
}

impl ConsumeService {
    /// A loop that feeds `sink`.
    ///
    /// # Errors
    /// [`ConsumeError::Options`].
    pub fn new(
        sink: impl Sink + 'static,
        bus: Bus,
        options: ConsumeOptions,
        pipeline: &'static str,
        health: Health,
    ) -> Result<Self, ConsumeError> {
        options.check().map_err(|problem| ConsumeError::Options { role: sink.name(), problem })?;
        Ok(ConsumeService { sink: Box::new(sink), bus, options, pipeline, health })
    }

    /// Reads until `shutdown`, then commits what is staged, leaves the group and returns.
    ///
    /// # Errors
    /// What no waiting mends: options that the bus refuses, authorisation, a fatal error of the sink.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), ConsumeError>> {
        Box::pin(self.run_and_report(shutdown))
    }

    async fn run_and_report(self, shutdown: CancellationToken) -> Result<(), ConsumeError> {
        let role = self.sink.name();
        let health = self.health.clone();
        health.set(role, State::Starting("joining the consumer group".to_owned()));
        let result = self.run_to_end(shutdown).await;
        health.set(
            role,
            match &result {
                Ok(()) => State::Stopped,
                Err(error) => State::Failed(error.to_string()),
            },
        );
        result
    }

    async fn run_to_end(self, shutdown: CancellationToken) -> Result<(), ConsumeError> {
        let role = self.sink.name();
        let bus_error = |source| ConsumeError::Bus { role, source };
        let instance_id = self.options.member();
        let prefetch_bytes = self.options.prefetch_bytes;
        let membership = ConsumerOptions { instance_id, prefetch_bytes, ..ConsumerOptions::default() };
        let consumer = self.bus.consumer(Some(&self.options.group), membership).map_err(bus_error)?;
        consumer.subscribe(&self.options.topics).map_err(bus_error)?;
        let mut work = Loop {
            role,
            pipeline: self.pipeline,
            dead_letters: DeadLetterWriter::new(self.bus),
            sink: self.sink,
            consumer,
            options: self.options,
            health: self.health,
            assigned: BTreeSet::new(),
            told_below: BTreeMap::new(),
            staged: Staged::default(),
            flight: None,
            lag_published: Instant::now(),
            ends: BTreeMap::new(),
            started: Instant::now(),
            joined: false,
            shutdown,
        };
        let result = work.read().await;
        work.consumer.close().await;
        result
    }
}

/// Why an attempt was given up.
enum Stop {
    /// Time is over (shutdown, or partitions taken away): what is staged will be read again.
    GivenUp,
    /// The staged records are void; read them again.
    Fenced(String),
    Failed(ConsumeError),
}

/// What the loop waits for.
enum Event {
    /// The batch that was being written.
    Landed(Result<(), Stop>),
    Polled(Result<Polled, BusError>),
}

struct Loop {
    role: &'static str,
    pipeline: &'static str,
    sink: Box<dyn Sink>,
    consumer: Consumer,
    dead_letters: DeadLetterWriter,
    options: ConsumeOptions,
    health: Health,
    assigned: BTreeSet<TopicPartition>,
    /// What lies before these offsets was read before, by this member or another, and what was refused of it is in the dead letters.
    told_below: BTreeMap<TopicPartition, i64>,
    /// Since the last commit, or since a batch was handed over.
    staged: Staged,
    /// The batch that is being written meanwhile.
    flight: Option<Flight>,
    lag_published: Instant,
    /// Where the ends of the assigned partitions stood.
    ends: BTreeMap<TopicPartition, Ends>,
    started: Instant,
    /// Partitions were assigned once, or none for long.
    joined: bool,
    shutdown: CancellationToken,
}

impl Loop {
    async fn read(&mut self) -> Result<(), ConsumeError> {
        loop {
            self.publish_lag();
            let limits = self.limits();
            let event = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                ended = flight::ended(&mut self.flight, self.role) => Event::Landed(ended),
                polled = self.consumer.poll_batch(limits) => Event::Polled(polled),
            };
            let step = match event {
                Event::Landed(ended) => match self.landed(ended) {
                    Ok(()) => self.write_if_due().await,
                    Err(stop) => Err(stop),
                },
                Event::Polled(Err(source)) => return Err(ConsumeError::Bus { role: self.role, source }),
                Event::Polled(Ok(Polled::Assigned(partitions))) => self.assigned(partitions).await,
                Event::Polled(Ok(Polled::Revoked(partitions))) => self.revoked(&partitions).await,
                Event::Polled(Ok(Polled::Records(records))) => {
                    self.stand_by();
                    self.records(&records).await
                }
            };
            match step {
                Ok(()) => {}
                Err(Stop::GivenUp) if self.shutdown.is_cancelled() => break,
                Err(Stop::GivenUp) => self.restart("gave up").await?,
                Err(Stop::Fenced(reason)) => self.restart(&reason).await?,
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        tracing::info!(role = self.role, staged = self.staged.records, "draining");
        match self.commit(Instant::now() + DRAIN_LIMIT).await {
            Ok(()) => {}
            Err(Stop::Failed(error)) => return Err(error),
            // Nothing is lost: the offsets were not committed.
            Err(Stop::GivenUp | Stop::Fenced(_)) => {
                tracing::warn!(role = self.role, records = self.staged.records, "left for the next start");
            }
        }
        Ok(())
    }

    /// A member that got no partitions is ready too: the others have them, or there are none yet.
    fn stand_by(&mut self) {
        if !self.joined && self.started.elapsed() > STANDBY_AFTER {
            self.joined = true;
            self.health.set(self.role, State::Ready);
        }
    }

    fn limits(&self) -> BatchLimits {
        let linger = Duration::from_millis(self.options.linger_ms);
        let due = match (self.staged.since, &self.flight) {
            (Some(since), None) => self.commit_interval().saturating_sub(since.elapsed()),
            // The end of the flight ends the poll.
            (Some(_), Some(_)) | (None, _) => linger,
        };
        BatchLimits {
            max_records: self.options.poll_records,
            max_bytes: self.options.poll_bytes,
            linger: linger.min(due),
        }
    }

    fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.options.commit_interval_ms)
    }

    async fn records(&mut self, records: &[Incoming]) -> Result<(), Stop> {
        if !records.is_empty() {
            let rejected = match self.prepare(records).await {
                Ok(rejected) => rejected,
                Err(stop) => {
                    // They were read and are not staged: reading starts again at them, if not before.
                    self.staged.starts_at(records);
                    return Err(stop);
                }
            };
            for refused in &rejected {
                let Some(record) = records.get(refused.index) else { continue };
                if self.told_below.get(&record.topic_partition()).is_some_and(|&told| record.offset < told) {
                    continue;
                }
                tracing::warn!(
                    role = self.role, topic = %record.topic, partition = record.partition,
                    offset = record.offset, reason = %refused.reason, error = refused.error,
                    trace_id = traced::context(record).map(tracing::field::display), "record quarantined"
                );
                metrics_list::dead_letter(self.pipeline, refused.reason.code());
            }
            let refused = rejected.len() as u64;
            metrics_list::records(self.pipeline, self.role, "dead_letter", refused);
            metrics_list::records(self.pipeline, self.role, "ok", records.len() as u64 - refused);
            self.staged.add(records, &rejected, self.role);
        }
        self.write_if_due().await
    }

    /// Has what is staged written when it is time, or too much to stage more beside what is being written.
    async fn write_if_due(&mut self) -> Result<(), Stop> {
        let full = self.staged.records >= self.options.commit_records
            || self.staged.bytes >= self.options.commit_bytes;
        let due = self.staged.since.is_some_and(|since| since.elapsed() >= self.commit_interval());
        if !full && (self.flight.is_some() || !due) {
            return Ok(());
        }
        // Without an end: the sink decides how long the source waits.
        self.land(None).await?;
        self.write_letters(None).await?;
        failpoint("consume::after_dead_letters");
        match self.sink.hand_over() {
            Some(batch) => {
                self.launch(batch);
                Ok(())
            }
            None => self.commit_until(None).await,
        }
    }

    async fn commit(&mut self, deadline: Instant) -> Result<(), Stop> {
        self.commit_until(Some(deadline)).await
    }

    /// Makes the staged records durable, refused ones first, then commits their offsets.
    async fn commit_until(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        self.land(deadline).await?;
        if self.staged.is_empty() {
            return Ok(());
        }
        self.write_letters(deadline).await?;
        failpoint("consume::before_commit");
        self.commit_sink(deadline).await?;
        failpoint("consume::after_commit");
        let staged = std::mem::take(&mut self.staged);
        traced::stored(self.role, staged.traced);
        let offsets: Vec<(TopicPartition, i64)> = staged.next.into_iter().collect();
        note_offsets(self.role, &self.consumer.committer(), &offsets).await;
        Ok(())
    }

    async fn assigned(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Stop> {
        self.assigned.extend(partitions.iter().cloned());
        self.resume(&partitions, &[]).await?;
        tracing::info!(role = self.role, partitions = self.assigned.len(), "assigned");
        self.joined = true;
        self.health.set(self.role, State::Ready);
        Ok(())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) -> Result<(), Stop> {
        let committed = self.commit(Instant::now() + REVOKE_LIMIT).await;
        for partition in partitions {
            self.assigned.remove(partition);
            self.staged.next.remove(partition);
            self.staged.first.remove(partition);
            if self.ends.remove(partition).is_some() {
                // The next member says how far it is behind.
                metrics_list::consumer_lag(
                    &self.options.group,
                    &partition.topic,
                    partition.partition,
                    0,
                    0.0,
                );
            }
        }
        self.revoke_sink(partitions).await?;
        tracing::info!(role = self.role, partitions = self.assigned.len(), "revoked");
        committed
    }

    /// Asks the sink where to read, and seeks there; `else_from` is for partitions it does not name.
    async fn resume(
        &mut self,
        partitions: &[TopicPartition],
        else_from: &[(TopicPartition, i64)],
    ) -> Result<(), Stop> {
        let starts = self.resume_sink(partitions).await?;
        let named = starts.iter().map(|(partition, offset)| (partition.clone(), *offset));
        let others = else_from.iter().filter(|(partition, _)| !starts.contains_key(partition)).cloned();
        let seeks: Vec<(TopicPartition, i64)> = named.chain(others).collect();
        self.seek(&seeks).await?;
        // The group learns what the sink has stored, even if nothing new ever comes: a crash between
        // the two commits must not show as lag for ever.
        let stored: Vec<(TopicPartition, i64)> = starts.into_iter().collect();
        if stored.is_empty() {
            return Ok(());
        }
        self.note_told(&stored).await;
        if let Err(error) = self.consumer.commit(&stored).await {
            tracing::warn!(role = self.role, %error, "offsets of the sink not committed");
        }
        Ok(())
    }

    /// Learns up to where the group had read partitions that are read again from before: nobody is told twice what was refused there.
    async fn note_told(&mut self, starts: &[(TopicPartition, i64)]) {
        let partitions: Vec<TopicPartition> = starts.iter().map(|(partition, _)| partition.clone()).collect();
        match self.consumer.committed(&partitions).await {
            Ok(committed) => {
                for (partition, offset) in committed {
                    let told = self.told_below.entry(partition).or_insert(offset);
                    *told = offset.max(*told);
                }
            }
            Err(error) => {
                tracing::warn!(role = self.role, %error, "what was refused before may be told again");
            }
        }
    }

    /// Drops what is staged and reads it again from where the sink or the first staged record says.
    async fn restart(&mut self, reason: &str) -> Result<(), ConsumeError> {
        match self.recall().await {
            // It was written after all, or is read again with the others.
            Ok(()) | Err(Stop::GivenUp | Stop::Fenced(_)) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
        tracing::warn!(role = self.role, reason, records = self.staged.records, "staged records read again");
        let staged = std::mem::take(&mut self.staged);
        let partitions: Vec<TopicPartition> = self.assigned.iter().cloned().collect();
        let first: Vec<(TopicPartition, i64)> =
            staged.first.into_iter().filter(|(partition, _)| self.assigned.contains(partition)).collect();
        let dropped = self.revoke_sink(&partitions).await;
        let resumed = match dropped {
            Ok(()) => self.resume(&partitions, &first).await,
            Err(stop) => Err(stop),
        };
        match resumed {
            Ok(()) | Err(Stop::GivenUp) => Ok(()),
            Err(Stop::Fenced(error)) => Err(ConsumeError::Sink { role: self.role, error }),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn publish_lag(&mut self) {
        if self.lag_published.elapsed() < LAG_INTERVAL {
            return;
        }
        self.lag_published = Instant::now();
        let now_us = now_micros();
        for (partition, (next, end)) in self.consumer.progress() {
            if !self.assigned.contains(&partition) {
                continue;
            }
            let ends = self.ends.entry(partition.clone()).or_default();
            ends.look(now_us, end);
            let (records, seconds) = ((end - next).max(0), ends.age_s(next, now_us));
            metrics_list::consumer_lag(
                &self.options.group,
                &partition.topic,
                partition.partition,
                records,
                seconds,
            );
        }
    }
}

/// Commits offsets of what is durable.
async fn note_offsets(role: &'static str, committer: &Committer, offsets: &[(TopicPartition, i64)]) {
    failpoint("consume::before_offsets");
    // Not repeated: the next commit has greater offsets, and replaying is harmless.
    match tokio::time::timeout(OFFSETS_LIMIT, committer.commit(offsets)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(role, %error, "offsets not committed"),
        Err(_) => tracing::warn!(role, "offsets not committed in time"),
    }
    failpoint("consume::after_offsets");
}
