//! The sink of the consume loop: records become events, events change the state, changed keys are written.

use super::past::Past;
use super::sources::{Occurred, Read, Sources};
use super::state::{Progress, State};
use super::values::{Values, end_of};
use super::{StreamOptions, Streamed};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Admin, Incoming, TopicPartition};
use affluent_documents::DocumentStore;
use affluent_features::engine::Counters;
use affluent_features::{Options, Plan};
use affluent_model::time::now_micros;
use affluent_stream::sinks::events::EventOptions;
use affluent_stream::sinks::{Rejected, Sink, SinkError};
use affluent_telemetry::{failpoint, metrics_list};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAME: &str = "features";
/// Storing the state takes at most such a part of the time.
const STORING_SHARE: u32 = 20;
/// So many latencies are measured between two writes.
const BEGUN_MAX: usize = 1 << 17;
/// Keys are let go so long after the last row of a snapshot of a table: its rows come in no order of time, so one of a key that
/// seems to be over may follow.
const PAST_OVER: Duration = Duration::from_secs(3_600);

/// Keeps features up with the topics of their sources.
pub struct FeaturesSink {
    admin: Admin,
    sources: Sources,
    plan: Arc<Plan>,
    options: StreamOptions,
    values: Values,
    /// Where to find what the topics do not hold.
    past: Option<Past>,
    /// None until partitions are assigned.
    state: Option<State>,
    staged: BTreeMap<TopicPartition, Staged>,
    assigned: BTreeSet<TopicPartition>,
    /// Every partition of every topic is assigned: only then are the values of keys whole.
    is_whole: bool,
    /// When the state was stored last, how long that took, and whether it has changed since.
    stored: (Instant, Duration),
    is_changed: bool,
    /// When a row of a snapshot was read last; at the start, one may have been.
    past_read: Instant,
    /// Beginnings of events whose values are not yet written, microseconds UTC.
    begun_us: Vec<i64>,
}

/// What is staged of one partition.
#[derive(Default)]
struct Staged {
    progress: Progress,
    events: Vec<Occurred>,
    late: u64,
}

impl FeaturesSink {
    /// A sink for the streamed features into `store`; `group` is its consumer group.
    #[must_use]
    pub fn new(
        streamed: &Streamed,
        store: Arc<dyn DocumentStore>,
        admin: Admin,
        registry: Option<RegistryClient>,
        events: &EventOptions,
        group: &str,
        options: StreamOptions,
    ) -> Self {
        let Streamed { definitions, plan, references } = streamed;
        let sources = Sources::new(definitions, plan, references, events, registry);
        let values = Values::new(store, group.to_owned(), options.clone());
        FeaturesSink {
            admin,
            sources,
            plan: Arc::clone(plan),
            options,
            values,
            past: None,
            state: None,
            staged: BTreeMap::new(),
            assigned: BTreeSet::new(),
            is_whole: false,
            stored: (Instant::now(), Duration::ZERO),
            is_changed: false,
            past_read: Instant::now(),
            begun_us: Vec::new(),
        }
    }

    /// The same, which begins with what the topics do not hold.
    #[must_use]
    pub fn with_past(self, past: Past) -> Self {
        FeaturesSink { past: Some(past), ..self }
    }

    /// The offset of the record that is read next.
    fn next(&self, partition: &TopicPartition) -> i64 {
        let staged = self.staged.get(partition).map(|staged| staged.progress.next);
        let applied = || self.state.as_ref()?.offsets.get(partition).map(|progress| progress.next);
        staged.or_else(applied).unwrap_or(0)
    }

    async fn restore(&mut self) -> Result<(), SinkError> {
        let (directory, plan) = (self.options.directory.clone(), Arc::clone(&self.plan));
        let options = Options { keys_max: self.options.keys_max, any_order: true, ..Options::default() };
        let restored = tokio::task::spawn_blocking(move || State::restore(&directory, &plan, options)).await;
        let mut state = restored.map_err(|error| SinkError::Fatal(error.to_string()))?;
        self.values.begin(&self.admin).await?;
        if let Some(past) = &self.past {
            let caught = past.read(&self.admin, &mut state, &mut self.values).await?;
            count(caught.counters, caught.late);
            self.is_changed |= caught.any;
        }
        self.state = Some(state);
        Ok(())
    }

