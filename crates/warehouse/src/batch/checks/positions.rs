//! Counts and sums of the newest changes, found in a way of its own: every change is looked at once, and of each unit the
//! one with the greatest position is kept. What the models find by other means is held against it.
//!
//! Invariant: of a unit one row counts, also where a change came more than once.

use crate::batch::digest::row_hashes;
use crate::batch::row_set::RowMap;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Units whose newest changes are kept at once, in 550 MB; more are gone through in several rounds.
const UNITS_MAX: u64 = 7 << 20;

/// The newest changes of some units.
#[derive(Debug)]
pub(super) struct Newest<'a> {
    /// The columns of the unit.
    unit: &'a [String],
    /// This round and how many there are.
    round: (u64, u64),
    changes: RowMap<Change>,
    currencies: Vec<String>,
}

/// What counts of a change.
#[derive(Debug)]
struct Change {
    /// LSN and ordinal.
    position: (i64, i64),
    /// The unit is there after it.
    counts: bool,
    /// Place in the currencies.
    currency: usize,
    amount: i128,
}

/// Rows and sum of the amounts of each currency.
pub(super) type Sums = BTreeMap<String, (i64, i128)>;

/// So many rounds for so many changes.
pub(super) fn rounds(changes: u64) -> u64 {
    changes / UNITS_MAX + 1
}

impl<'a> Newest<'a> {
    pub(super) fn new(unit: &'a [String], round: u64, rounds: u64) -> Self {
        Newest { unit, round: (round, rounds), changes: RowMap::default(), currencies: Vec::new() }
    }

    /// Takes changes in, in any order. Behind the unit they have LSN, ordinal, `counts` (false: the unit is gone after it),
    /// currency and amount.
    ///
    /// # Errors
    /// Columns of other types.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let behind = self.unit.len();
        let column = |place: usize| batch.column(behind + place);
        let types = || format!("{:?} are no changes with amounts", batch.schema_ref());
        if batch.num_columns() != behind + 5 {
            return Err(types());
        }
        let lsns = column(0).as_primitive_opt::<Int64Type>().ok_or_else(types)?;
        let ordinals = column(1).as_primitive_opt::<Int64Type>().ok_or_else(types)?;
        let counts = column(2).as_boolean_opt().ok_or_else(types)?;
        let currencies = column(3).as_string_opt::<i32>().ok_or_else(types)?;
        let amounts = column(4).as_primitive_opt::<Decimal128Type>().ok_or_else(types)?;
        let (round, rounds) = self.round;
        for (row, hash) in row_hashes(batch, self.unit)?.into_iter().enumerate() {
            if hash[1] % rounds != round {
                continue;
            }
            let position = (lsns.value(row), ordinals.value(row));
            let known = self.changes.entry(hash);
            if let Entry::Occupied(known) = &known
                && known.get().position >= position
            {
                continue;
            }
            let currency = place(&mut self.currencies, currencies.value(row));
            let (counts, amount) = (counts.value(row), amounts.value(row));
            known.insert_entry(Change { position, counts, currency, amount });
        }
        Ok(())
    }

    /// Adds up the units that are there.
    ///
    /// # Errors
    /// A sum that overflows.
    pub(super) fn sum(self, sums: &mut Sums) -> Result<(), String> {
        let Newest { changes, currencies, .. } = self;
        let mut own = vec![(0_i64, 0_i128); currencies.len()];
        let add = |sum: i128, amount| sum.checked_add(amount).ok_or("the sum of amounts overflows");
        for change in changes.into_values().filter(|change| change.counts) {
            let (rows, sum) = &mut own[change.currency];
            *rows += 1;
            *sum = add(*sum, change.amount)?;
        }
        for (currency, own) in currencies.into_iter().zip(own).filter(|(_, (rows, _))| *rows > 0) {
            let (rows, sum) = sums.entry(currency).or_default();
            *rows += own.0;
            *sum = add(*sum, own.1)?;
        }
        Ok(())
    }
}

/// Where a currency stands; it is added where it is new. There are few.
fn place(currencies: &mut Vec<String>, currency: &str) -> usize {
    let known = currencies.iter().position(|known| known == currency);
    known.unwrap_or_else(|| {
        currencies.push(currency.to_owned());
        currencies.len() - 1
    })
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

    /// Unit, LSN, ordinal, whether it counts, currency, amount.
    type Change = (i64, i64, i64, bool, &'static str, i128);

    fn changed(changes: &[Change]) -> RecordBatch {
        let whole = |of: fn(&Change) -> i64| Arc::new(Int64Array::from_iter_values(changes.iter().map(of)));
        let counts: BooleanArray = changes.iter().map(|change| Some(change.3)).collect();
        let currencies: StringArray = changes.iter().map(|change| Some(change.4)).collect();
        let amounts = Decimal128Array::from_iter_values(changes.iter().map(|change| change.5));
        RecordBatch::try_from_iter([
            ("id", whole(|change| change.0) as ArrayRef),
            ("lsn", whole(|change| change.1)),
            ("ordinal", whole(|change| change.2)),
            ("counts", Arc::new(counts)),
            ("c", Arc::new(currencies)),
            ("a", Arc::new(amounts)),
        ])
        .unwrap()
    }

    #[test]
    fn of_each_unit_the_newest_counts_once_and_not_where_it_is_gone() {
        let unit = ["id".to_owned()];
        let changes = [
            (1, 10, 0, true, "EUR", 5),
            (1, 10, 1, true, "EUR", 7),
            (2, 12, 9, true, "JPY", 100),
            (2, 13, 0, false, "JPY", 100),
            (3, 14, 0, true, "EUR", 1),
            (3, 14, 0, true, "EUR", 1),
            (4, 15, i64::MAX, true, "KWD", 3),
            (4, 15, 7, true, "EUR", 1_000),
        ];
        let expected = [("EUR".to_owned(), (2, 8)), ("KWD".to_owned(), (1, 3))];
        for rounds in 1..4 {
            let mut sums = Sums::new();
            for round in 0..rounds {
                let mut found = Newest::new(&unit, round, rounds);
                found.add(&changed(&changes[3..])).unwrap();
                found.add(&changed(&changes[..3])).unwrap();
                found.sum(&mut sums).unwrap();
            }
            assert_eq!(sums, Sums::from(expected.clone()), "in {rounds} rounds");
            assert_eq!(batch(&sums).unwrap().num_rows(), 2);
        }
        let refused = changed(&changes).project(&[0, 1, 2, 3, 4]).unwrap();
        Newest::new(&unit, 0, 1).add(&refused).unwrap_err();
        batch(&Sums::from([("EUR".to_owned(), (1, 10_i128.pow(38)))])).unwrap_err();
        assert_eq!((rounds(0), rounds(UNITS_MAX * 3)), (1, 4));
    }
}
