//! One pass over the rows in scope: how often each condition holds, which references lead nowhere, and whether a key may
//! be there twice.
//!
//! Keys and references are kept and compared as hashes, a fraction of what grouping and joining their texts takes.
//! Invariant: equal keys have equal hashes, so a key that is there twice is never missed; what only looks like one is
//! for the caller to tell.

use crate::batch::digest::row_hashes;
use crate::batch::row_set::RowSet;
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};

/// Keys that are kept at the most, eight bytes each.
const KEYS_MAX: usize = 64 << 20;

/// What a pass has seen.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    /// Of each condition the rows for which it holds.
    pub(super) holds: Vec<u64>,
    pub(super) references: Vec<Reference>,
    /// The columns of the key.
    key: &'a [String],
    hashes: Vec<u64>,
    /// There were more keys than are kept.
    is_full: bool,
}

/// A column whose values have to be among others.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) column: String,
    /// The values that there are.
    pub(super) known: RowSet,
    /// Rows that have another.
    pub(super) missing: u64,
}

impl<'a> Pass<'a> {
    /// A pass over rows whose first columns are `conditions` truths; `key` are others, none where keys are not asked for.
    pub(super) fn new(conditions: usize, key: &'a [String], references: Vec<Reference>) -> Self {
        Pass { holds: vec![0; conditions], references, key, hashes: Vec::new(), is_full: false }
    }

    /// Takes the rows of a batch in.
    ///
    /// # Errors
    /// A column that is missing, or of a type that tables do not have.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        for (holds, column) in self.holds.iter_mut().zip(batch.columns()) {
            *holds += column.as_boolean_opt().map_or(0, |truths| truths.true_count() as u64);
        }
        self.references.iter_mut().try_for_each(|reference| reference.add(batch))?;
        if self.key.is_empty() || self.is_full {
            return Ok(());
        }
        if self.hashes.len() + batch.num_rows() > KEYS_MAX {
            (self.is_full, self.hashes) = (true, Vec::new());
            return Ok(());
        }
        self.hashes.extend(row_hashes(batch, self.key)?.into_iter().map(|hash| hash[0]));
        Ok(())
    }

    /// Whether a key may have been there twice.
    pub(super) fn may_have_twins(&mut self) -> bool {
        self.hashes.sort_unstable();
        self.is_full || self.hashes.windows(2).any(|pair| pair[0] == pair[1])
    }
}

impl Reference {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let there = batch.column_by_name(&self.column);
        let there = there.ok_or_else(|| format!("there is no column {}", self.column))?;
        let hashes = row_hashes(batch, std::slice::from_ref(&self.column))?;
        let is_missing = |&(row, hash): &(usize, [u64; 2])| there.is_valid(row) && !self.known.contains(hash);
        self.missing += hashes.into_iter().enumerate().filter(is_missing).count() as u64;
        Ok(())
    }
}

/// Takes the values of a batch's one column in.
///
/// # Errors
/// A type that tables do not have.
pub(super) fn know(known: &mut RowSet, batch: &RecordBatch) -> Result<(), String> {
    let columns: Vec<String> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    row_hashes(batch, &columns)?.into_iter().for_each(|hash| known.insert(hash));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn batch(keys: &[(i64, &str)]) -> RecordBatch {
        let odd: BooleanArray = keys.iter().map(|key| (key.0 != 0).then_some(key.0 % 2 == 1)).collect();
        let numbers: Int64Array = keys.iter().map(|key| (key.0 != 0).then_some(key.0)).collect();
        let texts: StringArray = keys.iter().map(|key| Some(key.1)).collect();
        let columns = [("odd", Arc::new(odd) as ArrayRef), ("a", Arc::new(numbers)), ("b", Arc::new(texts))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn twins_are_seen_across_batches_and_nulls_hold_for_nothing() {
        let key = ["a".to_owned(), "b".to_owned()];
        for (first, second, twins) in [
            ([(1, "x"), (2, "x"), (0, "y")], [(3, "x"), (1, "y"), (2, "y")], false),
            ([(1, "x"), (2, "x"), (0, "y")], [(3, "x"), (2, "x"), (5, "y")], true),
        ] {
            let mut pass = Pass::new(1, &key, Vec::new());
            pass.add(&batch(&first)).unwrap();
            pass.add(&batch(&second)).unwrap();
            let odd = first.iter().chain(&second).filter(|key| key.0 % 2 == 1).count() as u64;
            assert_eq!(pass.holds, [odd]);
            assert_eq!(pass.may_have_twins(), twins);
        }
        let mut pass = Pass::new(1, &[], Vec::new());
        pass.add(&batch(&[(1, "x"), (1, "x")])).unwrap();
        assert!(!pass.may_have_twins(), "nobody asked for keys");
    }

    #[test]
    fn references_are_found_in_any_width_and_nulls_refer_to_nothing() {
        let mut known = RowSet::default();
        let there = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef;
        know(&mut known, &RecordBatch::try_from_iter([("id", there)]).unwrap()).unwrap();
        let reference = Reference { column: "a".to_owned(), known, missing: 0 };
        let mut pass = Pass::new(0, &[], vec![reference]);
        pass.add(&batch(&[(1, "x"), (2, "x"), (0, "y")])).unwrap();
        pass.add(&batch(&[(3, "x"), (4, "x"), (2, "x")])).unwrap();
        assert_eq!(pass.references[0].missing, 3);
    }
}