    /// Whether this member has all partitions of all topics that there are.
    async fn has_all(&self) -> Result<bool, SinkError> {
        for topic in self.sources.topics() {
            let partitions = self.admin.partitions(topic).await;
            let partitions = partitions.map_err(|error| SinkError::Passing(error.to_string()))?.unwrap_or(0);
            for partition in (0..partitions).map(|number| TopicPartition::new(topic, number)) {
                if !self.assigned.contains(&partition) {
                    tracing::warn!(%partition, "not assigned to this member: values are held back until it has every partition");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Applies what is staged to the state.
    fn apply(&mut self) -> Result<(), SinkError> {
        let Some(state) = &mut self.state else {
            return Err(SinkError::Fenced("the state is gone".to_owned()));
        };
        let (mut counters, mut late) = (Counters::default(), 0);
        for (partition, staged) in std::mem::take(&mut self.staged) {
            for event in staged.events {
                if event.is_past {
                    self.past_read = Instant::now();
                }
                let applied = state.engine.apply(&event.mapped.event(event.source));
                let applied = applied.map_err(|error| SinkError::Fatal(error.to_string()))?;
                counters.add(applied);
                // A repeat changes no value.
                if applied.new + applied.corrected == 0 {
                    continue;
                }
                if self.begun_us.len() < BEGUN_MAX {
                    self.begun_us.extend(event.begun_us);
                }
                for (entity, key, text) in event.entities {
                    if let Some(key) = event.mapped.keys[key] {
                        self.values.change(entity, key, text);
                    }
                }
            }
            late += staged.late;
            let progress = state.offsets.entry(partition).or_default();
            progress.next = staged.progress.next;
            progress.arrived = progress.arrived.max(staged.progress.arrived);
            self.is_changed = true;
        }
        count(counters, late);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), SinkError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        if !self.is_whole || !self.values.is_caught_up(&state.offsets) {
            return Ok(());
        }
        self.values.write(state).await?;
        metrics_list::pipeline_latencies(NAME, "online", now_micros(), self.begun_us.iter());
        self.begun_us.clear();
        Ok(())
    }

    /// Stores the state, if it is time and all of its values are written: what changed since would be forgotten by a crash. A failure is
    /// not the stream's end: it goes on from the topics.
    async fn store_if_due(&mut self) -> Result<(), SinkError> {
        let (at, took) = self.stored;
        let pause = Duration::from_secs(self.options.snapshot_interval_s).max(took * STORING_SHARE);
        if !self.is_changed || !self.values.are_written() || at.elapsed() < pause {
            return Ok(());
        }
        let Some(mut state) = self.state.take() else { return Ok(()) };
        let directory = self.options.directory.clone();
        let begun = Instant::now();
        let is_past_over = self.past_read.elapsed() > PAST_OVER;
        let stored = tokio::task::spawn_blocking(move || {
            if let Some(settled) = state.settled().filter(|_| is_past_over) {
                state.engine.evict(settled);
            }
            let bytes = state.store(&directory);
            (state, bytes)
        });
        let (state, bytes) = stored.await.map_err(|error| SinkError::Fatal(error.to_string()))?;
        let keys = state.engine.keys();
        self.state = Some(state);
        self.stored = (Instant::now(), begun.elapsed());
        match bytes {
            Ok(bytes) => {
                self.is_changed = false;
                metrics_list::features_stored(begun.elapsed().as_secs_f64(), bytes, keys);
            }
            Err(error) => tracing::warn!(%error, "features not stored, trying again later"),
        }
        failpoint("features::after_store");
        Ok(())
    }
}

/// Tells what became of events.
fn count(counters: Counters, late: u64) {
    for (outcome, count) in [
        ("ok", counters.new),
        ("corrected", counters.corrected),
        ("duplicate", counters.duplicates),
        ("late", late + counters.late),
        ("refused", counters.refused),
        ("shortened", counters.shortened),
    ] {
        metrics_list::records(NAME, "state", outcome, count);
    }
}

#[async_trait]
impl Sink for FeaturesSink {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn resume(
        &mut self,
        assigned: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SinkError> {
        if self.state.is_none() {
            self.restore().await?;
        }
        let mut starts = BTreeMap::new();
        for partition in assigned {
            self.staged.remove(partition);
            let end = end_of(&self.admin, partition).await?;
            let next = self.next(partition);
            if next > end {
                tracing::warn!(%partition, next, end, "the topic was made anew: it is read from its beginning");
                if let Some(state) = &mut self.state {
                    state.offsets.remove(partition);
                }
            }
            starts.insert(partition.clone(), self.next(partition));
        }
        self.assigned.extend(assigned.iter().cloned());
        self.is_whole = self.has_all().await?;
        // What was held back while another member had a part.
        self.write().await?;
        Ok(starts)
    }

    async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, SinkError> {
        let mut fresh: BTreeMap<TopicPartition, Staged> = BTreeMap::new();
        let mut rejected = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let partition = record.topic_partition();
            if record.offset < self.next(&partition) {
                continue;
            }
            let read = self.sources.read(record).await?;
            let is_covered = self.values.covers(&partition, record.offset);
            let staged = fresh.entry(partition).or_default();
            staged.progress.next = record.offset + 1;
            match read {
                Read::Event(mut event) => {
                    staged.progress.arrived = staged.progress.arrived.max(event.mapped.arrived);
                    // Read again after a crash: how long it took was measured then.
                    event.begun_us = event.begun_us.filter(|_| !is_covered);
                    staged.events.push(*event);
                }
                Read::Late => staged.late += 1,
                Read::Nothing => {}
                Read::Unfit(reason, error) => rejected.push(Rejected { index, reason, error }),
            }
        }
        for (partition, fresh) in fresh {
            let staged = self.staged.entry(partition).or_default();
            staged.progress.next = fresh.progress.next;
            staged.progress.arrived = staged.progress.arrived.max(fresh.progress.arrived);
            staged.events.extend(fresh.events);
            staged.late += fresh.late;
        }
        Ok(rejected)
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        self.apply()?;
        failpoint("features::before_values");
        self.write().await?;
        self.store_if_due().await
    }

    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        for partition in revoked {
            self.staged.remove(partition);
            self.assigned.remove(partition);
        }
        self.is_whole = false;
        Ok(())
    }
}
