//! Rows and envelopes as Avro binary.

use super::binary::Put;
use crate::codec::{CodecError, numbers, source_facts};
use affluent_model::value::NumericSpecial;
use affluent_model::{ChangeEvent, ColumnType, TableSchema, Value};
use bytes::BytesMut;

/// Union branches as written: `null` is the first branch of every optional field but `snapshot`.
const NULL: i64 = 0;
const SOME: i64 = 1;

/// Appends the envelope of a change. `key` says of each column whether it belongs to the key.
pub(crate) fn put_envelope(
    buffer: &mut BytesMut,
    change: &ChangeEvent,
    key: &[bool],
) -> Result<(), CodecError> {
    for row in [&change.before, &change.after] {
        match row {
            None => buffer.put_long(NULL),
            Some(row) => {
                buffer.put_long(SOME);
                put_row(buffer, &change.schema, row, key)?;
            }
        }
    }
    put_source(buffer, change);
    match &change.transaction {
        None => buffer.put_long(NULL),
        Some(transaction) => {
            buffer.put_long(SOME);
            buffer.put_text(&transaction.id);
            buffer.put_long(transaction.total_order.cast_signed());
            buffer.put_long(transaction.data_collection_order.cast_signed());
        }
    }
    buffer.put_text(change.op.code());
    buffer.put_long(SOME);
    buffer.put_long(change.ts_us.div_euclid(1_000));
    buffer.put_long(SOME);
    buffer.put_long(change.ts_us);
    if change.unchanged.is_empty() {
        buffer.put_long(NULL);
    } else {
        buffer.put_long(SOME);
        buffer.put_long(change.unchanged.len().cast_signed() as i64);
        for &index in &change.unchanged {
            let column =
                change.schema.columns.get(index).ok_or_else(|| mismatch(&change.schema, "unchanged"))?;
            buffer.put_text(&column.name);
        }
        buffer.put_long(0);
    }
    Ok(())
}

fn put_source(buffer: &mut BytesMut, change: &ChangeEvent) {
    let source = &change.source;
    buffer.put_text(source_facts::VERSION);
    buffer.put_text(source_facts::CONNECTOR);
    buffer.put_text(&source.name);
    buffer.put_long(source.ts_us.div_euclid(1_000));
    buffer.put_long(0);
    buffer.put_text(source_facts::snapshot_name(source.snapshot));
    buffer.put_text(&source.database);
    buffer.put_long(SOME);
    source_facts::with_sequence(source, |text| buffer.put_text(text));
    buffer.put_long(SOME);
    buffer.put_long(source.ts_us);
    buffer.put_text(&change.schema.table.schema);
    buffer.put_text(&change.schema.table.name);
    match source.tx_id {
        None => buffer.put_long(NULL),
        Some(tx_id) => {
            buffer.put_long(SOME);
            buffer.put_long(i64::from(tx_id));
        }
    }
    buffer.put_long(SOME);
    buffer.put_long(source.lsn.cast_signed());
    buffer.put_long(SOME);
    source_facts::with_position(source.position, |text| buffer.put_text(text));
}

/// Appends the key's columns of a row, in key order.
pub(crate) fn put_key(buffer: &mut BytesMut, schema: &TableSchema, row: &[Value]) -> Result<(), CodecError> {
    for &index in &schema.key {
        let (Some(column), Some(value)) = (schema.columns.get(index), row.get(index)) else {
            return Err(mismatch(schema, "key"));
        };
        put_value(buffer, &column.column_type, value)
            .map_err(|problem| CodecError::value(column, problem))?;
    }
    Ok(())
}

fn put_row(
    buffer: &mut BytesMut,
    schema: &TableSchema,
    row: &[Value],
    key: &[bool],
) -> Result<(), CodecError> {
    if row.len() != schema.columns.len() || key.len() != row.len() {
        return Err(mismatch(schema, "number of columns"));
    }
    for ((column, value), &in_key) in schema.columns.iter().zip(row).zip(key) {
        if !in_key {
            if value.is_null() {
                buffer.put_long(NULL);
                continue;
            }
            buffer.put_long(SOME);
        }
        put_value(buffer, &column.column_type, value)
            .map_err(|problem| CodecError::value(column, problem))?;
    }
    Ok(())
}

