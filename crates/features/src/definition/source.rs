//! A source: a stream of events with typed columns, the entities they belong to, and a clock.

use super::derived::Derived;
use super::{DefinitionError, keys, window::parse_duration};
use crate::event::{VALUE_MAX, fingerprint};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The type of a column; every one is held as a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Integer,
    /// Scaled by ten to the power of this many places.
    Decimal(u8),
    /// Minor units of one currency: the caller converts where a source has several.
    Money,
    Bool,
    /// Held as a fingerprint: equal or not is all that is known of it.
    Text,
    /// Geographic, in millionths of degrees.
    Degrees,
}

impl ColumnType {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "integer" => ColumnType::Integer,
            "money" => ColumnType::Money,
            "bool" => ColumnType::Bool,
            "text" => ColumnType::Text,
            "degrees" => ColumnType::Degrees,
            _ => {
                let places = text.strip_prefix("decimal(")?.strip_suffix(')')?.parse().ok()?;
                (places <= 9).then_some(ColumnType::Decimal(places))?
            }
        })
    }

    /// The type as it is written in a source.
    #[must_use]
    pub fn to_text(self) -> String {
        match self {
            ColumnType::Integer => "integer".to_owned(),
            ColumnType::Decimal(places) => format!("decimal({places})"),
            ColumnType::Money => "money".to_owned(),
            ColumnType::Bool => "bool".to_owned(),
            ColumnType::Text => "text".to_owned(),
            ColumnType::Degrees => "degrees".to_owned(),
        }
    }

    /// Whether sums and comparisons of it mean something.
    #[must_use]
    pub fn is_number(self) -> bool {
        match self {
            ColumnType::Integer | ColumnType::Decimal(_) | ColumnType::Money | ColumnType::Degrees => true,
            ColumnType::Bool | ColumnType::Text => false,
        }
    }

    /// The cell of a value as text: what an event carries and what filters are compared with. Nothing is rounded.
    ///
    /// # Errors
    /// A message: what is wrong with the text.
    pub fn cell(self, text: &str) -> Result<i64, String> {
        match self {
            ColumnType::Text => Ok(fingerprint(text)),
            ColumnType::Bool => match text {
                "true" => Ok(1),
                "false" => Ok(0),
                _ => Err(format!("expected true or false, found {text}")),
            },
            ColumnType::Integer | ColumnType::Decimal(_) | ColumnType::Money | ColumnType::Degrees => {
                scaled(text, self.places())
            }
        }
    }

    /// Decimal places of the cell: what a value is divided by is ten to this power. Money stays in minor units.
    #[must_use]
    pub fn places(self) -> u8 {
        match self {
            ColumnType::Decimal(places) => places,
            ColumnType::Degrees => 6,
            ColumnType::Integer | ColumnType::Money | ColumnType::Bool | ColumnType::Text => 0,
        }
    }
}

/// A decimal number times ten to the power of `places`, exactly.
fn scaled(number: &str, places: u8) -> Result<i64, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > usize::from(places) {
        return Err(format!("{number} has more than {places} decimal places"));
    }
    let digits = format!("{whole}{fraction:0<width$}", width = usize::from(places));
    let value = digits.parse::<i64>().map_err(|_| format!("{number} is no number or out of range"))?;
    let fits = (-VALUE_MAX..=VALUE_MAX).contains(&value);
    if fits { Ok(value) } else { Err(format!("{number} is out of range")) }
}

/// A column of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
}

/// A checked source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub description: String,
    /// The topic that carries the events as they come.
    pub topic: Option<String>,
    /// SQL over the lake for the events of the past, with the columns named below.
    pub query: Option<String>,
    pub event_time: String,
    pub arrival_time: String,
    /// The column that identifies an event: [`crate::event::order_of`] of it is the tie rule.
    pub id: String,
    /// Late events are taken up to so many microseconds behind the newest of their key; later ones are counted.
    pub lateness: i64,
    /// Whether an event may be corrected or removed after it came.
    pub corrections: bool,
    /// Entity to the column that holds its key, in order of names.
    pub entities: Vec<(String, String)>,
    pub columns: Vec<Column>,
    /// Fields that are computed of a row's others, of rows of the topic and of the query alike.
    pub derived: BTreeMap<String, Derived>,
    /// Columns that the query has and the topic has not: features of freshness `stream` cannot be made of them.
    pub lake_columns: Vec<String>,
    /// The file that defines it, for messages.
    pub file: String,
}

