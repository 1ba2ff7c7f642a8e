//! Values to Arrow arrays, exactly or not at all.

use crate::values::convert::{
    kind, present, to_bool, to_bytes, to_days, to_f32, to_f64, to_i32, to_i64, to_i128, to_micros, to_text,
    to_time,
};
use crate::values::schema;
use crate::values::types::{MICROS_A_DAY, iceberg_type};
use crate::{LakeError, Misfit, RowBatch};
use affluent_model::{ColumnType, Row, Value};
use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int32Builder,
    Int64Builder, LargeBinaryBuilder, StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, ListArray, RecordBatch};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, SchemaRef};
use iceberg::spec::{PrimitiveType, Schema, Type};
use std::sync::Arc;

/// Rows that are turned into columns together.
const BLOCK_ROWS: usize = 256;

/// Whether `value` goes exactly into a lake column of `column_type`.
///
/// # Errors
/// [`Misfit`] says why not.
pub fn fits(value: &Value, column_type: &ColumnType) -> Result<(), Misfit> {
    check(value, &iceberg_type(column_type, &mut || 0))
}

/// The text of a value that is legal at the source and that the lake's column type has no place
/// for: `infinity` as a date or timestamp, the time `24:00:00`, an array that holds one of these or
/// has more than one dimension. The sink stores null in the column and this text beside it.
#[must_use]
pub fn unrepresentable(value: &Value, column_type: &ColumnType) -> Option<String> {
    let special = match (value, column_type) {
        (Value::Timestamp(micros) | Value::TimestampTz(micros), _) => {
            matches!(*micros, i64::MAX | i64::MIN)
        }
        (Value::Date(days), _) => matches!(*days, i32::MAX | i32::MIN),
        (Value::Time(micros), _) => *micros == MICROS_A_DAY,
        (Value::Array(items), ColumnType::Array(element)) => items.iter().any(|item| {
            matches!(item, Value::Array(_)) && !matches!(**element, ColumnType::Array(_))
                || unrepresentable(item, element).is_some()
        }),
        _ => false,
    };
    special.then(|| value.to_text())
}

/// The batch in the table's own columns, matched by the source's names; columns that the batch
/// lacks are null.
///
/// # Errors
/// [`LakeError::Value`] names the first row and column that do not fit,
/// [`LakeError::NoColumn`] a column that the table lacks.
pub(crate) fn record_batch(
    table: &str,
    stored: &Schema,
    arrow: &SchemaRef,
    batch: &RowBatch,
    rows: &[Row],
) -> Result<RecordBatch, LakeError> {
    let fields = stored.as_struct().fields();
    let mut sources = vec![None; fields.len()];
    for (index, column) in batch.columns.iter().enumerate() {
        let target = schema::find(fields, &column.name)
            .ok_or_else(|| LakeError::NoColumn { table: table.to_owned(), column: column.name.clone() })?;
        sources[target] = Some(index);
    }
    let mut columns = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        columns.push(Column::new(arrow.field(index), &field.field_type, rows.len())?);
    }
    // Column by column, but of few rows at a time: they stay in the processor's cache meanwhile.
    for (block_index, block) in rows.chunks(BLOCK_ROWS).enumerate() {
        for ((column, field), source) in columns.iter_mut().zip(fields).zip(&sources) {
            for (row_index, row) in block.iter().enumerate() {
                let value = source.and_then(|source| row.get(source)).unwrap_or(&Value::Null);
                let appended =
                    if value.is_null() && field.required { Err(Misfit::Null) } else { column.append(value) };
                appended.map_err(|misfit| LakeError::Value {
                    row: block_index * BLOCK_ROWS + row_index,
                    column: field.name.clone(),
                    misfit,
                })?;
            }
        }
    }
    let arrays: Vec<ArrayRef> = columns.into_iter().map(Column::finish).collect();
    Ok(RecordBatch::try_new(Arc::clone(arrow), arrays)?)
}

/// One column under construction.
enum Column {
    Bool(BooleanBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u32, u32),
    Text(StringBuilder),
    Bytes(LargeBinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder, bool),
    /// Elements and the length of each list; `None` is a null list.
    List(Box<Column>, FieldRef, Vec<Option<usize>>),
}

