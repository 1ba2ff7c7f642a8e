//! Values that clients send for `$1`, `$2`, …, as arrays of one row.

use super::binary::{EPOCH_DAYS, EPOCH_MICROS, NEGATIVE};
use crate::error::{PgError, code};
use crate::wire::Format;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, new_null_array, types::IntervalMonthDayNano,
};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use postgres_types::Type;
use std::sync::Arc;

/// Digits of a numeric that is still read.
const DIGITS_MAX: usize = 38;

/// The type of Arrow in which values of a type come to the engine.
pub(crate) fn arrow_type(data_type: &Type) -> DataType {
    match *data_type {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => DataType::Utf8,
    }
}

/// One value; `None` is null. Types that are not known here come as text.
///
/// # Errors
/// 22P02, 22P03: text or bytes that are no value of the type.
pub(crate) fn decode(data_type: &Type, format: Format, value: Option<&[u8]>) -> Result<ArrayRef, PgError> {
    let Some(bytes) = value else { return Ok(new_null_array(&arrow_type(data_type), 1)) };
    let (decoded, code) = match format {
        Format::Text => (from_text(data_type, bytes), code::INVALID_TEXT),
        Format::Binary => (from_binary(data_type, bytes), code::INVALID_BINARY),
    };
    // The value may be personal: it is not told.
    decoded.ok_or_else(|| PgError::new(code, format!("invalid value for type {}", data_type.name())))
}

fn from_text(data_type: &Type, bytes: &[u8]) -> Option<ArrayRef> {
    let text = std::str::from_utf8(bytes).ok()?;
    let trimmed = text.trim();
    Some(match *data_type {
        Type::BOOL => Arc::new(BooleanArray::from(vec![truth(trimmed)?])),
        Type::INT2 => Arc::new(Int16Array::from(vec![trimmed.parse::<i16>().ok()?])),
        Type::INT4 => Arc::new(Int32Array::from(vec![trimmed.parse::<i32>().ok()?])),
        Type::INT8 | Type::OID => Arc::new(Int64Array::from(vec![trimmed.parse::<i64>().ok()?])),
        Type::FLOAT4 => Arc::new(Float32Array::from(vec![trimmed.parse::<f32>().ok()?])),
        Type::FLOAT8 => Arc::new(Float64Array::from(vec![trimmed.parse::<f64>().ok()?])),
        Type::NUMERIC => numeric(trimmed)?,
        Type::BYTEA => Arc::new(BinaryArray::from(vec![bytea(text)?.as_slice()])),
        Type::DATE => Arc::new(Date32Array::from(vec![day(trimmed)?])),
        Type::TIME => Arc::new(Time64MicrosecondArray::from(vec![clock(trimmed)?])),
        Type::TIMESTAMP => Arc::new(TimestampMicrosecondArray::from(vec![instant(trimmed, false)?])),
        Type::TIMESTAMPTZ => {
            Arc::new(TimestampMicrosecondArray::from(vec![instant(trimmed, true)?]).with_timezone("+00:00"))
        }
        // The engine reads intervals as it reads them in a statement.
        _ => Arc::new(StringArray::from(vec![text])),
    })
}

