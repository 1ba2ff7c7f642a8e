//! Batches of rows in hand: counted, cut to columns, read as numbers and texts.

use affluent_lake::sql::{Session, SqlError};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampNanosecondType,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// Rows and columns of a query's result, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Collected {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Collected {
    /// Runs a query to its end.
    ///
    /// # Errors
    /// As [`Session::sql`], and what goes wrong while rows are made.
    pub(crate) async fn of(session: &Session, sql: &str) -> Result<Self, SqlError> {
        let rows = session.sql(sql).await?;
        let schema = nullable(&rows.schema());
        Self::new(schema, rows.collect().await?)
    }

    /// The same of a query that yields at most `rows_max` rows; `None` for one that yields more.
    ///
    /// # Errors
    /// As [`Collected::of`].
    pub(crate) async fn few(session: &Session, sql: &str, rows_max: u64) -> Result<Option<Self>, SqlError> {
        let mut rows = session.sql(sql).await?;
        let schema = nullable(&rows.schema());
        let (mut batches, mut held) = (Vec::new(), 0);
        while let Some(batch) = rows.next_batch().await {
            let batch = batch?;
            held += batch.num_rows() as u64;
            if held > rows_max {
                return Ok(None);
            }
            batches.push(batch);
        }
        Self::new(schema, batches).map(Some)
    }

    fn new(schema: SchemaRef, mut batches: Vec<RecordBatch>) -> Result<Self, SqlError> {
        for batch in &mut batches {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = batch.columns().to_vec();
            *batch = RecordBatch::try_new_with_options(Arc::clone(&schema) as SchemaRef, columns, &options)
                .map_err(|error| SqlError::Execution(error.to_string()))?;
        }
        Ok(Collected { schema, batches })
    }

    /// The same with times as the lake has them.
    ///
    /// # Errors
    /// As [`plain`].
    pub(crate) fn plain(self) -> Result<Self, String> {
        let batches = self.batches.iter().map(plain).collect::<Result<_, _>>()?;
        Ok(Collected { schema: plain_schema(&self.schema), batches })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    /// A column of every batch; none where there is no such column.
    pub(crate) fn column(&self, name: &str) -> Vec<ArrayRef> {
        self.batches.iter().filter_map(|batch| batch.column_by_name(name).cloned()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.iter().all(|batch| batch.num_rows() == 0)
    }

    /// Gives the rows a name in a session.
    pub(crate) fn register(&self, session: &Session, name: &str) -> Result<(), SqlError> {
        session.register_batches(name, self.schema.clone(), self.batches.clone())
    }
}

/// Any column of the lake may be null; what a plan knows better differs from batch to batch.
fn nullable(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| Field::new(field.name(), field.data_type().clone(), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The batch with its times in microseconds, as the lake has them: SQL's own times count nanoseconds.
///
/// # Errors
/// The column with a time that is not whole microseconds.
pub(crate) fn plain(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let is_nano =
        |field: &FieldRef| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _));
    if !batch.schema_ref().fields().iter().any(is_nano) {
        return Ok(batch.clone());
    }
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let DataType::Timestamp(TimeUnit::Nanosecond, zone) = field.data_type() else {
            columns.push(Arc::clone(array));
            continue;
        };
        let nanos = array.as_primitive::<TimestampNanosecondType>();
        if nanos.iter().flatten().any(|nanos| nanos % 1000 != 0) {
            return Err(format!("column {} has parts of a microsecond: round it", field.name()));
        }
        let micros: TimestampMicrosecondArray = nanos.unary(|nanos| nanos / 1000);
        columns.push(Arc::new(micros.with_timezone_opt(zone.clone())) as ArrayRef);
    }
    RecordBatch::try_new(plain_schema(batch.schema_ref()), columns).map_err(|error| error.to_string())
}

/// The columns of [`plain`] rows.
pub(crate) fn plain_schema(schema: &Schema) -> SchemaRef {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            Arc::new(field.as_ref().clone().with_data_type(micros))
        }
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// A cell as text; `None` for null and for types that these columns do not have.
pub(crate) fn text(batch: &RecordBatch, place: usize, row: usize) -> Option<String> {
    let array = batch.column(place);
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Some(array.as_string_view().value(row).to_owned()),
        _ => number(batch, place, row).map(|number| number.to_string()),
    }
}

/// A cell as days since 1970-01-01; `None` for null.
pub(crate) fn date(batch: &RecordBatch, place: usize, row: usize) -> Option<i64> {
    let array = batch.column(place).as_primitive_opt::<Date32Type>()?;
    (!array.is_null(row)).then(|| array.value(row).into())
}

/// A cell as a whole number: integers, and times in microseconds.
pub(crate) fn number(batch: &RecordBatch, place: usize, row: usize) -> Option<i64> {
    let array = batch.column(place);
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Int32 => Some(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => i64::try_from(array.as_primitive::<UInt64Type>().value(row)).ok(),
        DataType::Decimal128(_, 0) => i64::try_from(array.as_primitive::<Decimal128Type>().value(row)).ok(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        _ => None,
    }
}
