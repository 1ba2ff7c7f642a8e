//! Which events become rows, and with which label.

use super::rows::Rows;
use super::{Planned, TrainingRows, TrainingSet};
use crate::history::Events;
use affluent_features::replay::Row;
use std::collections::{BTreeSet, HashSet};

/// Rows that are still to be written, and what became of the others.
pub(super) struct Collector<'a> {
    set: &'a TrainingSet,
    /// Time and order of the events that are marked.
    marked: HashSet<(i64, u64)>,
    lateness: i64,
    /// Events that have a row, as long as another version of them may come.
    seen: BTreeSet<(i64, u64)>,
    pub(super) rows: Rows,
    pub(super) done: TrainingRows,
}

impl<'a> Collector<'a> {
    pub(super) fn new(set: &'a TrainingSet, planned: &Planned, marked: HashSet<(i64, u64)>) -> Self {
        let rows = Rows::new(&planned.places, set.label.is_some());
        let done = TrainingRows { features: planned.names(), ..TrainingRows::default() };
        Collector { set, marked, lateness: planned.lateness, seen: BTreeSet::new(), rows, done }
    }

    /// Whether an event becomes a row. An event is one row, that of its first version, however often it changed within its lateness, and even if its
    /// time did: an update is never the first version. Later changes are no events. Events are asked for in the order of their arrival.
    pub(super) fn takes(&mut self, events: &Events, place: usize) -> bool {
        let (arrived, time) = events.instant(place);
        let over = arrived.saturating_sub(self.lateness);
        while self.seen.first().is_some_and(|(time, _)| *time < over) {
            self.seen.pop_first();
        }
        (self.set.from..self.set.to).contains(&time)
            && !events.is_removed(place)
            && !events.is_updated(place)
            && self.seen.insert((time, events.order[place]))
    }

    /// Takes in the row of an event.
    pub(super) fn push(&mut self, events: &Events, row: Row<'_>) {
        let time = events.time[row.event];
        let label = self.set.label.as_ref().map(|label| {
            // Before its delay is over no label is known, not even of what is marked already: else young rows would be marked ones alone.
            let is_known = time.saturating_add(label.delay) <= self.set.as_of;
            let label = is_known.then(|| self.marked.contains(&(time, events.order[row.event])));
            self.done.marked += u64::from(label == Some(true));
            self.done.unlabelled += u64::from(!is_known);
            label
        });
        self.done.inexact += u64::from(!row.exact);
        self.rows.push(events, row, label.flatten());
    }
}