#[derive(Deserialize)]
struct Raw {
    description: String,
    topic: Option<String>,
    query: Option<String>,
    event_time: String,
    arrival_time: String,
    id: String,
    lateness: String,
    #[serde(default)]
    corrections: bool,
    entities: BTreeMap<String, String>,
    columns: toml::Table,
    #[serde(default)]
    derived: BTreeMap<String, String>,
    #[serde(default)]
    lake_columns: Vec<String>,
}

const KEYS: &[&str] = &[
    "description",
    "topic",
    "query",
    "event_time",
    "arrival_time",
    "id",
    "lateness",
    "corrections",
    "entities",
    "columns",
    "derived",
    "lake_columns",
];

/// At most so many columns and entities a source.
const COLUMNS_MAX: usize = 256;

impl Source {
    pub(crate) fn parse(name: &str, file: &str, text: &str) -> Result<Self, DefinitionError> {
        let wrong = |message: String| DefinitionError::file(file, message);
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        if let Some(message) = keys::unknown(&table, KEYS) {
            return Err(wrong(message));
        }
        let raw: Raw = table.try_into().map_err(|e: toml::de::Error| wrong(e.message().to_owned()))?;
        let mut columns = Vec::new();
        for (column, kind) in &raw.columns {
            let kind = kind.as_str().and_then(ColumnType::parse).ok_or_else(|| {
                wrong(format!(
                    "columns.{column}: expected \"integer\", \"decimal(2)\", \"money\", \"bool\", \"text\" or \"degrees\""
                ))
            })?;
            columns.push(Column { name: column.clone(), kind });
        }
        for name in raw.entities.keys().chain(raw.columns.keys()).map(String::as_str).chain([name]) {
            if !keys::is_name(name) || name == super::REQUEST {
                return Err(wrong(format!(
                    "{name:?} is no name: lower case words joined by _, not \"request\""
                )));
            }
        }
        if columns.len() > COLUMNS_MAX || raw.entities.len() > COLUMNS_MAX {
            return Err(wrong(format!("more than {COLUMNS_MAX} columns or entities")));
        }
        let derive = |(field, text): (String, String)| {
            Ok((field.clone(), Derived::parse(&text).map_err(|m| wrong(format!("derived.{field}: {m}")))?))
        };
        let derived = raw.derived.into_iter().map(derive).collect::<Result<BTreeMap<_, _>, _>>()?;
        if let Some(unknown) = raw.lake_columns.iter().find(|name| !raw.columns.contains_key(*name)) {
            let near = keys::nearest(unknown, raw.columns.keys().map(String::as_str));
            return Err(wrong(format!("lake_columns: there is no column {unknown}{near}")));
        }
        let lateness = parse_duration(&raw.lateness).map_err(|m| wrong(format!("lateness: {m}")))?;
        Ok(Source {
            name: name.to_owned(),
            description: raw.description,
            topic: raw.topic,
            query: raw.query,
            event_time: raw.event_time,
            arrival_time: raw.arrival_time,
            id: raw.id,
            lateness,
            corrections: raw.corrections,
            entities: raw.entities.into_iter().collect(),
            columns,
            derived,
            lake_columns: raw.lake_columns,
            file: file.to_owned(),
        })
    }

    /// Position and type of a column.
    ///
    /// # Errors
    /// A message that names the nearest column.
    pub fn column(&self, name: &str) -> Result<(usize, ColumnType), String> {
        let found = self.columns.iter().position(|column| column.name == name);
        let found = found.map(|index| (index, self.columns[index].kind));
        found.ok_or_else(|| {
            let near = keys::nearest(name, self.columns.iter().map(|c| c.name.as_str()));
            format!("source {} has no column {name}{near}", self.name)
        })
    }

    /// Which of the source's entities this is.
    #[must_use]
    pub fn entity(&self, name: &str) -> Option<usize> {
        self.entities.iter().position(|(entity, _)| entity == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_exact() {
        for (kind, text, expected) in [
            (ColumnType::Integer, "-7", Some(-7)),
            (ColumnType::Decimal(2), "-0.5", Some(-50)),
            (ColumnType::Decimal(2), "1.2300", Some(123)),
            (ColumnType::Decimal(2), "1.234", None),
            (ColumnType::Degrees, "48.8566", Some(48_856_600)),
            (ColumnType::Money, "1234", Some(1234)),
            (ColumnType::Money, "12.34", None),
            (ColumnType::Bool, "true", Some(1)),
            (ColumnType::Bool, "1", None),
            (ColumnType::Integer, "1125899906842625", None),
            (ColumnType::Integer, "1e3", None),
        ] {
            assert_eq!(kind.cell(text).ok(), expected, "{kind:?} {text}");
        }
        assert_eq!(ColumnType::Text.cell("a"), ColumnType::Text.cell("a"));
    }
}
