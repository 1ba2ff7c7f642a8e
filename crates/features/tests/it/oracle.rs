//! The oracle: every value computed anew from the list of all events that were taken, as the documentation says it.

use crate::history::{Arrival, LATENESS};
use affluent_features::aggregate::{Sum, finish};
use affluent_features::definition::{Aggregate, Compute, Definitions, Feature, SESSION_MAX, Span};
use affluent_features::event::{HOUR, NULL, SECOND, day_start, distance_km};
use affluent_features::{At, Key};
use std::collections::BTreeMap;

/// What was taken, by source and key.
#[derive(Default)]
pub(crate) struct Oracle {
    taken: BTreeMap<(&'static str, Key), Vec<Arrival>>,
    newest: BTreeMap<(&'static str, Key), i64>,
}

impl Oracle {
    pub(crate) fn apply(&mut self, arrival: &Arrival) {
        let Some(key) = arrival.key[0] else { return };
        let taken = self.taken.entry((arrival.source, key)).or_default();
        let newest = self.newest.entry((arrival.source, key)).or_insert(i64::MIN);
        let same = taken.iter_mut().find(|other| other.at() == arrival.at());
        match same {
            Some(known) if arrival.source == "payments" && arrival.version > known.version => {
                *known = arrival.clone();
            }
            Some(_) => {}
            None if arrival.time < newest.saturating_sub(LATENESS) => {}
            None => {
                taken.push(arrival.clone());
                taken.sort_by_key(Arrival::at);
                *newest = arrival.time.max(*newest);
            }
        }
    }

    /// Whether an instant is recent enough to be told exactly of every source.
    pub(crate) fn is_recent(&self, key: Option<Key>, time: i64) -> bool {
        let of_key = self.newest.iter().filter(|((_, k), _)| Some(*k) == key);
        of_key.into_iter().all(|(_, &newest)| time >= newest.saturating_sub(LATENESS))
    }

    /// A feature of a key at the instant at which an event of `source` asks.
    pub(crate) fn value(
        &self,
        definitions: &Definitions,
        feature: &Feature,
        key: Option<Key>,
        at: At,
        asking: Option<&str>,
        cells: &[i64],
    ) -> f64 {
        let value = match &feature.compute {
            Compute::Request { request, .. } => request.value(at.time, cells),
            Compute::Ratio { of, to } => {
                let part = |name: &str| {
                    let feature = definitions.feature(name).unwrap();
                    self.value(definitions, feature, key, at, asking, cells)
                };
                finish::ratio(part(of), part(to))
            }
            Compute::Window { source, .. } => {
                let nothing = Vec::new();
                let name = if source == "payments" { "payments" } else { "labels" };
                let events = key.and_then(|key| self.taken.get(&(name, key))).unwrap_or(&nothing);
                let at = if asking == Some(name) { at } else { At::time(at.time) };
                window_value(definitions, feature, events, at)
            }
        };
        if value.is_nan() { feature.default.unwrap_or(f64::NAN) } else { value }
    }
}

fn window_value(definitions: &Definitions, feature: &Feature, events: &[Arrival], at: At) -> f64 {
    let Compute::Window { source, filter, window, aggregate } = &feature.compute else { panic!("no window") };
    let current = events.iter().find(|event| event.at() == at);
    let is_before_end = |event: &&Arrival| match (window.delay, window.current) {
        (0, true) => event.at() <= at,
        (0, false) if at.order == u64::MAX => event.time <= at.time,
        (0, false) => event.at() < at,
        (delay, _) => event.time <= at.time - delay,
    };
    let there: Vec<&Arrival> = events.iter().filter(|event| !event.removed).filter(is_before_end).collect();
    let begin = match window.span {
        Span::Sliding(length) => at.time - window.delay - length + 1,
        Span::CalendarDay => day_start(at.time - window.delay),
        Span::Session(gap) => {
            let mut begin = at.time + 1;
            let mut next = at.time;
            for event in there.iter().rev() {
                if next - event.time >= gap || at.time - event.time >= SESSION_MAX {
                    break;
                }
                (begin, next) = (event.time, event.time);
            }
            begin
        }
    };
    let rows: Vec<&Arrival> = there
        .into_iter()
        .filter(|event| event.time >= begin && filter.passes(event.time, &event.cells))
        .collect();
    let column = |index: usize| rows.iter().map(move |row| row.cells[index]).filter(|&value| value != NULL);
    let places = |index: usize| definitions.sources[source].columns[index].kind.places();
    let sum = |index: usize| {
        let mut sum = Sum::default();
        column(index).for_each(|value| sum.enter(value));
        sum
    };
    let squares = |index: usize| column(index).map(|v| i128::from(v) * i128::from(v)).sum::<i128>();
    let told = |value: Option<i64>, index: usize| {
        value.map_or(f64::NAN, |value| finish::scaled(value as f64, places(index)))
    };
    let now = |index: usize| current.map(|row| row.cells[index]).filter(|&value| value != NULL);
    let counts = |index: usize| {
        let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
        column(index).for_each(|value| *counts.entry(value).or_default() += 1);
        counts
    };
    let count = rows.len() as f64;
    let seconds = |micros: i64| micros as f64 / SECOND as f64;
    match *aggregate {
        Aggregate::Count => count,
        Aggregate::Rate => count / window.hours().unwrap(),
        Aggregate::Sum(c) => finish::scaled(sum(c).total as f64, places(c)),
        Aggregate::Mean(c) | Aggregate::RiskRate(c) => finish::scaled(finish::mean(sum(c)), places(c)),
        Aggregate::Min(c) => told(column(c).min(), c),
        Aggregate::Max(c) => told(column(c).max(), c),
        Aggregate::StdDev(c) => finish::scaled(finish::deviation(sum(c), squares(c)), places(c)),
        Aggregate::Distinct(c) => counts(c).len() as f64,
        Aggregate::Entropy(c) => {
            let (mut values, mut terms) = (0u32, 0i64);
            for &count in counts(c).values() {
                values += count;
                let term = if count < 2 { 0.0 } else { f64::from(count) * f64::from(count).log2() };
                terms += (term * 4_294_967_296.0).round() as i64;
            }
            let values = f64::from(values);
            (values.log2() - terms as f64 / 4_294_967_296.0 / values).max(if values > 0.0 {
                0.0
            } else {
                f64::NAN
            })
        }
        Aggregate::Share(ref part) => {
            let passing = rows.iter().filter(|row| part.passes(row.time, &row.cells)).count();
            finish::ratio(passing as f64, count)
        }
        Aggregate::ShareSame(c) => now(c).map_or(f64::NAN, |value| {
            let same = column(c).filter(|&other| other == value).count();
            finish::ratio(same as f64, column(c).count() as f64)
        }),
        Aggregate::Last(c, nth) => told(column(c).collect::<Vec<_>>().into_iter().rev().nth(nth - 1), c),
        Aggregate::First(c, nth) => told(column(c).nth(nth - 1), c),
        Aggregate::SinceLast => rows.last().map_or(f64::NAN, |row| seconds(at.time - row.time)),
        Aggregate::Duration => match (rows.first(), rows.last()) {
            (Some(first), Some(last)) => seconds(last.time - first.time),
            _ => f64::NAN,
        },
        Aggregate::IsNew(c) => {
            now(c).map_or(f64::NAN, |value| f64::from(u8::from(column(c).all(|other| other != value))))
        }
        Aggregate::ToMean(c) => {
            now(c).map_or(f64::NAN, |value| finish::ratio(value as f64, finish::mean(sum(c))))
        }
        Aggregate::ZScore(c) => now(c).map_or(f64::NAN, |value| {
            let from = value as f64 - finish::mean(sum(c));
            finish::ratio(from, finish::deviation(sum(c), squares(c)))
        }),
        Aggregate::Speed(lat, lon) => {
            let place = |row: &Arrival| {
                let place = (row.cells[lat], row.cells[lon]);
                (place.0 != NULL && place.1 != NULL).then_some((row.time, place))
            };
            let last = rows.iter().rev().find_map(|row| place(row));
            match (current.and_then(place), last) {
                (Some((now, here)), Some((then, there))) => {
                    distance_km(there, here) / ((now - then).max(SECOND) as f64 / HOUR as f64)
                }
                _ => f64::NAN,
            }
        }
    }
}
