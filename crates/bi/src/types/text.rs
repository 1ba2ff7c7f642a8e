//! Values in PostgreSQL's text form.

use super::EncodeError;
use affluent_lake::sql::json_value;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DecimalType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use bytes::BufMut;
use chrono::{DateTime, Datelike, Timelike};
use std::fmt::Arguments;
use std::io::Write as _;

const MICROS_A_SECOND: i64 = 1_000_000;
const MICROS_A_DAY: i64 = 86_400 * MICROS_A_SECOND;

/// Writes a value that is not null in its text form.
///
/// # Errors
/// [`EncodeError`] for what PostgreSQL's type cannot hold.
pub(crate) fn write_text<B: BufMut>(array: &dyn Array, row: usize, out: &mut B) -> Result<(), EncodeError> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(if array.as_boolean().value(row) { b't' } else { b'f' }),
        DataType::Float16 => float(f64::from(get::<Float16Type>(array, row).to_f32()), out),
        DataType::Float32 => float32(get::<Float32Type>(array, row), out),
        DataType::Float64 => float(get::<Float64Type>(array, row), out),
        DataType::Date32 | DataType::Date64 => date(days(array, row)?, array, out)?,
        DataType::Time32(_) | DataType::Time64(_) => clock(micros(array, row)?, out),
        DataType::Timestamp(_, zone) => {
            timestamp(micros(array, row)?, array, out)?;
            if zone.is_some() {
                out.put_slice(b"+00");
            }
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let (months, days, micros) = interval(array, row)?;
            interval_text(months, days, micros, out);
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            list(items(array, row)?.as_ref(), out)?;
        }
        DataType::Struct(_) | DataType::Map(..) => {
            let value = json_value(array, row);
            let value = value.map_err(|error| EncodeError::new(array.data_type(), error.to_string()))?;
            put(out, format_args!("{value}"));
        }
        DataType::Dictionary(..) => {
            let (values, place) = entry(array, row)?;
            write_text(values.as_ref(), place, out)?;
        }
        DataType::Null => {}
        _ => {
            if let Some(bytes) = bytes(array, row) {
                out.put_slice(b"\\x");
                bytes.iter().for_each(|byte| put(out, format_args!("{byte:02x}")));
            } else if let Some(text) = string(array, row) {
                out.put_slice(text.as_bytes());
            } else if let Some(text) = decimal(array, row) {
                out.put_slice(text.as_bytes());
            } else if let Some(number) = integer(array, row)? {
                put(out, format_args!("{number}"));
            } else {
                return Err(EncodeError::new(array.data_type(), "clients have no type for it"));
            }
        }
    }
    Ok(())
}

/// Formatted text; writing into memory does not fail.
fn put<B: BufMut>(out: &mut B, text: Arguments<'_>) {
    let written = out.writer().write_fmt(text);
    debug_assert!(written.is_ok(), "buffers grow");
}

fn get<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// A whole number of any width.
pub(super) fn integer(array: &dyn Array, row: usize) -> Result<Option<i64>, EncodeError> {
    Ok(Some(match array.data_type() {
        DataType::Int8 => get::<Int8Type>(array, row).into(),
        DataType::Int16 => get::<Int16Type>(array, row).into(),
        DataType::Int32 => get::<Int32Type>(array, row).into(),
        DataType::Int64 => get::<Int64Type>(array, row),
        DataType::UInt8 => get::<UInt8Type>(array, row).into(),
        DataType::UInt16 => get::<UInt16Type>(array, row).into(),
        DataType::UInt32 => get::<UInt32Type>(array, row).into(),
        DataType::UInt64 => {
            let number = get::<UInt64Type>(array, row);
            i64::try_from(number).map_err(|_| {
                EncodeError::new(array.data_type(), format!("{number} is more than a bigint holds"))
            })?
        }
        _ => return Ok(None),
    }))
}

/// The digits of a decimal.
pub(super) fn decimal(array: &dyn Array, row: usize) -> Option<String> {
    fn digits<T: DecimalType>(array: &dyn Array, row: usize, precision: u8, scale: i8) -> String {
        T::format_decimal(get::<T>(array, row), precision, scale)
    }
    match *array.data_type() {
        DataType::Decimal32(precision, scale) => Some(digits::<Decimal32Type>(array, row, precision, scale)),
        DataType::Decimal64(precision, scale) => Some(digits::<Decimal64Type>(array, row, precision, scale)),
        DataType::Decimal128(precision, scale) => {
            Some(digits::<Decimal128Type>(array, row, precision, scale))
        }
        DataType::Decimal256(precision, scale) => {
            Some(digits::<Decimal256Type>(array, row, precision, scale))
        }
        _ => None,
    }
}