impl Column {
    fn new(field: &Field, stored: &Type, capacity: usize) -> Result<Self, LakeError> {
        let unsupported = || LakeError::Malformed {
            what: format!("column {}", field.name()),
            error: format!("type {stored} is not written here"),
        };
        let primitive = match stored {
            Type::Primitive(primitive) => primitive,
            Type::List(list) => {
                let (DataType::List(element) | DataType::LargeList(element)) = field.data_type() else {
                    return Err(unsupported());
                };
                let items = Column::new(element, &list.element_field.field_type, capacity)?;
                return Ok(Column::List(Box::new(items), Arc::clone(element), Vec::with_capacity(capacity)));
            }
            _ => return Err(unsupported()),
        };
        Ok(match primitive {
            PrimitiveType::Boolean => Column::Bool(BooleanBuilder::with_capacity(capacity)),
            PrimitiveType::Int => Column::Int(Int32Builder::with_capacity(capacity)),
            PrimitiveType::Long => Column::Long(Int64Builder::with_capacity(capacity)),
            PrimitiveType::Float => Column::Float(Float32Builder::with_capacity(capacity)),
            PrimitiveType::Double => Column::Double(Float64Builder::with_capacity(capacity)),
            &PrimitiveType::Decimal { precision, scale } => {
                let builder = Decimal128Builder::with_capacity(capacity);
                Column::Decimal(builder.with_data_type(field.data_type().clone()), precision, scale)
            }
            PrimitiveType::String => Column::Text(StringBuilder::new()),
            PrimitiveType::Binary => Column::Bytes(LargeBinaryBuilder::new()),
            PrimitiveType::Date => Column::Date(Date32Builder::with_capacity(capacity)),
            PrimitiveType::Time => Column::Time(Time64MicrosecondBuilder::with_capacity(capacity)),
            PrimitiveType::Timestamp | PrimitiveType::Timestamptz => {
                let builder = TimestampMicrosecondBuilder::with_capacity(capacity);
                let zoned = matches!(primitive, PrimitiveType::Timestamptz);
                Column::Timestamp(builder.with_data_type(field.data_type().clone()), zoned)
            }
            _ => return Err(unsupported()),
        })
    }

    fn append(&mut self, value: &Value) -> Result<(), Misfit> {
        match self {
            Column::Bool(builder) => builder.append_option(present(value, to_bool)?),
            Column::Int(builder) => builder.append_option(present(value, to_i32)?),
            Column::Long(builder) => builder.append_option(present(value, to_i64)?),
            Column::Float(builder) => builder.append_option(present(value, to_f32)?),
            Column::Double(builder) => builder.append_option(present(value, to_f64)?),
            Column::Decimal(builder, precision, scale) => {
                builder.append_option(present(value, |value| to_i128(value, *precision, *scale))?);
            }
            Column::Text(builder) => builder.append_option(present(value, to_text)?),
            Column::Bytes(builder) => builder.append_option(present(value, to_bytes)?),
            Column::Date(builder) => builder.append_option(present(value, to_days)?),
            Column::Time(builder) => builder.append_option(present(value, to_time)?),
            Column::Timestamp(builder, zoned) => {
                builder.append_option(present(value, |value| to_micros(value, *zoned))?);
            }
            Column::List(items, _, lengths) => match value {
                Value::Null => lengths.push(None),
                Value::Array(values) => {
                    for value in values {
                        items.append(value)?;
                    }
                    lengths.push(Some(values.len()));
                }
                other => return Err(kind(other, "list")),
            },
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Column::Bool(mut builder) => Arc::new(builder.finish()),
            Column::Int(mut builder) => Arc::new(builder.finish()),
            Column::Long(mut builder) => Arc::new(builder.finish()),
            Column::Float(mut builder) => Arc::new(builder.finish()),
            Column::Double(mut builder) => Arc::new(builder.finish()),
            Column::Decimal(mut builder, _, _) => Arc::new(builder.finish()),
            Column::Text(mut builder) => Arc::new(builder.finish()),
            Column::Bytes(mut builder) => Arc::new(builder.finish()),
            Column::Date(mut builder) => Arc::new(builder.finish()),
            Column::Time(mut builder) => Arc::new(builder.finish()),
            Column::Timestamp(mut builder, _) => Arc::new(builder.finish()),
            Column::List(items, element, lengths) => {
                let nulls = NullBuffer::from(lengths.iter().map(Option::is_some).collect::<Vec<_>>());
                let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
                Arc::new(ListArray::new(element, offsets, items.finish(), Some(nulls)))
            }
        }
    }
}

