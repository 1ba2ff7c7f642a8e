//! Values that are looked for in a column, and what cannot hold any of them.
//!
//! Invariant: a file or row group is left out only where its statistics or its Bloom filter say that it
//! holds none of the values; where nothing is known of it, it is read.

use crate::LakeError;
use crate::read::source::Source;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use iceberg::spec::{DataFile, PrimitiveLiteral};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Type as Physical;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use std::ops::Range;

/// Values that are looked up in a filter for each row that is spared by it: reading a row costs as much.
const FILTERED_PER_ROW: usize = 8;

/// The values that are looked for in one column, in ascending order.
#[derive(Debug, PartialEq)]
pub(crate) enum Sought {
    /// Whole numbers, dates and times.
    Whole(Int64Array),
    /// Texts, by their bytes.
    Text(StringArray),
    /// Of another type: nothing is left out.
    Any,
}

/// The row groups of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Those that may hold a value.
    pub(crate) hit: Vec<usize>,
    /// The rows of every one.
    pub(crate) rows: Vec<usize>,
}

impl Sought {
    /// The values of the arrays, which are of one type and have no nulls.
    pub(crate) fn of(arrays: &[&dyn Array]) -> Result<Self, LakeError> {
        let Some(first) = arrays.first() else { return Ok(Sought::Any) };
        let sorted = |array: &ArrayRef| arrow_ord::sort::sort(array, None);
        Ok(match first.data_type() {
            DataType::Utf8 => Sought::Text(sorted(&concat(arrays)?)?.as_string().clone()),
            DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Time64(_)
            | DataType::Timestamp(..) => {
                let whole = arrow_cast::cast(&concat(arrays)?, &DataType::Int64)?;
                Sought::Whole(sorted(&whole)?.as_primitive::<Int64Type>().clone())
            }
            _ => Sought::Any,
        })
    }

    /// Texts that are in ascending order already.
    pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> Self {
        Sought::Text(texts.into_iter().map(|text| Some(text.as_str())).collect())
    }

    /// Values that are known one by one.
    pub(crate) fn len(&self) -> usize {
        match self {
            Sought::Whole(values) => values.len(),
            Sought::Text(values) => values.len(),
            Sought::Any => 0,
        }
    }

    /// Whether a file may hold one of the values in the column with this field id.
    pub(crate) fn may_be_in(&self, file: &DataFile, id: i32) -> bool {
        let bound = |bounds: &std::collections::HashMap<i32, iceberg::spec::Datum>| {
            bounds.get(&id).and_then(|datum| match datum.literal() {
                PrimitiveLiteral::Int(value) => Some(Bound::Whole((*value).into())),
                PrimitiveLiteral::Long(value) => Some(Bound::Whole(*value)),
                PrimitiveLiteral::String(text) => Some(Bound::Text(text.clone())),
                _ => None,
            })
        };
        !self
            .within(bound(file.lower_bounds()), bound(file.upper_bounds()))
            .is_some_and(|near| near.is_empty())
    }

    /// The row groups of a file of ours that may hold a value in the column with this field id; `None`
    /// where the file does not tell.
    pub(crate) fn groups(&self, file: &Source, id: i32) -> Result<Option<Groups>, LakeError> {
        let unreadable = |error| file.unreadable(&error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(unreadable)?;
        let Some(leaf) = leaf_of(&builder, id) else { return Ok(None) };
        let parquet = builder.parquet_schema();
        let mut groups = Groups { hit: Vec::new(), rows: Vec::new() };
        for (index, group) in builder.metadata().row_groups().iter().enumerate() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            groups.rows.push(rows);
            let near = self.near(group, leaf);
            if near.as_ref().is_some_and(Range::is_empty) {
                continue;
            }
            // Far more values than rows are looked up faster in the rows.
            if let Some(near) = near.filter(|near| near.len() <= rows * FILTERED_PER_ROW) {
                let filter = Sbbf::read_from_column_chunk(group.column(leaf), file).map_err(unreadable)?;
                let physical = parquet.column(leaf).physical_type();
                if filter.is_some_and(|filter| !self.may_pass(&filter, physical, near)) {
                    continue;
                }
            }
            groups.hit.push(index);
        }
        Ok(Some(groups))
    }

