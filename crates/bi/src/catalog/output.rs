//! Rows of the catalogue as a batch.

use super::eval::Run;
use super::value::{Kind, Scalar, Value};
use crate::error::{PgError, code};
use crate::types::PG_TYPE;
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// The columns of a statement over the catalogue.
pub(super) fn schema(columns: &[(String, Kind)]) -> SchemaRef {
    let field = |(name, kind): &(String, Kind)| {
        let field = Field::new(name, data_type(*kind), true);
        match pg_type(*kind) {
            Some(pg_type) => field.with_metadata(HashMap::from([(PG_TYPE.to_owned(), pg_type.to_owned())])),
            None => field,
        }
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn data_type(kind: Kind) -> DataType {
    if kind.is_array {
        return DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    }
    match kind.scalar {
        Scalar::Bool => DataType::Boolean,
        Scalar::Int2 => DataType::Int16,
        Scalar::Int4 => DataType::Int32,
        Scalar::Int8 => DataType::Int64,
        Scalar::Oid => DataType::UInt32,
        Scalar::Float8 => DataType::Float64,
        Scalar::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Scalar::Char
        | Scalar::Name
        | Scalar::Text
        | Scalar::Class
        | Scalar::Type
        | Scalar::Namespace
        | Scalar::Other
        | Scalar::Record
        | Scalar::Unknown => DataType::Utf8,
    }
}

fn pg_type(kind: Kind) -> Option<&'static str> {
    match (kind.scalar, kind.is_array) {
        (Scalar::Char, false) => Some("char"),
        (Scalar::Name, false) => Some("name"),
        (Scalar::Oid, false) => Some("oid"),
        (Scalar::Char, true) => Some("_char"),
        (Scalar::Name, true) => Some("_name"),
        _ => None,
    }
}

/// The rows as a batch of this schema.
pub(super) fn batch(
    schema: &SchemaRef,
    columns: &[(String, Kind)],
    rows: Vec<Vec<Value>>,
    run: &Run<'_>,
) -> Result<RecordBatch, PgError> {
    let arrays = columns.iter().enumerate().map(|(place, (_, kind))| {
        let values: Vec<&Value> = rows.iter().map(|row| row.get(place).unwrap_or(&Value::Null)).collect();
        array(*kind, &values, run)
    });
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
        .map_err(|error| PgError::new(code::INTERNAL, error.to_string()))
}

/// What does not fit the type is an error, not a null.
fn fitting<T: TryFrom<i64>>(number: Option<i64>) -> Result<Option<T>, PgError> {
    let fit = |number: i64| {
        T::try_from(number).map_err(|_| PgError::new(code::OUT_OF_RANGE, "a number is out of range"))
    };
    number.map(fit).transpose()
}

/// A negative number stands for the oid of the same bits, as in PostgreSQL.
fn oid(number: Option<i64>) -> Result<Option<u32>, PgError> {
    let negative = number.filter(|number| *number < 0).and_then(|number| i32::try_from(number).ok());
    negative.map_or_else(|| fitting(number), |number| Ok(Some(number.cast_unsigned())))
}

fn array(kind: Kind, values: &[&Value], run: &Run<'_>) -> Result<ArrayRef, PgError> {
    let integers = || values.iter().map(|value| value.integer());
    if kind.is_array {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for value in values {
            for item in value.items() {
                let is_null = item.is_null();
                builder.values().append_option((!is_null).then(|| run.shown(&item, kind.element())));
            }
            builder.append(!value.is_null());
        }
        return Ok(Arc::new(builder.finish()));
    }
    Ok(match kind.scalar {
        Scalar::Bool => Arc::new(values.iter().map(|value| value.truth()).collect::<BooleanArray>()),
        Scalar::Int2 => Arc::new(integers().map(fitting::<i16>).collect::<Result<Int16Array, _>>()?),
        Scalar::Int4 => Arc::new(integers().map(fitting::<i32>).collect::<Result<Int32Array, _>>()?),
        Scalar::Int8 => Arc::new(integers().collect::<Int64Array>()),
        Scalar::Oid => Arc::new(integers().map(oid).collect::<Result<UInt32Array, _>>()?),
        Scalar::Float8 => Arc::new(values.iter().map(|value| value.float()).collect::<Float64Array>()),
        Scalar::Timestamptz => {
            Arc::new(integers().collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
        }
        Scalar::Char
        | Scalar::Name
        | Scalar::Text
        | Scalar::Class
        | Scalar::Type
        | Scalar::Namespace
        | Scalar::Other
        | Scalar::Record
        | Scalar::Unknown => {
            let text = |value: &&Value| (!value.is_null()).then(|| run.shown(value, kind));
            Arc::new(values.iter().map(text).collect::<StringArray>())
        }
    })
}
