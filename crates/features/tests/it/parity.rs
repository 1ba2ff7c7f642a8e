//! Invariant: stream, replay and oracle agree bit for bit, whatever order events come in, however often they come, and wherever the
//! stream is stopped and restored.

use crate::history::{Arrival, arrivals, definitions, plan};
use crate::oracle::Oracle;
use affluent_features::definition::Definitions;
use affluent_features::replay::{Columns, KeyColumn, replay};
use affluent_features::{At, Engine, Options, Plan};
use proptest::prelude::*;
use std::sync::Arc;

/// The features of an event's row by name, as the oracle has them.
fn expected(definitions: &Definitions, plan: &Plan, oracle: &Oracle, arrival: &Arrival) -> Vec<f64> {
    let shape = plan.source_shape(plan.source(arrival.source).unwrap());
    let value = |name: &String| {
        let feature = definitions.feature(name).unwrap();
        oracle.value(definitions, feature, arrival.key[0], arrival.at(), Some(arrival.source), &arrival.cells)
    };
    shape.row.iter().map(value).collect()
}

fn compare(names: &[String], found: &[f64], expected: &[f64], what: &str) {
    for ((name, found), expected) in names.iter().zip(found).zip(expected) {
        assert_eq!(found.to_bits(), expected.to_bits(), "{what}: {name} is {found}, not {expected}");
    }
}

fn stream(arrivals: &[Arrival], restart_every: usize, options: Options) -> Vec<Option<Vec<f64>>> {
    let (definitions, plan) = (definitions(), plan());
    let mut engine = Engine::new(Arc::clone(&plan), options);
    let mut oracle = Oracle::default();
    let mut rows = Vec::new();
    for (nth, arrival) in arrivals.iter().enumerate() {
        let event = arrival.event(&plan);
        engine.apply(&event).unwrap();
        oracle.apply(arrival);
        let names = &plan.source_shape(event.source).row;
        let mut row = vec![0.0; names.len()];
        let exact = engine.row(&event, &mut row);
        assert!(exact || !oracle.is_recent(arrival.key[0], arrival.time), "a recent row is exact");
        if exact {
            compare(names, &row, &expected(&definitions, &plan, &oracle, arrival), "stream");
        }
        rows.push(exact.then_some(row));
        // Somebody else asks for another instant, before or after.
        let entity = plan.entity("customer").unwrap();
        let names = plan.entity_shape(entity).features.iter().map(|(name, _)| name.clone());
        let names: Vec<String> = names.collect();
        let mut vector = vec![0.0; names.len()];
        let at = At::time(arrival.time + [0, 7_200_000_000, -3_600_000_000, 1][nth % 4]);
        if engine.vector(entity, arrival.key[0], at, None, &mut vector) {
            let value = |name: &String| {
                let feature = definitions.feature(name).unwrap();
                oracle.value(&definitions, feature, arrival.key[0], at, None, &[])
            };
            compare(&names, &vector, &names.iter().map(value).collect::<Vec<_>>(), "vector");
        }
        if nth % restart_every == restart_every - 1 {
            let mut stored = Vec::new();
            engine.snapshot(b"offsets", &mut stored).unwrap();
            let counters = engine.counters();
            let (restored, caller) = Engine::restore(Arc::clone(&plan), options, &mut &stored[..]).unwrap();
            assert_eq!((caller.as_slice(), restored.counters()), (&b"offsets"[..], counters));
            engine = restored;
        }
    }
    rows
}

/// Replayed in pieces of so many arrivals.
fn replayed(arrivals: &[Arrival], piece: usize) -> Vec<Option<Vec<f64>>> {
    let mut engine = Engine::new(plan(), Options::default());
    arrivals.chunks(piece).flat_map(|arrivals| replay_piece(&mut engine, arrivals)).collect()
}

