//! Column types: of a query's result as lake columns, and of the names that a header gives.

use affluent_model::{Column, ColumnType};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use std::sync::Arc;

/// The lake columns of a result; all may be null.
///
/// # Errors
/// The column that no lake type holds, and what to do.
pub(crate) fn of_result(schema: &Schema) -> Result<Vec<Column>, String> {
    schema.fields().iter().map(|field| of_field(field)).collect()
}

fn of_field(field: &Field) -> Result<Column, String> {
    let name = field.name().clone();
    let column_type = of_type(field.data_type()).ok_or_else(|| {
        format!("column {name} is of type {}, which no column of the lake has: cast it", field.data_type())
    })?;
    Ok(Column { name, column_type, nullable: true })
}

fn of_type(data_type: &DataType) -> Option<ColumnType> {
    Some(match data_type {
        DataType::Boolean => ColumnType::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            ColumnType::Int32
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => ColumnType::Int64,
        DataType::Float32 => ColumnType::Float32,
        DataType::Float64 => ColumnType::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            let scale = u32::try_from(*scale).ok()?;
            ColumnType::Decimal { precision: u32::from(*precision), scale }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnType::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ColumnType::Bytes,
        DataType::Date32 => ColumnType::Date,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => ColumnType::Time,
        DataType::Timestamp(_, None) => ColumnType::Timestamp,
        DataType::Timestamp(_, Some(_)) => ColumnType::TimestampTz,
        DataType::List(element) | DataType::LargeList(element) => {
            ColumnType::Array(Box::new(of_type(element.data_type())?))
        }
        DataType::Dictionary(_, value) => of_type(value)?,
        _ => return None,
    })
}

/// The Arrow type of a type's name in a header, as raw tables are read: `bigint`, `decimal(18,4)`, `text[]`.
pub(crate) fn named(name: &str) -> Option<DataType> {
    let name = name.trim().to_lowercase();
    if let Some(element) = name.strip_suffix("[]") {
        return Some(DataType::List(Arc::new(Field::new("element", named(element)?, true))));
    }
    if let Some(digits) = name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        let (precision, scale) = digits.split_once(',')?;
        let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        let fits = (1..=38).contains(&precision) && (0..=38).contains(&scale);
        return fits.then_some(DataType::Decimal128(precision, scale));
    }
    Some(match name.as_str() {
        "boolean" => DataType::Boolean,
        "smallint" | "int" | "integer" => DataType::Int32,
        "bigint" => DataType::Int64,
        "real" => DataType::Float32,
        "double" => DataType::Float64,
        "text" | "uuid" | "json" => DataType::Utf8,
        "bytes" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" | "timestamp with time zone" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        }
        _ => return None,
    })
}

/// The lake column of a name and a type's name, as [`named`] knows it.
pub(crate) fn of_named(name: &str, data_type: &str) -> Option<Column> {
    let column_type = of_type(&named(data_type)?)?;
    Some(Column { name: name.to_owned(), column_type, nullable: true })
}

/// The names that [`named`] knows, for messages.
pub(crate) const NAMES: &str = "boolean, smallint, int, bigint, real, double, decimal(p,s), text, uuid, json, bytes, \
                                date, timestamp, timestamptz, and each with [] behind it";

/// The columns that every raw table of changes has beside the source's own.
pub(crate) const CHANGES: &[(&str, &str)] = &[
    ("_op", "text"),
    ("_lsn", "bigint"),
    ("_ordinal", "bigint"),
    ("_tx_id", "bigint"),
    ("_commit_ts", "timestamptz"),
    ("_snapshot", "boolean"),
    ("_before", "json"),
    ("_special", "json"),
    ("_kafka_topic", "text"),
    ("_kafka_partition", "integer"),
    ("_kafka_offset", "bigint"),
    ("_kafka_ts", "timestamptz"),
    ("_unchanged", "text[]"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_there_and_back() {
        for (name, expected) in [
            ("bigint", ColumnType::Int64),
            ("Decimal(18, 4)", ColumnType::Decimal { precision: 18, scale: 4 }),
            ("text[]", ColumnType::Array(Box::new(ColumnType::Text))),
            ("timestamptz", ColumnType::TimestampTz),
            ("json", ColumnType::Text),
        ] {
            assert_eq!(of_type(&named(name).unwrap()), Some(expected), "{name}");
        }
        assert_eq!(named("money"), None);
        assert_eq!(named("decimal(40,2)"), None);
        assert!(CHANGES.iter().all(|(_, name)| named(name).is_some()));
        let odd = Schema::new(vec![Field::new("n", DataType::Null, true)]);
        assert!(of_result(&odd).unwrap_err().contains("column n"));
    }
}
