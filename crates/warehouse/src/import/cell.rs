//! A value of a file as a value of a column: exactly, or not at all. Pure.

use affluent_model::{ColumnType, Currency, Value};
use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Whole numbers up to here are exact as floats.
const FLOAT_EXACT: f64 = 9_007_199_254_740_992.0;

/// The value in the type of its column.
///
/// # Errors
/// What is wrong with it, without the value itself: it goes into messages.
pub(super) fn convert(value: &Value, column_type: &ColumnType) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let found = match column_type {
        ColumnType::Text | ColumnType::Uuid => text(value).map(Value::Text),
        ColumnType::Json => text(value).map(Value::Json),
        ColumnType::Bool => truth(value).map(Value::Bool),
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => whole(value).map(Value::Int),
        ColumnType::Decimal { .. } | ColumnType::Numeric => {
            if let Value::Float(_) = value {
                return Err(
                    "a float is no exact number: write it as decimal, as text or in minor units".to_owned()
                );
            }
            decimal(value).map(Value::Decimal)
        }
        ColumnType::Float32 | ColumnType::Float64 => float(value).map(Value::Float),
        ColumnType::TimestampTz => instant(value).map(Value::TimestampTz),
        ColumnType::Timestamp => instant(value).map(Value::Timestamp),
        ColumnType::Date => match value {
            Value::Date(days) => Some(Value::Date(*days)),
            Value::Text(text) => text.parse::<NaiveDate>().ok().and_then(days).map(Value::Date),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Decimal(_)
            | Value::NumericSpecial(_)
            | Value::Uuid(_)
            | Value::Bytes(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::TimestampTz(_)
            | Value::Json(_)
            | Value::Array(_) => None,
        },
        ColumnType::Time | ColumnType::Bytes | ColumnType::Array(_) => None,
    };
    found.ok_or_else(|| format!("{} is no {}", kind(value), wanted(column_type)))
}

/// A whole number of minor units as an amount of its currency.
///
/// # Errors
/// As [`convert`].
pub(super) fn of_minor(value: &Value, currency: &Value) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let units = whole(value).ok_or_else(|| format!("{} is no whole number of minor units", kind(value)))?;
    let Value::Text(code) = currency else {
        return Err("an amount in minor units needs the row's currency".to_owned());
    };
    let currency: Currency =
        code.trim().to_uppercase().parse().map_err(|_| "no currency of three letters".to_owned())?;
    Ok(Value::Decimal(BigDecimal::new(units.into(), currency.exponent().into())))
}

