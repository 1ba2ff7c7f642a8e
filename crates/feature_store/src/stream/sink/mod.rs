//! The sink of the consume loop: records become events, events change the state, changed keys are written.

mod apply;
mod holes;

use super::ends::Look;
use super::follow::Follower;
use super::live::LiveState;
use super::past::Past;
use super::sources::{Occurred, Read, Sources};
use super::state::{Progress, State};
use super::storing::Storing;
use super::values::Values;
use super::{StreamOptions, Streamed, used};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Admin, Incoming, TopicPartition};
use affluent_documents::DocumentStore;
use affluent_features::{Options, Plan};
use affluent_model::time::now_micros;
use affluent_model::{ChangeEvent, Reason};
use affluent_stream::sinks::events::EventOptions;
use affluent_stream::sinks::{Rejected, Sink, SinkError};
use affluent_telemetry::traces::{self, HEADER_TRACE, TraceContext};
use affluent_telemetry::{failpoint, metrics_list};
use apply::count;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAME: &str = "features";
/// Keys are let go so long after the last row of a snapshot of a table: its rows come in no order of time, so one of a key that
/// seems to be over may follow.
const PAST_OVER: Duration = Duration::from_secs(3_600);

/// Keeps features up with the topics of their sources.
pub struct FeaturesSink {
    name: &'static str,
    admin: Admin,
    sources: Sources,
    /// How late an event of any of them may come, microseconds.
    lateness: i64,
    plan: Arc<Plan>,
    options: StreamOptions,
    /// None where values are another process's business.
    values: Option<Values>,
    /// Where to find what the topics do not hold.
    past: Option<Past>,
    follower: Option<Box<dyn Follower>>,
    live: LiveState,
    /// Its state is that of this sink: there may be one of a sink before.
    has_begun: bool,
    staged: BTreeMap<TopicPartition, Staged>,
    /// With the ends that they had then.
    assigned: BTreeMap<TopicPartition, i64>,
    /// Up to where each of them was read and applied: behind the state, where what it has is read again for who follows.
    read: BTreeMap<TopicPartition, i64>,
    /// Every partition of every topic is assigned: only then are the values of keys whole.
    is_whole: bool,
    storing: Storing,
    /// Whether the state has changed since it was stored last.
    is_changed: bool,
    /// When a row of a snapshot was read last; at the start, one may have been.
    past_read: Instant,
    /// Beginnings of events whose values are not yet written, microseconds UTC.
    begun_us: Vec<i64>,
    /// Staged records that are followed through traces.
    traced: HashMap<(TopicPartition, i64), TraceContext>,
}

