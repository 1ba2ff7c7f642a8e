//! Values of the catalogue and their kinds.
//!
//! A value is one of few forms; what it is of (an oid, a table's oid that shows as its name, a "char") is known by the
//! kind of the expression it comes from.

use std::cmp::Ordering;
use std::sync::Arc;

/// Bytes of a text that count as one value.
const TEXT_BYTES: u64 = 16;

/// A value while a statement over the catalogue runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    Array(Arc<[Value]>),
    Record(Arc<[(&'static str, Value)]>),
}

/// What one value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Char,
    Name,
    Int2,
    Int4,
    Int8,
    Oid,
    Float8,
    Text,
    Timestamptz,
    /// `regclass`: a table's oid that shows as its name.
    Class,
    /// `regtype`.
    Type,
    /// `regnamespace`.
    Namespace,
    /// `regproc` and others, of which there are none.
    Other,
    Record,
    /// A literal before something tells what it is; text in the end.
    Unknown,
}

/// What an expression is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) scalar: Scalar,
    pub(crate) is_array: bool,
}

impl Kind {
    pub(crate) const BOOL: Kind = Kind::of(Scalar::Bool);
    pub(crate) const NAME: Kind = Kind::of(Scalar::Name);
    pub(crate) const INT4: Kind = Kind::of(Scalar::Int4);
    pub(crate) const INT8: Kind = Kind::of(Scalar::Int8);
    pub(crate) const OID: Kind = Kind::of(Scalar::Oid);
    pub(crate) const FLOAT8: Kind = Kind::of(Scalar::Float8);
    pub(crate) const TEXT: Kind = Kind::of(Scalar::Text);
    pub(crate) const TIMESTAMPTZ: Kind = Kind::of(Scalar::Timestamptz);
    pub(crate) const UNKNOWN: Kind = Kind::of(Scalar::Unknown);
    pub(crate) const RECORD: Kind = Kind::of(Scalar::Record);

    pub(crate) const fn of(scalar: Scalar) -> Kind {
        Kind { scalar, is_array: false }
    }

    pub(crate) const fn array(self) -> Kind {
        Kind { scalar: self.scalar, is_array: true }
    }

    pub(crate) const fn element(self) -> Kind {
        Kind { scalar: self.scalar, is_array: false }
    }

    /// The kind of a type's name, as a cast writes it. Lengths are left out.
    pub(crate) fn named(name: &str) -> Option<Kind> {
        let name = name.to_lowercase();
        let name = name.trim().strip_prefix("pg_catalog.").unwrap_or(name.trim());
        if let Some(item) = name.strip_suffix("[]") {
            return Some(Kind::named(item)?.array());
        }
        let bare = name.split('(').next().unwrap_or(name).trim();
        let scalar = match bare {
            "bool" | "boolean" => Scalar::Bool,
            "\"char\"" => Scalar::Char,
            "name" | "sql_identifier" => Scalar::Name,
            "int2" | "smallint" => Scalar::Int2,
            "int" | "int4" | "integer" | "cardinal_number" => Scalar::Int4,
            "int8" | "bigint" => Scalar::Int8,
            "oid" | "xid" => Scalar::Oid,
            "float4" | "float8" | "real" | "double precision" | "double" | "numeric" | "decimal"
            | "float" => Scalar::Float8,
            "text" | "varchar" | "character varying" | "char" | "character" | "bpchar" | "json" | "jsonb"
            | "character_data" | "yes_or_no" | "cstring" => Scalar::Text,
            "timestamptz" | "timestamp" | "timestamp with time zone" | "timestamp without time zone" => {
                Scalar::Timestamptz
            }
            "regclass" => Scalar::Class,
            "regtype" => Scalar::Type,
            "regnamespace" => Scalar::Namespace,
            "regproc" | "regprocedure" | "regoper" | "regoperator" | "regrole" | "regconfig"
            | "regdictionary" => Scalar::Other,
            "int2vector" => return Some(Kind::of(Scalar::Int2).array()),
            "oidvector" => return Some(Kind::OID.array()),
            _ => return None,
        };
        Some(Kind::of(scalar))
    }

    /// Whether values are oids that show as names.
    pub(crate) fn is_reg(self) -> bool {
        matches!(self.scalar, Scalar::Class | Scalar::Type | Scalar::Namespace | Scalar::Other)
    }

    /// The kind of one of two branches.
    pub(crate) fn or(self, other: Kind) -> Kind {
        if self == Kind::UNKNOWN { other } else { self }
    }
}

impl Value {
    pub(crate) fn text(text: impl AsRef<str>) -> Value {
        Value::Text(text.as_ref().into())
    }

    pub(crate) fn array(items: Vec<Value>) -> Value {
        Value::Array(items.into())
    }

    pub(crate) fn optional(text: Option<&str>) -> Value {
        text.map_or(Value::Null, Value::text)
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Value::Null
    }