fn from_binary(data_type: &Type, bytes: &[u8]) -> Option<ArrayRef> {
    let long = || Some(i64::from_be_bytes(bytes.try_into().ok()?));
    let since_1970 = || long()?.checked_add(EPOCH_MICROS);
    Some(match *data_type {
        Type::BOOL => Arc::new(BooleanArray::from(vec![*bytes.first()? != 0])),
        Type::INT2 => Arc::new(Int16Array::from(vec![i16::from_be_bytes(bytes.try_into().ok()?)])),
        Type::INT4 => Arc::new(Int32Array::from(vec![i32::from_be_bytes(bytes.try_into().ok()?)])),
        Type::INT8 => Arc::new(Int64Array::from(vec![long()?])),
        Type::OID => Arc::new(Int64Array::from(vec![i64::from(u32::from_be_bytes(bytes.try_into().ok()?))])),
        Type::FLOAT4 => Arc::new(Float32Array::from(vec![f32::from_be_bytes(bytes.try_into().ok()?)])),
        Type::FLOAT8 => Arc::new(Float64Array::from(vec![f64::from_be_bytes(bytes.try_into().ok()?)])),
        Type::NUMERIC => numeric(&numeric_text(bytes)?)?,
        Type::BYTEA => Arc::new(BinaryArray::from(vec![bytes])),
        Type::DATE => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?).checked_add(EPOCH_DAYS)?;
            Arc::new(Date32Array::from(vec![days]))
        }
        Type::TIME => Arc::new(Time64MicrosecondArray::from(vec![long()?])),
        Type::TIMESTAMP => Arc::new(TimestampMicrosecondArray::from(vec![since_1970()?])),
        Type::TIMESTAMPTZ => {
            Arc::new(TimestampMicrosecondArray::from(vec![since_1970()?]).with_timezone("+00:00"))
        }
        Type::INTERVAL => {
            let bytes: &[u8; 16] = bytes.try_into().ok()?;
            let micros = i64::from_be_bytes(bytes[..8].try_into().ok()?);
            let days = i32::from_be_bytes(bytes[8..12].try_into().ok()?);
            let months = i32::from_be_bytes(bytes[12..].try_into().ok()?);
            let nanoseconds = micros.checked_mul(1_000)?;
            Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano {
                months,
                days,
                nanoseconds,
            }]))
        }
        // Its version stands before the text.
        Type::JSONB => {
            Arc::new(StringArray::from(vec![std::str::from_utf8(bytes.strip_prefix(&[1])?).ok()?]))
        }
        Type::UUID => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let part = |from: usize, to: usize| hex.get(from..to);
            let parts = [part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?];
            Arc::new(StringArray::from(vec![parts.join("-")]))
        }
        _ => Arc::new(StringArray::from(vec![std::str::from_utf8(bytes).ok()?])),
    })
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A numeric with the digits that the text has: no more, so that nothing is rounded.
fn numeric(text: &str) -> Option<ArrayRef> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i8>().ok()?),
        None => (digits, 0),
    };
    let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let mut all = format!("{whole}{behind}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) || all.len() > DIGITS_MAX {
        return None;
    }
    // At most 38 digits behind the point, and an exponent of three.
    let scale = i16::try_from(behind.len()).ok()? - i16::from(exponent);
    all += &"0".repeat(usize::try_from(-scale).unwrap_or(0));
    let scale = usize::try_from(scale).unwrap_or(0);
    if all.len().max(scale) > DIGITS_MAX {
        return None;
    }
    let value = all.parse::<i128>().ok()? * sign;
    let precision = u8::try_from(all.len().max(scale)).ok()?;
    let scale = i8::try_from(scale).ok()?;
    Some(Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale).ok()?))
}

/// The digits of a numeric in its binary form.
fn numeric_text(bytes: &[u8]) -> Option<String> {
    let word = |place: usize| Some(u16::from_be_bytes(bytes.get(place * 2..place * 2 + 2)?.try_into().ok()?));
    let (count, sign, scale) = (usize::from(word(0)?), word(2)?, usize::from(word(3)?));
    let weight = i32::from(i16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    // NaN and the infinities have signs of their own.
    if ![0, NEGATIVE].contains(&sign)
        || count > DIGITS_MAX
        || scale > DIGITS_MAX
        || bytes.len() != 8 + count * 2
    {
        return None;
    }
    if weight.unsigned_abs() as usize > DIGITS_MAX {
        return None;
    }
    let group = |power: i32| {
        let place = usize::try_from(weight - power).ok().filter(|place| *place < count);
        place.map_or(Some(0), |place| word(4 + place)).filter(|group| *group < 10_000)
    };
    let mut text = if sign == NEGATIVE { "-".to_owned() } else { String::new() };
    let mut whole = String::new();
    for power in (0..=weight.max(0)).rev() {
        whole += &format!("{:04}", group(power)?);
    }
    let shown = whole.trim_start_matches('0');
    text += if shown.is_empty() { "0" } else { shown };
    if scale > 0 {
        let mut behind = String::new();
        for power in 1..=i32::try_from(scale.div_ceil(4)).ok()? {
            behind += &format!("{:04}", group(-power)?);
        }
        text.push('.');
        text += behind.get(..scale)?;
    }
    Some(text)
}

/// `\x0a0b`.
fn bytea(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?;
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Days since 1970-01-01.
fn day(text: &str) -> Option<i32> {
    // A time behind it does not count.
    let (day, behind) = text.split_at_checked(10)?;
    if !(behind.is_empty() || behind.starts_with([' ', 'T'])) {
        return None;
    }
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since midnight.
fn clock(text: &str) -> Option<i64> {
    let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())?;
    Some(i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000))
}

/// Microseconds since 1970-01-01: a zone in the text counts where the type has one.
fn instant(text: &str, zoned: bool) -> Option<i64> {
    // `+01` is a zone for PostgreSQL.
    let with_minutes = format!("{text}:00");
    let forms = ["%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.f%:z"];
    let found = [text, &with_minutes].iter().find_map(|text| {
        let read = |form: &&str| DateTime::parse_from_str(text, form).ok();
        forms.iter().find_map(read).or_else(|| DateTime::parse_from_rfc3339(text).ok())
    });
    if let Some(time) = found {
        return Some(if zoned {
            time.timestamp_micros()
        } else {
            time.naive_local().and_utc().timestamp_micros()
        });
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let plain = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let plain = plain.or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0));
    plain.map(|time| time.and_utc().timestamp_micros())
}