pub(super) fn string(array: &dyn Array, row: usize) -> Option<&str> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(array.as_string_view().value(row)),
        _ => None,
    }
}

pub(super) fn bytes(array: &dyn Array, row: usize) -> Option<&[u8]> {
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => Some(array.as_fixed_size_binary().value(row)),
        _ => None,
    }
}

/// The items of a list.
pub(super) fn items(array: &dyn Array, row: usize) -> Result<ArrayRef, EncodeError> {
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Ok(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Ok(array.as_fixed_size_list().value(row)),
        other => Err(EncodeError::new(other, "it is no list")),
    }
}

/// The values of a dictionary and the place of this row's among them.
pub(super) fn entry(array: &dyn Array, row: usize) -> Result<(ArrayRef, usize), EncodeError> {
    let dictionary = array.as_any_dictionary();
    let key = integer(dictionary.keys(), row)?.and_then(|key| usize::try_from(key).ok());
    let key = key.ok_or_else(|| EncodeError::new(array.data_type(), "its keys are no places"))?;
    Ok((dictionary.values().clone(), key))
}

/// Days since 1970-01-01.
pub(super) fn days(array: &dyn Array, row: usize) -> Result<i32, EncodeError> {
    if *array.data_type() == DataType::Date32 {
        return Ok(get::<Date32Type>(array, row));
    }
    let days = get::<Date64Type>(array, row).div_euclid(MICROS_A_DAY / 1_000);
    i32::try_from(days).map_err(|_| out_of_range(array))
}

/// Microseconds since 1970-01-01, of times since midnight; parts of a microsecond, which PostgreSQL does not have, are
/// left out.
pub(super) fn micros(array: &dyn Array, row: usize) -> Result<i64, EncodeError> {
    let (value, unit) = match array.data_type() {
        DataType::Time32(TimeUnit::Second) => (get::<Time32SecondType>(array, row).into(), TimeUnit::Second),
        DataType::Time32(_) => (get::<Time32MillisecondType>(array, row).into(), TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Nanosecond) => {
            (get::<Time64NanosecondType>(array, row), TimeUnit::Nanosecond)
        }
        DataType::Time64(_) => (get::<Time64MicrosecondType>(array, row), TimeUnit::Microsecond),
        DataType::Timestamp(unit, _) => (
            match unit {
                TimeUnit::Second => get::<TimestampSecondType>(array, row),
                TimeUnit::Millisecond => get::<TimestampMillisecondType>(array, row),
                TimeUnit::Microsecond => get::<TimestampMicrosecondType>(array, row),
                TimeUnit::Nanosecond => get::<TimestampNanosecondType>(array, row),
            },
            *unit,
        ),
        DataType::Duration(unit) => (
            match unit {
                TimeUnit::Second => get::<DurationSecondType>(array, row),
                TimeUnit::Millisecond => get::<DurationMillisecondType>(array, row),
                TimeUnit::Microsecond => get::<DurationMicrosecondType>(array, row),
                TimeUnit::Nanosecond => get::<DurationNanosecondType>(array, row),
            },
            *unit,
        ),
        other => return Err(EncodeError::new(other, "it is no time")),
    };
    let micros = match unit {
        TimeUnit::Second => value.checked_mul(MICROS_A_SECOND),
        TimeUnit::Millisecond => value.checked_mul(1_000),
        TimeUnit::Microsecond => Some(value),
        TimeUnit::Nanosecond => Some(value.div_euclid(1_000)),
    };
    micros.ok_or_else(|| out_of_range(array))
}

/// Months, days and microseconds.
pub(super) fn interval(array: &dyn Array, row: usize) -> Result<(i32, i32, i64), EncodeError> {
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => (get::<IntervalYearMonthType>(array, row), 0, 0),
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = get::<IntervalDayTimeType>(array, row);
            (0, value.days, i64::from(value.milliseconds) * 1_000)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = get::<IntervalMonthDayNanoType>(array, row);
            (value.months, value.days, value.nanoseconds.div_euclid(1_000))
        }
        _ => (0, 0, micros(array, row)?),
    })
}

fn out_of_range(array: &dyn Array) -> EncodeError {
    EncodeError::new(array.data_type(), "it is out of range")
}