/// The same rules as appending, without an array.
fn check(value: &Value, stored: &Type) -> Result<(), Misfit> {
    let primitive = match stored {
        Type::Primitive(primitive) => primitive,
        Type::List(list) => {
            return match value {
                Value::Null => Ok(()),
                Value::Array(items) => {
                    items.iter().try_for_each(|item| check(item, &list.element_field.field_type))
                }
                other => Err(kind(other, "list")),
            };
        }
        other => return Err(kind(value, &other.to_string())),
    };
    match primitive {
        PrimitiveType::Boolean => present(value, to_bool).map(drop),
        PrimitiveType::Int => present(value, to_i32).map(drop),
        PrimitiveType::Long => present(value, to_i64).map(drop),
        PrimitiveType::Float => present(value, to_f32).map(drop),
        PrimitiveType::Double => present(value, to_f64).map(drop),
        &PrimitiveType::Decimal { precision, scale } => {
            present(value, |value| to_i128(value, precision, scale)).map(drop)
        }
        PrimitiveType::String => present(value, to_text).map(drop),
        PrimitiveType::Binary => present(value, to_bytes).map(drop),
        PrimitiveType::Date => present(value, to_days).map(drop),
        PrimitiveType::Time => present(value, to_time).map(drop),
        PrimitiveType::Timestamp => present(value, |value| to_micros(value, false)).map(drop),
        PrimitiveType::Timestamptz => present(value, |value| to_micros(value, true)).map(drop),
        other => Err(kind(value, &other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::decode;
    use affluent_model::Column as Described;
    use affluent_model::value::NumericSpecial;
    use bigdecimal::BigDecimal;
    use iceberg::arrow::schema_to_arrow_schema;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Column types with values of the source's whole range, those that do not fit included.
    fn cells() -> impl Strategy<Value = (ColumnType, Vec<Value>)> {
        let scalar = prop_oneof![
            Just(ColumnType::Bool),
            Just(ColumnType::Int16),
            Just(ColumnType::Int64),
            Just(ColumnType::Float32),
            Just(ColumnType::Float64),
            (1_u32..=38, 0_u32..=38).prop_map(|(p, s)| ColumnType::Decimal { precision: p, scale: s.min(p) }),
            Just(ColumnType::Numeric),
            Just(ColumnType::Text),
            Just(ColumnType::Bytes),
            Just(ColumnType::Date),
            Just(ColumnType::Time),
            Just(ColumnType::Timestamp),
            Just(ColumnType::TimestampTz),
            Just(ColumnType::Uuid),
            Just(ColumnType::Json),
        ];
        let any_type = prop_oneof![
            4 => scalar.clone(),
            1 => scalar.prop_map(|element| ColumnType::Array(Box::new(element))),
        ];
        any_type.prop_flat_map(|column_type| {
            let value = prop_oneof![1 => Just(Value::Null), 9 => value_of(&column_type)];
            (Just(column_type), vec(value, 0..8))
        })
    }

    fn value_of(column_type: &ColumnType) -> BoxedStrategy<Value> {
        match column_type {
            ColumnType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
            ColumnType::Int16 => any::<i16>().prop_map(|v| Value::Int(v.into())).boxed(),
            ColumnType::Int32 => any::<i32>().prop_map(|v| Value::Int(v.into())).boxed(),
            ColumnType::Int64 => any::<i64>().prop_map(Value::Int).boxed(),
            ColumnType::Float32 => any::<f32>().prop_map(|v| Value::Float(v.into())).boxed(),
            ColumnType::Float64 => any::<f64>().prop_map(Value::Float).boxed(),
            ColumnType::Decimal { .. } | ColumnType::Numeric => prop_oneof![
                8 => (any::<i128>(), -5_i64..45, 0_u32..38)
                    .prop_map(|(v, s, cut)| decimal(v / 10_i128.pow(cut), s)),
                1 => Just(Value::NumericSpecial(NumericSpecial::NaN)),
            ]
            .boxed(),
            ColumnType::Text => ".{0,12}".prop_map(Value::Text).boxed(),
            ColumnType::Json => Just(Value::Json("{\"a\":[1]}".to_owned())).boxed(),
            ColumnType::Bytes => vec(any::<u8>(), 0..9).prop_map(Value::Bytes).boxed(),
            ColumnType::Date => prop_oneof![any::<i32>(), Just(i32::MAX)].prop_map(Value::Date).boxed(),
            ColumnType::Time => (0..=MICROS_A_DAY).prop_map(Value::Time).boxed(),
            ColumnType::Timestamp => {
                prop_oneof![any::<i64>(), Just(i64::MIN)].prop_map(Value::Timestamp).boxed()
            }
            ColumnType::TimestampTz => {
                prop_oneof![any::<i64>(), Just(i64::MAX)].prop_map(Value::TimestampTz).boxed()
            }
            ColumnType::Uuid => any::<u128>().prop_map(|v| Value::Uuid(uuid::Uuid::from_u128(v))).boxed(),
            ColumnType::Array(element) => {
                let item = prop_oneof![1 => Just(Value::Null), 4 => value_of(element)];
                vec(item, 0..4).prop_map(Value::Array).boxed()
            }
        }
    }

    fn decimal(unscaled: i128, scale: i64) -> Value {
        Value::Decimal(BigDecimal::new(unscaled.into(), scale))
    }

    /// What the value is after the round trip: text where the lake keeps text.
    fn kept(value: &Value) -> Value {
        match value {
            Value::Uuid(_) | Value::Json(_) => Value::Text(value.to_text()),
            Value::Array(items) => Value::Array(items.iter().map(kept).collect()),
            other => other.clone(),
        }
    }

    fn equal(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            // The same number or, in text columns, the same text.
            (Value::Decimal(_) | Value::NumericSpecial(_), Value::Text(b)) => a.to_text() == *b,
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
            }
            _ => a == b,
        }
    }

    proptest! {
        #[test]
        fn a_value_that_fits_comes_back_and_any_other_is_refused((column_type, values) in cells()) {
            let column = Described { name: "c".into(), column_type: column_type.clone(), nullable: true };
            let schema = schema::create("t", std::slice::from_ref(&column)).unwrap();
            let arrow = Arc::new(schema_to_arrow_schema(&schema).unwrap());
            let fitting: Vec<Row> = values
                .iter()
                .filter(|value| fits(value, &column_type).is_ok())
                .map(|value| vec![value.clone()])
                .collect();
            let batch = RowBatch { columns: [column].into(), rows: Vec::new() };
            let encoded = record_batch("t", &schema, &arrow, &batch, &fitting).unwrap();
            let decoded = decode::rows(&encoded).unwrap();
            prop_assert_eq!(decoded.len(), fitting.len());
            for (row, back) in fitting.iter().zip(&decoded) {
                prop_assert!(equal(&kept(&row[0]), &back[0]), "{:?} -> {:?}", row, back);
            }
            for value in values.iter().filter(|value| fits(value, &column_type).is_err()) {
                let row = vec![value.clone()];
                prop_assert!(record_batch("t", &schema, &arrow, &batch, &[row]).is_err());
            }
        }

        #[test]
        fn decimals_fit_exactly_or_not_at_all(unscaled: i128, own in 0_i64..40, scale in 0_u32..=38) {
            let value = BigDecimal::new(unscaled.into(), own);
            match to_i128(&Value::Decimal(value.clone()), 38, scale) {
                Ok(found) => {
                    prop_assert_eq!(BigDecimal::new(found.into(), i64::from(scale)), value);
                }
                Err(_) => {
                    let scaled = value.with_scale(i64::from(scale));
                    let digits = scaled.as_bigint_and_scale().0.magnitude().to_string().len();
                    prop_assert!(scaled != value || digits > 38);
                }
            }
        }
    }

    #[test]
    fn what_no_type_holds_is_told_from_what_is_out_of_range() {
        let timestamp = ColumnType::TimestampTz;
        let dates = ColumnType::Array(Box::new(ColumnType::Date));
        let texts = ColumnType::Array(Box::new(ColumnType::Text));
        let text = |text: &str| Value::Text(text.to_owned());
        for (value, column_type, expected) in [
            (Value::TimestampTz(i64::MAX), &timestamp, Some("infinity")),
            (Value::TimestampTz(0), &timestamp, None),
            (Value::Time(MICROS_A_DAY), &ColumnType::Time, Some("24:00:00.000000")),
            (Value::Array(vec![Value::Date(i32::MIN)]), &dates, Some("[\"-infinity\"]")),
            (Value::Array(vec![Value::Date(1)]), &dates, None),
            (Value::Array(vec![Value::Array(vec![text("x")])]), &texts, Some("[[\"x\"]]")),
            (Value::Array(vec![text("x")]), &texts, None),
        ] {
            assert_eq!(unrepresentable(&value, column_type).as_deref(), expected, "{value:?}");
            assert_eq!(fits(&value, column_type).is_ok(), expected.is_none(), "{value:?}");
        }
    }
}
