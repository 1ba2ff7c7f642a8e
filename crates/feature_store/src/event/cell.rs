//! One value of a row, and what it is for the engine: a whole number, a key, or unfit. Pure.
//!
//! Invariant: equal values give equal cells, whether they came as values of the bus or in columns of Arrow; what a column
//! cannot hold exactly is refused, never rounded. Degrees alone are rounded, to a millionth: a place is no amount.

use affluent_features::definition::ColumnType;
use affluent_features::event::{VALUE_MAX, fingerprint};
use affluent_features::{Key, NULL};
use std::borrow::Cow;

/// A value, whichever way it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// `unscaled / 10^scale`.
    Decimal {
        unscaled: i128,
        scale: u32,
    },
    Text(Cow<'a, str>),
    /// An instant, microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// A kind of value that no column takes; its name.
    Other(&'static str),
}

impl Cell<'_> {
    /// A text that lasts as long as it is needed.
    pub(crate) fn owned(text: String) -> Cell<'static> {
        Cell::Text(Cow::Owned(text))
    }

    /// The value as text: numbers plain and without trailing zeros. None for null.
    ///
    /// # Errors
    /// A message: this kind of value has no text.
    pub fn text(&self) -> Result<Option<Cow<'_, str>>, String> {
        Ok(Some(match self {
            Cell::Null => return Ok(None),
            Cell::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Cell::Int(value) | Cell::Time(value) => Cow::Owned(value.to_string()),
            Cell::Float(value) => Cow::Owned(value.to_string()),
            Cell::Decimal { unscaled, scale } => Cow::Owned(plain(*unscaled, *scale)),
            Cell::Text(text) => Cow::Borrowed(text.as_ref()),
            Cell::Other(kind) => return Err(unfit(kind, "text")),
        }))
    }

    /// What the engine holds of the value.
    ///
    /// # Errors
    /// A message: it is of another kind, has more decimal places than the column, or is out of range.
    pub fn cell(&self, kind: ColumnType) -> Result<i64, String> {
        if let Cell::Other(found) = self {
            return Err(unfit(found, &kind.to_text()));
        }
        let value = match (kind, self) {
            (_, Cell::Null) => return Ok(NULL),
            (ColumnType::Text, value) => return Ok(value.text()?.map_or(NULL, |text| fingerprint(&text))),
            (ColumnType::Bool, Cell::Bool(value)) => return Ok(i64::from(*value)),
            (ColumnType::Degrees, Cell::Float(value)) => (value * 1e6).round() as i64,
            // Whole numbers of every day do not go through their digits.
            (ColumnType::Integer | ColumnType::Money, Cell::Int(value)) => *value,
            (_, Cell::Bool(_)) => return Err(unfit("a truth", &kind.to_text())),
            (_, Cell::Time(_)) => return Err(unfit("an instant", &kind.to_text())),
            (_, value) => return value.text()?.map_or(Ok(NULL), |text| kind.cell(&text)),
        };
        let fits = (-VALUE_MAX..=VALUE_MAX).contains(&value);
        if fits { Ok(value) } else { Err(format!("{value} is out of range")) }
    }

    /// The key that the value is; none for null.
    ///
    /// # Errors
    /// As [`Cell::text`].
    pub fn key(&self) -> Result<Option<Key>, String> {
        match self {
            Cell::Int(number) => Ok(Some(Key::from(*number))),
            value => Ok(value.text()?.map(|text| Key::text(&text))),
        }
    }

    /// An instant in microseconds; none for null.
    ///
    /// # Errors
    /// A message: the value is no instant.
    pub fn time(&self) -> Result<Option<i64>, String> {
        match self {
            Cell::Null => Ok(None),
            // PostgreSQL's infinities.
            Cell::Time(i64::MIN | i64::MAX) => Err("an infinite time".to_owned()),
            Cell::Time(micros) => Ok(Some(*micros)),
            Cell::Bool(_)
            | Cell::Int(_)
            | Cell::Float(_)
            | Cell::Decimal { .. }
            | Cell::Text(_)
            | Cell::Other(_) => Err("expected an instant".to_owned()),
        }
    }
}

fn unfit(found: &str, expected: &str) -> String {
    format!("{found} in a column of {expected}")
}

/// A decimal as digits, without zeros at its end.
fn plain(mut unscaled: i128, mut scale: u32) -> String {
    while scale > 0 && unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    if scale == 0 {
        return unscaled.to_string();
    }
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    let width = scale as usize + 1;
    let digits = format!("{digits:0>width$}");
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_or_refused() {
        let decimal = |unscaled, scale| Cell::Decimal { unscaled, scale };
        for (value, kind, expected) in [
            (Cell::Int(7), ColumnType::Integer, Some(7)),
            (decimal(-50, 4), ColumnType::Decimal(3), Some(-5)),
            (decimal(-5, 4), ColumnType::Decimal(3), None),
            (decimal(70_000, 4), ColumnType::Money, Some(7)),
            (Cell::Float(0.25), ColumnType::Decimal(2), Some(25)),
            (Cell::Float(0.125), ColumnType::Decimal(2), None),
            (Cell::Float(48.856_600_4), ColumnType::Degrees, Some(48_856_600)),
            (Cell::Float(f64::NAN), ColumnType::Decimal(2), None),
            (Cell::Text("12".into()), ColumnType::Integer, Some(12)),
            (Cell::Bool(true), ColumnType::Bool, Some(1)),
            (Cell::Bool(true), ColumnType::Integer, None),
            (Cell::Int(i64::MAX), ColumnType::Integer, None),
            (Cell::Time(1), ColumnType::Integer, None),
            (Cell::Null, ColumnType::Text, Some(NULL)),
            (Cell::Other("bytes"), ColumnType::Text, None),
        ] {
            assert_eq!(value.cell(kind).ok(), expected, "{value:?} as {kind:?}");
        }
        assert_eq!(decimal(1_234_000, 4).cell(ColumnType::Text), Ok(fingerprint("123.4")));
        assert_eq!(Cell::Int(42).key(), Cell::Text("42".into()).key());
        assert_eq!(decimal(42_00, 2).key(), Cell::Int(42).key());
    }
}
