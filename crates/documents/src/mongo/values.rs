//! Values as BSON: native where MongoDB has the type, so that its own tools read them.
//!
//! | value | BSON | marker |
//! |---|---|---|
//! | null, bool, int, float, text, bytes, uuid | the same | |
//! | decimal up to 34 digits, NaN and the infinities | Decimal128 (text where the server lacks it) | (`decimal`) |
//! | longer decimal | text | `decimal` |
//! | timestamptz | Date (milliseconds), the rest of the microseconds in `_m.us` | |
//! | timestamp, date | Date, as above | `timestamp`, `date` |
//! | time, json | text | `time`, `json` |
//! | array of the first row's kinds | array | |
//! | other array | array of texts, for reading | `array`, with the exact values as bytes |
//!
//! FerretDB closes the connection at Decimal128 and NaN, and refuses arrays in arrays: there, floats that
//! are not finite are text marked `float`, and such arrays are "other".
//!
//! Markers are in `_m.types` by field name. Field names that MongoDB reserves are percent-encoded: a
//! leading `_` or `$`, and anywhere `.`, `%` and the zero byte.
//!
//! Invariant: what is written is read back equal, including digits and microseconds.

use crate::encoding::{decode_value, encode_value};
use affluent_model::value::NumericSpecial;
use affluent_model::{Value, time::format_time};
use bigdecimal::BigDecimal;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document as Bdoc, doc};
use std::borrow::Cow;
use std::str::FromStr;

/// What BSON alone does not say about the fields of a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Markers {
    /// Kinds by (encoded) field name.
    pub(super) types: Bdoc,
    /// Microseconds beyond the millisecond, 0 to 999.
    pub(super) us: Bdoc,
}

/// How values are written for a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) decimal128: bool,
    /// The server has all of BSON's values, and goes on after an error in an unordered bulk.
    pub(super) complete: bool,
}