/// The shortest digits that are read back to the same number, with an exponent where PostgreSQL writes one.
fn float<B: BufMut>(number: f64, out: &mut B) {
    match special(number) {
        Some(text) => out.put_slice(text.as_bytes()),
        None if number == 0.0 || (1e-4..1e15).contains(&number.abs()) => put(out, format_args!("{number}")),
        None => exponent(&format!("{number:e}"), out),
    }
}

fn float32<B: BufMut>(number: f32, out: &mut B) {
    match special(number.into()) {
        Some(text) => out.put_slice(text.as_bytes()),
        None if number == 0.0 || (1e-4..1e6).contains(&number.abs()) => put(out, format_args!("{number}")),
        None => exponent(&format!("{number:e}"), out),
    }
}

fn special(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        return Some("NaN");
    }
    number.is_infinite().then_some(if number > 0.0 { "Infinity" } else { "-Infinity" })
}

/// `1e20` as `1e+20`, `1e-5` as `1e-05`.
fn exponent<B: BufMut>(text: &str, out: &mut B) {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    put(out, format_args!("{digits}e{sign}{exponent:0>2}"));
}

fn date<B: BufMut>(days: i32, array: &dyn Array, out: &mut B) -> Result<(), EncodeError> {
    let time = DateTime::from_timestamp(i64::from(days) * 86_400, 0).ok_or_else(|| out_of_range(array))?;
    let is_before = day(&time, out);
    if is_before {
        out.put_slice(b" BC");
    }
    Ok(())
}

/// Year, month and day; true where the year is one before Christ.
fn day<B: BufMut>(time: &DateTime<chrono::Utc>, out: &mut B) -> bool {
    let year = time.year();
    let shown = if year > 0 { year } else { 1 - year };
    put(out, format_args!("{shown:04}-{:02}-{:02}", time.month(), time.day()));
    year <= 0
}

fn timestamp<B: BufMut>(micros: i64, array: &dyn Array, out: &mut B) -> Result<(), EncodeError> {
    let time = DateTime::from_timestamp_micros(micros).ok_or_else(|| out_of_range(array))?;
    if time.year() <= 0 {
        // `BC` would stand behind the zone; no payment is as old.
        return Err(EncodeError::new(array.data_type(), "it is before Christ"));
    }
    day(&time, out);
    put(out, format_args!(" {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
    fraction(micros.rem_euclid(MICROS_A_SECOND), out);
    Ok(())
}

fn clock<B: BufMut>(micros: i64, out: &mut B) {
    let seconds = micros / MICROS_A_SECOND;
    put(out, format_args!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60));
    fraction(micros % MICROS_A_SECOND, out);
}

/// Microseconds behind the point, without zeros at the end.
fn fraction<B: BufMut>(micros: i64, out: &mut B) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        put(out, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

/// `1 year 2 mons 3 days 04:05:06.5`, as `intervalstyle` postgres has it.
fn interval_text<B: BufMut>(months: i32, days: i32, micros: i64, out: &mut B) {
    let mut parts = Vec::new();
    let (mut negative_before, mut any) = (false, false);
    for (value, name) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let plus = if negative_before && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            parts.push(format!("{plus}{value} {name}{plural}"));
            (negative_before, any) = (value < 0, true);
        }
    }
    if micros != 0 || !any {
        let sign = match (micros < 0, negative_before) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let whole = micros.unsigned_abs();
        let (seconds, rest) = (whole / 1_000_000, whole % 1_000_000);
        let mut text = format!("{sign}{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if rest != 0 {
            text += format!(".{rest:06}").trim_end_matches('0');
        }
        parts.push(text);
    }
    out.put_slice(parts.join(" ").as_bytes());
}

fn list<B: BufMut>(items: &dyn Array, out: &mut B) -> Result<(), EncodeError> {
    out.put_u8(b'{');
    for row in 0..items.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if items.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        let mut item = Vec::new();
        write_text(items, row, &mut item)?;
        let is_list = matches!(
            items.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        );
        let special =
            |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
        let quoted = item.is_empty() || item.eq_ignore_ascii_case(b"null") || item.iter().any(special);
        if is_list || !quoted {
            out.put_slice(&item);
            continue;
        }
        out.put_u8(b'"');
        for byte in item {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(byte);
        }
        out.put_u8(b'"');
    }
    out.put_u8(b'}');
    Ok(())
}
