//! One value in PostgreSQL's text form, to [`Value`]. The same function reads the stream and the
//! snapshot, so that both give the same value.
//!
//! Invariant: a value is exact or refused. Errors name the type, never the value, which may be
//! somebody's.

use super::{array, time};
use affluent_model::value::NumericSpecial;
use affluent_model::{ColumnType, Reason, Value};
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;

/// The text is not a value of the type, or not one that can be held exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: not a value of {column_type} that can be held exactly")]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    column_type: String,
}

/// The value of `text`.
pub(crate) fn parse(column_type: &ColumnType, text: &[u8]) -> Result<Value, Refused> {
    let refused = |reason| Refused { reason, column_type: format!("{column_type:?}") };
    let undecodable = || refused(Reason::Undecodable);
    let text = std::str::from_utf8(text).map_err(|_| undecodable())?;
    let value = match column_type {
        ColumnType::Bool => match text {
            "t" | "true" => Some(Value::Bool(true)),
            "f" | "false" => Some(Value::Bool(false)),
            _ => None,
        },
        ColumnType::Int16 => text.parse::<i16>().ok().map(|v| Value::Int(v.into())),
        ColumnType::Int32 => text.parse::<i32>().ok().map(|v| Value::Int(v.into())),
        ColumnType::Int64 => text.parse().ok().map(Value::Int),
        ColumnType::Float32 | ColumnType::Float64 => text.parse().ok().map(Value::Float),
        ColumnType::Decimal { .. } | ColumnType::Numeric => numeric(text),
        ColumnType::Text => Some(Value::Text(text.to_owned())),
        ColumnType::Json => Some(Value::Json(text.to_owned())),
        ColumnType::Bytes => text.strip_prefix("\\x").and_then(|h| hex::decode(h).ok()).map(Value::Bytes),
        ColumnType::Uuid => uuid::Uuid::try_parse(text).ok().map(Value::Uuid),
        ColumnType::Time => time::time(text).map(Value::Time),
        ColumnType::Date => {
            return time::date(text).map(Value::Date).ok_or_else(|| refused(Reason::ValueOutOfRange));
        }
        ColumnType::Timestamp => {
            let micros = time::timestamp(text, false);
            return micros.map(Value::Timestamp).ok_or_else(|| refused(Reason::ValueOutOfRange));
        }
        ColumnType::TimestampTz => {
            let micros = time::timestamp(text, true);
            return micros.map(Value::TimestampTz).ok_or_else(|| refused(Reason::ValueOutOfRange));
        }
        ColumnType::Array(element) => {
            return items(element, array::elements(text).ok_or_else(undecodable)?);
        }
    };
    value.ok_or_else(undecodable)
}

fn items(element: &ColumnType, found: Vec<array::Element>) -> Result<Value, Refused> {
    let item = |item| match item {
        array::Element::Null => Ok(Value::Null),
        array::Element::Text(text) => parse(element, text.as_bytes()),
        array::Element::Array(inner) => items(element, inner),
    };
    Ok(Value::Array(found.into_iter().map(item).collect::<Result<_, _>>()?))
}

fn numeric(text: &str) -> Option<Value> {
    match text {
        "NaN" => return Some(Value::NumericSpecial(NumericSpecial::NaN)),
        "Infinity" => return Some(Value::NumericSpecial(NumericSpecial::Infinity)),
        "-Infinity" => return Some(Value::NumericSpecial(NumericSpecial::NegativeInfinity)),
        _ => {}
    }
    if text.len() > 18 {
        return text.parse().ok().map(Value::Decimal);
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mut unscaled, mut scale, mut fraction) = (0_i64, 0, false);
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                unscaled = unscaled * 10 + i64::from(byte - b'0');
                scale += i64::from(fraction);
            }
            b'.' if !fraction => fraction = true,
            _ => return None,
        }
    }
    let unscaled = if negative { -unscaled } else { unscaled };
    (!digits.is_empty()).then(|| Value::Decimal(BigDecimal::new(BigInt::from(unscaled), scale)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values() {
        let array = |t| ColumnType::Array(Box::new(t));
        let text = |s: &str| Value::Text(s.to_owned());
        for (column_type, literal, expected) in [
            (ColumnType::Bool, "t", Value::Bool(true)),
            (ColumnType::Int16, "-32768", Value::Int(-32768)),
            (ColumnType::Float64, "-Infinity", Value::Float(f64::NEG_INFINITY)),
            (ColumnType::Numeric, "-Infinity", Value::NumericSpecial(NumericSpecial::NegativeInfinity)),
            (ColumnType::Bytes, "\\x00ff", Value::Bytes(vec![0, 255])),
            (ColumnType::Bytes, "\\x", Value::Bytes(vec![])),
            (array(ColumnType::Int32), "{1,NULL}", Value::Array(vec![Value::Int(1), Value::Null])),
            (array(ColumnType::Bytes), r#"{"\\x01"}"#, Value::Array(vec![Value::Bytes(vec![1])])),
            (array(ColumnType::Text), "{\"a,b\"}", Value::Array(vec![text("a,b")])),
        ] {
            assert_eq!(parse(&column_type, literal.as_bytes()), Ok(expected), "{literal}");
        }
        for (column_type, literal, reason) in [
            (ColumnType::Int16, "40000", Reason::Undecodable),
            (ColumnType::Text, "\u{0}", Reason::Undecodable),
            (ColumnType::TimestampTz, "294276-12-31 23:59:59.999999+00", Reason::ValueOutOfRange),
            (array(ColumnType::Int32), "{1,x}", Reason::Undecodable),
        ] {
            let bytes = if literal == "\u{0}" { &b"\xff"[..] } else { literal.as_bytes() };
            assert_eq!(parse(&column_type, bytes).map_err(|e| e.reason), Err(reason), "{literal}");
        }
    }

    proptest! {
        #[test]
        fn decimals_keep_every_digit(text in "-?[0-9]{1,40}(\\.[0-9]{1,30})?") {
            let Ok(Value::Decimal(value)) = parse(&ColumnType::Numeric, text.as_bytes()) else {
                return Err(TestCaseError::fail(text));
            };
            let expected: BigDecimal = text.parse().unwrap();
            prop_assert_eq!(value.fractional_digit_count(), expected.fractional_digit_count());
            prop_assert_eq!(value, expected);
        }
    }
}
