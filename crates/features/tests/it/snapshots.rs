//! Damaged, cut and foreign snapshots are refused; bounds of what is kept hold.

use crate::history::{arrivals, definitions, plan};
use affluent_features::engine::SnapshotError;
use affluent_features::{At, Engine, Event, Options, Plan};
use proptest::prelude::*;
use std::sync::Arc;

fn engine_of(arrivals: &[crate::history::Arrival]) -> Engine {
    let plan = plan();
    let mut engine = Engine::new(Arc::clone(&plan), Options::default());
    for arrival in arrivals {
        engine.apply(&arrival.event(&plan)).unwrap();
    }
    engine
}

fn stored(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.snapshot(b"x", &mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn storing_what_was_restored_gives_the_same_bytes(arrivals in arrivals(60)) {
        let bytes = stored(&engine_of(&arrivals));
        let (restored, _) = Engine::restore(plan(), Options::default(), &mut &bytes[..]).unwrap();
        prop_assert_eq!(stored(&restored), bytes);
    }

    #[test]
    fn damage_is_noticed(arrivals in arrivals(30), place: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index) {
        let mut bytes = stored(&engine_of(&arrivals));
        let end = cut.index(bytes.len());
        prop_assert!(Engine::restore(plan(), Options::default(), &mut &bytes[..end]).is_err(), "cut off at {}", end);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(Engine::restore(plan(), Options::default(), &mut &bytes[..]).is_err(), "byte {}", place);
    }

    /// Windows that are kept running are those that are computed each time, also once events that they held were let go.
    #[test]
    fn too_many_events_leave_all_windows_alike(arrivals in arrivals(150), events_max in 1usize..9, any_order in any::<bool>()) {
        let plan = plan();
        let of = |scan_max| Options { events_max, any_order, scan_max: Some(scan_max), ..Options::default() };
        let mut running = Engine::new(Arc::clone(&plan), of(0));
        let mut scanned = Engine::new(Arc::clone(&plan), of(1_000));
        for arrival in &arrivals {
            let (event, source) = (arrival.event(&plan), plan.source(arrival.source).unwrap());
            let row = |engine: &mut Engine| {
                engine.apply(&event).unwrap();
                let mut row = vec![0.5; plan.source_shape(source).row.len()];
                let exact = engine.row(&event, &mut row);
                (exact, row.into_iter().map(f64::to_bits).collect::<Vec<u64>>())
            };
            prop_assert_eq!(row(&mut running), row(&mut scanned));
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_state(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"AFFLFEAT\x02\0\0\0".to_vec();
        framed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        framed.extend(crc32c::crc32c(&bytes).to_le_bytes());
        framed.extend(&bytes);
        prop_assert!(Engine::restore(plan(), Options::default(), &mut &framed[..]).is_err());
    }
}

#[test]
fn other_definitions_are_refused() {
    let bytes = stored(&engine_of(&[]));
    let mut other = definitions();
    other.sources.get_mut("payments").unwrap().lateness += 1;
    let other = Arc::new(Plan::new(&other).unwrap());
    let error = Engine::restore(other, Options::default(), &mut &bytes[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Definitions(ref entity) if entity == "customer"), "{error}");
}

#[test]
fn fewer_keys_than_were_stored_are_no_damage() {
    let (plan, source) = (plan(), plan().source("labels").unwrap());
    let mut engine = Engine::new(Arc::clone(&plan), Options::default());
    for key in [7, 8] {
        let keys = [Some(key.into())];
        let event = Event { source, time: 1, order: 0, version: 0, removed: false, keys: &keys, cells: &[1] };
        engine.apply(&event).unwrap();
    }
    let bytes = stored(&engine);
    let restore = |keys_max| {
        let options = Options { keys_max, ..Options::default() };
        Engine::restore(Arc::clone(&plan), options, &mut &bytes[..])
    };
    assert_eq!(restore(2).unwrap().0.keys(), 2);
    let error = restore(1).unwrap_err();
    assert!(matches!(error, SnapshotError::Keys { keys: 2, keys_max: 1, .. }), "{error}");
}

#[test]
fn values_that_reach_back_to_what_never_came_are_not_exact() {
    let (plan, lost) = (plan(), 1_000);
    let (labels, payments) = (plan.source("labels").unwrap(), plan.source("payments").unwrap());
    let entity = plan.entity("customer").unwrap();
    let exact = |engine: &mut Engine, key: i64, time: i64| {
        let mut vector = vec![0.0; plan.entity_shape(entity).features.len()];
        engine.vector(entity, Some(key.into()), At::time(time), None, &mut vector)
    };
    let mut engine = Engine::new(Arc::clone(&plan), Options::default());
    let keys = [Some(7.into())];
    let event =
        Event { source: labels, time: 1, order: 0, version: 0, removed: false, keys: &keys, cells: &[1] };
    engine.apply(&event).unwrap();
    assert!(exact(&mut engine, 7, lost) && exact(&mut engine, 8, lost));
    engine.lose(labels, lost);
    engine.lose(labels, lost - 1);
    let mut row = vec![0.0; plan.source_shape(labels).row.len()];
    let later = Event { time: lost, ..event };
    assert!(!engine.preview(&later, &mut row).unwrap(), "as it would be");
    // Kept with the state; a key without events may have had some.
    let (mut restored, _) =
        Engine::restore(Arc::clone(&plan), Options::default(), &mut &stored(&engine)[..]).unwrap();
    for engine in [&mut engine, &mut restored] {
        assert!(!exact(engine, 7, lost) && !exact(engine, 8, lost));
        let long_after = lost + 365 * affluent_features::event::DAY;
        assert!(exact(engine, 7, long_after) && exact(engine, 8, long_after));
    }
    let mut other = Engine::new(Arc::clone(&plan), Options::default());
    other.lose(payments, i64::MIN);
    assert!(exact(&mut other, 7, lost), "nothing is lost");
}

#[test]
fn a_moment_of_which_some_events_were_let_go_is_restored() {
    let (plan, options) = (plan(), Options { events_max: 10, ..Options::default() });
    let mut engine = Engine::new(Arc::clone(&plan), options);
    let source = plan.source("labels").unwrap();
    for order in 0..20u64 {
        let (time, keys) = (i64::try_from(order / 4).unwrap(), [Some(7.into())]);
        let event = Event { source, time, order, version: 0, removed: false, keys: &keys, cells: &[1] };
        engine.apply(&event).unwrap();
        let bytes = stored(&engine);
        let (restored, _) = Engine::restore(Arc::clone(&plan), options, &mut &bytes[..]).unwrap();
        assert_eq!(stored(&restored), bytes);
    }
    assert_eq!(engine.counters().shortened, 10);
}

#[test]
fn bounds_hold() {
    let plan = plan();
    let mut engine =
        Engine::new(Arc::clone(&plan), Options { keys_max: 1, events_max: 10, ..Options::default() });
    let (source, entity) = (plan.source("labels").unwrap(), plan.entity("customer").unwrap());
    let mut vector = vec![0.0; plan.entity_shape(entity).features.len()];
    let labels = plan.entity_shape(entity).features.iter().position(|(name, _)| name == "labels").unwrap();
    for time in 0..20i64 {
        let keys = [Some(7.into())];
        let event = Event { source, time, order: 0, version: 0, removed: false, keys: &keys, cells: &[1] };
        engine.apply(&event).unwrap();
        let exact = engine.vector(entity, keys[0], At::time(time), None, &mut vector);
        assert_eq!((vector[labels], exact), ((time + 1).min(10) as f64, time < 10), "at {time}");
    }
    assert_eq!((engine.counters().new, engine.counters().shortened), (20, 10));
    let keys = [Some(8.into())];
    let other = Event { source, time: 0, order: 0, version: 0, removed: false, keys: &keys, cells: &[1] };
    assert_eq!(engine.apply(&other).unwrap().refused, 1);
    let wrong = Event { cells: &[1 << 51], ..other };
    assert!(engine.apply(&wrong).unwrap_err().to_string().contains("weight"));
    assert_eq!(engine.evict(0), 0);
    assert_eq!((engine.evict(affluent_features::event::DAY), engine.keys()), (1, 0));
    assert_eq!(engine.apply(&other).unwrap().new, 1, "its room is free again");
}
