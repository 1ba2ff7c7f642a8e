//! Arrow batches on their way into a table: in its columns, and each with its partition.
//!
//! Invariant: a value is stored as it came, or the batch is refused: columns widen, never narrow, and none
//! is left out for want of a place.

use crate::table::RowBatch;
use crate::types::MICROS_A_DAY;
use crate::{LakeError, encode, schema};
use affluent_model::Row;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use arrow_select::filter::filter_record_batch;
use iceberg::spec::{Literal, PartitionKey, Schema, Struct, Transform};
use iceberg::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows that are turned into Arrow arrays at once.
const CHUNK_ROWS: usize = 16 * 1024;

/// What is to be appended, as it came.
#[derive(Debug, Clone)]
pub(crate) enum Incoming {
    Rows(Arc<RowBatch>),
    Batches(Vec<RecordBatch>),
}

impl Incoming {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Incoming::Rows(batch) => batch.rows.len(),
            Incoming::Batches(batches) => batches.iter().map(RecordBatch::num_rows).sum(),
        }
    }

    /// The rows in the columns of `stored`, whose Arrow form is `arrow`.
    pub(crate) fn batches(
        &self,
        table: &str,
        stored: &Schema,
        arrow: &SchemaRef,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        match self {
            Incoming::Rows(batch) => {
                let encode = |(index, rows): (usize, &[Row])| {
                    let first = index * CHUNK_ROWS;
                    encode::record_batch(table, stored, arrow, batch, rows)
                        .map_err(|error| error.rows_later(first))
                };
                batch.rows.chunks(CHUNK_ROWS).enumerate().map(encode).collect()
            }
            Incoming::Batches(batches) => {
                let full = batches.iter().filter(|batch| batch.num_rows() > 0);
                full.map(|batch| conform(table, stored, arrow, batch)).collect()
            }
        }
    }
}

/// The batch in the columns of `stored`: found by their lake or source names, widened where the table's are
/// wider, null where the batch lacks one.
pub(crate) fn conform(
    table: &str,
    stored: &Schema,
    arrow: &SchemaRef,
    batch: &RecordBatch,
) -> Result<RecordBatch, LakeError> {
    let fields = stored.as_struct().fields();
    let mut arrays: Vec<Option<ArrayRef>> = vec![None; fields.len()];
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let place = schema::find(fields, field.name())
            .or_else(|| fields.iter().position(|stored| stored.name == *field.name()))
            .ok_or_else(|| LakeError::NoColumn { table: table.to_owned(), column: field.name().clone() })?;
        let wanted = arrow.field(place).data_type();
        arrays[place] = Some(widened(array, wanted)?.ok_or_else(|| LakeError::Incompatible {
            table: table.to_owned(),
            column: field.name().clone(),
            stored: wanted.to_string(),
            wanted: array.data_type().to_string(),
        })?);
    }
    let arrays = arrays
        .into_iter()
        .zip(arrow.fields())
        .map(|(array, field)| array.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(arrow), arrays.collect(), &options)?)
}

/// The array as `wanted`; `None` where a value could be lost on the way.
fn widened(array: &ArrayRef, wanted: &DataType) -> Result<Option<ArrayRef>, LakeError> {
    if array.data_type() == wanted {
        return Ok(Some(Arc::clone(array)));
    }
    if !widens(array.data_type(), wanted) {
        return Ok(None);
    }
    let exact = CastOptions { safe: false, ..CastOptions::default() };
    Ok(Some(cast_with_options(array, wanted, &exact)?))
}

fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Decimal128, Dictionary, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary,
        LargeList, LargeUtf8, List, Null, Timestamp, UInt8, UInt16, UInt32, Utf8, Utf8View,
    };
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, values), to) => values.as_ref() == to || widens(values, to),
        (Int8 | Int16 | UInt8 | UInt16, Int32 | Int64) | (Int32 | UInt32, Int64) | (Float32, Float64) => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8) => true,
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary) => true,
        (Decimal128(digits, scale), Decimal128(to_digits, to_scale)) => {
            digits <= to_digits && scale == to_scale
        }
        // The same instants, whatever the zone is called; a local time is none.
        (Timestamp(TimeUnit::Microsecond, from), Timestamp(TimeUnit::Microsecond, to)) => {
            from.is_some() == to.is_some()
        }
        (List(from) | LargeList(from), List(to)) => {
            from.data_type() == to.data_type() || widens(from.data_type(), to.data_type())
        }
        _ => false,
    }
}

