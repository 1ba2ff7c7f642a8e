//! The comparison itself: pure, over digests.
//!
//! Every store is held against the source's rows. Where the source cannot tell (protected columns,
//! columns that were added after the last change of a row), Kafka's value is expected instead.

use super::canonical::{ABSENT, NULL};
use super::digest::{Digest, Measures, Sums, TableShape};
use super::fold::{Later, RowState};
use super::mirrors::Mirrored;
use super::report::{Difference, Kind, Reconciled, Report, Store};
use affluent_model::Position;
use std::collections::HashMap;

/// Rows by key.
pub(super) type Rows = HashMap<String, Digest>;

/// A keyed table while its stores are compared one after the other.
pub(super) struct Comparison<'a> {
    pub(super) shape: &'a TableShape,
    pub(super) measures: &'a Measures,
    pub(super) report: &'a mut Report,
}

impl Comparison<'_> {
    /// Holds Kafka against the source; the rows that the other stores are expected to have. Where the
    /// topic no longer begins at its beginning (`partial`), rows that it lacks are no loss.
    pub(super) fn kafka(&mut self, source: Rows, kafka: &HashMap<String, RowState>, partial: bool) -> Rows {
        let sums = self.sums(source.values());
        self.reconciled(Store::Postgresql, source.len() as u64, &sums, true);
        let found: Vec<(&String, &Digest)> =
            kafka.iter().filter_map(|(key, state)| Some((key, state.row()?))).collect();
        let (mut equal, protected) = (true, |index: usize| self.shape.columns[index].protected);
        let mut differences = Vec::new();
        for (key, row) in &source {
            match kafka.get(key).and_then(RowState::row) {
                None if partial && !kafka.contains_key(key) => {}
                None => differences.push((key.clone(), Kind::Missing)),
                Some(found) => {
                    let differs = |index: usize| {
                        let cell = found.columns[index];
                        cell != row.columns[index] && cell != ABSENT && !protected(index)
                    };
                    differences.extend(self.differing(differs).map(|kind| (key.clone(), kind)));
                }
            }
        }
        let extra = found.iter().filter(|(key, _)| !source.contains_key(*key));
        differences.extend(extra.map(|(key, _)| ((*key).clone(), Kind::Extra)));
        let sums = self.sums(found.iter().map(|(_, row)| *row));
        for (key, kind) in differences {
            equal = false;
            self.differ(Store::Kafka, &key, kind);
        }
        self.reconciled(Store::Kafka, found.len() as u64, &sums, equal);
        let mut expected = source;
        for (key, row) in &mut expected {
            let told = kafka.get(key).and_then(RowState::row);
            for (index, cell) in row.columns.iter_mut().enumerate() {
                match told.map(|told| told.columns[index]) {
                    Some(ABSENT) => *cell = ABSENT,
                    Some(told) if protected(index) => *cell = told,
                    None if protected(index) => *cell = ABSENT,
                    Some(_) | None => {}
                }
            }
        }
        expected
    }

    /// Holds the rows of the lake against the expected ones.
    pub(super) fn lake(&mut self, expected: &Rows, lake: &HashMap<String, RowState>) {
        let found = lake.iter().filter_map(|(key, state)| Some((key.clone(), state.row()?.clone())));
        self.rows(Store::Lake, expected, found.collect(), HashMap::new());
    }

    /// Holds the mirror against the expected rows. It may be ahead of the barrier: a document with a
    /// later version is held against that version, and counts as the expected row when it is right.
    pub(super) fn mirrors(
        &mut self,
        expected: &Rows,
        kafka: &HashMap<String, RowState>,
        later: &Later,
        documents: Vec<Mirrored>,
    ) {
        let (mut found, mut wrong) = (Rows::new(), HashMap::new());
        let mut seen = std::collections::HashSet::new();
        for document in documents {
            let Mirrored { key, version, row } = document;
            seen.insert(key.clone());
            let known = kafka.get(&key).map(|state| state.position);
            if known == Some(version) {
                found.insert(key, row);
            } else if known.is_some_and(|known| version < known) {
                wrong.insert(key.clone(), Kind::Stale);
                found.insert(key, row);
            } else {
                self.ahead(expected, kafka.get(&key), later, (key, version, row), &mut found, &mut wrong);
            }
        }
        // What is gone since then was there at the barrier.
        for (key, row) in expected.iter().filter(|(key, _)| !seen.contains(*key) && later.may_be_gone(key)) {
            found.insert(key.clone(), row.clone());
        }
        self.rows(Store::Mirrors, expected, found, wrong);
    }

    fn ahead(
        &self,
        expected: &Rows,
        start: Option<&RowState>,
        later: &Later,
        (key, version, row): (String, Position, Digest),
        found: &mut Rows,
        wrong: &mut HashMap<String, Kind>,
    ) {
        let state = RowState::at(start, self.measures, &later.of(&key), version);
        let right = state.as_ref().and_then(RowState::row).map(|right| self.unequal(right, &row));
        match (right, expected.get(&key)) {
            // The barrier's row has become this one since.
            (Some(None), Some(before)) => drop(found.insert(key, before.clone())),
            // Made after the barrier.
            (Some(None), None) => {}
            (Some(Some(kind)), _) => {
                wrong.insert(key.clone(), kind);
                found.insert(key, row);
            }
            // A version that Kafka has no event of.
            (None, _) => {
                wrong.insert(key.clone(), Kind::Extra);
                found.insert(key, row);
            }
        }
    }

    /// Compares rows; `wrong` has what is known of some of them already.
    fn rows(&mut self, store: Store, expected: &Rows, found: Rows, wrong: HashMap<String, Kind>) {
        let mut differences: Vec<(String, Kind)> = Vec::new();
        for (key, row) in expected.iter().filter(|(key, _)| !wrong.contains_key(*key)) {
            match found.get(key) {
                None => differences.push((key.clone(), Kind::Missing)),
                Some(found) => differences.extend(self.unequal(row, found).map(|kind| (key.clone(), kind))),
            }
        }
        let extra = found.keys().filter(|key| !expected.contains_key(*key) && !wrong.contains_key(*key));
        differences.extend(extra.map(|key| (key.clone(), Kind::Extra)));
        differences.extend(wrong);
        let sums = self.sums(found.values());
        let equal = differences.is_empty();
        for (key, kind) in differences {
            self.differ(store, &key, kind);
        }
        self.reconciled(store, found.len() as u64, &sums, equal);
    }

    fn unequal(&self, expected: &Digest, found: &Digest) -> Option<Kind> {
        self.differing(|index| {
            let (expected, found) = (expected.columns[index], found.columns[index]);
            expected != ABSENT && expected != found && !(expected == NULL && found == ABSENT)
        })
    }

    fn differing(&self, differs: impl Fn(usize) -> bool) -> Option<Kind> {
        let columns = self.shape.columns.iter().enumerate().filter(|(index, _)| differs(*index));
        let columns: Vec<String> = columns.map(|(_, column)| column.name.clone()).collect();
        (!columns.is_empty()).then_some(Kind::Differs(columns))
    }

    fn sums<'r>(&self, rows: impl Iterator<Item = &'r Digest>) -> Sums {
        let mut sums = Sums::new();
        rows.for_each(|row| self.measures.add(self.shape, row, &mut sums));
        sums
    }

    fn reconciled(&mut self, store: Store, rows: u64, sums: &Sums, equal: bool) {
        let table = self.shape.table.to_string();
        self.report.reconciliation.push(Reconciled::new(table, store, rows, sums, equal));
    }

    pub(super) fn differ(&mut self, store: Store, key: &str, kind: Kind) {
        let (table, key) = (self.shape.table.to_string(), self.shape.describe(key));
        self.report.add(Difference { table, store, key, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::tests::{payments, row};
    use super::super::fold::{Event, Fold};
    use super::*;
    use affluent_model::Op;

    struct Case {
        shape: TableShape,
        source: Rows,
        kafka: HashMap<String, RowState>,
        later: Later,
    }

    fn event(key: &str, lsn: u64, cells: Option<&[Option<&str>]>) -> Event {
        Event {
            key: key.to_owned(),
            moved_from: None,
            op: if cells.is_some() { Op::Update } else { Op::Delete },
            position: Position::new(lsn, 1),
            before: None,
            after: cells.map(|cells| row(&payments(), cells)),
            unchanged: Vec::new(),
        }
    }

    const ONE: [Option<&str>; 5] = [Some("1"), Some("5"), Some("EUR"), Some("tok_a"), Some("n")];
    const TWO: [Option<&str>; 5] = [Some("2"), Some("7"), Some("JPY"), Some("tok_b"), None];

    /// Two rows, equal in source and Kafka; the source has its addresses in clear.
    fn case() -> Case {
        let shape = payments();
        let measures = shape.measures();
        let clear = |cells: [Option<&str>; 5]| {
            let mut cells = cells;
            cells[3] = Some("someone@example.com");
            row(&payments(), &cells)
        };
        let mut fold = Fold::default();
        fold.apply(&measures, event("1", 10, Some(&ONE)));
        fold.apply(&measures, event("2", 11, Some(&TWO)));
        let source = [("1".to_owned(), clear(ONE)), ("2".to_owned(), clear(TWO))].into();
        Case { shape, source, kafka: fold.finish(&measures).0, later: Later::default() }
    }

    fn mirror(cells: &[Option<&str>], lsn: u64) -> Mirrored {
        let row = row(&payments(), cells);
        Mirrored { key: cells[0].unwrap_or_default().to_owned(), version: Position::new(lsn, 1), row }
    }

    /// Differences of a mirror with `documents`, as `key kind`.
    fn check(case: Case, documents: Vec<Mirrored>) -> (Vec<String>, Report) {
        let mut report = Report::default();
        let measures = case.shape.measures();
        let mut comparison = Comparison { shape: &case.shape, measures: &measures, report: &mut report };
        let expected = comparison.kafka(case.source, &case.kafka, false);
        comparison.lake(&expected, &case.kafka);
        comparison.mirrors(&expected, &case.kafka, &case.later, documents);
        let mut found: Vec<String> =
            report.differences.iter().map(|d| format!("{} {} {:?}", d.store.name(), d.key, d.kind)).collect();
        found.sort();
        (found, report)
    }

    #[test]
    fn equal_stores_are_equal_although_a_column_is_protected() {
        let (differences, report) = check(case(), vec![mirror(&ONE, 10), mirror(&TWO, 11)]);
        assert_eq!(differences, [""; 0]);
        assert!(report.is_exact());
        assert_eq!(report.reconciliation.len(), 4);
        assert!(report.reconciliation.iter().all(|r| r.rows == 2 && r.amount_by_currency["JPY"] == "7"));
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let mut token = ONE;
        token[3] = Some("someone@example.com");
        let mut three = ONE;
        three[0] = Some("3");
        let (differences, report) =
            check(case(), vec![mirror(&token, 10), mirror(&TWO, 4), mirror(&three, 9)]);
        assert_eq!(
            differences,
            ["mirrors id=1 Differs([\"email\"])", "mirrors id=2 Stale", "mirrors id=3 Extra"]
        );
        assert_eq!((report.lost, report.duplicated), (2, 1));
        let (differences, _) = check(case(), vec![mirror(&TWO, 11)]);
        assert_eq!(differences, ["mirrors id=1 Missing"]);
    }

    #[test]
    fn a_row_that_kafka_lacks_is_lost_unless_the_topic_was_cut() {
        let shape = payments();
        let measures = shape.measures();
        for (partial, lost) in [(false, 1), (true, 0)] {
            let mut case = case();
            case.kafka.remove("2");
            let mut report = Report::default();
            let mut comparison = Comparison { shape: &shape, measures: &measures, report: &mut report };
            comparison.kafka(case.source, &case.kafka, partial);
            assert_eq!(report.lost, lost);
        }
    }

    #[test]
    fn a_mirror_ahead_of_the_barrier_is_right_if_kafka_says_the_same() {
        let mut newer = ONE;
        newer[1] = Some("6");
        let mut new = ONE;
        new[0] = Some("9");
        let ahead = || {
            let mut case = case();
            case.later.add(event("1", 20, Some(&newer)));
            case.later.add(event("2", 21, None));
            case.later.add(event("9", 22, Some(&new)));
            case
        };
        let (differences, report) = check(ahead(), vec![mirror(&newer, 20), mirror(&new, 22)]);
        assert_eq!(differences, [""; 0]);
        let mirrors = &report.reconciliation[3];
        assert_eq!((mirrors.rows, mirrors.amount_by_currency["EUR"].as_str()), (2, "5"));
        let (differences, _) = check(ahead(), vec![mirror(&ONE, 20), mirror(&TWO, 11)]);
        assert_eq!(differences, ["mirrors id=1 Differs([\"amount\"])"]);
        let (differences, _) = check(ahead(), vec![mirror(&ONE, 10), mirror(&TWO, 30)]);
        assert_eq!(differences, ["mirrors id=2 Extra"]);
    }
}
