//! Invariant: the row of an event that has not been applied is the one it has once it is, and asking for it changes nothing. And a state
//! stored in slices, with events applied in between, is the same once those are read again.

use crate::history::{Arrival, arrivals, plan};
use affluent_features::{Engine, Options, Plan};
use proptest::prelude::*;
use std::sync::Arc;

fn stored(engine: &Engine) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.snapshot(b"", &mut bytes).unwrap();
    bytes
}

fn row(plan: &Plan, arrival: &Arrival, read: impl FnOnce(&mut [f64]) -> bool) -> (bool, Vec<u64>) {
    let source = plan.source(arrival.source).unwrap();
    let mut row = vec![0.5; plan.source_shape(source).row.len()];
    let exact = read(&mut row);
    (exact, row.iter().map(|value| value.to_bits()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_preview_is_the_row_that_comes(
        arrivals in arrivals(150),
        scan_max in prop_oneof![Just(None), Just(Some(0)), Just(Some(5))],
        any_order in any::<bool>(),
        others in prop::collection::vec(any::<prop::sample::Index>(), 150),
    ) {
        let plan = plan();
        let options = Options { scan_max, any_order, ..Options::default() };
        let mut engine = Engine::new(Arc::clone(&plan), options);
        for (arrival, other) in arrivals.iter().zip(&others) {
            // One that may be applied much later, or has been already.
            let other = &arrivals[other.index(arrivals.len())];
            let before = stored(&engine);
            row(&plan, other, |row| engine.preview(&other.event(&plan), row).unwrap());
            let event = arrival.event(&plan);
            let expected = row(&plan, arrival, |row| engine.preview(&event, row).unwrap());
            prop_assert_eq!(stored(&engine), before, "asking changes nothing");
            engine.apply(&event).unwrap();
            let found = row(&plan, arrival, |row| engine.row(&event, row));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_was_stored_in_slices_is_the_same_after_the_rest_is_read_again(
        arrivals in arrivals(120),
        cut in any::<prop::sample::Index>(),
        pause in 1usize..6,
    ) {
        let (plan, options) = (plan(), Options { any_order: true, ..Options::default() });
        let mut engine = Engine::new(Arc::clone(&plan), options);
        let cut = cut.index(arrivals.len());
        for arrival in &arrivals[..cut] {
            engine.apply(&arrival.event(&plan)).unwrap();
        }
        let mut bytes = Vec::new();
        let mut slices = engine.snapshot_begin(b"cut", &mut bytes).unwrap();
        let (between, rest) = arrivals[cut..].split_at(pause.min(arrivals.len() - cut));
        for arrival in between {
            engine.apply(&arrival.event(&plan)).unwrap();
        }
        while engine.snapshot_next(&mut slices, &mut bytes).unwrap() {}
        for arrival in rest {
            engine.apply(&arrival.event(&plan)).unwrap();
        }
        let (mut restored, caller) = Engine::restore(Arc::clone(&plan), options, &mut &bytes[..]).unwrap();
        prop_assert_eq!(caller, b"cut");
        for arrival in &arrivals[cut..] {
            restored.apply(&arrival.event(&plan)).unwrap();
        }
        for arrival in &arrivals {
            let event = arrival.event(&plan);
            let expected = row(&plan, arrival, |row| engine.row(&event, row));
            prop_assert_eq!(row(&plan, arrival, |row| restored.row(&event, row)), expected);
        }
    }
}
