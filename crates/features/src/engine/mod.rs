//! The engine: events in, vectors out. One log a key of each group, shared by all its features.
//!
//! **Order and ties.** Events of a key are ordered by (event time, order); the current event sees those before it, not those after, at
//! the same microsecond too. Events of other sources are seen up to and including its time.
//!
//! **Lateness.** An event is late by how far it lies behind the newest of its key, so what happens to it depends on the events
//! of its key alone, however keys are spread over processes. Within the source's lateness it is put in its place; later ones are counted and
//! not applied.
//!
//! **Repeats.** An event that is there already changes nothing; a source with corrections takes a higher version of it, as long as it is kept.
//!
//! Invariant: what the engine answers is a function of the events it took, not of the order in which they came or of how
//! often it was asked, stored and restored.

mod batch;
mod keys;
mod log;
mod preview;
mod read;
mod running;
mod slab;
mod snapshot;

pub(crate) use batch::{BATCH_MAX, Queue};
pub use snapshot::{CALLER_MAX, Slices, SnapshotError};

use crate::aggregate::{HEADER, finish};
use crate::definition::ColumnType;
use crate::event::{At, EVENTS_MAX, Event, Key, NULL, VALUE_MAX};
use crate::plan::{EntityId, EntityShape, Group, Plan, SourceId, SourceShape};
use keys::{Keys, Limits, Outcome};
use std::sync::Arc;

/// Event times lie within 36,000 years of the epoch, so that windows can be subtracted from them.
const TIME_MAX: i64 = 1 << 60;

/// Bounds of what an engine keeps.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Keys of a group; events of further ones are counted and not applied.
    pub keys_max: usize,
    /// Events of a key in a group, at most [`EVENTS_MAX`]; beyond, the oldest are let go and vectors that need them are marked.
    pub events_max: usize,
    /// Windows of a key with more events than this are kept running, those of others computed each time they are asked for. Without it,
    /// running ones may take about as much memory as the events do. It changes no value.
    pub scan_max: Option<usize>,
    /// Events may come in any order: whether one is late was decided before, by its own times. What is still kept takes it. So the
    /// state is a function of the set of events, and topics can be read partition by partition.
    pub any_order: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { keys_max: 50_000_000, events_max: EVENTS_MAX, scan_max: None, any_order: false }
    }
}

/// What became of events, by key: an event of a customer and a merchant counts twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub new: u64,
    pub corrected: u64,
    pub duplicates: u64,
    /// Later than the source allows.
    pub late: u64,
    /// Not applied because there are too many keys.
    pub refused: u64,
    /// Applied, but older events had to be let go before their time.
    pub shortened: u64,
}

/// Why an event cannot be applied: the caller quarantines it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("{source_name}: {column} is {value}: numbers go up to 2^50, truth is 0 or 1")]
    Value { source_name: String, column: String, value: i64 },
    #[error("{0}: an event has one cell a column and one key an entity of its source")]
    Shape(String),
    #[error("{source_name}: event time {time} is no time in microseconds")]
    Time { source_name: String, time: i64 },
}

/// State of all groups of a plan.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<Plan>,
    options: Options,
    keys: Vec<Keys>,
    counters: Counters,
    row: Vec<i64>,
}

