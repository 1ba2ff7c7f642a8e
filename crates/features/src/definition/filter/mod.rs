//! Filters: conditions over the columns of one event, checked against their types.
//!
//! ```text
//! filter     = and { "or" and }
//! and        = not { "and" not }
//! not        = "not" not | "(" filter ")" | condition
//! condition  = column ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
//!            | column ["not"] "in" "(" literal { "," literal } ")" | column "is" ["not"] "null"
//! literal    = number | 'text' | true | false
//! ```
//!
//! `hour` (0 to 23) and `weekday` (1 Monday to 7) of the event time, UTC, are columns of every source. Money is compared
//! in minor units. Conditions follow SQL: a comparison with null is unknown, and an event of which it is unknown whether it
//! passes does not pass.

mod parse;

use crate::event::{self, NULL};

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A column by its position in the source.
    Column(usize),
    Hour,
    Weekday,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// A checked filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every event passes.
    All,
    Compare(Field, Comparison, i64),
    In(Field, Vec<i64>),
    IsNull(Field),
    Not(Box<Filter>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

impl Filter {
    /// Reads and checks a filter over the columns of `source`.
    ///
    /// # Errors
    /// A message that shows where it is wrong.
    pub fn parse(text: &str, source: &super::Source) -> Result<Self, String> {
        parse::parse(text, source)
    }

    /// Both: this filter and another.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        match (self, other) {
            (Filter::All, one) | (one, Filter::All) => one,
            (one, two) => Filter::And(vec![one, two]),
        }
    }

    /// Adds the columns that it looks at to `into`, by their positions in the source.
    pub fn columns(&self, into: &mut Vec<usize>) {
        match self {
            Filter::All => {}
            Filter::Compare(field, ..) | Filter::In(field, _) | Filter::IsNull(field) => match field {
                Field::Column(column) => into.push(*column),
                Field::Hour | Field::Weekday => {}
            },
            Filter::Not(inner) => inner.columns(into),
            Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| part.columns(into)),
        }
    }

    /// Whether an event passes; not, where that is unknown.
    #[must_use]
    pub fn passes(&self, time: i64, cells: &[i64]) -> bool {
        self.holds(time, cells) == Some(true)
    }

    /// Three-valued: none is unknown.
    fn holds(&self, time: i64, cells: &[i64]) -> Option<bool> {
        match self {
            Filter::All => Some(true),
            Filter::Compare(field, comparison, literal) => {
                let value = field.value(time, cells)?;
                Some(match comparison {
                    Comparison::Equal => value == *literal,
                    Comparison::NotEqual => value != *literal,
                    Comparison::Less => value < *literal,
                    Comparison::LessEqual => value <= *literal,
                    Comparison::Greater => value > *literal,
                    Comparison::GreaterEqual => value >= *literal,
                })
            }
            Filter::In(field, literals) => Some(literals.contains(&field.value(time, cells)?)),
            Filter::IsNull(field) => Some(field.value(time, cells).is_none()),
            Filter::Not(inner) => inner.holds(time, cells).map(|holds| !holds),
            Filter::And(parts) => fold(parts, time, cells, false),
            Filter::Or(parts) => fold(parts, time, cells, true),
        }
    }
}

/// `decisive` decides at once (false in an and, true in an or); else unknown wins.
fn fold(parts: &[Filter], time: i64, cells: &[i64], decisive: bool) -> Option<bool> {
    let mut known = true;
    for part in parts {
        match part.holds(time, cells) {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => known = false,
        }
    }
    known.then_some(!decisive)
}

impl Field {
    fn value(self, time: i64, cells: &[i64]) -> Option<i64> {
        match self {
            Field::Column(index) => Some(cells[index]).filter(|&cell| cell != NULL),
            Field::Hour => Some(event::hour(time)),
            Field::Weekday => Some(event::weekday(time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Source;
    use crate::event::{HOUR, fingerprint};

    fn source() -> Source {
        let text = r#"
            description = "d"
            event_time = "t"
            arrival_time = "t"
            id = "id"
            lateness = "0s"
            entities = { customer = "c" }
            columns = { amount = "money", status = "text", score = "decimal(2)", ok = "bool" }"#;
        Source::parse("s", "s.toml", text).unwrap()
    }

    #[test]
    fn conditions_follow_sql() {
        let cells = [1_000, fingerprint("paid"), 50, NULL];
        let check = |text: &str| Filter::parse(text, &source()).unwrap().holds(3 * HOUR, &cells);
        for (text, expected) in [
            ("amount >= 1000 and status = 'paid'", Some(true)),
            ("amount < 1000 or score = 0.5", Some(true)),
            ("status in ('paid', 'open')", Some(true)),
            ("status not in ('paid')", Some(false)),
            ("ok = true", None),
            ("not ok = true", None),
            ("ok is null and ok is not null", Some(false)),
            ("ok = true or amount > 1", Some(true)),
            ("ok = true and amount > 1", None),
            ("not (hour in (2, 3) and weekday = 4)", Some(false)),
            ("amount > -5", Some(true)),
        ] {
            assert_eq!(check(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("amout > 1", "did you mean amount?"),
            ("status > 'a'", "only = and !="),
            ("amount = 'a'", "expected a number"),
            ("score = 0.555", "more than 2 decimal places"),
            ("amount > 1 amount", "unexpected amount"),
            ("status = 'a", "quote"),
            ("amount", "expected a comparison"),
            ("", "ends"),
            ("amount = 99999999999999999999", "out of range"),
        ] {
            let error = Filter::parse(text, &source()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "(".repeat(1_000);
        assert!(Filter::parse(&deep, &source()).unwrap_err().contains("nested"));
    }
}
