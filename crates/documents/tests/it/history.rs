//! Histories of a small table, as a source could have made them, and what is left after them.

use affluent_documents::{Action, VersionedWrite};
use affluent_model::{Position, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that a source says.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write(VersionedWrite),
    Truncate(Position),
}

/// Visible documents: fields by name, by id.
pub(crate) type Visible = BTreeMap<String, BTreeMap<String, Value>>;

/// A history in the order in which it happened, and what it leaves visible.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    pub(crate) expected: Visible,
}

#[derive(Debug, Clone)]
enum Step {
    /// Inserts the row, or updates it; `keep` leaves the big column as it is.
    Write {
        id: u8,
        keep: bool,
    },
    Delete {
        id: u8,
    },
    /// Gives the row another key.
    Move {
        from: u8,
        to: u8,
        keep: bool,
    },
    Truncate,
}

/// A history, and an order in which it may arrive: shuffled, everything at least once, some twice.
pub(crate) fn arrival() -> impl Strategy<Value = (History, Vec<Event>)> {
    let step = prop_oneof![
        6 => (0u8..4, any::<bool>()).prop_map(|(id, keep)| Step::Write { id, keep }),
        2 => (0u8..4).prop_map(|id| Step::Delete { id }),
        3 => (0u8..4, 0u8..4, any::<bool>()).prop_map(|(from, to, keep)| Step::Move { from, to, keep }),
        1 => Just(Step::Truncate),
    ];
    vec(step, 0..24).prop_map(|steps| play(&steps)).prop_flat_map(|history| {
        let twice: Vec<Event> = history.events.iter().chain(&history.events).cloned().collect();
        let events = history.events.len();
        // Cut after all of the first copies in any case.
        (Just(history), Just(twice).prop_shuffle(), 0..=events).prop_map(|(history, mut order, cut)| {
            let missing: Vec<Event> = order.drain(order.len() - cut..).collect();
            order.extend(missing.into_iter().rev());
            (history, order)
        })
    })
}

fn play(steps: &[Step]) -> History {
    let mut rows: BTreeMap<u8, (Value, Value)> = BTreeMap::new();
    let mut events = Vec::new();
    // Ids whose row moved away with a kept column are not used again (see `convergence::Departed`).
    let mut left: BTreeSet<u8> = BTreeSet::new();
    for (i, step) in steps.iter().enumerate() {
        let version = Position::new(100 + i as u64 / 3, 1 + i as u64 % 3);
        let (small, big) = (Value::Int(i as i64), Value::Text(format!("big {i}")));
        let write = |id: u8, action| Event::Write(VersionedWrite { id: name(id), version, action });
        match *step {
            Step::Write { id, keep } if !left.contains(&id) => {
                let old = rows.get(&id).map(|(_, big)| big.clone());
                let (event, big) = match old.filter(|_| keep) {
                    Some(old) => {
                        let keep = vec!["big".to_owned()];
                        let fields = vec![("small".to_owned(), small.clone())];
                        (write(id, Action::Patch { fields, keep, moved_from: None }), old)
                    }
                    None => (write(id, Action::Put(fields(&small, &big))), big),
                };
                rows.insert(id, (small, big));
                events.push(event);
            }
            Step::Delete { id } if rows.remove(&id).is_some() => events.push(write(id, Action::Delete)),
            Step::Move { from, to, keep } if from != to && !rows.contains_key(&to) && !left.contains(&to) => {
                let Some((_, old)) = rows.remove(&from) else { continue };
                if keep {
                    left.insert(from);
                    let columns = vec!["big".to_owned()];
                    let depart = Action::Depart { to: name(to), keep: columns.clone() };
                    let fields = vec![("small".to_owned(), small.clone())];
                    let patch = Action::Patch { fields, keep: columns, moved_from: Some(name(from)) };
                    events.extend([write(from, depart), write(to, patch)]);
                    rows.insert(to, (small, old));
                } else {
                    events
                        .extend([write(from, Action::Delete), write(to, Action::Put(fields(&small, &big)))]);
                    rows.insert(to, (small, big));
                }
            }
            Step::Truncate => {
                rows.clear();
                events.push(Event::Truncate(version));
            }
            Step::Write { .. } | Step::Delete { .. } | Step::Move { .. } => {}
        }
    }
    let visible = |(id, (small, big))| (name(id), fields(&small, &big).into_iter().collect());
    History { events, expected: rows.into_iter().map(visible).collect() }
}

fn name(id: u8) -> String {
    format!("id{id}")
}

fn fields(small: &Value, big: &Value) -> Vec<(String, Value)> {
    vec![("small".to_owned(), small.clone()), ("big".to_owned(), big.clone())]
}
