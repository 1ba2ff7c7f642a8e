//! From changes to records and back, in Debezium's envelope. Clicks and log lines: `events`; scores of
//! payments: `scores`.
//!
//! A consumer written for Debezium reads what is written here: its record names, fields and
//! semantic types (`connect.name`). Two formats:
//!
//! | | Avro | JSON |
//! |---|---|---|
//! | framing | Confluent: `0x00`, schema id (4 bytes, big endian), Avro binary | `schemas.enable=false` |
//! | NUMERIC(p,s) | `bytes`, logical type `decimal` | string (`decimal.handling.mode=string`) |
//! | NUMERIC | `io.debezium.data.VariableScaleDecimal`; NaN and the infinities are refused | string |
//! | timestamptz | `timestamp-micros` | ISO 8601 string, UTC |
//! | timestamp, time, date | `io.debezium.time.MicroTimestamp`, `MicroTime`, `Date` | the same numbers |
//! | uuid, json | strings | strings |
//! | bytea | bytes | base64 |
//! | unchanged column | null in `after`, named in the field `unchanged` | left out of `after`, named in `unchanged` |
//!
//! Invariant: what was encoded decodes to an equal change, or encoding says why not. No input
//! makes the decoder panic, or allocate more than a small multiple of its size.

mod avro;
mod decoder;
mod encoder;
mod envelope;
mod events;
mod json;
mod numbers;
mod scores;
mod source_facts;
#[cfg(test)]
mod tests;
mod text;

pub use decoder::{ChangeDecoder, decode_with_schema};
pub use encoder::ChangeEncoder;
pub use events::{EventDecoder, EventEncoder, EventFormat, decode_event_with_schema};
pub use scores::{SCORE_SCHEMA, score_avro};

use crate::registry::RegistryError;
use affluent_model::{ChangeEvent, Reason};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a refused schema is not asked for again, so that what is in quarantine stays cheap.
const REFUSAL_KEPT: Duration = Duration::from_secs(5);

/// How changes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Avro,
    Json,
}

/// The key and value of a change, ready to be sent. The key is absent where the table has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    pub key: Option<Bytes>,
    pub value: Bytes,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all records are changes; a box each would cost more")]
pub enum Decoded {
    Change(ChangeEvent),
    /// No value: the row of this key is gone, and compaction may drop the key.
    Tombstone,
    /// A valid record, but no change envelope.
    Other,
}

/// Why a record could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CodecError {
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// The bytes are not what they claim to be.
    #[error("undecodable: {0}")]
    Undecodable(String),
    /// Names the column, never the value.
    #[error("column {column}: {problem}")]
    Value { column: String, problem: &'static str },
    /// The row does not fit its own schema.
    #[error("row of {table} does not match its schema: {problem}")]
    Row { table: String, problem: String },
}

impl CodecError {
    fn value(column: &affluent_model::Column, problem: &'static str) -> Self {
        CodecError::Value { column: column.name.clone(), problem }
    }

    /// Why the record goes to quarantine; `None` for a passing fault, after which the same call
    /// may succeed.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            CodecError::Registry(error) => error.reason(),
            CodecError::Undecodable(_) => Some(Reason::Undecodable),
            CodecError::Value { .. } | CodecError::Row { .. } => Some(Reason::ValueOutOfRange),
        }
    }
}

fn undecodable(problem: &str) -> CodecError {
    CodecError::Undecodable(problem.to_owned())
}