impl Dialect {
    /// The BSON of `value`, noting in `markers` what it does not say.
    pub(super) fn encode(self, name: &str, value: &Value, markers: &mut Markers) -> Bson {
        let mut marked = |kind: &str, bson: Bson| {
            markers.types.insert(name, kind);
            bson
        };
        match value {
            Value::Null => Bson::Null,
            Value::Bool(v) => Bson::Boolean(*v),
            Value::Int(v) => Bson::Int64(*v),
            Value::Float(v) if self.complete || v.is_finite() => Bson::Double(*v),
            Value::Float(v) => marked("float", Bson::String(v.to_string())),
            Value::Text(v) => Bson::String(v.clone()),
            Value::Bytes(v) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: v.clone() }),
            Value::Uuid(v) => {
                Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: v.as_bytes().to_vec() })
            }
            Value::Decimal(v) => match self.decimal128(v) {
                Some(decimal) => Bson::Decimal128(decimal),
                None => marked("decimal", Bson::String(v.to_plain_or_scientific())),
            },
            Value::NumericSpecial(v) => {
                let text = match v {
                    NumericSpecial::NaN => "NaN",
                    NumericSpecial::Infinity => "Infinity",
                    NumericSpecial::NegativeInfinity => "-Infinity",
                };
                match Decimal128::from_str(text) {
                    Ok(decimal) if self.decimal128 => Bson::Decimal128(decimal),
                    _ => marked("decimal", Bson::String(text.to_owned())),
                }
            }
            Value::TimestampTz(v) => date(name, *v, markers),
            Value::Timestamp(v) => {
                marked("timestamp", Bson::Null);
                date(name, *v, markers)
            }
            Value::Date(v) => marked(
                "date",
                Bson::DateTime(DateTime::from_millis(match *v {
                    i32::MAX => i64::MAX,
                    i32::MIN => i64::MIN,
                    days => i64::from(days) * 86_400_000,
                })),
            ),
            Value::Time(v) => marked("time", Bson::String(format_time(*v))),
            Value::Json(v) => marked("json", Bson::String(v.clone())),
            Value::Array(items) => {
                match items.iter().map(|item| self.native(item)).collect::<Option<Vec<Bson>>>() {
                    Some(items) => Bson::Array(items),
                    None => {
                        let bytes = encode_value(value);
                        let exact = Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes });
                        markers.types.insert(name, doc! { "array": exact });
                        Bson::Array(items.iter().map(|item| Bson::String(item.to_text())).collect())
                    }
                }
            }
        }
    }

    /// Decimal128 has 34 digits and exponents from -6176 to 6111.
    fn decimal128(self, value: &BigDecimal) -> Option<Decimal128> {
        let (_, scale) = value.as_bigint_and_exponent();
        let fits = self.decimal128 && value.digits() <= 34 && (-6_000..=6_000).contains(&scale);
        let text = fits.then(|| value.to_plain_or_scientific())?;
        Decimal128::from_str(&text).ok()
    }

    /// Elements that BSON holds without a marker.
    fn native(self, value: &Value) -> Option<Bson> {
        match value {
            Value::Float(v) if !self.complete && !v.is_finite() => None,
            Value::Array(_) if !self.complete => None,
            Value::Array(items) => {
                items.iter().map(|item| self.native(item)).collect::<Option<Vec<_>>>().map(Bson::Array)
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Uuid(_) => Some(self.encode("", value, &mut Markers::default())),
            Value::Decimal(_)
            | Value::NumericSpecial(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::TimestampTz(_)
            | Value::Json(_) => None,
        }
    }
}

trait Digits {
    fn to_plain_or_scientific(&self) -> String;
}

impl Digits for BigDecimal {
    /// The exact digits and scale, `-123E-2`: short for any exponent, and read by Decimal128.
    fn to_plain_or_scientific(&self) -> String {
        let (digits, scale) = self.as_bigint_and_exponent();
        if (0..=34).contains(&scale) { self.to_plain_string() } else { format!("{digits}E{}", -scale) }
    }
}

fn date(name: &str, micros: i64, markers: &mut Markers) -> Bson {
    if micros == i64::MAX || micros == i64::MIN {
        return Bson::DateTime(DateTime::from_millis(micros));
    }
    let rest = micros.rem_euclid(1_000);
    if rest != 0 {
        markers.us.insert(name, rest as i32);
    }
    Bson::DateTime(DateTime::from_millis(micros.div_euclid(1_000)))
}

/// The value of a field.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(name: &str, bson: Bson, markers: &Markers) -> Result<Value, String> {
    let kind = markers.types.get(name);
    let exact = kind.and_then(Bson::as_document).and_then(|kind| kind.get_binary_generic("array").ok());
    if let Some(bytes) = exact {
        return decode_value(bytes).map_err(|error| format!("{name}: {error}"));
    }
    let micros = |date: DateTime| match date.timestamp_millis() {
        end @ (i64::MAX | i64::MIN) => end,
        millis => millis * 1_000 + markers.us.get_i32(name).map_or(0, i64::from),
    };
    Ok(match (kind.and_then(Bson::as_str), bson) {
        (None, Bson::Null) => Value::Null,
        (None, Bson::Boolean(v)) => Value::Bool(v),
        (None, Bson::Int64(v)) => Value::Int(v),
        (None, Bson::Int32(v)) => Value::Int(i64::from(v)),
        (None, Bson::Double(v)) => Value::Float(v),
        (None, Bson::String(v)) => Value::Text(v),
        (None, Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes })) => {
            Value::Uuid(uuid::Uuid::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))?)
        }
        (None, Bson::Binary(Binary { bytes, .. })) => Value::Bytes(bytes),
        (None, Bson::DateTime(v)) => Value::TimestampTz(micros(v)),
        (None, Bson::Decimal128(v)) => decimal(name, &v.to_string())?,
        (None, Bson::Array(items)) => {
            let plain = Markers::default();
            Value::Array(items.into_iter().map(|item| decode("", item, &plain)).collect::<Result<_, _>>()?)
        }
        (Some("decimal"), Bson::String(v)) => decimal(name, &v)?,
        (Some("float"), Bson::String(v)) => {
            Value::Float(v.parse().map_err(|error| format!("{name}: {error}"))?)
        }
        (Some("timestamp"), Bson::DateTime(v)) => Value::Timestamp(micros(v)),
        (Some("date"), Bson::DateTime(v)) => Value::Date(match v.timestamp_millis() {
            i64::MAX => i32::MAX,
            i64::MIN => i32::MIN,
            millis => i32::try_from(millis.div_euclid(86_400_000)).map_err(|_| format!("{name}: date"))?,
        }),
        (Some("time"), Bson::String(v)) => {
            Value::Time(time(&v).ok_or_else(|| format!("{name}: time {v:?}"))?)
        }
        (Some("json"), Bson::String(v)) => Value::Json(v),
        (kind, bson) => return Err(format!("{name}: {:?} marked {kind:?}", bson.element_type())),
    })
}

