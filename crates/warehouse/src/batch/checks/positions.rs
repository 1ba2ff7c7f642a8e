//! Counts and sums of the newest changes, found in a way of its own: the greatest position of each unit first, then the
//! rows that stand there. What the models find by other means is held against it.
//!
//! Invariant: of a unit one row counts, also
//! where a change came more than once.

use crate::batch::digest::row_hashes;
use crate::batch::row_set::RowSet;
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Units whose positions are kept at once, in 300 MB; more are gone through in several rounds.
const UNITS_MAX: u64 = 14 << 20;

/// The positions of some units, and what stands there.
#[derive(Debug)]
pub(super) struct Newest<'a> {
    /// The columns of unit and position.
    columns: &'a [String],
    /// This round and how many there are.
    round: (u64, u64),
    /// Where nothing was found yet.
    places: RowSet,
}

/// Rows and sum of the amounts of each currency.
pub(super) type Sums = BTreeMap<String, (i64, i128)>;

/// So many rounds for so many changes.
pub(super) fn rounds(changes: u64) -> u64 {
    changes / UNITS_MAX + 1
}

impl<'a> Newest<'a> {
    pub(super) fn new(columns: &'a [String], round: u64, rounds: u64) -> Self {
        Newest { columns, round: (round, rounds), places: RowSet::default() }
    }

    /// Takes in units with their greatest positions.
    ///
    /// # Errors
    /// A unit of a type that tables do not have.
    pub(super) fn find(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let (round, rounds) = self.round;
        let hashes = row_hashes(batch, self.columns)?.into_iter();
        hashes.filter(|hash| hash[1] % rounds == round).for_each(|hash| self.places.insert(hash));
        Ok(())
    }

    /// Adds up changes, which come in any order. Behind unit and position they have `counts` (false: the newest change says that
    /// the unit is gone), currency and amount.
    ///
    /// # Errors
    /// Columns of other types, a sum of more than 38 digits.
    pub(super) fn add(&mut self, batch: &RecordBatch, sums: &mut Sums) -> Result<(), String> {
        let column = |place: usize| batch.column(self.columns.len() + place);
        let types = || format!("{:?} are no changes with amounts", batch.schema_ref());
        let counts = column(0).as_boolean_opt().ok_or_else(types)?;
        let currencies = column(1).as_string_opt::<i32>().ok_or_else(types)?;
        let amounts = column(2).as_primitive_opt::<Decimal128Type>().ok_or_else(types)?;
        for (row, hash) in row_hashes(batch, self.columns)?.into_iter().enumerate() {
            if !self.places.remove(hash) || !counts.value(row) {
                continue;
            }
            let currency = currencies.value(row);
            if !sums.contains_key(currency) {
                sums.insert(currency.to_owned(), (0, 0));
            }
            if let Some((rows, sum)) = sums.get_mut(currency) {
                *rows += 1;
                *sum = sum.checked_add(amounts.value(row)).ok_or("the sum of amounts overflows")?;
            }
        }
        Ok(())
    }
}

/// The sums as rows of currency `c`, rows `n` and sum `s`; amounts have ten digits behind the point.
pub(super) fn batch(sums: &Sums) -> Result<RecordBatch, ArrowError> {
    let currencies: StringArray = sums.keys().map(Some).collect();
    let rows = Int64Array::from_iter_values(sums.values().map(|sum| sum.0));
    let amounts = Decimal128Array::from_iter_values(sums.values().map(|sum| sum.1));
    let amounts = amounts.with_precision_and_scale(38, 10)?;
    amounts.validate_decimal_precision(38)?;
    RecordBatch::try_from_iter([
        ("c", Arc::new(currencies) as ArrayRef),
        ("n", Arc::new(rows)),
        ("s", Arc::new(amounts)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::BooleanArray;

    /// Unit, position, whether it counts, currency, amount.
    type Change = (i64, i64, bool, &'static str, i128);

    fn changed(changes: &[Change]) -> RecordBatch {
        let whole = |of: fn(&Change) -> i64| Arc::new(Int64Array::from_iter_values(changes.iter().map(of)));
        let counts: BooleanArray = changes.iter().map(|change| Some(change.2)).collect();
        let currencies: StringArray = changes.iter().map(|change| Some(change.3)).collect();
        let amounts = Decimal128Array::from_iter_values(changes.iter().map(|change| change.4));
        RecordBatch::try_from_iter([
            ("id", whole(|change| change.0) as ArrayRef),
            ("position", whole(|change| change.1)),
            ("counts", Arc::new(counts)),
            ("c", Arc::new(currencies)),
            ("a", Arc::new(amounts)),
        ])
        .unwrap()
    }

    #[test]
    fn of_each_unit_the_newest_counts_once_and_not_where_it_is_gone() {
        let columns = ["id".to_owned(), "position".to_owned()];
        let changes = [
            (1, 10, true, "EUR", 5),
            (1, 11, true, "EUR", 7),
            (2, 12, true, "JPY", 100),
            (2, 13, false, "JPY", 100),
            (3, 14, true, "EUR", 1),
            (3, 14, true, "EUR", 1),
        ];
        let newest = [(1, 11, true, "", 0), (2, 13, true, "", 0), (3, 14, true, "", 0)];
        for rounds in 1..4 {
            let mut sums = Sums::new();
            for round in 0..rounds {
                let mut found = Newest::new(&columns, round, rounds);
                found.find(&changed(&newest[..1])).unwrap();
                found.find(&changed(&newest[1..])).unwrap();
                found.add(&changed(&changes[3..]), &mut sums).unwrap();
                found.add(&changed(&changes[..3]), &mut sums).unwrap();
            }
            assert_eq!(sums, Sums::from([("EUR".to_owned(), (2, 8))]), "in {rounds} rounds");
            assert_eq!(batch(&sums).unwrap().num_rows(), 1);
        }
        batch(&Sums::from([("EUR".to_owned(), (1, 10_i128.pow(38)))])).unwrap_err();
        assert_eq!((rounds(0), rounds(UNITS_MAX * 3)), (1, 4));
    }
}
