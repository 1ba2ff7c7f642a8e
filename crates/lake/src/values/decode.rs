//! Arrow arrays to values: the way back of `encode`.

use crate::LakeError;
use affluent_model::{Row, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use bigdecimal::BigDecimal;

/// The rows of a batch, one value a column.
pub(crate) fn rows(batch: &RecordBatch) -> Result<Vec<Row>, LakeError> {
    let mut rows: Vec<Row> = (0..batch.num_rows()).map(|_| Vec::with_capacity(batch.num_columns())).collect();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        for (index, row) in rows.iter_mut().enumerate() {
            row.push(value(array.as_ref(), index).ok_or_else(|| LakeError::Malformed {
                what: format!("column {}", field.name()),
                error: format!("type {} is not read here", array.data_type()),
            })?);
        }
    }
    Ok(rows)
}

/// `None` for a type that the lake never writes.
fn value(array: &dyn Array, index: usize) -> Option<Value> {
    if array.is_null(index) {
        return Some(Value::Null);
    }
    Some(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(index)),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(index).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(index)),
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(index).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(index)),
        DataType::Decimal128(_, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(index);
            Value::Decimal(BigDecimal::new(unscaled.into(), i64::from(*scale)))
        }
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(index).to_owned()),
        DataType::LargeUtf8 => Value::Text(array.as_string::<i64>().value(index).to_owned()),
        DataType::Utf8View => Value::Text(array.as_string_view().value(index).to_owned()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(index).to_vec()),
        DataType::LargeBinary => Value::Bytes(array.as_binary::<i64>().value(index).to_vec()),
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(index)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Value::Time(array.as_primitive::<Time64MicrosecondType>().value(index))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(index);
            if zone.is_some() { Value::TimestampTz(micros) } else { Value::Timestamp(micros) }
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(index);
            Value::Array((0..items.len()).map(|item| value(items.as_ref(), item)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
