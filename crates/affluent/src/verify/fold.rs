//! The state of a table, folded from its change events, in whatever order they are read.
//!
//! The greatest position of a key wins; a column that the source did not send keeps its older value,
//! also when the event that has it is read later. A repeated event changes nothing and is counted.

use super::digest::{Digest, Measures};
use affluent_model::{Op, Position};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A change event reduced to what the fold needs.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Of the row after the change (before it, for deletes); empty where rows have no key.
    pub(super) key: String,
    /// The row's key before, where the change moved it.
    pub(super) moved_from: Option<String>,
    pub(super) op: Op,
    pub(super) position: Position,
    pub(super) before: Option<Digest>,
    pub(super) after: Option<Digest>,
    /// Columns of `after` that the source did not send.
    pub(super) unchanged: Vec<usize>,
}

/// The newest known state of one key.
#[derive(Debug, Clone)]
pub(super) struct RowState {
    pub(super) position: Position,
    pub(super) present: bool,
    /// Kept for a deleted row too: a row that moved away may still lend its unsent columns.
    digest: Option<Digest>,
    /// Position of the event that gave the digest.
    told: Position,
    /// Columns that the newest event did not carry: from where each is taken so far.
    unsent: Vec<(usize, Option<Position>)>,
    moved_from: Option<String>,
}

/// The rows of a table with a key, by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Fold {
    rows: HashMap<String, RowState>,
    /// Rows older than this are gone.
    truncated: Option<Position>,
    seen: HashSet<(u64, Position)>,
    pub(super) repeats: Repeats,
}

/// Events that were there more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Repeats {
    /// Streamed changes: there must be none.
    pub(super) changes: u64,
    /// Rows of the initial reading: a chunk that was interrupted is read again.
    pub(super) snapshot_rows: u64,
    /// The keys of the first few repeated changes.
    pub(super) examples: Vec<String>,
}

const EXAMPLES: usize = 20;

impl Repeats {
    pub(super) fn add(&mut self, op: Op, key: &str) {
        if op == Op::Read {
            self.snapshot_rows += 1;
            return;
        }
        self.changes += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(key.to_owned());
        }
    }
}

impl RowState {
    /// The row's digest, if the row is there.
    pub(super) fn row(&self) -> Option<&Digest> {
        self.digest.as_ref().filter(|_| self.present)
    }
}

impl Fold {
    /// Takes an event into account.
    pub(super) fn apply(&mut self, measures: &Measures, event: Event) {
        if !self.seen.insert((hash(&event.key), event.position)) {
            self.repeats.add(event.op, &event.key);
            return;
        }
        self.place(measures, event);
    }

    fn place(&mut self, measures: &Measures, event: Event) {
        if event.op == Op::Truncate {
            self.truncated = self.truncated.max(Some(event.position));
            return;
        }
        if let Some(old) = &event.moved_from {
            self.remove(old.clone(), event.position);
        }
        let Some(after) = event.after else {
            self.remove(event.key, event.position);
            return;
        };
        let Some(state) = self.rows.get_mut(&event.key) else {
            let unsent = event.unchanged.iter().map(|&index| (index, None)).collect();
            let (position, moved_from) = (event.position, event.moved_from);
            let digest = Some(after);
            let state = RowState { position, present: true, digest, told: position, unsent, moved_from };
            self.rows.insert(event.key, state);
            return;
        };
        if event.position < state.position {
            if state.present {
                state.lend(measures, event.position, &after, &event.unchanged);
            } else if state.digest.is_none() || state.told < event.position {
                (state.digest, state.told) = (Some(after), event.position);
            }
            return;
        }
        let older = std::mem::replace(
            state,
            RowState {
                position: event.position,
                present: true,
                digest: Some(after),
                told: event.position,
                unsent: event.unchanged.iter().map(|&index| (index, None)).collect(),
                moved_from: event.moved_from,
            },
        );
        // The row before, where it was this row and not one deleted since.
        if let (true, Some(digest), None) = (older.present, &older.digest, &state.moved_from) {
            let lacking: Vec<usize> = older.unsent.iter().filter(|u| u.1.is_none()).map(|u| u.0).collect();
            state.lend(measures, older.position, digest, &lacking);
            for (index, from) in &mut state.unsent {
                if let Some((_, source)) = older.unsent.iter().find(|u| u.0 == *index) {
                    *from = *source;
                }
            }
        }
    }

    fn remove(&mut self, key: String, position: Position) {
        let state = self.rows.entry(key).or_insert_with(|| RowState {
            position,
            present: false,
            digest: None,
            told: Position::default(),
            unsent: Vec::new(),
            moved_from: None,
        });
        if position > state.position {
            (state.position, state.present) = (position, false);
        }
    }

