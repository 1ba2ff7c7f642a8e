//! One text for one value, whichever store it was read from.
//!
//! PostgreSQL, Kafka, the mirrors and the lake write the same value differently (`12.3400`, `12.34`,
//! microseconds, RFC 3339). Here every form becomes one canonical text, and that text one number to
//! compare by. Invariant: two values of one column have the same canonical text only if they are equal
//! to the last digit; nothing is rounded to make them so. Values themselves are never shown.

use affluent_model::Value;
use affluent_model::value::NumericSpecial;
use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

/// The column is not in the record: it was added to the table later, or never sent.
pub(super) const ABSENT: u64 = 0;
/// SQL NULL.
pub(super) const NULL: u64 = 1;

/// What kind of value a column holds, as far as its texts differ between stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    /// Integers and `numeric`.
    Number,
    Float32,
    Float64,
    /// Text, and every type that travels in PostgreSQL's own text form.
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
    Json,
    Array(Box<Kind>),
}

impl Kind {
    /// The kind of a base type by its name in `pg_type`; elements of arrays are looked up likewise.
    pub(super) fn of_type(name: &str) -> Kind {
        if let Some(element) = name.strip_prefix('_') {
            return Kind::Array(Box::new(Kind::of_type(element)));
        }
        match name {
            "bool" => Kind::Bool,
            "int2" | "int4" | "int8" | "numeric" | "oid" => Kind::Number,
            "float4" => Kind::Float32,
            "float8" => Kind::Float64,
            "bytea" => Kind::Bytes,
            "date" => Kind::Date,
            "time" => Kind::Time,
            "timestamp" => Kind::Timestamp,
            "timestamptz" => Kind::TimestampTz,
            "uuid" => Kind::Uuid,
            "json" | "jsonb" => Kind::Json,
            _ => Kind::Text,
        }
    }

