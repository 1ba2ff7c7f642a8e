//! Column types as short texts: `int64`, `decimal(18,4)`, `text[]`; `!` after it means NOT NULL.

use affluent_model::{Column, ColumnType};
use serde_json::{Map, Value as Json};

/// Brackets that a type may have; PostgreSQL's arrays are one type whatever their dimensions.
const MAX_ARRAY_DEPTH: usize = 8;

/// The columns as one JSON object, in order.
pub(crate) fn describe(columns: &[Column]) -> Json {
    let types = columns.iter().map(|column| {
        let mut text = type_name(&column.column_type);
        if !column.nullable {
            text.push('!');
        }
        (column.name.clone(), Json::String(text))
    });
    Json::Object(types.collect::<Map<_, _>>())
}

/// The columns of such an object.
pub(crate) fn columns(description: &Map<String, Json>) -> Option<Vec<Column>> {
    let column = |(name, text): (&String, &Json)| {
        let text = text.as_str()?;
        let (text, nullable) = text.strip_suffix('!').map_or((text, true), |text| (text, false));
        Some(Column { name: name.clone(), column_type: type_of(text, 0)?, nullable })
    };
    description.iter().map(column).collect()
}

fn type_name(column_type: &ColumnType) -> String {
    let simple = match column_type {
        ColumnType::Bool => "bool",
        ColumnType::Int16 => "int16",
        ColumnType::Int32 => "int32",
        ColumnType::Int64 => "int64",
        ColumnType::Float32 => "float32",
        ColumnType::Float64 => "float64",
        ColumnType::Decimal { precision, scale } => return format!("decimal({precision},{scale})"),
        ColumnType::Numeric => "numeric",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytes",
        ColumnType::Date => "date",
        ColumnType::Time => "time",
        ColumnType::Timestamp => "timestamp",
        ColumnType::TimestampTz => "timestamptz",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "json",
        ColumnType::Array(items) => return format!("{}[]", type_name(items)),
    };
    simple.to_owned()
}

fn type_of(text: &str, depth: usize) -> Option<ColumnType> {
    if let Some(items) = text.strip_suffix("[]") {
        let items = (depth < MAX_ARRAY_DEPTH).then(|| type_of(items, depth + 1)).flatten()?;
        return Some(ColumnType::Array(Box::new(items)));
    }
    if let Some(arguments) = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        let (precision, scale) = arguments.split_once(',')?;
        let (precision, scale) = (precision.parse().ok()?, scale.parse().ok()?);
        return (scale <= precision).then_some(ColumnType::Decimal { precision, scale });
    }
    Some(match text {
        "bool" => ColumnType::Bool,
        "int16" => ColumnType::Int16,
        "int32" => ColumnType::Int32,
        "int64" => ColumnType::Int64,
        "float32" => ColumnType::Float32,
        "float64" => ColumnType::Float64,
        "numeric" => ColumnType::Numeric,
        "text" => ColumnType::Text,
        "bytes" => ColumnType::Bytes,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time,
        "timestamp" => ColumnType::Timestamp,
        "timestamptz" => ColumnType::TimestampTz,
        "uuid" => ColumnType::Uuid,
        "json" => ColumnType::Json,
        _ => return None,
    })
}