/// What is staged of one partition.
#[derive(Default)]
struct Staged {
    progress: Progress,
    /// With their offsets.
    events: Vec<(i64, Occurred)>,
    late: u64,
    /// Rows that somebody follows, and that are not applied: they come too late, or do not fit.
    late_rows: Vec<(i64, Box<ChangeEvent>)>,
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
        let lateness =
            used(definitions).filter_map(|(_, name)| Some(definitions.sources.get(name)?.lateness));
        let values = Some(Values::new(store, group.to_owned(), options.clone()));
        FeaturesSink {
            name: NAME,
            admin,
            sources,
            lateness: lateness.max().unwrap_or(0),
            plan: Arc::clone(plan),
            options,
            values,
            past: None,
            follower: None,
            live: LiveState::new(streamed),
            has_begun: false,
            staged: BTreeMap::new(),
            assigned: BTreeMap::new(),
            read: BTreeMap::new(),
            is_whole: false,
            storing: Storing::default(),
            is_changed: false,
            past_read: Instant::now(),
            begun_us: Vec::new(),
            traced: HashMap::new(),
        }
    }

    /// Goes by another name, in logs and health.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Has `live` for its state, which others ask.
    #[must_use]
    pub fn keeping(mut self, live: LiveState) -> Self {
        self.live = live;
        self
    }

    /// Writes no values: the state is for others to ask.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        self.values = None;
        self
    }

    /// Hands on what is inserted into the table of the follower's source.
    #[must_use]
    pub fn followed_by(mut self, follower: Box<dyn Follower>) -> Self {
        self.sources.follow(follower.source());
        self.follower = Some(follower);
        self
    }

    /// Begins with what the topics do not hold. It is followed by nobody: what follows from it has followed long ago.
    #[must_use]
    pub fn with_past(mut self, past: Past) -> Self {
        self.past = Some(past);
        self
    }

    /// The offset of the record that is read next.
    fn next(&self, partition: &TopicPartition) -> i64 {
        let staged = self.staged.get(partition).map(|staged| staged.progress.next);
        staged.or_else(|| self.read.get(partition).copied()).unwrap_or(0)
    }

    /// Where reading of a partition starts: at what the state or who follows does not have.
    fn start(&self, partition: &TopicPartition) -> i64 {
        let applied = self.live.with(|state| state.next(partition));
        let followed = self.follower.as_ref().and_then(|follower| follower.next(partition));
        followed.map_or(applied, |followed| followed.min(applied))
    }

    async fn restore(&mut self) -> Result<(), SinkError> {
        self.live.set_current(false);
        let (directory, plan) = (self.options.directory.clone(), Arc::clone(&self.plan));
        let options = Options { keys_max: self.options.keys_max, any_order: true, ..Options::default() };
        let restored = tokio::task::spawn_blocking(move || State::restore(&directory, &plan, options)).await;
        let restored = restored.map_err(|error| SinkError::Fatal(error.to_string()))?;
        let mut state = restored.map_err(|error| SinkError::Fatal(error.to_string()))?;
        if let Some(follower) = &mut self.follower {
            follower.begin(&self.admin).await?;
        }
        if let Some(values) = &mut self.values {
            let topics: Vec<&str> = self.sources.topics().collect();
            values.begin(&self.admin, &topics).await?;
        }
        if let Some(past) = &self.past {
            let caught = past.read(&self.admin, &mut state, self.values.as_mut()).await?;
            count(caught.counters, caught.late);
            self.is_changed |= caught.any;
        }
        // Whole at once: nobody is told a row that lacks its past, and nobody waits for the lake.
        *self.live.lock() = Some(state);
        Ok(())
    }

    /// Whether this member has all partitions of all topics that there are.
    async fn has_all(&self) -> Result<bool, SinkError> {
        for topic in self.sources.topics() {
            let partitions = self.admin.partitions(topic).await;
            let partitions = partitions.map_err(|error| SinkError::Passing(error.to_string()))?.unwrap_or(0);
            for partition in (0..partitions).map(|number| TopicPartition::new(topic, number)) {
                if !self.assigned.contains_key(&partition) {
                    tracing::warn!(%partition, "not assigned to this member: values are held back until it has every partition");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Tells who asks the state whether it is up to date.
    fn set_current(&self) {
        let reaches = |state: &mut State| self.assigned.iter().all(|(p, end)| state.next(p) >= *end);
        self.live.set_current(self.is_whole && self.live.with(reaches));
    }

    async fn write(&mut self) -> Result<(), SinkError> {
        write(&mut self.values, &self.live, self.is_whole, &mut self.begun_us).await
    }

    /// Begins to store the state, if it is time.
    async fn store_if_due(&mut self) {
        if self.is_changed && self.storing.is_due(&self.options).await {
            let covered = self.values.as_ref().map(Values::coverage);
            let evicts = self.is_whole && self.past_read.elapsed() > PAST_OVER;
            let look = evicts.then(|| Look {
                admin: self.admin.clone(),
                partitions: self.assigned.keys().cloned().collect(),
                lateness: self.lateness,
            });
            self.storing.begin(&self.live, &self.options, covered, look);
            self.is_changed = false;
        }
    }
}

/// Writes the values of changed keys, where the state has all that those in the store cover.
async fn write(
    values: &mut Option<Values>,
    live: &LiveState,
    is_whole: bool,
    begun_us: &mut Vec<i64>,
) -> Result<(), SinkError> {
    let Some(values) = values else { return Ok(()) };
    if !is_whole || !live.with(|state| values.is_caught_up(&state.offsets)) {
        return Ok(());
    }
    values.write(live).await?;
    metrics_list::pipeline_latencies(NAME, "online", now_micros(), begun_us.iter());
    begun_us.clear();
    Ok(())
}

#[async_trait]
impl Sink for FeaturesSink {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn resume(
        &mut self,
        assigned: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SinkError> {
        if !self.has_begun {
            self.restore().await?;
            self.has_begun = true;
        }
        let mut starts = BTreeMap::new();
        for partition in assigned {
            self.staged.remove(partition);
            let watermarks = self.admin.watermarks(partition).await;
            let (first, end) = watermarks.map_err(|error| SinkError::Passing(error.to_string()))?;
            if let Some(follower) = &mut self.follower
                && follower.next(partition).is_some_and(|next| next > end)
            {
                follower.begin(&self.admin).await?;
            }
            let next = self.live.with(|state| state.next(partition));
            if next > end {
                tracing::warn!(%partition, next, end, "the topic was made anew: it is read from its beginning");
                self.live.with(|state| state.offsets.remove(partition));
                // Else values and what is being stored would wait until it is as long as the old one was.
                if let Some(values) = &mut self.values {
                    values.forget(partition);
                }
                (self.storing, self.is_changed) = (Storing::default(), true);
            }
            // What the topic no longer holds cannot be read, whoever lacks it, and nothing waits for it.
            self.skip(partition, first, first == end);
            let start = self.start(partition).max(first);
            starts.insert(partition.clone(), start);
            self.read.insert(partition.clone(), start);
            // Where nothing is left to be read, the end is never reached.
            self.assigned.insert(partition.clone(), if first < end { end } else { 0 });
        }
        self.is_whole = self.has_all().await?;
        self.set_current();
        // What was held back while another member had a part.
        self.write().await?;
        Ok(starts)
    }

    async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, SinkError> {
        let mut fresh: BTreeMap<TopicPartition, Staged> = BTreeMap::new();
        let (mut rejected, mut repeats) = (Vec::new(), BTreeSet::new());
        for (index, record) in records.iter().enumerate() {
            let partition = record.topic_partition();
            if record.offset < self.next(&partition) {
                if repeats.insert(partition.clone()) {
                    self.check_repeats(&partition).await?;
                }
                continue;
            }
            let read = self.sources.read(record).await?;
            if traces::is_on()
                && self.follower.is_some()
                && let Some(trace) =
                    record.header(HEADER_TRACE).and_then(|text| TraceContext::of_header(text))
            {
                self.traced.insert((partition.clone(), record.offset), trace);
            }
            let is_covered = self.values.as_ref().is_some_and(|v| v.covers(&partition, record.offset));
            let staged = fresh.entry(partition).or_default();
            staged.progress.next = record.offset + 1;
            match read {
                Read::Event(mut event) => {
                    staged.progress.arrived = staged.progress.arrived.max(event.mapped.arrived);
                    // Read again after a crash: how long it took was measured then.
                    event.begun_us = event.begun_us.filter(|_| !is_covered);
                    staged.events.push((record.offset, *event));
                }
                Read::Late(row) => {
                    staged.late += 1;
                    staged.late_rows.extend(row.map(|row| (record.offset, row)));
                }
                Read::Nothing => {}
                Read::Unfit(reason, error) => rejected.push(Rejected { index, reason, error }),
                Read::Misfit(error, row) => {
                    // Who follows does without features rather than without the row.
                    staged.late_rows.extend(row.map(|row| (record.offset, row)));
                    rejected.push(Rejected { index, reason: Reason::ValueOutOfRange, error });
                }
            }
        }
        for (partition, fresh) in fresh {
            let staged = self.staged.entry(partition).or_default();
            staged.progress.next = fresh.progress.next;
            staged.progress.arrived = staged.progress.arrived.max(fresh.progress.arrived);
            staged.events.extend(fresh.events);
            staged.late += fresh.late;
            staged.late_rows.extend(fresh.late_rows);
        }
        Ok(rejected)
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        self.apply()?;
        failpoint("features::before_values");
        let FeaturesSink { values, follower, live, is_whole, begun_us, read, .. } = self;
        let followed = async {
            match follower {
                Some(follower) => follower.settle(read).await,
                None => Ok(()),
            }
        };
        // A payment's score does not wait for the values of its keys.
        let (written, followed) = tokio::join!(write(values, live, *is_whole, begun_us), followed);
        written?;
        followed?;
        self.store_if_due().await;
        Ok(())
    }

    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        for partition in revoked {
            self.staged.remove(partition);
            self.assigned.remove(partition);
            self.read.remove(partition);
        }
        self.is_whole = false;
        self.set_current();
        Ok(())
    }
}