    /// Its values may be summed.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Kind::Number)
    }

    /// The SQL that gives the column `name` (quoted) as the text that [`Kind::of_source`] reads.
    pub(super) fn expression(&self, name: &str) -> String {
        let finite =
            |micros: &str| format!("case when isfinite({name}) then ({micros})::text else {name}::text end");
        match self {
            Kind::Bool | Kind::Number | Kind::Float32 | Kind::Float64 | Kind::Uuid | Kind::Json => {
                format!("{name}::text")
            }
            // A cast of `char(n)` strips blanks and one of `inet` adds `/32`; the output form does neither.
            Kind::Text => format!("case when {name} is not null then format('%s', {name}) end"),
            Kind::Bytes => format!("encode({name}, 'hex')"),
            Kind::Date => finite(&format!("{name} - date '1970-01-01'")),
            Kind::Time => format!("(extract(epoch from {name}) * 1000000)::bigint::text"),
            Kind::Timestamp | Kind::TimestampTz => {
                finite(&format!("(extract(epoch from {name}) * 1000000)::bigint"))
            }
            Kind::Array(_) => format!("array_to_json({name})::text"),
        }
    }

    /// The canonical text of what [`Kind::expression`] gave.
    pub(super) fn of_source<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self {
            Kind::Number | Kind::Float32 | Kind::Float64 | Kind::Json | Kind::Array(_) => self.of_text(text),
            // Microseconds and days already.
            Kind::Bool
            | Kind::Text
            | Kind::Bytes
            | Kind::Date
            | Kind::Time
            | Kind::Timestamp
            | Kind::TimestampTz
            | Kind::Uuid => Cow::Borrowed(text),
        }
    }

    /// The canonical text of a value; `None` for null.
    pub(super) fn of_value<'a>(&self, value: &'a Value) -> Option<Cow<'a, str>> {
        let owned = |text: String| Some(Cow::Owned(text));
        match value {
            Value::Null => None,
            Value::Bool(v) => owned(v.to_string()),
            Value::Int(v) => match self {
                Kind::Float32 | Kind::Float64 => owned(self.float(*v as f64)),
                _ => owned(v.to_string()),
            },
            Value::Float(v) => owned(self.float(*v)),
            Value::Decimal(v) => owned(decimal(v)),
            Value::NumericSpecial(v) => Some(Cow::Borrowed(match v {
                NumericSpecial::NaN => "NaN",
                NumericSpecial::Infinity => "Infinity",
                NumericSpecial::NegativeInfinity => "-Infinity",
            })),
            Value::Text(v) | Value::Json(v) => Some(self.of_text(v)),
            Value::Bytes(v) => owned(v.iter().map(|byte| format!("{byte:02x}")).collect()),
            Value::Date(v) => owned(days(*v)),
            Value::Time(v) => owned(v.to_string()),
            Value::Timestamp(v) | Value::TimestampTz(v) => owned(micros(*v)),
            Value::Uuid(v) => owned(v.to_string()),
            Value::Array(items) => {
                let element = self.element();
                let items = items.iter().map(|item| match item {
                    Value::Array(_) => self.of_value(item),
                    item => element.of_value(item),
                });
                owned(list(items))
            }
        }
    }

    /// The canonical text of a value's JSON form ([`Value::to_json`], PostgreSQL's `to_json`); `None`
    /// for null.
    pub(super) fn of_json(&self, json: &Json) -> Option<Cow<'static, str>> {
        let text = match (self, json) {
            (_, Json::Null) => return None,
            (Kind::Json, json) => json.to_string(),
            (Kind::Array(element), Json::Array(items)) => list(items.iter().map(|item| match item {
                Json::Array(_) => self.of_json(item),
                item => element.of_json(item),
            })),
            (_, Json::String(text)) => self.of_text(text).into_owned(),
            (_, json) => self.of_text(&json.to_string()).into_owned(),
        };
        Some(Cow::Owned(text))
    }

    /// The canonical text of any text form of the kind.
    fn of_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let parsed = match self {
            Kind::Text => None,
            Kind::Bool => match text {
                "t" => Some("true".to_owned()),
                "f" => Some("false".to_owned()),
                _ => None,
            },
            Kind::Number => return number(text),
            Kind::Float32 | Kind::Float64 => text.parse().ok().map(|v| self.float(v)),
            Kind::Bytes => text.strip_prefix("\\x").map(str::to_lowercase),
            Kind::Uuid => Some(text.to_lowercase()),
            Kind::Date => text
                .parse::<NaiveDate>()
                .ok()
                .map(|date| date.signed_duration_since(NaiveDate::default()).num_days().to_string()),
            Kind::Time if text.starts_with("24:") => Some("86400000000".to_owned()),
            Kind::Time => text.parse::<NaiveTime>().ok().map(|time| {
                let micros = u64::from(time.num_seconds_from_midnight()) * 1_000_000;
                (micros + u64::from(time.nanosecond() / 1_000)).to_string()
            }),
            Kind::Timestamp | Kind::TimestampTz => instant(text),
            Kind::Json => serde_json::from_str::<Json>(text).ok().map(|json| json.to_string()),
            Kind::Array(_) => serde_json::from_str::<Json>(text)
                .ok()
                .filter(Json::is_array)
                .and_then(|json| self.of_json(&json).map(Cow::into_owned)),
        };
        parsed.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    fn element(&self) -> &Kind {
        match self {
            Kind::Array(element) => element,
            other => other,
        }
    }

    fn float(&self, value: f64) -> String {
        // The shortest text that gives the same bits, in the column's own width.
        if *self == Kind::Float32 { (value as f32).to_string() } else { value.to_string() }
    }
}

/// The number that stands for a canonical text; never [`ABSENT`] or [`NULL`] for a text.
pub(super) fn fingerprint(text: Option<&str>) -> u64 {
    let Some(text) = text else { return NULL };
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish().max(NULL + 1)
}

/// Plain digits without needless zeros.
fn number(text: &str) -> Cow<'_, str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let padded = digits.starts_with('0') && digits != "0" && !digits.starts_with("0.");
    if plain && !padded {
        return Cow::Borrowed(trimmed(text));
    }
    text.parse::<BigDecimal>().map_or(Cow::Borrowed(text), |value| Cow::Owned(decimal(&value)))
}

fn decimal(value: &BigDecimal) -> String {
    trimmed(&value.to_plain_string()).to_owned()
}

/// Without zeros at the end of the fraction; zero has no sign.
fn trimmed(text: &str) -> &str {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if text == "-0" { "0" } else { text }
}

fn days(value: i32) -> String {
    match value {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => days.to_string(),
    }
}

fn micros(value: i64) -> String {
    match value {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => micros.to_string(),
    }
}

/// Microseconds of `2026-01-31T12:00:00.5` with or without zone; `None` for the infinities.
fn instant(text: &str) -> Option<String> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|t| t.timestamp_micros());
    let local = || {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|t| t.and_utc().timestamp_micros())
    };
    zoned.or_else(|_| local()).ok().map(|micros| micros.to_string())
}

