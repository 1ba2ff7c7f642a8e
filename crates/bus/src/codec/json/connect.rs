//! Rows with Kafka Connect's own schema beside them: JSON with `schemas.enable=true`.
//!
//! The schema says what `source.columns` says in our own records: the type of each column, and in which
//! form its values come. Sources: Kafka Connect, `JsonConverter`; Debezium, "PostgreSQL connector: data type
//! mappings". What is not known here is read as its base type, a structure as JSON.

use super::read::value_of;
use crate::codec::numbers;
use affluent_model::{Column, ColumnType, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::num_bigint::BigInt;
use serde_json::{Map, Value as Json};

/// Arrays in arrays that are followed.
const MAX_DEPTH: usize = 8;

/// In which form the values of a column come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// As in our own records.
    Plain,
    /// Base64 of the unscaled number, big endian.
    Unscaled {
        scale: i64,
    },
    /// A structure of the scale and the unscaled number.
    VariableScale,
    /// A count of so many microseconds.
    Units(i64),
    Array(Box<Form>),
}

/// The columns of a row, and how its values are read.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) columns: Vec<Column>,
    forms: Vec<Form>,
}

impl Described {
    /// What the schema of a document says of the rows of its envelope; `None` without one, or where it
    /// describes no row.
    pub(crate) fn of(document: &Json) -> Option<Self> {
        let fields = document.get("schema")?.get("fields")?.as_array()?;
        let row = ["after", "before"].iter().find_map(|name| {
            let row = fields.iter().find(|field| text(field, "field") == *name)?;
            row.get("fields")?.as_array()
        })?;
        let (mut columns, mut forms) = (Vec::with_capacity(row.len()), Vec::with_capacity(row.len()));
        for field in row {
            let (column_type, form) = typed(field, 0)?;
            let nullable = field.get("optional").and_then(Json::as_bool).unwrap_or(false);
            columns.push(Column { name: text(field, "field").to_owned(), column_type, nullable });
            forms.push(form);
        }
        Some(Described { columns, forms })
    }

    /// The value of the column at `index`.
    pub(crate) fn value(&self, index: usize, json: &Json) -> Option<Value> {
        read(json, &self.columns[index].column_type, &self.forms[index])
    }
}

fn text<'a>(field: &'a Json, name: &str) -> &'a str {
    field.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn typed(field: &Json, depth: usize) -> Option<(ColumnType, Form)> {
    let plain = |column_type| Some((column_type, Form::Plain));
    match (text(field, "type"), text(field, "name")) {
        ("boolean", _) => plain(ColumnType::Bool),
        ("int8" | "int16", _) => plain(ColumnType::Int16),
        ("int32", "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date") => plain(ColumnType::Date),
        ("int32", "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time") => {
            Some((ColumnType::Time, Form::Units(1_000)))
        }
        ("int32", _) => plain(ColumnType::Int32),
        ("int64", "io.debezium.time.MicroTime") => plain(ColumnType::Time),
        ("int64", "io.debezium.time.MicroTimestamp") => plain(ColumnType::Timestamp),
        ("int64", "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp") => {
            Some((ColumnType::Timestamp, Form::Units(1_000)))
        }
        ("int64", _) => plain(ColumnType::Int64),
        ("float", _) => plain(ColumnType::Float32),
        ("double", _) => plain(ColumnType::Float64),
        ("bytes", "org.apache.kafka.connect.data.Decimal") => decimal(field),
        ("bytes", _) => plain(ColumnType::Bytes),
        ("string", "io.debezium.time.ZonedTimestamp") => plain(ColumnType::TimestampTz),
        ("string", "io.debezium.data.Uuid") => plain(ColumnType::Uuid),
        ("string", "io.debezium.data.Json") => plain(ColumnType::Json),
        ("string", _) => plain(ColumnType::Text),
        ("struct", "io.debezium.data.VariableScaleDecimal") => {
            Some((ColumnType::Numeric, Form::VariableScale))
        }
        ("struct" | "map", _) => plain(ColumnType::Json),
        ("array", _) if depth < MAX_DEPTH => {
            let (items, form) = typed(field.get("items")?, depth + 1)?;
            Some((ColumnType::Array(Box::new(items)), Form::Array(Box::new(form))))
        }
        _ => None,
    }
}

/// Connect names the scale; the precision is Debezium's.
fn decimal(field: &Json) -> Option<(ColumnType, Form)> {
    let parameter = |name: &str| field.get("parameters")?.get(name)?.as_str()?.parse::<u32>().ok();
    let scale = parameter("scale")?;
    let form = Form::Unscaled { scale: i64::from(scale) };
    let precision = parameter("connect.decimal.precision").filter(|&p| (scale.max(1)..=1_000).contains(&p));
    Some(match precision {
        Some(precision) => (ColumnType::Decimal { precision, scale }, form),
        None => (ColumnType::Numeric, form),
    })
}

fn read(json: &Json, column_type: &ColumnType, form: &Form) -> Option<Value> {
    match form {
        Form::Plain => value_of(json, column_type),
        Form::Unscaled { scale } => match json {
            Json::String(text) => unscaled(text, *scale),
            // decimal.format = NUMERIC
            number => value_of(number, column_type),
        },
        Form::VariableScale => {
            let object: &Map<String, Json> = json.as_object()?;
            unscaled(object.get("value")?.as_str()?, object.get("scale")?.as_i64()?)
        }
        Form::Units(micros) => {
            let micros = json.as_i64()?.checked_mul(*micros)?;
            value_of(&Json::from(micros), column_type)
        }
        Form::Array(items) => {
            let ColumnType::Array(items_type) = column_type else { return None };
            let item = |json: &Json| match json {
                Json::Null => Some(Value::Null),
                json => read(json, items_type, items),
            };
            Some(Value::Array(json.as_array()?.iter().map(item).collect::<Option<_>>()?))
        }
    }
}

fn unscaled(base64: &str, scale: i64) -> Option<Value> {
    let bytes = BASE64.decode(base64).ok()?;
    numbers::bounded(BigInt::from_signed_bytes_be(&bytes), scale).map(Value::Decimal)
}
