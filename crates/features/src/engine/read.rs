//! Reading: from what is kept of a key's windows at an instant to the values of a vector.

use super::log::Rows;
use super::running::Running;
use crate::aggregate::{finish, instant, passes};
use crate::event::{At, HOUR, NULL, SECOND, distance_km};
use crate::plan::{Group, Read};

/// Writes the values of a group into the vector of its entity. The windows stand at `at`.
pub(crate) fn read(group: &Group, log: Rows<'_>, running: &Running, at: At, vector: &mut [f64]) {
    // Edge 0 is that of the current event: the last row that passed it is the one that asks, if any does.
    let asked = running.pointers[0].checked_sub(1).map(|last| log.row(last as usize));
    let view = View { group, log, running, current: asked.filter(|row| instant(row) == (at.time, at.order)) };
    for reader in &group.readers {
        let value = view.value(reader.read, at);
        vector[reader.place] = if value.is_nan() { reader.default } else { value };
    }
}

struct View<'a> {
    group: &'a Group,
    log: Rows<'a>,
    running: &'a Running,
    current: Option<&'a [i64]>,
}

impl View<'_> {
    fn value(&self, read: Read, at: At) -> f64 {
        let kept = &self.running.kept;
        match read {
            Read::Count { at } => f64::from(kept.counts[at]),
            Read::Rate { at, hours } => f64::from(kept.counts[at]) / hours,
            Read::Sum { at, places } => finish::scaled(kept.sums[at].total as f64, places),
            Read::Mean { at, places } => finish::scaled(finish::mean(kept.sums[at]), places),
            Read::Deviation { sum, squares, places } => {
                finish::scaled(finish::deviation(kept.sums[sum], kept.squares[squares]), places)
            }
            Read::Extreme { at, places } => cell(kept.extremes[at].value(), places),
            Read::Distinct { at } => kept.distincts[at].value(),
            Read::Entropy { at } => kept.categories[at].entropy(),
            Read::Share { of, all } => finish::ratio(f64::from(kept.counts[of]), f64::from(kept.counts[all])),
            Read::ShareSame { at, column } => self.current(column).map_or(f64::NAN, |value| {
                let categories = &kept.categories[at];
                finish::ratio(f64::from(categories.count(value)), f64::from(categories.values()))
            }),
            Read::Last { window, filter, column, nth, places } => {
                let values = self.rows(window, filter).rev().map(|row| row[column]);
                cell(values.filter(|&value| value != NULL).nth(nth - 1), places)
            }
            Read::First { window, filter, column, nth, places } => {
                let values = self.rows(window, filter).map(|row| row[column]);
                cell(values.filter(|&value| value != NULL).nth(nth - 1), places)
            }
            Read::SinceLast { window, filter } => {
                let last = self.rows(window, filter).next_back();
                last.map_or(f64::NAN, |row| (at.time - row[0]) as f64 / SECOND as f64)
            }
            Read::Duration { window, filter } => {
                let mut rows = self.rows(window, filter);
                let first = rows.next();
                let last = rows.next_back().or(first);
                match (first, last) {
                    (Some(first), Some(last)) => (last[0] - first[0]) as f64 / SECOND as f64,
                    _ => f64::NAN,
                }
            }
            Read::IsNew { at, column } => self
                .current(column)
                .map_or(f64::NAN, |value| f64::from(u8::from(kept.categories[at].count(value) == 0))),
            Read::ToMean { at, column } => self
                .current(column)
                .map_or(f64::NAN, |value| finish::ratio(value as f64, finish::mean(kept.sums[at]))),
            Read::ZScore { sum, squares, column } => self.current(column).map_or(f64::NAN, |value| {
                let sum = kept.sums[sum];
                let from = value as f64 - finish::mean(sum);
                finish::ratio(from, finish::deviation(sum, kept.squares[squares]))
            }),
            Read::Speed { window, filter, latitude, longitude } => {
                self.speed(window, filter, latitude, longitude)
            }
        }
    }

    /// The value of the event that asks.
    fn current(&self, column: usize) -> Option<i64> {
        self.current.map(|row| row[column]).filter(|&value| value != NULL)
    }

    /// The rows of a window that pass a filter.
    fn rows(&self, window: usize, filter: u8) -> impl DoubleEndedIterator<Item = &[i64]> {
        let bounds = &self.group.windows[window];
        let range =
            self.running.pointers[bounds.lower] as usize..self.running.pointers[bounds.upper] as usize;
        self.log.range(range).filter(move |row| passes(row, filter))
    }

    /// Kilometres an hour since the last event with a place; at least a second is taken to have gone by.
    fn speed(&self, window: usize, filter: u8, latitude: usize, longitude: usize) -> f64 {
        let place = |row: &[i64]| {
            let (lat, lon) = (row[latitude], row[longitude]);
            (lat != NULL && lon != NULL).then_some((row[0], (lat, lon)))
        };
        let here = self.current.and_then(place);
        let there = self.rows(window, filter).rev().find_map(place);
        match (here, there) {
            (Some((now, here)), Some((then, there))) => {
                let hours = (now - then).max(SECOND) as f64 / HOUR as f64;
                distance_km(there, here) / hours
            }
            _ => f64::NAN,
        }
    }
}

fn cell(value: Option<i64>, places: u8) -> f64 {
    value.map_or(f64::NAN, |value| finish::scaled(value as f64, places))
}
