//! One value of one column, as every codec and store of the platform understands it.
//!
//! Invariant: no value is ever rounded in silence. Decimals are exact; what a target cannot hold
//! is an error there, never an approximation.

use bigdecimal::BigDecimal;
use serde::{Deserialize, Serialize};

/// A row: one value a column, in the order of [`crate::TableSchema::columns`].
pub type Row = Vec<Value>;

/// A value. Times are microseconds since 1970-01-01T00:00:00Z; `i64::MAX` and `i64::MIN` are
/// PostgreSQL's `infinity` and `-infinity`, as are `i32::MAX` and `i32::MIN` for dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Exact, any precision.
    Decimal(BigDecimal),
    /// NUMERIC `NaN`, `Infinity` or `-Infinity`, which no decimal type can hold.
    NumericSpecial(NumericSpecial),
    Text(String),
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Local time without zone: microseconds since 1970-01-01T00:00:00.
    Timestamp(i64),
    /// An instant: microseconds since 1970-01-01T00:00:00Z.
    TimestampTz(i64),
    Uuid(uuid::Uuid),
    /// A JSON document as its text.
    Json(String),
    Array(Vec<Value>),
}

/// The NUMERIC values that are not numbers on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumericSpecial {
    NaN,
    Infinity,
    NegativeInfinity,
}

impl Value {
    /// True for SQL NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value as people and keys write it: decimals plain, times in RFC 3339 with microseconds,
    /// bytes in hexadecimal, arrays and JSON as JSON text. Null is the empty string.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Bool(v) => v.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Float(v) => v.to_string(),
            Value::Decimal(v) => v.to_plain_string(),
            Value::NumericSpecial(NumericSpecial::NaN) => "NaN".to_owned(),
            Value::NumericSpecial(NumericSpecial::Infinity) => "Infinity".to_owned(),
            Value::NumericSpecial(NumericSpecial::NegativeInfinity) => "-Infinity".to_owned(),
            Value::Text(v) | Value::Json(v) => v.clone(),
            Value::Bytes(v) => hex::encode(v),
            Value::Date(v) => crate::time::format_date(*v),
            Value::Time(v) => crate::time::format_time(*v),
            Value::Timestamp(v) => crate::time::format_micros(*v, false),
            Value::TimestampTz(v) => crate::time::format_micros(*v, true),
            Value::Uuid(v) => v.to_string(),
            Value::Array(_) => self.to_json().to_string(),
        }
    }

    /// The value as JSON. Decimals and 64-bit integers keep every digit (arbitrary precision
    /// numbers); times are RFC 3339 text; floats that JSON cannot hold are text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(v) => (*v).into(),
            Value::Int(v) => (*v).into(),
            Value::Float(v) => serde_json::Number::from_f64(*v)
                .map_or_else(|| serde_json::Value::String(v.to_string()), serde_json::Value::Number),
            Value::Decimal(v) => v
                .to_plain_string()
                .parse::<serde_json::Number>()
                .map_or_else(|_| v.to_plain_string().into(), serde_json::Value::Number),
            Value::Json(v) => serde_json::from_str(v).unwrap_or_else(|_| v.clone().into()),
            Value::Array(items) => items.iter().map(Value::to_json).collect(),
            Value::NumericSpecial(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::TimestampTz(_)
            | Value::Uuid(_) => self.to_text().into(),
        }
    }
}