    /// The states of all keys as of everything applied; keys that are gone included.
    pub(super) fn finish(mut self, measures: &Measures) -> (HashMap<String, RowState>, Repeats) {
        let moved: Vec<(String, String)> = self
            .rows
            .iter()
            .filter(|(_, state)| state.present && state.unsent.iter().any(|u| u.1.is_none()))
            .filter_map(|(key, state)| Some((key.clone(), state.moved_from.clone()?)))
            .collect();
        for (key, from) in moved {
            let Some(lender) = self.rows.get(&from).cloned() else { continue };
            if let (Some(state), Some(digest)) = (self.rows.get_mut(&key), &lender.digest)
                && !lender.present
                && lender.position == state.position
            {
                state.lend(measures, lender.position, digest, &[]);
            }
        }
        if let Some(truncated) = self.truncated {
            for state in self.rows.values_mut().filter(|state| state.position < truncated) {
                state.present = false;
            }
        }
        (self.rows, self.repeats)
    }
}

impl RowState {
    /// Takes unsent columns from an older state of the row: each from the newest that has it.
    fn lend(&mut self, measures: &Measures, position: Position, older: &Digest, lacking: &[usize]) {
        let Some(digest) = &mut self.digest else { return };
        for (index, from) in &mut self.unsent {
            if !lacking.contains(index) && from.is_none_or(|from| from < position) {
                digest.take(measures, *index, older);
                *from = Some(position);
            }
        }
    }

    /// The state after `later` events up to and including `version`; they are in order of position.
    /// `None` where none of them has that version.
    pub(super) fn at(
        start: Option<&RowState>,
        measures: &Measures,
        later: &[Event],
        version: Position,
    ) -> Option<RowState> {
        later.iter().find(|event| event.position == version)?;
        let mut fold = Fold::default();
        let key = later.first().map(|event| event.key.clone())?;
        if let Some(start) = start {
            fold.rows.insert(key.clone(), start.clone());
        }
        for event in later.iter().filter(|event| event.position <= version) {
            fold.place(measures, event.clone());
        }
        fold.rows.remove(&key)
    }
}

/// Events after the barrier by key, for comparing a store that is ahead of it.
#[derive(Debug, Default)]
pub(super) struct Later {
    events: HashMap<String, BTreeMap<Position, Event>>,
    truncated: Vec<Position>,
    seen: HashSet<(u64, Position)>,
    pub(super) repeats: Repeats,
}

impl Later {
    pub(super) fn add(&mut self, event: Event) {
        if !self.seen.insert((hash(&event.key), event.position)) {
            self.repeats.add(event.op, &event.key);
            return;
        }
        if event.op == Op::Truncate {
            self.truncated.push(event.position);
            return;
        }
        if let Some(old) = &event.moved_from {
            let departed =
                Event { key: old.clone(), moved_from: None, op: Op::Delete, after: None, ..event.clone() };
            self.events.entry(old.clone()).or_default().insert(event.position, departed);
        }
        self.events.entry(event.key.clone()).or_default().insert(event.position, event);
    }

    /// The events of a key in order.
    pub(super) fn of(&self, key: &str) -> Vec<Event> {
        self.events.get(key).map(|events| events.values().cloned().collect()).unwrap_or_default()
    }

    /// A document with this version was written after the barrier.
    pub(super) fn has(&self, version: Position) -> bool {
        self.seen.iter().any(|(_, position)| *position == version)
    }

    /// The table was emptied after the barrier.
    pub(super) fn is_truncated(&self) -> bool {
        !self.truncated.is_empty()
    }

    /// The key may be gone from a store that is ahead.
    pub(super) fn may_be_gone(&self, key: &str) -> bool {
        let deleted = |events: &BTreeMap<Position, Event>| events.values().any(|e| e.after.is_none());
        !self.truncated.is_empty() || self.events.get(key).is_some_and(deleted)
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::digest::tests::{payments, row};
    use super::*;
    use proptest::prelude::*;

    fn event(op: Op, key: &str, ordinal: u64, cells: &[Option<&str>], unchanged: &[usize]) -> Event {
        let shape = payments();
        Event {
            key: key.to_owned(),
            moved_from: None,
            op,
            position: Position::new(100 + ordinal, ordinal),
            before: None,
            after: (op != Op::Delete).then(|| row(&shape, cells)),
            unchanged: unchanged.to_vec(),
        }
    }

    fn fold(events: &[Event]) -> BTreeMap<String, Digest> {
        let measures = payments().measures();
        let mut fold = Fold::default();
        for event in events {
            fold.apply(&measures, event.clone());
        }
        let (rows, _) = fold.finish(&measures);
        rows.into_iter().filter_map(|(key, state)| Some((key, state.row()?.clone()))).collect()
    }

    #[test]
    fn an_unsent_column_keeps_its_value_in_any_order() {
        let shape = payments();
        let events = [
            event(Op::Read, "1", 0, &[Some("1"), Some("5"), Some("EUR"), None, Some("long")], &[]),
            event(Op::Update, "1", 1, &[Some("1"), Some("6"), Some("EUR"), None, None], &[4]),
            event(Op::Update, "1", 2, &[Some("1"), Some("7"), Some("EUR"), None, None], &[4]),
        ];
        let expected = row(&shape, &[Some("1"), Some("7"), Some("EUR"), None, Some("long")]);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let events = order.map(|index: usize| events[index].clone());
            assert_eq!(fold(&events)["1"], expected, "{order:?}");
        }
    }

