//! A source: a stream of events with typed columns, the entities they belong to, and a clock.

use super::{DefinitionError, keys, window::parse_duration};
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

    /// Whether sums and comparisons of it mean something.
    #[must_use]
    pub fn is_number(self) -> bool {
        match self {
            ColumnType::Integer | ColumnType::Decimal(_) | ColumnType::Money | ColumnType::Degrees => true,
            ColumnType::Bool | ColumnType::Text => false,
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
                return Err(wrong(format!("{name:?} is no name: lower case words joined by _, not \"request\"")));
            }
        }
        if columns.len() > COLUMNS_MAX || raw.entities.len() > COLUMNS_MAX {
            return Err(wrong(format!("more than {COLUMNS_MAX} columns or entities")));
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
