//! Many events at once: the same calls for each key, one key after the other.
//!
//! Keys do not depend on one another. So the events of a batch are taken group by group and, within a group, key by key, each key's in the order
//! of arrival: its log and windows stay in the processor's cache. What comes out is what [`Engine::apply`] and [`Engine::row`] give one event
//! after the other.

use super::keys::Outcome;
use super::{Counters, Engine, EventError, check, passed, put_ratios, put_requests, put_row};
use crate::event::{At, Event, Key};
use crate::plan::SourceId;
use std::sync::Arc;

/// Events in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heads: Vec<Head>,
    keys: Vec<Option<Key>>,
    cells: Vec<i64>,
}

/// An event, in one line of the processor's cache.
#[derive(Debug)]
struct Head {
    time: i64,
    order: u64,
    version: u64,
    /// Which filters it passes, and where its row begins: set when the batch is run.
    passed: u64,
    begin: usize,
    source: SourceId,
    keys: u32,
    cells: u32,
    key_count: u16,
    cell_count: u16,
    removed: bool,
    /// Whether the features of the event are asked for.
    row: bool,
}

/// Events of a batch: enough for many of each key, few enough to stay in the cache themselves.
pub(crate) const BATCH_MAX: usize = 1 << 16;

impl Queue {
    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.keys.clear();
        self.cells.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn push(&mut self, event: &Event, row: bool) {
        // A batch has at most 2^16 events, a source at most 256 keys and columns.
        let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        self.heads.push(Head {
            time: event.time,
            order: event.order,
            version: event.version,
            passed: 0,
            begin: 0,
            source: event.source,
            keys: short(self.keys.len()),
            cells: short(self.cells.len()),
            key_count: count(event.keys.len()),
            cell_count: count(event.cells.len()),
            removed: event.removed,
            row,
        });
        self.keys.extend_from_slice(event.keys);
        self.cells.extend_from_slice(event.cells);
    }

    fn event(&self, head: &Head) -> Event<'_> {
        Event {
            source: head.source,
            time: head.time,
            order: head.order,
            version: head.version,
            removed: head.removed,
            keys: &self.keys[head.keys as usize..][..usize::from(head.key_count)],
            cells: &self.cells[head.cells as usize..][..usize::from(head.cell_count)],
        }
    }
}

impl Engine {
    /// Applies all events of a queue of at most [`BATCH_MAX`] and hands on the rows that are asked for, in order: place in the queue, whether exact,
    /// values.
    ///
    /// # Errors
    /// Place and error of the first event that cannot be applied; then none has been.
    pub(crate) fn run(
        &mut self,
        queue: &mut Queue,
        mut sink: impl FnMut(usize, bool, &[f64]),
    ) -> Result<Counters, (usize, EventError)> {
        let plan = Arc::clone(&self.plan);
        let mut length = 0;
        for place in 0..queue.len() {
            let event = queue.event(&queue.heads[place]);
            check(&plan, &event).map_err(|error| (place, error))?;
            let source = plan.source_shape(event.source);
            let passed = passed(source, &event);
            let head = &mut queue.heads[place];
            (head.passed, head.begin) = (passed, length);
            length += if head.row { source.row.len() } else { 0 };
        }
        let (mut values, mut exact) = (vec![f64::NAN; length], vec![true; queue.len()]);
        let mut counters = Counters::default();
        for number in 0..plan.groups.len() {
            self.run_group(number, queue, &mut values, &mut exact, &mut counters);
        }
        self.counters.add(counters);
        for (place, head) in queue.heads.iter().enumerate().filter(|(_, head)| head.row) {
            let source = plan.source_shape(head.source);
            let row = &mut values[head.begin..head.begin + source.row.len()];
            put_requests(source, &queue.event(head), row);
            let mut part = source.requests.len();
            for &(entity, _) in &source.parts {
                let entity = plan.entity_shape(entity);
                put_ratios(entity, &mut row[part..part + entity.features.len()]);
                part += entity.features.len();
            }
            sink(place, exact[place], row);
        }
        Ok(counters)
    }

    fn run_group(
        &mut self,
        number: usize,
        queue: &Queue,
        values: &mut [f64],
        exact: &mut [bool],
        counters: &mut Counters,
    ) {
        let plan = Arc::clone(&self.plan);
        let (group, limits) = (&plan.groups[number], self.limits());
        let keys = &mut self.keys[number];
        let width = plan.entity_shape(group.entity).features.len();
        // What each source has to do with the group: which of its keys, and where in its row the entity's vector begins.
        let parts: Vec<Option<(usize, usize)>> = (0..plan.sources.len())
            .map(|source| {
                let source = plan.source_shape(SourceId(source));
                let mut begin = source.requests.len();
                source.parts.iter().find_map(|&(entity, key)| {
                    let part = (entity == group.entity).then_some((key, begin));
                    begin += plan.entity_shape(entity).features.len();
                    part
                })
            })
            .collect();
        let instant = |applied: bool, head: &Head| match applied {
            true => At { time: head.time, order: head.order },
            false => At::time(head.time),
        };
        // What the work below needs of each event, small enough to stay in the cache.
        let mut rows = Vec::with_capacity(queue.len() * group.stride);
        let mut jobs = Vec::with_capacity(queue.len());
        for (place, head) in queue.heads.iter().enumerate() {
            let Some((key, begin)) = parts[head.source.0] else { continue };
            let (key, applied) = (queue.keys[head.keys as usize + key], head.source == group.source);
            let slot = match key {
                Some(key) if applied => keys.slot(key, limits.keys_max),
                Some(key) => keys.find(key),
                None => None,
            };
            let vector = head.begin + begin;
            let Some(slot) = slot else {
                if applied && key.is_some() {
                    counters.count((Outcome::Full, false));
                }
                if head.row {
                    let vector = &mut values[vector..vector + width];
                    exact[place] &= keys.read_slot(group, None, instant(applied, head), limits, vector);
                }
                continue;
            };
            let row = rows.len();
            if applied {
                put_row(group, &queue.event(head), head.passed, &mut rows);
            }
            let vector = if head.row { Some(vector) } else { None };
            jobs.push(Job { slot, place, applied, row, vector });
        }
        jobs.sort_unstable_by_key(|job| (job.slot, job.place));
        for Job { slot, place, applied, row, vector } in jobs {
            let at = if applied {
                let row = &rows[row..row + group.stride];
                counters.count(keys.apply_slot(group, slot, row, limits));
                let (time, order) = crate::aggregate::instant(row);
                At { time, order }
            } else {
                At::time(queue.heads[place].time)
            };
            if let Some(vector) = vector {
                let vector = &mut values[vector..vector + width];
                exact[place] &= keys.read_slot(group, Some(slot), at, limits, vector);
            }
        }
    }
}

/// What an event has to do with a key: its row is applied, its vector read, or both.
struct Job {
    slot: usize,
    place: usize,
    applied: bool,
    row: usize,
    vector: Option<usize>,
}
