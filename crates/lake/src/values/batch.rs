//! Arrow batches on their way into a table: in its columns, and each with its partition.
//!
//! What becomes of a column is decided in `fit`.

use crate::LakeError;
use crate::values::encode;
use crate::values::fit::Target;
use crate::values::types::MICROS_A_DAY;
use crate::write::append::RowBatch;
use affluent_model::Row;
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
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

    /// The rows in the columns of `stored`.
    pub(crate) fn batches(&self, table: &str, stored: &Schema) -> Result<Vec<RecordBatch>, LakeError> {
        let target = Target::new(table, stored)?;
        match self {
            Incoming::Rows(batch) => {
                let encode = |(index, rows): (usize, &[Row])| {
                    let first = index * CHUNK_ROWS;
                    encode::record_batch(table, stored, target.arrow(), batch, rows)
                        .map_err(|error| error.rows_later(first))
                };
                batch.rows.chunks(CHUNK_ROWS).enumerate().map(encode).collect()
            }
            Incoming::Batches(batches) => {
                let full = batches.iter().filter(|batch| batch.num_rows() > 0);
                full.map(|batch| target.fitted(batch)).collect()
            }
        }
    }
}

/// The batches of each partition, in the table's own columns.
pub(crate) type Partitions = Vec<(Option<PartitionKey>, Vec<RecordBatch>)>;

/// Splits batches that have the columns of `table`.
pub(crate) fn partitions(table: &Table, mut batches: Vec<RecordBatch>) -> Result<Partitions, LakeError> {
    batches.retain(|batch| batch.num_rows() > 0);
    let Some(place) = day_place(table)? else { return Ok(vec![(None, batches)]) };
    let metadata = table.metadata();
    let (spec, stored) = (metadata.default_partition_spec(), metadata.current_schema());
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
    let key = |day| Some(PartitionKey::new(spec.as_ref().clone(), stored.clone(), day_value(day)));
    Ok(parts.into_iter().map(|(day, batches)| (key(day), batches)).collect())
}

/// The place of the column by whose UTC day the table is divided; `None` where it is not divided.
///
/// # Errors
/// [`LakeError::Malformed`] for a division that is not written here.
pub(crate) fn day_place(table: &Table) -> Result<Option<usize>, LakeError> {
    let metadata = table.metadata();
    let spec = metadata.default_partition_spec();
    if spec.is_unpartitioned() {
        return Ok(None);
    }
    let [field] = spec.fields() else { return Err(unsupported_spec(table)) };
    let fields = metadata.current_schema().as_struct().fields();
    match fields.iter().position(|source| source.id == field.source_id) {
        Some(place) if field.transform == Transform::Day => Ok(Some(place)),
        _ => Err(unsupported_spec(table)),
    }
}

/// The partition value of a day, in days since the epoch.
pub(crate) fn day_value(day: Option<i32>) -> Struct {
    Struct::from_iter([day.map(Literal::date)])
}

/// Days since the epoch; `None` for a column that has none.
fn days(column: &ArrayRef) -> Option<Vec<Option<i32>>> {
    if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        return Some(days.iter().collect());
    }
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