impl Engine {
    #[must_use]
    pub fn new(plan: Arc<Plan>, options: Options) -> Self {
        let keys = plan.groups.iter().map(Keys::new).collect();
        Engine { plan, options, keys, counters: Counters::default(), row: Vec::new() }
    }

    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Keys that have state, over all groups.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.iter().map(|keys| keys.slots.len()).sum()
    }

    /// The keys of an entity that have state. One with events of several sources comes several times.
    pub fn keys_of(&self, entity: EntityId) -> impl Iterator<Item = Key> {
        let groups = self.plan.entity_shape(entity).groups.iter();
        groups.flat_map(|&number| self.keys[number].slots.iter().map(|slot| slot.key))
    }

    /// The newest event of a key that is kept: its source, and the instant right after it.
    #[must_use]
    pub fn newest(&self, entity: EntityId, key: Key) -> Option<(SourceId, At)> {
        let groups = self.plan.entity_shape(entity).groups.iter();
        let last = |&number: &usize| Some((self.plan.groups[number].source, self.keys[number].last(key)?));
        groups.filter_map(last).max_by_key(|(_, at)| *at)
    }

    /// Takes an event. What became of it is in the counters that are returned: of this event alone.
    ///
    /// # Errors
    /// [`EventError`]: nothing was applied.
    pub fn apply(&mut self, event: &Event) -> Result<Counters, EventError> {
        let plan = Arc::clone(&self.plan);
        let source = plan.source_shape(event.source);
        check(&plan, event)?;
        let (passed, limits) = (passed(source, event), self.limits());
        let mut counters = Counters::default();
        for &(number, key) in &source.groups {
            let (Some(key), group) = (event.keys[key], &plan.groups[number]) else { continue };
            self.row.clear();
            put_row(group, event, passed, &mut self.row);
            let outcome = self.keys[number].apply(group, key, &self.row, limits);
            counters.count(outcome);
        }
        self.counters.add(counters);
        Ok(counters)
    }

    /// Writes the vector of a key at an instant: one value a feature of [`crate::plan::EntityShape::features`], NaN where there is none.
    ///
    /// The order of the instant belongs to events of `source`, where an event of it asks. False where a window reaches events that were let go
    /// already (the instant lies further back than the lateness, or there were too many events) or that never came ([`Engine::lose`]).
    ///
    /// # Panics
    /// If `vector` is shorter than the entity has features.
    pub fn vector(
        &mut self,
        entity: EntityId,
        key: Option<Key>,
        at: At,
        source: Option<SourceId>,
        vector: &mut [f64],
    ) -> bool {
        let plan = Arc::clone(&self.plan);
        let (shape, limits) = (plan.entity_shape(entity), self.limits());
        let at = At { time: at.time.clamp(-TIME_MAX, TIME_MAX), ..at };
        let mut exact = true;
        for &number in &shape.groups {
            let group = &plan.groups[number];
            let at = if source == Some(group.source) { at } else { At::time(at.time) };
            exact &= self.keys[number].read(group, key, at, limits, vector);
        }
        put_ratios(shape, vector);
        exact
    }

    /// Writes the features of an event: of itself, then of each entity it belongs to, as named in [`crate::plan::SourceShape::row`].
    /// The event has been applied, if it is to be the current one of its windows. False as for [`Engine::vector`].
    ///
    /// # Panics
    /// If `row` is shorter than the source's row.
    pub fn row(&mut self, event: &Event, row: &mut [f64]) -> bool {
        let plan = Arc::clone(&self.plan);
        let source = plan.source_shape(event.source);
        put_requests(source, event, row);
        let (mut place, mut exact) = (source.requests.len(), true);
        for &(entity, key) in &source.parts {
            let width = plan.entity_shape(entity).features.len();
            let vector = &mut row[place..place + width];
            exact &= self.vector(entity, event.keys[key], event.at(), Some(event.source), vector);
            place += width;
        }
        exact
    }

    /// Events of a source that happened up to `until` (microseconds UTC) may never come: values whose windows reach back to it are not exact.
    pub fn lose(&mut self, source: SourceId, until: i64) {
        for (group, keys) in self.plan.groups.iter().zip(&mut self.keys) {
            if group.source == source {
                keys.lost = keys.lost.max(until);
            }
        }
    }

    /// Lets go of keys that no window at `now` or later needs, and that no late event can concern any more; how many.
    pub fn evict(&mut self, now: i64) -> usize {
        let (before, mut place) = (self.keys(), Some((0, 0)));
        while let Some(from) = place {
            place = self.evict_some(now, from, usize::MAX);
        }
        before - self.keys()
    }

    /// The same of at most so many keys, from a place (group, key) on. Returns the place to go on at; none at the end.
    pub fn evict_some(&mut self, now: i64, from: (usize, usize), keys: usize) -> Option<(usize, usize)> {
        let (group, kept) = (self.plan.groups.get(from.0)?, self.keys.get_mut(from.0)?);
        Some(kept.evict(group, now, from.1, keys).map_or((from.0 + 1, 0), |key| (from.0, key)))
    }
}