    /// As a condition: `None` is unknown.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            Value::Text(text) => match text.to_lowercase().as_str() {
                "t" | "true" | "on" | "yes" | "1" => Some(true),
                "f" | "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            },
            Value::Int(number) => Some(*number != 0),
            Value::Null | Value::Float(_) | Value::Array(_) | Value::Record(_) => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Float(number) if number.abs() < 9e15 => Some(number.round() as i64),
            Value::Text(text) => text.trim().parse().ok(),
            Value::Bool(truth) => Some(i64::from(*truth)),
            Value::Null | Value::Float(_) | Value::Array(_) | Value::Record(_) => None,
        }
    }

    pub(crate) fn float(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Record(_) => None,
        }
    }

    /// The value as text; `None` is null.
    pub(crate) fn to_text(&self) -> Option<String> {
        let shown = |value: &Value| value.to_text().unwrap_or_default();
        Some(match self {
            Value::Null => return None,
            Value::Bool(truth) => (if *truth { "t" } else { "f" }).to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => text.to_string(),
            Value::Array(items) => {
                let item = |value: &Value| value.to_text().unwrap_or_else(|| "NULL".to_owned());
                format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(","))
            }
            Value::Record(fields) => {
                format!("({})", fields.iter().map(|(_, value)| shown(value)).collect::<Vec<_>>().join(","))
            }
        })
    }

    /// How much it is: itself, its items, parts of its texts. Not looked at beyond `most`: items may be shared, and be
    /// more than there is memory for.
    pub(crate) fn weight(&self, most: u64) -> u64 {
        let mut all = 1;
        let mut add = |value: &Value| {
            if all <= most {
                all += value.weight(most - all.min(most));
            }
        };
        match self {
            Value::Text(text) => return 1 + text.len() as u64 / TEXT_BYTES,
            Value::Array(items) => items.iter().for_each(&mut add),
            Value::Record(fields) => fields.iter().for_each(|(_, value)| add(value)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
        all
    }

    /// The items of an array, also of one that is written as text; a null has none.
    pub(crate) fn items(&self) -> Vec<Value> {
        match self {
            Value::Array(items) => items.to_vec(),
            Value::Text(text) => parsed_items(text),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Record(_) => Vec::new(),
        }
    }

    /// `None` where one is null or they have no order. A text beside a number or a truth is read as such.
    pub(crate) fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Null, _) | (_, Value::Null) => None,
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Bool(a), b) | (b, Value::Bool(a)) => {
                let order = a.cmp(&b.truth()?);
                Some(if matches!(self, Value::Bool(_)) { order } else { order.reverse() })
            }
            (Value::Int(_) | Value::Float(_), _) | (_, Value::Int(_) | Value::Float(_)) => {
                self.float()?.partial_cmp(&other.float()?)
            }
            (Value::Array(_), _) | (_, Value::Array(_)) => compare_all(&self.items(), &other.items()),
            (Value::Record(_), _) | (_, Value::Record(_)) => self.to_text().partial_cmp(&other.to_text()),
        }
    }

    /// What equal values have in common, for grouping and joining.
    pub(crate) fn key(&self) -> String {
        self.to_text().unwrap_or_else(|| "\u{0}".to_owned())
    }
}

fn compare_all(a: &[Value], b: &[Value]) -> Option<Ordering> {
    for (a, b) in a.iter().zip(b) {
        match a.compare(b)? {
            Ordering::Equal => {}
            other => return Some(other),
        }
    }
    Some(a.len().cmp(&b.len()))
}

/// `{a,"b c",NULL}`, or the items of a vector: `1 2`.
fn parsed_items(text: &str) -> Vec<Value> {
    let Some(inner) = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return text.split_whitespace().map(Value::text).collect();
    };
    let (mut items, mut item, mut quoted, mut was_quoted, mut escaped) =
        (Vec::new(), String::new(), false, false, false);
    let mut finish = |item: &mut String, was_quoted: &mut bool| {
        let value =
            if !*was_quoted && item.eq_ignore_ascii_case("null") { Value::Null } else { Value::text(&*item) };
        items.push(value);
        item.clear();
        *was_quoted = false;
    };
    for letter in inner.chars() {
        match letter {
            _ if escaped => {
                item.push(letter);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => (quoted, was_quoted) = (!quoted, true),
            ',' if !quoted => finish(&mut item, &mut was_quoted),
            _ => item.push(letter),
        }
    }
    if !inner.is_empty() {
        finish(&mut item, &mut was_quoted);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_from_text() {
        let texts = |text: &str| -> Vec<Option<String>> {
            Value::text(text).items().iter().map(Value::to_text).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(texts(r#"{a,"b, c",NULL,"null"}"#), [some("a"), some("b, c"), None, some("null")]);
        assert_eq!(texts("{}"), []);
        assert_eq!(texts("1 2"), [some("1"), some("2")]);
    }

    #[test]
    fn a_value_weighs_what_it_would_take_written_out() {
        assert_eq!(Value::Int(7).weight(100), 1);
        assert_eq!(Value::text("x".repeat(160)).weight(100), 11);
        // Twice as much with every step, and no more memory.
        let twice = |value: Value, _| Value::array(vec![value.clone(), value]);
        let large = (0..40).fold(Value::Int(1), twice);
        assert!(large.weight(1_000) > 1_000);
    }

    #[test]
    fn a_text_beside_a_number_is_read_as_one() {
        assert_eq!(Value::Int(10).compare(&Value::text("9")), Some(Ordering::Greater));
        assert_eq!(Value::text("9").compare(&Value::Int(10)), Some(Ordering::Less));
        assert_eq!(Value::Bool(true).compare(&Value::text("t")), Some(Ordering::Equal));
        assert_eq!(Value::Null.compare(&Value::Int(1)), None);
    }
}