/// Whether a payment is marked; null is not.
///
/// # Errors
/// As [`convert`].
pub(super) fn marked(value: &Value) -> Result<bool, String> {
    if value.is_null() {
        return Ok(false);
    }
    truth(value).ok_or_else(|| format!("{} is neither true nor false", kind(value)))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(_) | Value::Array(_) | Value::Null => None,
        Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Text(_)
        | Value::Uuid(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Json(_) => Some(value.to_text()),
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(true),
            "false" | "f" | "0" => Some(false),
            _ => None,
        },
        Value::Null
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Uuid(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Json(_)
        | Value::Array(_) => None,
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < FLOAT_EXACT => Some(*number as i64),
        Value::Decimal(number) if number.is_integer() => {
            number.to_plain_string().split('.').next()?.parse().ok()
        }
        Value::Text(text) => text.trim().parse().ok(),
        Value::Null
        | Value::Bool(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Uuid(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Json(_)
        | Value::Array(_) => None,
    }
}

fn decimal(value: &Value) -> Option<BigDecimal> {
    match value {
        Value::Decimal(number) => Some(number.clone()),
        Value::Int(number) => Some((*number).into()),
        Value::Text(text) => text.trim().parse().ok(),
        Value::Null
        | Value::Bool(_)
        | Value::Float(_)
        | Value::NumericSpecial(_)
        | Value::Uuid(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Json(_)
        | Value::Array(_) => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Int(_) | Value::Decimal(_) => value.to_text().parse().ok(),
        Value::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Null
        | Value::Bool(_)
        | Value::NumericSpecial(_)
        | Value::Uuid(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Json(_)
        | Value::Array(_) => None,
    }
}

/// Microseconds UTC. A time without a zone is UTC.
fn instant(value: &Value) -> Option<i64> {
    match value {
        Value::Timestamp(micros) | Value::TimestampTz(micros) => Some(*micros),
        Value::Date(days) => Some(i64::from(*days) * 86_400_000_000),
        Value::Text(text) => instant_of(text.trim()),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Uuid(_)
        | Value::Bytes(_)
        | Value::Time(_)
        | Value::Json(_)
        | Value::Array(_) => None,
    }
}

fn instant_of(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, form) {
            return Some(time.timestamp_micros());
        }
        if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    let midnight = text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?;
    Some(midnight.and_utc().timestamp_micros())
}

fn days(date: NaiveDate) -> Option<i32> {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Int(_) => "a whole number",
        Value::Float(_) => "a float",
        Value::Decimal(_) | Value::NumericSpecial(_) => "a decimal",
        Value::Text(_) | Value::Uuid(_) => "a text",
        Value::Bytes(_) => "bytes",
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::TimestampTz(_) => "a time",
        Value::Json(_) => "a JSON document",
        Value::Array(_) => "a list",
    }
}

fn wanted(column_type: &ColumnType) -> &'static str {
    match column_type {
        ColumnType::Bool => "true or false",
        ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => "whole number",
        ColumnType::Float32 | ColumnType::Float64 => "number",
        ColumnType::Decimal { .. } | ColumnType::Numeric => "decimal",
        ColumnType::Text | ColumnType::Uuid | ColumnType::Json => "text",
        ColumnType::Bytes => "bytes that a file can bring",
        ColumnType::Date => "date",
        ColumnType::Time => "time of day that a file can bring",
        ColumnType::Timestamp | ColumnType::TimestampTz => "time such as 2026-11-22T06:00:00Z",
        ColumnType::Array(_) => "list that a file can bring",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.parse().unwrap())
    }

    #[test]
    fn values_are_taken_exactly_or_refused() {
        let money = ColumnType::Decimal { precision: 18, scale: 4 };
        let cases = [
            (text("12.50"), &money, Some(decimal("12.50"))),
            (Value::Int(7), &money, Some(decimal("7"))),
            (Value::Float(12.5), &money, None),
            (text("12,50"), &money, None),
            (Value::Int(42), &ColumnType::Text, Some(text("42"))),
            (text("42"), &ColumnType::Int64, Some(Value::Int(42))),
            (decimal("42.0"), &ColumnType::Int64, Some(Value::Int(42))),
            (Value::Float(42.5), &ColumnType::Int64, None),
            (
                text("2018-04-01 00:00:31"),
                &ColumnType::TimestampTz,
                Some(Value::TimestampTz(1_522_540_831_000_000)),
            ),
            (
                text("2018-04-01T02:00:31+02:00"),
                &ColumnType::TimestampTz,
                Some(Value::TimestampTz(1_522_540_831_000_000)),
            ),
            (text("2018-04-01"), &ColumnType::TimestampTz, Some(Value::TimestampTz(1_522_540_800_000_000))),
            (Value::Timestamp(5), &ColumnType::TimestampTz, Some(Value::TimestampTz(5))),
            (Value::Int(5), &ColumnType::TimestampTz, None),
            (text("t"), &ColumnType::Bool, Some(Value::Bool(true))),
            (text("yes"), &ColumnType::Bool, None),
            (Value::Null, &ColumnType::Bytes, Some(Value::Null)),
        ];
        for (value, column_type, expected) in cases {
            assert_eq!(convert(&value, column_type).ok(), expected, "{value:?} {column_type:?}");
        }
        // Values stay out of messages.
        assert!(!convert(&text("secret"), &ColumnType::Int64).unwrap_err().contains("secret"));
    }

    #[test]
    fn minor_units_go_by_the_currency() {
        for (units, code, expected) in
            [(1234, "EUR", "12.34"), (1234, "jpy ", "1234"), (1234, "KWD", "1.234")]
        {
            assert_eq!(of_minor(&Value::Int(units), &text(code)), Ok(decimal(expected)), "{code}");
        }
        of_minor(&Value::Int(1), &Value::Null).unwrap_err();
        of_minor(&decimal("1.5"), &text("EUR")).unwrap_err();
    }

    proptest! {
        #[test]
        fn every_amount_of_minor_units_comes_back(units in any::<i64>(), code in prop::sample::select(vec!["EUR", "JPY", "KWD"])) {
            let currency: Currency = code.parse().unwrap();
            let Value::Decimal(amount) = of_minor(&Value::Int(units), &text(code)).unwrap() else { panic!("no decimal") };
            prop_assert_eq!(amount * BigDecimal::from(10_i64.pow(currency.exponent())), BigDecimal::from(units));
        }
    }
}