fn replay_piece(engine: &mut Engine, arrivals: &[Arrival]) -> Vec<Option<Vec<f64>>> {
    let plan = Arc::clone(engine.plan());
    let mut rows = vec![None; arrivals.len()];
    let mut places = Vec::new();
    let names = ["payments", "labels"];
    let of =
        |name: &'static str| arrivals.iter().enumerate().filter(move |(_, arrival)| arrival.source == name);
    let column = |name, read: &dyn Fn(usize, &Arrival) -> i64| {
        of(name).map(|(nth, arrival)| read(nth, arrival)).collect::<Vec<i64>>()
    };
    let mut held = Vec::new();
    for name in names {
        places.push(of(name).map(|(nth, _)| nth).collect::<Vec<_>>());
        let width = plan.source_shape(plan.source(name).unwrap()).columns.len();
        held.push((
            column(name, &|_, arrival| arrival.time),
            column(name, &|nth, _| i64::try_from(nth).unwrap()),
            of(name).map(|(_, arrival)| arrival.order).collect::<Vec<_>>(),
            of(name).map(|(_, arrival)| arrival.key[0]).collect::<Vec<_>>(),
            (0..width).map(|c| column(name, &|_, arrival| arrival.cells[c])).collect::<Vec<_>>(),
            of(name).map(|(_, arrival)| arrival.version).collect::<Vec<_>>(),
            of(name).map(|(_, arrival)| arrival.removed).collect::<Vec<_>>(),
        ));
    }
    let keys: Vec<[KeyColumn; 1]> = held.iter().map(|held| [KeyColumn::Keys(&held.3)]).collect();
    let cells: Vec<Vec<&[i64]>> =
        held.iter().map(|held| held.4.iter().map(Vec::as_slice).collect()).collect();
    let inputs: Vec<Columns> = names
        .iter()
        .zip(&held)
        .enumerate()
        .map(|(input, (name, held))| Columns {
            source: plan.source(name).unwrap(),
            time: &held.0,
            arrived: &held.1,
            order: &held.2,
            keys: &keys[input],
            cells: &cells[input],
            version: Some(&held.5),
            removed: Some(&held.6),
            rows: true,
        })
        .collect();
    replay(engine, &inputs, |row| {
        rows[places[row.input][row.event]] = row.exact.then(|| row.values.to_vec());
    })
    .unwrap();
    rows
}

fn bits(rows: &[Option<Vec<f64>>]) -> Vec<Option<Vec<u64>>> {
    rows.iter().map(|row| row.as_ref().map(|row| row.iter().map(|v| v.to_bits()).collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn stream_replay_and_oracle_agree(arrivals in arrivals(160), restart_every in 1usize..200, scan_max in 0usize..40) {
        let streamed = stream(&arrivals, restart_every, Options { scan_max: Some(scan_max), ..Options::default() });
        prop_assert_eq!(bits(&streamed), bits(&replayed(&arrivals, 1_000)), "replay");
        prop_assert_eq!(bits(&streamed), bits(&replayed(&arrivals, restart_every)), "replay in pieces");
    }

    /// Late events, corrections and labels change rows that come after them, never a training set that there is already.
    #[test]
    fn what_arrives_later_changes_no_earlier_row(arrivals in arrivals(80), until in 0usize..80) {
        let until = until.min(arrivals.len());
        let early = replayed(&arrivals[..until], 1_000);
        prop_assert_eq!(bits(&early), bits(&replayed(&arrivals, 1_000)[..until]));
    }

    /// Whatever the order of arrival, as long as nothing is late: the state answers the same.
    #[test]
    fn order_of_arrival_does_not_matter(arrivals in arrivals(80), shuffle in 0usize..80) {
        let (definitions, plan) = (definitions(), plan());
        let last = arrivals.iter().map(|arrival| arrival.time).max().unwrap_or(0);
        // Of each event its latest version alone, so that which content a version has does not hang on the order.
        let mut events: Vec<Arrival> = Vec::new();
        for arrival in arrivals.iter().filter(|arrival| arrival.time >= last - crate::history::LATENESS) {
            if !events.iter().any(|e| (e.source, e.at(), &e.key) == (arrival.source, arrival.at(), &arrival.key)) {
                events.push(arrival.clone());
            }
        }
        let entity = plan.entity("customer").unwrap();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut engine = Engine::new(Arc::clone(&plan), Options::default());
            for event in &events {
                engine.apply(&event.event(&plan)).unwrap();
            }
            let mut vector = vec![0.0; plan.entity_shape(entity).features.len()];
            prop_assert!(engine.vector(entity, Some(1.into()), At::time(last), None, &mut vector));
            answers.push(vector.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
            let length = events.len();
            events.rotate_left(shuffle % length);
            events.reverse();
        }
        prop_assert_eq!(&answers[0], &answers[1]);
        prop_assert!(definitions.features.len() > 100);
    }
}