    /// Places of the values between the lowest and the highest of the row group.
    fn near(&self, group: &RowGroupMetaData, leaf: usize) -> Option<Range<usize>> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Bound::Text(text.to_owned()));
        let (low, high) = match group.column(leaf).statistics()? {
            Statistics::Int32(stats) => (
                stats.min_opt().map(|&value| Bound::Whole(value.into())),
                stats.max_opt().map(|&value| Bound::Whole(value.into())),
            ),
            Statistics::Int64(stats) => {
                (stats.min_opt().copied().map(Bound::Whole), stats.max_opt().copied().map(Bound::Whole))
            }
            Statistics::ByteArray(stats) => (
                stats.min_opt().and_then(|bytes| text(bytes.data())),
                stats.max_opt().and_then(|bytes| text(bytes.data())),
            ),
            _ => (None, None),
        };
        self.within(low, high)
    }

    /// Places of the values from `low` to `high`; `None` where these bounds are none of this column.
    fn within(&self, low: Option<Bound>, high: Option<Bound>) -> Option<Range<usize>> {
        match self {
            Sought::Whole(values) => {
                let at = |bound: &Bound, after: bool| match bound {
                    Bound::Whole(bound) => Some(
                        values.values().partition_point(|value| value < bound || (after && value == bound)),
                    ),
                    Bound::Text(_) => None,
                };
                Some(places(
                    values.len(),
                    low.and_then(|low| at(&low, false)),
                    high.and_then(|high| at(&high, true)),
                ))
            }
            Sought::Text(values) => {
                let at = |bound: &Bound, after: bool| match bound {
                    Bound::Text(bound) => Some(text_place(values, bound, after)),
                    Bound::Whole(_) => None,
                };
                Some(places(
                    values.len(),
                    low.and_then(|low| at(&low, false)),
                    high.and_then(|high| at(&high, true)),
                ))
            }
            Sought::Any => None,
        }
    }

    fn may_pass(&self, filter: &Sbbf, physical: Physical, mut near: Range<usize>) -> bool {
        match self {
            Sought::Whole(values) => near.any(|place| {
                let value = values.value(place);
                match physical {
                    Physical::INT32 => i32::try_from(value).is_ok_and(|value| filter.check(&value)),
                    Physical::INT64 => filter.check(&value),
                    Physical::BOOLEAN
                    | Physical::INT96
                    | Physical::FLOAT
                    | Physical::DOUBLE
                    | Physical::BYTE_ARRAY
                    | Physical::FIXED_LEN_BYTE_ARRAY => true,
                }
            }),
            Sought::Text(values) => near.any(|place| filter.check(values.value(place))),
            Sought::Any => true,
        }
    }
}

/// The place of the column with this field id in a file; `None` where the file has none.
pub(crate) fn leaf_of(builder: &ParquetRecordBatchReaderBuilder<Source>, id: i32) -> Option<usize> {
    let own_id = |field: &arrow_schema::FieldRef| {
        field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|id| id.parse::<i32>().ok()) == Some(id)
    };
    let root = builder.schema().fields().iter().position(own_id)?;
    let parquet = builder.parquet_schema();
    (0..parquet.num_columns()).find(|&leaf| parquet.get_column_root_idx(leaf) == root)
}

/// The end of a range of values.
enum Bound {
    Whole(i64),
    Text(String),
}

fn places(len: usize, from: Option<usize>, to: Option<usize>) -> Range<usize> {
    let (from, to) = (from.unwrap_or(0), to.unwrap_or(len));
    // Bounds the wrong way round say nothing.
    if from <= to { from..to } else { 0..len }
}

/// How many of the values are below `bound` (`after`: or equal to it).
fn text_place(values: &StringArray, bound: &str, after: bool) -> usize {
    let (mut from, mut to) = (0, values.len());
    while from < to {
        let middle = from + (to - from) / 2;
        let value = values.value(middle);
        if value < bound || (after && value == bound) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_two_bounds() {
        let whole = Sought::of(&[&Int64Array::from(vec![30, 10]), &Int64Array::from(vec![20, 20])]).unwrap();
        let text = Sought::of(&[&StringArray::from(vec!["c", "a", "b", "b"])]).unwrap();
        let of = |n: i64| Bound::Whole(n * 10);
        let named = |n: i64| Bound::Text(char::from(b"`abcd"[usize::try_from(n).unwrap()]).to_string());
        for (low, high, expected) in [
            (Some(1), Some(3), 0..4),
            (Some(2), Some(2), 1..3),
            (None, Some(1), 0..1),
            (Some(3), None, 3..4),
            (None, None, 0..4),
            (Some(4), Some(4), 4..4),
            (Some(0), Some(0), 0..0),
            (Some(3), Some(1), 0..4),
        ] {
            assert_eq!(whole.within(low.map(of), high.map(of)), Some(expected.clone()), "{low:?} {high:?}");
            assert_eq!(text.within(low.map(named), high.map(named)), Some(expected), "{low:?} {high:?}");
        }
        assert_eq!(whole.within(Some(named(4)), None), Some(0..4), "a bound of another type says nothing");
        assert_eq!(Sought::Any.within(Some(of(1)), None), None);
    }
}
