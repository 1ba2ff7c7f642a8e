//! Which rows of a data file hold one of the values that are looked for, found by reading that column alone.
//!
//! Of many values some are taken to be in a row group that has none; whole rows are not read to find that out. Invariant:
//! every row with one of the values is found; where a file's column is of a type that is not known here, nothing is said.

use crate::LakeError;
use crate::read::sought::{Groups, Sought, leaf_of};
use crate::read::source::Source;
use ahash::RandomState;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use std::collections::HashSet;

/// Rows that are looked at at once.
const BATCH_ROWS: usize = 16 * 1024;

/// The values, to be asked row by row.
#[derive(Debug)]
pub(crate) enum Members {
    Whole(HashSet<i64, RandomState>),
    Text(HashSet<String, RandomState>),
}

/// The rows of one row group that hold a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) group: usize,
    pub(crate) rows: RowSelection,
}

impl Members {
    /// Of the values that are looked for; `None` of those that are not known one by one.
    pub(crate) fn of(sought: &Sought) -> Option<Self> {
        match sought {
            Sought::Whole(values) => Some(Members::Whole(values.values().iter().copied().collect())),
            Sought::Text(values) => Some(Members::Text(values.iter().flatten().map(str::to_owned).collect())),
            Sought::Any => None,
        }
    }

    /// The rows of the chosen row groups of a file of ours that hold a value in the column with this field id; row groups
    /// without any are left out. `None` where the file does not tell.
    pub(crate) fn rows(
        &self,
        file: &Source,
        id: i32,
        groups: &Groups,
    ) -> Result<Option<Vec<Found>>, LakeError> {
        let unreadable = |error| file.unreadable(&error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(unreadable)?;
        let Some(leaf) = leaf_of(&builder, id) else { return Ok(None) };
        let mask = ProjectionMask::leaves(builder.parquet_schema(), [leaf]);
        let reader = builder
            .with_row_groups(groups.hit.clone())
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(unreadable)?;
        let (mut hits, mut read) = (Vec::new(), 0);
        for batch in reader {
            let batch = batch.map_err(|error| file.failure().unwrap_or_else(|| error.into()))?;
            let Some(column) = batch.columns().first() else { return Ok(None) };
            if !self.find(column, |row| hits.push(read + row))? {
                return Ok(None);
            }
            read += batch.num_rows();
        }
        Ok(by_group(&hits, groups, read))
    }

    /// Calls `hit` with every row that holds a value; false for a column of another type.
    fn find(&self, column: &ArrayRef, mut hit: impl FnMut(usize)) -> Result<bool, LakeError> {
        match self {
            Members::Text(values) => {
                let Some(texts) = column.as_string_opt::<i32>() else { return Ok(false) };
                let is_one = |text: Option<&str>| text.is_some_and(|text| values.contains(text));
                texts.iter().enumerate().filter(|(_, text)| is_one(*text)).for_each(|(row, _)| hit(row));
            }
            Members::Whole(values) => {
                let (DataType::Int32
                | DataType::Int64
                | DataType::Date32
                | DataType::Time64(_)
                | DataType::Timestamp(..)) = column.data_type()
                else {
                    return Ok(false);
                };
                let whole = arrow_cast::cast(column, &DataType::Int64)?;
                let whole = whole.as_primitive::<Int64Type>();
                let is_one = |value: Option<i64>| value.is_some_and(|value| values.contains(&value));
                whole.iter().enumerate().filter(|(_, value)| is_one(*value)).for_each(|(row, _)| hit(row));
            }
        }
        Ok(true)
    }
}

/// The hits, which are places among the `read` rows of the chosen row groups in ascending order, by their row groups;
/// `None` where these have another number of rows.
fn by_group(hits: &[usize], groups: &Groups, read: usize) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    let mut start = 0;
    for &group in &groups.hit {
        let rows = *groups.rows.get(group)?;
        let from = hits.partition_point(|&hit| hit < start);
        let to = hits.partition_point(|&hit| hit < start + rows);
        if from < to {
            let ranges = hits[from..to].iter().map(|&hit| {
                let (at, end) = (hit - start, hit - start + 1);
                at..end
            });
            found.push(Found { group, rows: RowSelection::from_consecutive_ranges(ranges, rows) });
        }
        start += rows;
    }
    (start == read).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Date32Array, Int32Array, Int64Array, LargeStringArray, StringArray};
    use std::sync::Arc;

    fn found(sought: &Sought, column: ArrayRef) -> Option<Vec<usize>> {
        let mut rows = Vec::new();
        Members::of(sought).unwrap().find(&column, |row| rows.push(row)).unwrap().then_some(rows)
    }

    #[test]
    fn rows_with_a_value_are_found_in_any_width_and_null_is_none() {
        let whole = Sought::of(&[&Int64Array::from(vec![3, 7, 7])]).unwrap();
        for column in [
            Arc::new(Int32Array::from(vec![Some(7), None, Some(1), Some(3)])) as ArrayRef,
            Arc::new(Int64Array::from(vec![Some(7), None, Some(1), Some(3)])),
            Arc::new(Date32Array::from(vec![Some(7), None, Some(1), Some(3)])),
        ] {
            assert_eq!(found(&whole, column), Some(vec![0, 3]));
        }
        let text = Sought::of(&[&StringArray::from(vec!["a", "c"])]).unwrap();
        let column = StringArray::from(vec![Some("c"), None, Some("b"), Some("a")]);
        assert_eq!(found(&text, Arc::new(column)), Some(vec![0, 3]));
        let other = Arc::new(LargeStringArray::from(vec!["a"])) as ArrayRef;
        assert_eq!((found(&text, Arc::clone(&other)), found(&whole, other)), (None, None));
        assert!(Members::of(&Sought::Any).is_none());
    }

    #[test]
    fn hits_are_told_by_their_row_groups() {
        // Three of four row groups are read, of 4, 3 and 2 rows.
        let groups = Groups { hit: vec![0, 2, 3], rows: vec![4, 9, 3, 2] };
        let selected = |range: std::ops::Range<usize>, rows| {
            RowSelection::from_consecutive_ranges(std::iter::once(range), rows)
        };
        let found = by_group(&[1, 2, 7, 8], &groups, 9).unwrap();
        let expected =
            [Found { group: 0, rows: selected(1..3, 4) }, Found { group: 3, rows: selected(0..2, 2) }];
        assert_eq!(found, expected);
        assert_eq!(by_group(&[], &groups, 9), Some(Vec::new()));
        assert_eq!(by_group(&[1], &groups, 8), None, "other rows than the footer says");
    }
}