/// The batches of each partition, in the table's own columns.
pub(crate) type Partitions = Vec<(Option<PartitionKey>, Vec<RecordBatch>)>;

/// Splits batches that have the columns of `table`.
pub(crate) fn partitions(table: &Table, batches: Vec<RecordBatch>) -> Result<Partitions, LakeError> {
    let metadata = table.metadata();
    let (spec, stored) = (metadata.default_partition_spec(), metadata.current_schema());
    let [field] = spec.fields() else {
        if spec.is_unpartitioned() {
            return Ok(vec![(None, batches)]);
        }
        return Err(unsupported_spec(table));
    };
    if field.transform != Transform::Day {
        return Err(unsupported_spec(table));
    }
    let fields = stored.as_struct().fields();
    let place = fields.iter().position(|stored| stored.id == field.source_id);
    let place = place.ok_or_else(|| unsupported_spec(table))?;
    let mut parts: BTreeMap<Option<i32>, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        let days = days(batch.column(place)).ok_or_else(|| unsupported_spec(table))?;
        let distinct: BTreeSet<Option<i32>> = days.iter().copied().collect();
        if let (Some(day), 1) = (distinct.first(), distinct.len()) {
            parts.entry(*day).or_default().push(batch);
            continue;
        }
        for day in distinct {
            let of_day: BooleanArray = days.iter().map(|other| Some(*other == day)).collect();
            parts.entry(day).or_default().push(filter_record_batch(&batch, &of_day)?);
        }
    }
    let key = |day: Option<i32>| {
        let value = Struct::from_iter([day.map(Literal::date)]);
        Some(PartitionKey::new(spec.as_ref().clone(), stored.clone(), value))
    };
    Ok(parts.into_iter().map(|(day, batches)| (key(day), batches)).collect())
}

/// Days since the epoch; `None` for a column that has none.
fn days(column: &ArrayRef) -> Option<Vec<Option<i32>>> {
    let micros = column.as_primitive_opt::<TimestampMicrosecondType>()?;
    let day = |micros: i64| i32::try_from(micros.div_euclid(MICROS_A_DAY)).ok();
    Some(micros.iter().map(|micros| micros.and_then(day)).collect())
}

fn unsupported_spec(table: &Table) -> LakeError {
    LakeError::Malformed {
        what: format!("partition spec of {}", table.identifier()),
        error: "only unpartitioned tables and one day() are written here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{Column, ColumnType};
    use arrow_array::{Int32Array, Int64Array, StringArray, StringViewArray, UInt64Array};
    use iceberg::arrow::schema_to_arrow_schema;

    fn conformed(arrays: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, LakeError> {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
        let columns = [column("id", ColumnType::Int64), column("ID", ColumnType::Text)];
        let stored = schema::create("t", &columns).unwrap();
        let arrow = Arc::new(schema_to_arrow_schema(&stored).unwrap());
        conform("t", &stored, &arrow, &RecordBatch::try_from_iter(arrays).unwrap())
    }

    #[test]
    fn columns_are_found_widened_and_filled_and_never_narrowed() {
        let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None]));
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
        let batch = conformed(vec![("ID", text), ("id", narrow)]).unwrap();
        let ids = Int64Array::from(vec![Some(7), None]);
        assert_eq!(batch.column(0).as_primitive::<arrow_array::types::Int64Type>(), &ids);
        assert_eq!(batch.column(1).as_string::<i32>(), &StringArray::from(vec!["a", "b"]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        assert_eq!(conformed(vec![("ID_2", Arc::clone(&text))]).unwrap().column(0).null_count(), 1);
        let refused = conformed(vec![("other", Arc::clone(&text))]);
        assert!(matches!(refused, Err(LakeError::NoColumn { .. })), "{refused:?}");
        for wrong in [text, Arc::new(UInt64Array::from(vec![1]))] {
            let refused = conformed(vec![("id", wrong)]);
            assert!(matches!(refused, Err(LakeError::Incompatible { .. })), "{refused:?}");
        }
    }
}