fn put_value(buffer: &mut BytesMut, column_type: &ColumnType, value: &Value) -> Result<(), &'static str> {
    match (column_type, value) {
        (ColumnType::Bool, Value::Bool(v)) => buffer.put_bool(*v),
        (ColumnType::Int16, Value::Int(v)) => {
            i16::try_from(*v).map_err(|_| "does not fit 16 bits")?;
            buffer.put_long(*v);
        }
        (ColumnType::Int32, Value::Int(v)) => {
            i32::try_from(*v).map_err(|_| "does not fit 32 bits")?;
            buffer.put_long(*v);
        }
        (ColumnType::Int64, Value::Int(v)) => buffer.put_long(*v),
        (ColumnType::Float32, Value::Float(v)) => buffer.put_raw(&(*v as f32).to_le_bytes()),
        (ColumnType::Float64, Value::Float(v)) => buffer.put_raw(&v.to_le_bytes()),
        (ColumnType::Decimal { precision, scale }, Value::Decimal(v)) => {
            numbers::unscaled_bytes(v, *precision, *scale, |bytes| buffer.put_bytes(bytes))?;
        }
        (ColumnType::Numeric, Value::Decimal(v)) => {
            let (digits, scale) = v.as_bigint_and_scale();
            let scale = numbers::checked_scale(scale).ok_or("more digits than NUMERIC has")?;
            buffer.put_long(scale);
            buffer.put_bytes(&digits.to_signed_bytes_be());
        }
        (ColumnType::Decimal { .. } | ColumnType::Numeric, Value::NumericSpecial(special)) => {
            return Err(match special {
                NumericSpecial::NaN => "NaN has no Avro decimal",
                NumericSpecial::Infinity | NumericSpecial::NegativeInfinity => "infinity has no Avro decimal",
            });
        }
        (ColumnType::Text, Value::Text(v)) | (ColumnType::Json, Value::Json(v)) => buffer.put_text(v),
        (ColumnType::Bytes, Value::Bytes(v)) => buffer.put_bytes(v),
        (ColumnType::Date, Value::Date(v)) => buffer.put_long(i64::from(*v)),
        (ColumnType::Time, Value::Time(v))
        | (ColumnType::Timestamp, Value::Timestamp(v))
        | (ColumnType::TimestampTz, Value::TimestampTz(v)) => buffer.put_long(*v),
        (ColumnType::Uuid, Value::Uuid(v)) => {
            buffer.put_text(v.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
        }
        (ColumnType::Array(items_type), Value::Array(items)) => {
            if !items.is_empty() {
                buffer.put_long(items.len().cast_signed() as i64);
            }
            for item in items {
                if item.is_null() {
                    buffer.put_long(NULL);
                } else {
                    buffer.put_long(SOME);
                    put_value(buffer, items_type, item)?;
                }
            }
            buffer.put_long(0);
        }
        (_, Value::Null) => return Err("null in a column of the key"),
        (
            ColumnType::Bool
            | ColumnType::Int16
            | ColumnType::Int32
            | ColumnType::Int64
            | ColumnType::Float32
            | ColumnType::Float64
            | ColumnType::Decimal { .. }
            | ColumnType::Numeric
            | ColumnType::Text
            | ColumnType::Bytes
            | ColumnType::Date
            | ColumnType::Time
            | ColumnType::Timestamp
            | ColumnType::TimestampTz
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::Array(_),
            _,
        ) => return Err("value is of another type than the column"),
    }
    Ok(())
}

fn mismatch(schema: &TableSchema, problem: &str) -> CodecError {
    CodecError::Row { table: schema.table.to_string(), problem: problem.to_owned() }
}
