//! The row of an event that has not happened yet: what [`Engine::apply`] and then [`Engine::row`] would give, without the event staying.
//!
//! The event enters the logs of its keys, the row is read, and the event leaves again: running windows go back to before it, so that none holds it.
//!
//! Invariant: afterwards the engine answers as before, and keeps the same events.

use super::keys::{Keys, Limits, Outcome, Slot, number};
use super::log::Rows;
use super::read::read;
use super::slab::Slab;
use super::{Engine, EventError, check, passed, put_ratios, put_requests, put_row};
use crate::aggregate::instant;
use crate::event::{At, Event, Key};
use crate::plan::Group;
use std::sync::Arc;

/// How an event leaves a log again.
enum Undo {
    /// It did not enter: it is there already, or comes too late.
    Nothing,
    Inserted(usize),
    /// It took the place of an earlier version of itself.
    Replaced(usize, Vec<i64>),
}

impl Engine {
    /// Writes the features that an event would have once it were applied, as [`Engine::row`] does; it is not applied. False as there.
    ///
    /// The one difference: a key that has as many events as it may keep lets none go for this one, so its values may be more exact.
    ///
    /// # Errors
    /// [`EventError`]: the event could not be applied.
    ///
    /// # Panics
    /// If `row` is shorter than the source's row.
    pub fn preview(&mut self, event: &Event, row: &mut [f64]) -> Result<bool, EventError> {
        let plan = Arc::clone(&self.plan);
        check(&plan, event)?;
        let source = plan.source_shape(event.source);
        let (passed, limits) = (passed(source, event), self.limits());
        put_requests(source, event, row);
        let (mut place, mut exact) = (source.requests.len(), true);
        for &(entity, key) in &source.parts {
            let (shape, key) = (plan.entity_shape(entity), event.keys[key]);
            let vector = &mut row[place..place + shape.features.len()];
            for &number in &shape.groups {
                let (group, keys) = (&plan.groups[number], &mut self.keys[number]);
                exact &= if group.source == event.source {
                    self.row.clear();
                    put_row(group, event, passed, &mut self.row);
                    keys.preview(group, key, &self.row, limits, vector)
                } else {
                    keys.read(group, key, At::time(event.time), limits, vector)
                };
            }
            put_ratios(shape, vector);
            place += shape.features.len();
        }
        Ok(exact)
    }
}

impl Keys {
    /// Writes the values of a key as they would be right after this row.
    fn preview(
        &mut self,
        group: &Group,
        key: Option<Key>,
        row: &[i64],
        limits: Limits,
        vector: &mut [f64],
    ) -> bool {
        let (time, order) = instant(row);
        let at = At { time, order };
        let Some(key) = key else { return self.read_slot(group, None, at, limits, vector) };
        let Some(slot) = self.find(key) else {
            if self.slots.len() >= limits.keys_max {
                return self.read_slot(group, None, at, limits, vector);
            }
            let alone = Rows::of(row, group.stride);
            self.scratch.build(group, alone, at);
            self.scratch.settle(group, alone, at);
            read(group, alone, &self.scratch, at, vector);
            return self.is_whole(group, at);
        };
        let undo = self.slots[slot].enter(group, &mut self.slab, number(slot), row, limits);
        self.follow();
        let exact = self.read_slot(group, Some(slot), at, limits, vector);
        self.slots[slot].leave(group, &mut self.slab, number(slot), undo, row);
        self.follow();
        exact
    }
}

impl Slot {
    /// As [`Slot::apply`], but that nothing is let go.
    fn enter(&mut self, group: &Group, slab: &mut Slab, number: u32, row: &[i64], limits: Limits) -> Undo {
        let at = instant(row);
        match self.log.rows(slab).find(at) {
            Ok(place) => {
                let old = self.log.rows(slab).row(place).to_vec();
                match self.correct(group, slab, place, row) {
                    Outcome::Corrected => Undo::Replaced(place, old),
                    Outcome::New | Outcome::Duplicate | Outcome::Late | Outcome::Full => Undo::Nothing,
                }
            }
            Err(_) if self.is_too_late(group, at.0, limits) => Undo::Nothing,
            Err(place) => {
                self.log.insert(slab, number, place, row);
                let rows = self.log.rows(slab);
                if let Some(running) = &mut self.running
                    && place + 1 < rows.len()
                {
                    running.inserted(group, rows, place);
                }
                Undo::Inserted(place)
            }
        }
    }

    fn leave(&mut self, group: &Group, slab: &mut Slab, number: u32, undo: Undo, row: &[i64]) {
        match undo {
            Undo::Nothing => {}
            Undo::Inserted(place) => {
                if let Some(running) = &mut self.running {
                    let before = At::time(instant(row).0.saturating_sub(1));
                    running.move_to(group, self.log.rows(slab), before);
                }
                self.log.remove(slab, number, place);
            }
            Undo::Replaced(place, old) => {
                if let Some(running) = &mut self.running {
                    running.replaced(group, place, row, &old);
                }
                self.log.row_mut(slab, place).copy_from_slice(&old);
            }
        }
    }
}
