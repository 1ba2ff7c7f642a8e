//! Which columns are better written plain than through a dictionary, judged by their first rows: pure.
//!
//! Parquet's dictionaries make repeated values small. Where every value is another (ids, positions,
//! times) they cost a look-up a value and bytes besides.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use std::collections::HashSet;
use std::hash::Hash;

/// Rows that are looked at.
const SAMPLE_ROWS: usize = 512;
/// Of fewer values nothing is concluded.
const SAMPLE_MIN: usize = 64;

/// The columns of text, whole numbers and times whose values hardly repeat.
pub(crate) fn unique(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let sample = batch.slice(0, batch.num_rows().min(SAMPLE_ROWS));
    let schema = batch.schema_ref();
    let unique = move |place: &usize| hardly_repeats(sample.column(*place));
    (0..schema.fields().len()).filter(unique).map(|place| schema.field(place).name().as_str())
}

fn hardly_repeats(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Utf8 => distinct(column.as_string::<i32>().iter()),
        DataType::Int64 => distinct(column.as_primitive::<Int64Type>().iter()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            distinct(column.as_primitive::<TimestampMicrosecondType>().iter())
        }
        _ => false,
    }
}

/// Whether more than three quarters of the values are different ones.
fn distinct<T: Eq + Hash>(values: impl Iterator<Item = Option<T>>) -> bool {
    let mut seen = HashSet::new();
    let count = values.flatten().map(|value| seen.insert(value)).count();
    count >= SAMPLE_MIN && seen.len() * 4 > count * 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn ids_and_positions_are_unique_and_names_are_not() {
        let batch = |rows: i64| {
            let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("{n:x}"))));
            let names: ArrayRef =
                Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("{}", n % 50))));
            let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
            let empty: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|_| None)));
            RecordBatch::try_from_iter([("id", ids), ("name", names), ("offset", offsets), ("none", empty)])
                .unwrap()
        };
        assert_eq!(unique(&batch(10_000)).collect::<Vec<_>>(), ["id", "offset"]);
        assert_eq!(unique(&batch(20)).count(), 0, "too few to tell");
    }
}