fn list<'a>(items: impl Iterator<Item = Option<Cow<'a, str>>>) -> String {
    Json::Array(items.map(|item| item.map_or(Json::Null, |text| text.into_owned().into())).collect())
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_value_has_one_text() {
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        let instant = 1_767_182_400_500_000;
        let cases = [
            ("numeric", decimal("12.3400"), "12.3400", "12.34"),
            ("numeric", decimal("100"), "100.00", "100"),
            ("numeric", decimal("-0.000"), "0.000", "0"),
            ("numeric", decimal("0"), "-0", "0"),
            ("numeric", decimal("7"), "007", "7"),
            ("numeric", decimal("1E+3"), "1000", "1000"),
            ("numeric", Value::NumericSpecial(NumericSpecial::NaN), "NaN", "NaN"),
            ("int8", Value::Int(-7), "-7", "-7"),
            ("bool", Value::Bool(true), "true", "true"),
            ("float4", Value::Float(f64::from(0.1f32)), "0.1", "0.1"),
            ("float8", Value::Float(1e300), "1e+300", &1e300f64.to_string()),
            ("bytea", Value::Bytes(vec![0xAB, 0]), "ab00", "ab00"),
            ("date", Value::Date(20_000), "20000", "20000"),
            ("date", Value::Date(i32::MAX), "infinity", "infinity"),
            ("time", Value::Time(86_400_000_000), "86400000000", "86400000000"),
            ("time", Value::Time(1_500_000), "1500000", "1500000"),
            ("timestamptz", Value::TimestampTz(instant), "1767182400500000", "1767182400500000"),
            ("timestamp", Value::Timestamp(i64::MIN), "-infinity", "-infinity"),
            (
                "jsonb",
                Value::Json(r#"{"a":1.50,"b":[]}"#.into()),
                r#"{"a": 1.50, "b": []}"#,
                r#"{"a":1.50,"b":[]}"#,
            ),
            ("inet", Value::Text("192.0.2.1".into()), "192.0.2.1", "192.0.2.1"),
            ("_numeric", Value::Array(vec![decimal("1.50"), Value::Null]), "[1.50,null]", r#"["1.5",null]"#),
            (
                "_timestamptz",
                Value::Array(vec![Value::TimestampTz(instant)]),
                r#"["2025-12-31T12:00:00.5+00:00"]"#,
                r#"["1767182400500000"]"#,
            ),
            (
                "_text",
                Value::Array(vec![Value::Array(vec![Value::Text("a\"".into())])]),
                r#"[["a\""]]"#,
                r#"["[\"a\\\"\"]"]"#,
            ),
        ];
        for (name, value, source, expected) in cases {
            let kind = Kind::of_type(name);
            assert_eq!(kind.of_value(&value).as_deref(), Some(expected), "{name} as a value");
            assert_eq!(kind.of_source(source), expected, "{name} from the source");
            assert_eq!(kind.of_json(&value.to_json()).as_deref(), Some(expected), "{name} as JSON");
            let text = Value::Text(value.to_text());
            assert_eq!(kind.of_value(&text).as_deref(), Some(expected), "{name} as text");
        }
    }

    #[test]
    fn null_is_no_text() {
        assert_eq!(Kind::Text.of_value(&Value::Null), None);
        assert_eq!(Kind::Json.of_json(&Json::Null), None);
        assert_ne!(fingerprint(None), fingerprint(Some("")));
        assert_ne!(fingerprint(None), ABSENT);
    }

    proptest! {
        #[test]
        fn decimals_are_equal_in_every_scale(unscaled: i128, scale in 0i64..30, zeros in 0i64..10) {
            let value = BigDecimal::new(unscaled.into(), scale);
            let padded = value.with_scale(scale + zeros);
            prop_assert_eq!(decimal(&value), decimal(&padded));
            prop_assert_eq!(decimal(&value).parse::<BigDecimal>().unwrap(), value);
        }

        #[test]
        fn different_numbers_stay_different(a: i64, b: i64, scale in 0i64..20) {
            let (x, y) = (BigDecimal::new(a.into(), scale), BigDecimal::new(b.into(), scale));
            prop_assert_eq!(decimal(&x) == decimal(&y), a == b);
        }

        #[test]
        fn times_survive_json(micros in -2_000_000_000_000_000i64..4_000_000_000_000_000, day in -100_000i32..100_000) {
            for (kind, value) in [
                (Kind::Timestamp, Value::Timestamp(micros)),
                (Kind::TimestampTz, Value::TimestampTz(micros)),
                (Kind::Date, Value::Date(day)),
                (Kind::Time, Value::Time(micros.rem_euclid(86_400_000_000))),
            ] {
                prop_assert_eq!(kind.of_json(&value.to_json()), kind.of_value(&value));
            }
        }
    }
}
