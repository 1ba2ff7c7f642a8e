//! Documents and the writes that make them.

use affluent_model::{Position, Value};

/// Named values in the order in which they were written. Names are unique.
pub type Fields = Vec<(String, Value)>;

/// One stored document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub id: String,
    /// Version of the newest write; the zero position for documents inserted without one.
    pub version: Position,
    pub fields: Fields,
}

impl Document {
    /// A document without a version, for [`crate::DocumentStore::insert_if_absent`].
    pub fn new(id: impl Into<String>, fields: Fields) -> Self {
        Document { id: id.into(), version: Position::default(), fields }
    }

    /// The value of the field `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

/// A write that takes effect where nothing newer is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionedWrite {
    pub id: String,
    pub version: Position,
    pub action: Action,
}

/// What a write says about the document as of its version.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The document is exactly these fields.
    Put(Fields),
    /// The document is these fields, and each column of `keep` has the value it had before. With
    /// `moved_from`, "before" means in the document of that id (the row moved to another key).
    Patch { fields: Fields, keep: Vec<String>, moved_from: Option<String> },
    /// The document is gone.
    Delete,
    /// The document is gone: its row moved to the id `to`, which still needs the values that the
    /// columns of `keep` had here.
    Depart { to: String, keep: Vec<String> },
}

impl Action {
    /// The fields that the write carries.
    #[must_use]
    pub fn fields(&self) -> &[(String, Value)] {
        match self {
            Action::Put(fields) | Action::Patch { fields, .. } => fields,
            Action::Delete | Action::Depart { .. } => &[],
        }
    }
}

/// About how many bytes the fields take in a store.
pub(crate) fn size(fields: &[(String, Value)]) -> usize {
    fields.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) => text.len() + 8,
        Value::Bytes(bytes) => bytes.len() + 8,
        // More digits than a 64-bit number has: about one byte each in text form.
        Value::Decimal(decimal) => 16 + usize::try_from(decimal.digits()).unwrap_or(usize::MAX / 4),
        Value::Array(items) => 8 + items.iter().map(value_size).sum::<usize>(),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::NumericSpecial(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Uuid(_) => 16,
    }
}
