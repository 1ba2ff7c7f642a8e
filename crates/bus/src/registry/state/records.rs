//! The records of `_schemas`, in Confluent's form, so that its registry can take the topic over.
//!
//! One record is ours: `NOOP`, whose value Confluent's registry never reads, keeps the last id that
//! was given, so that deleting the newest schema for good does not free its id.

use crate::registry::compatibility::CompatibilityLevel;
use crate::registry::schema::{Schema, SchemaReference, SchemaType};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A record of `_schemas`: key and value as JSON; without a value the key is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) struct Record {
    pub(in crate::registry) key: String,
    pub(in crate::registry) value: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "keytype")]
pub(super) enum Key {
    #[serde(rename = "SCHEMA")]
    Schema { subject: String, version: i32, magic: u8 },
    #[serde(rename = "CONFIG")]
    Config { subject: Option<String>, magic: u8 },
    #[serde(rename = "DELETE_SUBJECT")]
    DeleteSubject { subject: String, magic: u8 },
    #[serde(rename = "CLEAR_SUBJECT")]
    ClearSubject { subject: String, magic: u8 },
    #[serde(rename = "NOOP")]
    Noop { magic: u8 },
    #[serde(other)]
    Other,
}

impl Key {
    pub(super) fn schema(subject: &str, version: i32) -> Self {
        Key::Schema { subject: subject.to_owned(), version, magic: 1 }
    }

    pub(super) fn config(subject: Option<&str>) -> Self {
        Key::Config { subject: subject.map(ToOwned::to_owned), magic: 0 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SchemaValue {
    pub(super) subject: String,
    pub(super) version: i32,
    pub(super) id: u32,
    #[serde(rename = "schemaType", default, skip_serializing_if = "SchemaType::is_avro")]
    pub(super) schema_type: SchemaType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) references: Option<Vec<SchemaReference>>,
    pub(super) schema: Arc<str>,
    #[serde(default)]
    pub(super) deleted: bool,
}

impl SchemaValue {
    pub(super) fn new(subject: &str, version: i32, id: u32, schema: &Schema, deleted: bool) -> Self {
        SchemaValue {
            subject: subject.to_owned(),
            version,
            id,
            schema_type: schema.schema_type,
            references: Some(schema.references.clone()).filter(|references| !references.is_empty()),
            schema: Arc::clone(&schema.text),
            deleted,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConfigValue {
    #[serde(rename = "compatibilityLevel")]
    pub(super) level: CompatibilityLevel,
}

/// All versions up to this one are deleted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeleteValue {
    pub(super) subject: String,
    pub(super) version: i32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LastId {
    #[serde(rename = "lastId")]
    pub(super) last_id: u32,
}

pub(super) fn record(key: &Key, value: Option<&impl Serialize>) -> Record {
    // Structures of texts and numbers: serialising cannot fail.
    Record {
        key: serde_json::to_string(key).unwrap_or_default(),
        value: value.map(|value| serde_json::to_string(value).unwrap_or_default()),
    }
}

/// The record that forgets a key.
pub(super) fn tombstone(key: &Key) -> Record {
    record(key, None::<&()>)
}
