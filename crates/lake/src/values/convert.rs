//! One value as the type that a column of the lake has, exactly or not at all.

use crate::Misfit;
use crate::values::types::MICROS_A_DAY;
use affluent_model::Value;
use affluent_model::value::NumericSpecial;
use bigdecimal::BigDecimal;
use bigdecimal::ToPrimitive;
use bigdecimal::num_bigint::Sign;
use std::borrow::Cow;

pub(crate) fn present<'a, T>(
    value: &'a Value,
    convert: impl FnOnce(&'a Value) -> Result<T, Misfit>,
) -> Result<Option<T>, Misfit> {
    if value.is_null() { Ok(None) } else { convert(value).map(Some) }
}

pub(crate) fn to_bool(value: &Value) -> Result<bool, Misfit> {
    match value {
        Value::Bool(v) => Ok(*v),
        other => Err(kind(other, "boolean")),
    }
}

pub(crate) fn to_i32(value: &Value) -> Result<i32, Misfit> {
    match value {
        Value::Int(v) => i32::try_from(*v).map_err(|_| range(value, "int")),
        other => Err(kind(other, "int")),
    }
}

pub(crate) fn to_i64(value: &Value) -> Result<i64, Misfit> {
    match value {
        Value::Int(v) => Ok(*v),
        other => Err(kind(other, "long")),
    }
}

/// A value that came from a 4-byte float converts back without loss.
pub(crate) fn to_f32(value: &Value) -> Result<f32, Misfit> {
    match value {
        Value::Float(v) => {
            let narrow = *v as f32;
            let exact = f64::from(narrow) == *v || v.is_nan();
            if exact { Ok(narrow) } else { Err(range(value, "float")) }
        }
        other => Err(kind(other, "float")),
    }
}

pub(crate) fn to_f64(value: &Value) -> Result<f64, Misfit> {
    match value {
        Value::Float(v) => Ok(*v),
        other => Err(kind(other, "double")),
    }
}

/// The unscaled value; whatever needs more digits than the column has is out of range.
pub(crate) fn to_i128(value: &Value, precision: u32, scale: u32) -> Result<i128, Misfit> {
    let target = || format!("decimal({precision},{scale})");
    let decimal = match value {
        Value::Decimal(decimal) => decimal,
        Value::NumericSpecial(_) => return Err(range(value, &target())),
        other => return Err(kind(other, &target())),
    };
    let unscaled = unscaled(decimal, i64::from(scale)).ok_or_else(|| range(value, &target()))?;
    let bound = 10_u128.checked_pow(precision).unwrap_or(u128::MAX);
    if unscaled.unsigned_abs() < bound { Ok(unscaled) } else { Err(range(value, &target())) }
}

/// `decimal * 10^scale` where that is a whole number of 128 bits.
pub(crate) fn unscaled(decimal: &BigDecimal, scale: i64) -> Option<i128> {
    let (digits, own_scale) = decimal.as_bigint_and_scale();
    if digits.sign() == Sign::NoSign {
        return Some(0);
    }
    let (digits, own_scale) = match digits.to_i128() {
        Some(digits) => (digits, own_scale),
        None => {
            // Trailing zeros may be all that is too long.
            let (digits, own_scale) = decimal.normalized().into_bigint_and_scale();
            (digits.to_i128()?, own_scale)
        }
    };
    let shift = u32::try_from(scale.checked_sub(own_scale)?.unsigned_abs()).ok()?;
    let factor = 10_i128.checked_pow(shift);
    if scale >= own_scale {
        digits.checked_mul(factor?)
    } else {
        let factor = factor?;
        (digits % factor == 0).then(|| digits / factor)
    }
}

/// Text columns also hold what has no type of its own in the lake, in its exact text.
pub(crate) fn to_text(value: &Value) -> Result<Cow<'_, str>, Misfit> {
    match value {
        Value::Text(v) | Value::Json(v) => Ok(Cow::Borrowed(v)),
        Value::Uuid(_) | Value::Decimal(_) | Value::NumericSpecial(_) => Ok(Cow::Owned(value.to_text())),
        other => Err(kind(other, "string")),
    }
}

pub(crate) fn to_bytes(value: &Value) -> Result<&[u8], Misfit> {
    match value {
        Value::Bytes(v) => Ok(v),
        other => Err(kind(other, "binary")),
    }
}

pub(crate) fn to_days(value: &Value) -> Result<i32, Misfit> {
    match value {
        Value::Date(i32::MAX | i32::MIN) => Err(range(value, "date")),
        Value::Date(v) => Ok(*v),
        other => Err(kind(other, "date")),
    }
}

pub(crate) fn to_time(value: &Value) -> Result<i64, Misfit> {
    match value {
        Value::Time(v) if (0..MICROS_A_DAY).contains(v) => Ok(*v),
        Value::Time(_) => Err(range(value, "time")),
        other => Err(kind(other, "time")),
    }
}

pub(crate) fn to_micros(value: &Value, zoned: bool) -> Result<i64, Misfit> {
    match value {
        Value::Timestamp(micros) if !zoned => finite(value, *micros, "timestamp"),
        Value::TimestampTz(micros) if zoned => finite(value, *micros, "timestamptz"),
        other => Err(kind(other, if zoned { "timestamptz" } else { "timestamp" })),
    }
}

pub(crate) fn finite(value: &Value, micros: i64, target: &str) -> Result<i64, Misfit> {
    if matches!(micros, i64::MAX | i64::MIN) { Err(range(value, target)) } else { Ok(micros) }
}

pub(crate) fn kind(value: &Value, target: &str) -> Misfit {
    Misfit::Kind { kind: kind_name(value), target: target.to_owned() }
}

pub(crate) fn range(value: &Value, target: &str) -> Misfit {
    Misfit::Range { kind: kind_name(value), target: target.to_owned() }
}

pub(crate) fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Decimal(_) => "decimal",
        Value::NumericSpecial(NumericSpecial::NaN) => "numeric NaN",
        Value::NumericSpecial(_) => "numeric infinity",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Date(_) => "date",
        Value::Time(_) => "time",
        Value::Timestamp(_) => "timestamp",
        Value::TimestampTz(_) => "timestamp with time zone",
        Value::Uuid(_) => "uuid",
        Value::Json(_) => "json",
        Value::Array(_) => "array",
    }
}
