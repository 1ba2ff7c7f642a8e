//! Reading JSON envelopes, by the types they bring or by guessing.

use crate::codec::envelope::{Envelope, SourceFields};
use crate::codec::{numbers, text};
use affluent_model::value::NumericSpecial;
use affluent_model::{Column, ColumnType, Row, Transaction, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// The envelope in this document, `None` if it is none. A document with `schema` and `payload`
/// (`schemas.enable=true`) is read by its payload.
pub(crate) fn envelope_of(document: &Json) -> Option<&Map<String, Json>> {
    let object = document.as_object()?;
    let object = match (object.get("schema"), object.get("payload")) {
        (Some(_), Some(payload)) => payload.as_object()?,
        _ => object,
    };
    let is_envelope = ["op", "source"].iter().all(|name| object.contains_key(*name))
        && ["before", "after"].iter().any(|name| object.contains_key(*name));
    is_envelope.then_some(object)
}

/// The columns that `source.columns` declares, or those that the rows look like having.
pub(crate) fn columns(envelope: &Map<String, Json>) -> Option<Vec<Column>> {
    if let Some(declared) = envelope.get("source").and_then(|source| source.get("columns")) {
        return super::types::columns(declared.as_object()?);
    }
    let rows = [envelope.get("after"), envelope.get("before")];
    let rows: Vec<_> = rows.into_iter().flatten().filter_map(Json::as_object).collect();
    let mut names = BTreeSet::new();
    let mut columns = Vec::new();
    for (name, value) in rows.iter().copied().flatten() {
        if names.insert(name) {
            columns.push(Column { name: name.clone(), column_type: guess(value), nullable: true });
        }
    }
    Some(columns)
}

fn guess(value: &Json) -> ColumnType {
    match value {
        Json::Bool(_) => ColumnType::Bool,
        Json::Number(number) if number.is_i64() => ColumnType::Int64,
        Json::Number(_) => ColumnType::Float64,
        Json::Null | Json::String(_) => ColumnType::Text,
        Json::Array(_) | Json::Object(_) => ColumnType::Json,
    }
}

/// The names of the key's columns, in order.
pub(crate) fn key_names(key: &Json) -> Vec<String> {
    let object = match key.get("payload") {
        Some(Json::Object(payload)) => Some(payload),
        _ => key.as_object(),
    };
    object.map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

/// Reads the envelope, the values of each column by `value`; says in words what is wrong with it.
pub(crate) fn envelope<'a>(
    object: &'a Map<String, Json>,
    columns: &[Column],
    value: impl Fn(usize, &Json) -> Option<Value>,
) -> Result<Envelope<'a>, String> {
    let source = object.get("source").and_then(Json::as_object).ok_or("source is no object")?;
    let text = |name: &str| source.get(name).and_then(Json::as_str);
    let long = |name: &str| source.get(name).and_then(Json::as_i64);
    let transaction = object.get("transaction").filter(|transaction| !transaction.is_null());
    let unchanged = object.get("unchanged").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Envelope {
        before: row(object.get("before"), columns, &value)?,
        after: row(object.get("after"), columns, &value)?,
        source: SourceFields {
            name: text("name"),
            database: text("db"),
            snapshot: text("snapshot"),
            ts_ms: long("ts_ms"),
            ts_us: long("ts_us"),
            schema: text("schema"),
            table: text("table"),
            tx_id: long("txId"),
            lsn: source.get("lsn").and_then(|lsn| lsn.as_i64().or(lsn.as_u64().map(u64::cast_signed))),
            position: text("position"),
        },
        transaction: transaction.map(transaction_of).transpose()?,
        op: object.get("op").and_then(Json::as_str),
        ts_ms: object.get("ts_ms").and_then(Json::as_i64),
        ts_us: object.get("ts_us").and_then(Json::as_i64),
        unchanged: unchanged.iter().filter_map(Json::as_str).collect(),
    })
}

fn transaction_of(json: &Json) -> Result<Transaction, String> {
    let number = |name: &str| json.get(name).and_then(Json::as_u64).unwrap_or(0);
    Ok(Transaction {
        id: json.get("id").and_then(Json::as_str).ok_or("transaction without an id")?.to_owned(),
        total_order: number("total_order"),
        data_collection_order: number("data_collection_order"),
    })
}

fn row(
    json: Option<&Json>,
    columns: &[Column],
    value_of: &impl Fn(usize, &Json) -> Option<Value>,
) -> Result<Option<Row>, String> {
    let object = match json {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Object(object)) => object,
        Some(_) => return Err("row is no object".to_owned()),
    };
    let value = |(index, column): (usize, &Column)| match object.get(&column.name) {
        None | Some(Json::Null) => Ok(Value::Null),
        Some(json) => {
            value_of(index, json).ok_or_else(|| format!("column {} is not what its type says", column.name))
        }
    };
    columns.iter().enumerate().map(value).collect::<Result<_, _>>().map(Some)
}

/// A value as our own records have it.
pub(crate) fn value_of(json: &Json, column_type: &ColumnType) -> Option<Value> {
    Some(match column_type {
        ColumnType::Bool => Value::Bool(json.as_bool()?),
        ColumnType::Int16 => Value::Int(json.as_i64().filter(|&v| i16::try_from(v).is_ok())?),
        ColumnType::Int32 => Value::Int(json.as_i64().filter(|&v| i32::try_from(v).is_ok())?),
        ColumnType::Int64 => Value::Int(json.as_i64()?),
        ColumnType::Float32 | ColumnType::Float64 => Value::Float(match json.as_str() {
            Some("NaN") => f64::NAN,
            Some("Infinity") => f64::INFINITY,
            Some("-Infinity") => f64::NEG_INFINITY,
            Some(_) => return None,
            None => json.as_f64().filter(|v| v.is_finite())?,
        }),
        ColumnType::Decimal { .. } | ColumnType::Numeric => match json {
            Json::String(text) => match text.as_str() {
                "NaN" => Value::NumericSpecial(NumericSpecial::NaN),
                "Infinity" => Value::NumericSpecial(NumericSpecial::Infinity),
                "-Infinity" => Value::NumericSpecial(NumericSpecial::NegativeInfinity),
                text => Value::Decimal(numbers::parse(text)?),
            },
            Json::Number(number) => Value::Decimal(numbers::parse(&number.to_string())?),
            _ => return None,
        },
        ColumnType::Text => Value::Text(json.as_str()?.to_owned()),
        ColumnType::Bytes => Value::Bytes(BASE64.decode(json.as_str()?).ok()?),
        ColumnType::Date => Value::Date(i32::try_from(json.as_i64()?).ok()?),
        ColumnType::Time => Value::Time(json.as_i64()?),
        ColumnType::Timestamp => Value::Timestamp(json.as_i64()?),
        ColumnType::TimestampTz => Value::TimestampTz(text::parse_zoned(json.as_str()?)?),
        ColumnType::Uuid => Value::Uuid(json.as_str()?.parse().ok()?),
        ColumnType::Json => Value::Json(match json {
            Json::String(text) => text.clone(),
            document => document.to_string(),
        }),
        ColumnType::Array(items_type) => {
            let item = |json: &Json| match json {
                Json::Null => Some(Value::Null),
                json => value_of(json, items_type),
            };
            Value::Array(json.as_array()?.iter().map(item).collect::<Option<_>>()?)
        }
    })
}
