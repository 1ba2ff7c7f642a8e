//! Collections, their indexes, and how they are read.

use crate::{Document, Fields};
use affluent_model::Value;
use serde::{Deserialize, Serialize};

/// A collection as its user wants it. Created, and given missing indexes, at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionSpec {
    pub name: String,
    pub indexes: Vec<IndexSpec>,
    pub ttl: Option<Ttl>,
}

impl CollectionSpec {
    /// A collection without secondary indexes whose documents stay.
    pub fn new(name: impl Into<String>) -> Self {
        CollectionSpec { name: name.into(), indexes: Vec::new(), ttl: None }
    }
}

/// A secondary index over one or more fields, in this order. A document without one of the fields
/// has null there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSpec {
    pub name: String,
    pub fields: Vec<String>,
}

impl IndexSpec {
    /// An index named after its fields.
    #[must_use]
    pub fn on(fields: &[&str]) -> Self {
        IndexSpec { name: fields.join("_"), fields: fields.iter().map(|&field| field.to_owned()).collect() }
    }
}

/// When documents expire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ttl {
    /// Lifetime in seconds.
    pub seconds: u64,
    /// The timestamp field it counts from; without one (or where the field holds no timestamp),
    /// from the moment of writing.
    pub field: Option<String>,
}

impl Ttl {
    /// When a document written at `now` (microseconds UTC) expires, microseconds UTC.
    #[must_use]
    pub fn expiry(&self, fields: &Fields, now: i64) -> i64 {
        let stamp = self.field.as_ref().and_then(|name| fields.iter().find(|(field, _)| field == name));
        self.expiry_after(stamp.map(|(_, value)| value), now)
    }

    /// The same, of the value of its field.
    pub(crate) fn expiry_after(&self, stamp: Option<&Value>, now: i64) -> i64 {
        let stamp = stamp.and_then(|value| match value {
            Value::TimestampTz(micros) | Value::Timestamp(micros) => Some(*micros),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Decimal(_)
            | Value::NumericSpecial(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Uuid(_)
            | Value::Json(_)
            | Value::Array(_) => None,
        });
        let lifetime = i64::try_from(self.seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        stamp.unwrap_or(now).saturating_add(lifetime)
    }
}

/// What part of a collection is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Range {
    /// Ids from `from` (inclusive) to `to` (exclusive), in byte order of their UTF-8.
    Ids { from: Option<String>, to: Option<String> },
    /// Documents whose first index fields equal `equal`, and whose next index field is at least
    /// `from` and less than `to`; ordered by the index fields, then the id. The values of one index
    /// field are expected to be of one kind.
    Index { index: String, equal: Vec<Value>, from: Option<Value>, to: Option<Value> },
}

/// One page of a read.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub range: Range,
    /// Documents a page, at least 1.
    pub limit: usize,
    /// The `next` of the page before.
    pub after: Option<String>,
}

impl Scan {
    /// The whole collection by id, `limit` documents a page.
    #[must_use]
    pub fn all(limit: usize) -> Self {
        Scan { range: Range::Ids { from: None, to: None }, limit, after: None }
    }
}

/// Documents of a page, and where the next one begins (absent after the last).
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub documents: Vec<Document>,
    pub next: Option<String>,
}