impl Engine {
    fn limits(&self) -> Limits {
        Limits {
            keys_max: self.options.keys_max,
            events_max: self.options.events_max.clamp(1, EVENTS_MAX - 1),
            scan_max: self.options.scan_max,
            any_order: self.options.any_order,
        }
    }
}

/// Bit 0: the event is there; then one a filter of its source.
fn passed(source: &SourceShape, event: &Event) -> u64 {
    if event.removed {
        return 0;
    }
    source
        .filters
        .iter()
        .zip(1u8..)
        .fold(1, |passed, (filter, bit)| passed | u64::from(filter.passes(event.time, event.cells)) << bit)
}

/// Appends the row of an event in a group.
fn put_row(group: &Group, event: &Event, passed: u64, row: &mut Vec<i64>) {
    let begin = row.len();
    row.extend([event.time, event.order.cast_signed(), passed.cast_signed()]);
    row.extend(group.columns.iter().map(|&column| event.cells[column]));
    if group.corrections {
        row.push(event.version.cast_signed());
    }
    debug_assert!(row.len() - begin == group.stride && group.stride >= HEADER);
}

/// Quotients, once the features that they are made of stand.
fn put_ratios(entity: &EntityShape, vector: &mut [f64]) {
    for ratio in &entity.ratios {
        let value = finish::ratio(vector[ratio.of], vector[ratio.to]);
        vector[ratio.place] = if value.is_nan() { ratio.default } else { value };
    }
}

/// Features of the event itself, at the beginning of its row.
fn put_requests(source: &SourceShape, event: &Event, row: &mut [f64]) {
    for ((request, default), place) in source.requests.iter().zip(row) {
        let value = request.value(event.time, event.cells);
        *place = if value.is_nan() { *default } else { value };
    }
}

impl Counters {
    /// What became of an event at one key, and whether older events had to go for it.
    fn count(&mut self, (outcome, shortened): (Outcome, bool)) {
        self.shortened += u64::from(shortened);
        match outcome {
            Outcome::New => self.new += 1,
            Outcome::Corrected => self.corrected += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Late => self.late += 1,
            Outcome::Full => self.refused += 1,
        }
    }

    /// Adds another count.
    pub fn add(&mut self, other: Counters) {
        self.new += other.new;
        self.corrected += other.corrected;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.refused += other.refused;
        self.shortened += other.shortened;
    }
}

/// Whether the numbers of an event can be summed without overflow, and are as many as its source has.
fn check(plan: &Plan, event: &Event) -> Result<(), EventError> {
    let source = plan.source_shape(event.source);
    if event.cells.len() != source.columns.len() || event.keys.len() != source.entities.len() {
        return Err(EventError::Shape(source.name.clone()));
    }
    if !(-TIME_MAX..=TIME_MAX).contains(&event.time) {
        return Err(EventError::Time { source_name: source.name.clone(), time: event.time });
    }
    for (column, &value) in source.columns.iter().zip(event.cells) {
        let fits = match column.kind {
            ColumnType::Text => true,
            ColumnType::Bool => value == NULL || value == 0 || value == 1,
            ColumnType::Integer | ColumnType::Decimal(_) | ColumnType::Money | ColumnType::Degrees => {
                value == NULL || (-VALUE_MAX..=VALUE_MAX).contains(&value)
            }
        };
        if !fits {
            let (source_name, column) = (source.name.clone(), column.name.clone());
            return Err(EventError::Value { source_name, column, value });
        }
    }
    Ok(())
}
