//! Keys whose byte order is the order of the values: for the indexes of the embedded store, and for comparing what a server
//! compares too roughly.
//!
//! Invariant: for two values of one kind, `a < b` exactly where their keys are, and no key is a prefix
//! of another; so keys can be put one behind the other. (Long text is cut; see [`TEXT_MAX`].)

use crate::encoding;
use affluent_model::Value;
use affluent_model::value::NumericSpecial;
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::Sign;

/// Bytes of a text, JSON or binary value that take part in the order.
pub(crate) const TEXT_MAX: usize = 1_024;

/// Appends the key of `value`.
pub(crate) fn put_key(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(1),
        Value::Bool(v) => out.extend([2, u8::from(*v)]),
        Value::Int(v) => put_integer(out, 3, *v),
        Value::Float(v) => {
            let bits = v.to_bits();
            let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
            out.push(4);
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Decimal(v) => {
            out.push(5);
            put_decimal(out, v);
        }
        // As PostgreSQL orders them: NaN is greater than every number.
        Value::NumericSpecial(NumericSpecial::NegativeInfinity) => out.extend([5, 0]),
        Value::NumericSpecial(NumericSpecial::Infinity) => out.extend([5, 4]),
        Value::NumericSpecial(NumericSpecial::NaN) => out.extend([5, 5]),
        Value::Text(v) => put_text(out, 6, v.as_bytes()),
        Value::Bytes(v) => put_text(out, 7, v),
        Value::Date(v) => put_integer(out, 8, i64::from(*v)),
        Value::Time(v) => put_integer(out, 9, *v),
        Value::Timestamp(v) => put_integer(out, 10, *v),
        Value::TimestampTz(v) => put_integer(out, 11, *v),
        Value::Uuid(v) => {
            out.push(12);
            out.extend_from_slice(v.as_bytes());
        }
        Value::Json(v) => put_text(out, 13, v.as_bytes()),
        Value::Array(items) => {
            out.push(14);
            for item in items {
                put_key(out, item);
            }
            out.push(0);
        }
    }
}

/// Appends the key of a value as [`crate::encoding`] wrote it.
///
/// # Errors
/// Where it never wrote that.
pub(crate) fn put_encoded_key(out: &mut Vec<u8>, value: &[u8]) -> Result<(), encoding::Malformed> {
    match encoding::text_of(value) {
        Some(text) => put_text(out, 6, text),
        None => put_key(out, &encoding::decode_value(value)?),
    }
    Ok(())
}

/// Whether a part of the value was cut from its key.
pub(crate) fn is_cut(value: &Value) -> bool {
    match value {
        Value::Text(v) | Value::Json(v) => v.len() > TEXT_MAX,
        Value::Bytes(v) => v.len() > TEXT_MAX,
        Value::Array(items) => items.iter().any(is_cut),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Uuid(_) => false,
    }
}

fn put_integer(out: &mut Vec<u8>, kind: u8, value: i64) {
    out.push(kind);
    out.extend_from_slice(&(value as u64 ^ 1 << 63).to_be_bytes());
}

/// Zero bytes become `00 FF`; the end is `00 00`.
fn put_text(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    for &byte in &bytes[..bytes.len().min(TEXT_MAX)] {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend([0, 0]);
}

/// Class (negative 1, zero 2, positive 3), then the power of ten of the first digit, the digits and an
/// end mark; all bits turned for negative numbers.
fn put_decimal(out: &mut Vec<u8>, value: &BigDecimal) {
    let (number, scale) = value.normalized().into_bigint_and_exponent();
    let (sign, magnitude) = number.into_parts();
    if sign == Sign::NoSign {
        return out.push(2);
    }
    let digits = magnitude.to_str_radix(10);
    let power = digits.len() as i64 - scale;
    let mut key = (power as u64 ^ 1 << 63).to_be_bytes().to_vec();
    key.extend_from_slice(digits.as_bytes());
    key.push(0);
    if sign == Sign::Minus {
        key.iter_mut().for_each(|byte| *byte = !*byte);
    }
    out.push(if sign == Sign::Minus { 1 } else { 3 });
    out.extend(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn key(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        put_key(&mut out, value);
        out
    }

    fn decimal() -> impl Strategy<Value = BigDecimal> {
        (-100_000i64..100_000, -6i64..6).prop_map(|(digits, scale)| BigDecimal::new(digits.into(), scale))
    }

    proptest! {
        #[test]
        fn keys_order_as_values(
            a: i64, b: i64, x in decimal(), y in decimal(), s in "[a-c\0\u{ff}]{0,4}", t in "[a-c\0\u{ff}]{0,4}",
            f in -1e9f64..1e9, g in -1e9f64..1e9,
        ) {
            prop_assert_eq!(a.cmp(&b), key(&Value::Int(a)).cmp(&key(&Value::Int(b))));
            prop_assert_eq!(x.cmp(&y), key(&Value::Decimal(x)).cmp(&key(&Value::Decimal(y))));
            prop_assert_eq!(s.cmp(&t), key(&Value::Text(s)).cmp(&key(&Value::Text(t))));
            prop_assert_eq!(f.partial_cmp(&g), Some(key(&Value::Float(f)).cmp(&key(&Value::Float(g)))));
        }

        #[test]
        fn arrays_order_by_their_elements(a in vec(any::<i64>(), 0..4), b in vec(any::<i64>(), 0..4)) {
            let array = |items: &[i64]| key(&Value::Array(items.iter().map(|&v| Value::Int(v)).collect()));
            prop_assert_eq!(a.cmp(&b), array(&a).cmp(&array(&b)));
        }
    }
}