    #[test]
    fn a_moved_row_takes_its_unsent_columns_along() {
        let shape = payments();
        let mut moved = event(Op::Update, "2", 5, &[Some("2"), Some("5"), Some("EUR"), None, None], &[4]);
        moved.moved_from = Some("1".to_owned());
        let first = event(Op::Create, "1", 1, &[Some("1"), Some("5"), Some("EUR"), None, Some("long")], &[]);
        for events in [[first.clone(), moved.clone()], [moved, first]] {
            let rows = fold(&events);
            assert_eq!(rows.keys().collect::<Vec<_>>(), ["2"]);
            assert_eq!(rows["2"], row(&shape, &[Some("2"), Some("5"), Some("EUR"), None, Some("long")]));
        }
    }

    #[test]
    fn truncation_spares_what_came_after() {
        let cells = [Some("1"), Some("5"), Some("EUR"), None, None];
        let events = [
            event(Op::Create, "1", 1, &cells, &[]),
            Event { after: None, ..event(Op::Truncate, "", 2, &cells, &[]) },
            event(Op::Create, "2", 3, &cells, &[]),
        ];
        assert_eq!(fold(&events).keys().collect::<Vec<_>>(), ["2"]);
    }

    #[test]
    fn a_repeated_change_is_counted_and_a_repeated_reading_is_not() {
        let measures = payments().measures();
        let mut fold = Fold::default();
        let cells = [Some("1"), Some("5"), Some("EUR"), None, None];
        for event in [
            event(Op::Read, "1", 0, &cells, &[]),
            event(Op::Read, "1", 0, &cells, &[]),
            event(Op::Update, "1", 1, &cells, &[]),
            event(Op::Update, "1", 1, &cells, &[]),
        ] {
            fold.apply(&measures, event);
        }
        assert_eq!((fold.repeats.changes, fold.repeats.snapshot_rows), (1, 1));
        assert_eq!(fold.repeats.examples, ["1"]);
    }

    #[test]
    fn a_store_ahead_is_compared_with_the_version_it_has() {
        let shape = payments();
        let measures = shape.measures();
        let mut barrier = Fold::default();
        let long = [Some("1"), Some("5"), Some("EUR"), None, Some("long")];
        barrier.apply(&measures, event(Op::Create, "1", 1, &long, &[]));
        let (rows, _) = barrier.finish(&measures);
        let mut later = Later::default();
        later.add(event(Op::Delete, "1", 4, &[], &[]));
        later.add(event(Op::Update, "1", 3, &[Some("1"), Some("8"), Some("EUR"), None, None], &[4]));
        later.add(event(Op::Update, "1", 2, &[Some("1"), Some("7"), Some("EUR"), None, None], &[4]));
        let events = later.of("1");
        let at = |lsn: u64| RowState::at(rows.get("1"), &measures, &events, Position::new(100 + lsn, lsn));
        let third = at(3).unwrap();
        assert_eq!(third.row(), Some(&row(&shape, &[Some("1"), Some("8"), Some("EUR"), None, Some("long")])));
        assert_eq!(at(4).unwrap().row(), None);
        assert!(at(9).is_none(), "a version that no event has");
        assert!(later.may_be_gone("1") && !later.may_be_gone("2"));
    }

    /// A history of one key as a source could write it.
    fn history() -> impl Strategy<Value = Vec<Event>> {
        let step = (0..4u8, 0..5u8, any::<bool>());
        proptest::collection::vec(step, 1..12).prop_map(|steps| {
            let mut events = Vec::new();
            let mut present = false;
            for (ordinal, (action, amount, unsent)) in steps.into_iter().enumerate() {
                let ordinal = ordinal as u64 + 1;
                let (amount, note) = (amount.to_string(), format!("note{ordinal}"));
                let cells = [Some("1"), Some(amount.as_str()), Some("EUR"), None, Some(note.as_str())];
                if present && action == 0 {
                    events.push(event(Op::Delete, "1", ordinal, &[], &[]));
                    present = false;
                } else if present && unsent {
                    let short = [Some("1"), Some(amount.as_str()), Some("EUR"), None, None];
                    events.push(event(Op::Update, "1", ordinal, &short, &[4]));
                } else {
                    let op = if present { Op::Update } else { Op::Create };
                    events.push(event(op, "1", ordinal, &cells, &[]));
                    present = true;
                }
            }
            events
        })
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_gives_the_same_rows(
            (history, shuffled) in history().prop_flat_map(|history| {
                let twice: Vec<Event> = history.iter().chain(&history).cloned().collect();
                (Just(history), Just(twice).prop_shuffle())
            })
        ) {
            prop_assert_eq!(fold(&history), fold(&shuffled));
        }
    }
}
