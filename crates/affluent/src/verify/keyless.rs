//! The rows of a table without a key: how often each is there.

use super::digest::{Digest, Measures, Sums, TableShape};
use super::fold::{Event, Repeats};
use affluent_model::{Op, Position};
use std::collections::{HashMap, HashSet};

/// The change events of a table whose rows have no key. They may come in any order.
#[derive(Debug, Clone, Default)]
pub(super) struct Keyless {
    changes: Vec<(Position, i64, Digest)>,
    truncated: Option<Position>,
    seen: HashSet<Position>,
    pub(super) repeats: Repeats,
}

impl Keyless {
    /// Takes an event into account.
    pub(super) fn apply(&mut self, event: Event) {
        // Rows of the initial reading share one position: they cannot be told apart by it.
        if event.op != Op::Read && !self.seen.insert(event.position) {
            self.repeats.add(event.op, &event.position.to_string());
            return;
        }
        if event.op == Op::Truncate {
            self.truncated = self.truncated.max(Some(event.position));
            return;
        }
        let rows = event.before.map(|row| (-1, row)).into_iter().chain(event.after.map(|row| (1, row)));
        self.changes.extend(rows.map(|(by, row)| (event.position, by, row)));
    }

    /// The rows as of everything applied.
    pub(super) fn finish(&self, shape: &TableShape, measures: &Measures) -> Bag {
        let mut bag = Bag::default();
        let kept = self.changes.iter().filter(|(position, ..)| self.truncated.is_none_or(|t| *position > t));
        kept.for_each(|(_, by, row)| bag.change(shape, measures, row, *by));
        bag
    }
}

/// Rows as a multiset of fingerprints of their columns, protected ones left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Bag {
    counts: HashMap<u64, i64>,
    pub(super) rows: i64,
    pub(super) sums: Sums,
}

impl Bag {
    /// Adds a row (1) or takes it away (-1).
    pub(super) fn change(&mut self, shape: &TableShape, measures: &Measures, row: &Digest, by: i64) {
        *self.counts.entry(row.row_fingerprint(|index| shape.columns[index].protected)).or_default() += by;
        self.rows += by;
        let mut sums = Sums::new();
        measures.add(shape, row, &mut sums);
        for (measure, groups) in sums {
            for (currency, amount) in groups {
                *self.sums.entry(measure.clone()).or_default().entry(currency).or_default() += amount * by;
            }
        }
    }

    /// Rows that `other` lacks, and rows that it has beyond these.
    pub(super) fn difference(&self, other: &Bag) -> (u64, u64) {
        let keys: HashSet<&u64> = self.counts.keys().chain(other.counts.keys()).collect();
        let count = |bag: &Bag, key: &u64| bag.counts.get(key).copied().unwrap_or(0);
        keys.into_iter().fold((0, 0), |(missing, extra), key| {
            let difference = count(self, key) - count(other, key);
            (missing + difference.max(0).unsigned_abs(), extra + difference.min(0).unsigned_abs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::tests::{payments, row};
    use super::*;

    #[test]
    fn equal_rows_are_counted() {
        let shape = payments();
        let measures = shape.measures();
        let mut bag = Bag::default();
        let one = row(&shape, &[Some("1"), Some("5"), Some("EUR"), Some("a"), None]);
        let other = row(&shape, &[Some("1"), Some("5"), Some("EUR"), Some("b"), None]);
        bag.change(&shape, &measures, &one, 1);
        bag.change(&shape, &measures, &other, 1);
        let mut found = bag.clone();
        assert_eq!(bag.difference(&found), (0, 0), "protected columns do not count");
        found.change(&shape, &measures, &one, -1);
        assert_eq!((bag.difference(&found), found.difference(&bag)), ((1, 0), (0, 1)));
        assert_eq!(bag.sums["amount"]["EUR"].to_plain_string(), "10");
        assert_eq!((bag.rows, found.rows), (2, 1));
    }

    #[test]
    fn changes_count_in_any_order_and_truncation_spares_what_came_after() {
        let shape = payments();
        let measures = shape.measures();
        let cells = |amount: &str| row(&shape, &[Some("1"), Some(amount), Some("EUR"), None, None]);
        let event = |op, ordinal, before: Option<&str>, after: Option<&str>| Event {
            key: String::new(),
            moved_from: None,
            op,
            position: Position::new(9, ordinal),
            before: before.map(&cells),
            after: after.map(&cells),
            unchanged: Vec::new(),
        };
        let mut events = [
            event(Op::Read, 0, None, Some("1")),
            event(Op::Read, 0, None, Some("1")),
            event(Op::Truncate, 1, None, None),
            event(Op::Create, 2, None, Some("2")),
            event(Op::Create, 2, None, Some("2")),
            event(Op::Create, 3, None, Some("1")),
            event(Op::Update, 4, Some("2"), Some("3")),
            event(Op::Delete, 5, Some("1"), None),
        ];
        for _ in 0..events.len() {
            events.rotate_left(1);
            let mut keyless = Keyless::default();
            events.iter().for_each(|event| keyless.apply(event.clone()));
            let bag = keyless.finish(&shape, &measures);
            assert_eq!((bag.rows, keyless.repeats.changes), (1, 1));
            assert_eq!(bag.sums["amount"]["EUR"].to_plain_string(), "3");
        }
    }
}
