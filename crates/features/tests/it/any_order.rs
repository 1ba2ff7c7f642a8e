//! Invariant: with `any_order`, the state is a function of the set of events, in whatever order they come.

use crate::history::{Arrival, arrivals, plan};
use affluent_features::{At, Engine, Options};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn vectors(arrivals: &[&Arrival], at: At) -> Vec<Vec<u64>> {
    let plan = plan();
    let options = Options { any_order: true, ..Options::default() };
    let mut engine = Engine::new(Arc::clone(&plan), options);
    for arrival in arrivals {
        engine.apply(&arrival.event(&plan)).unwrap();
    }
    let entity = plan.entity("customer").unwrap();
    let width = plan.entity_shape(entity).features.len();
    let mut keys: Vec<_> = arrivals.iter().filter_map(|arrival| arrival.key[0]).collect();
    keys.sort();
    keys.dedup();
    let vector = |key| {
        let mut vector = vec![0.0; width];
        let exact = engine.vector(entity, Some(key), at, None, &mut vector);
        // Where events were let go, what an instant long past had is not known.
        vector.iter().map(|value| if exact { value.to_bits() } else { 0 }).collect()
    };
    keys.into_iter().map(vector).collect()
}

/// Each version of an event with one content, as sources have it; of events that are not corrected one alone.
fn distinct(arrivals: Vec<Arrival>) -> Vec<Arrival> {
    let mut seen = BTreeSet::new();
    let version = |arrival: &Arrival| if arrival.source == "payments" { arrival.version } else { 0 };
    let is_new = |arrival: &Arrival| {
        seen.insert((arrival.source, arrival.key[0], arrival.time, arrival.order, version(arrival)))
    };
    arrivals.into_iter().filter(is_new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_order_of_reading_changes_nothing(
        (arrivals, shuffled) in arrivals(150).prop_map(distinct)
            .prop_flat_map(|arrivals| (Just(arrivals.clone()), Just(arrivals).prop_shuffle())),
        behind in 0i64..7_200_000_000,
    ) {
        let in_order: Vec<&Arrival> = arrivals.iter().collect();
        let repeated: Vec<&Arrival> = shuffled.iter().chain(&shuffled[..shuffled.len() / 3]).collect();
        let newest = arrivals.iter().map(|arrival| arrival.time).max().unwrap_or_default();
        let at = At::time(newest - behind);
        prop_assert_eq!(vectors(&repeated, at), vectors(&in_order, at));
    }
}