fn decimal(name: &str, text: &str) -> Result<Value, String> {
    Ok(match text {
        "NaN" => Value::NumericSpecial(NumericSpecial::NaN),
        "Infinity" => Value::NumericSpecial(NumericSpecial::Infinity),
        "-Infinity" => Value::NumericSpecial(NumericSpecial::NegativeInfinity),
        text => Value::Decimal(text.parse().map_err(|error| format!("{name}: {error}"))?),
    })
}

/// `HH:MM:SS.ffffff` in microseconds.
fn time(text: &str) -> Option<i64> {
    let (hours, rest) = text.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let (seconds, micros) = rest.split_once('.')?;
    let number = |text: &str| text.parse::<i64>().ok();
    Some(((number(hours)? * 60 + number(minutes)?) * 60 + number(seconds)?) * 1_000_000 + number(micros)?)
}

/// A field's name as MongoDB takes it.
pub(super) fn encode_name(name: &str) -> Cow<'_, str> {
    let reserved = name.starts_with(['_', '$']) || name.contains(['.', '%', '\0']) || name.is_empty();
    if !reserved {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len() + 6);
    for (i, c) in name.chars().enumerate() {
        match c {
            '.' => encoded.push_str("%2E"),
            '%' => encoded.push_str("%25"),
            '\0' => encoded.push_str("%00"),
            '_' if i == 0 => encoded.push_str("%5F"),
            '$' if i == 0 => encoded.push_str("%24"),
            c => encoded.push(c),
        }
    }
    Cow::Owned(if encoded.is_empty() { "%".to_owned() } else { encoded })
}

/// The name that [`encode_name`] was given.
pub(super) fn decode_name(name: &str) -> String {
    if name == "%" {
        return String::new();
    }
    let mut decoded = name.to_owned();
    for (code, c) in [("%2E", "."), ("%00", "\0"), ("%5F", "_"), ("%24", "$"), ("%25", "%")] {
        decoded = decoded.replace(code, c);
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e300f64..1e300).prop_map(Value::Float),
            Just(Value::Float(f64::NEG_INFINITY)),
            (any::<i128>(), -40i64..40).prop_map(|(d, s)| Value::Decimal(BigDecimal::new(d.into(), s))),
            (any::<i64>(), -9_000i64..9_000).prop_map(|(d, s)| Value::Decimal(BigDecimal::new(d.into(), s))),
            Just(Value::NumericSpecial(NumericSpecial::NaN)),
            ".{0,12}".prop_map(Value::Text),
            vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
            any::<i32>().prop_map(Value::Date),
            (0..=86_400_000_000i64).prop_map(Value::Time),
            any::<i64>().prop_map(Value::Timestamp),
            any::<i64>().prop_map(Value::TimestampTz),
            any::<u128>().prop_map(|v| Value::Uuid(uuid::Uuid::from_u128(v))),
            ".{0,12}".prop_map(Value::Json),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| vec(inner, 0..6).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn values_round_trip(value in any_value(), decimal128: bool, complete: bool) {
            let mut markers = Markers::default();
            let bson = Dialect { decimal128, complete }.encode("f", &value, &mut markers);
            prop_assert_eq!(decode("f", bson, &markers), Ok(value));
        }

        #[test]
        fn names_round_trip(name in "[_$.%a0-9E\0]{0,8}") {
            let encoded = encode_name(&name);
            prop_assert!(!encoded.starts_with(['_', '$']) && !encoded.contains(['.', '\0']));
            prop_assert_eq!(decode_name(&encoded), name);
        }
    }
}
