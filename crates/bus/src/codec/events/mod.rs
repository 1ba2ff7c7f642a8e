//! Clicks and log lines as records, and back.
//!
//! Three formats, told apart by their first byte and the registry:
//!
//! | | Avro | Protobuf | JSON |
//! |---|---|---|---|
//! | framing | Confluent's: `0x00`, schema id | the same, and the message's index | none |
//! | our own schema | `click.avsc`, `log.avsc` | `click.proto`, `log.proto` | the same names |
//! | instants | `timestamp-micros` | `int64`, microseconds | RFC 3339 text |
//!
//! Our own schemas are registered under `<topic>-value` and take a straight way in both directions
//! (`own_avro`, `own_protobuf`). Records of any other schema become a tree (`foreign_avro`,
//! `foreign_protobuf`, or JSON as it is, with or without Confluent's framing), from which `fields`
//! takes what it knows by name and keeps the rest.
//!
//! Invariant: what was encoded decodes to an equal event. No input makes the decoder panic, or
//! allocate more than a small multiple of its size.

mod decoder;
mod encoder;
mod fields;
mod foreign_avro;
mod foreign_protobuf;
mod json;
mod own_avro;
mod own_protobuf;
#[cfg(test)]
mod tests;

pub use decoder::{EventDecoder, decode_event_with_schema};
pub use encoder::EventEncoder;

use affluent_model::EventKind;
use serde::{Deserialize, Serialize};

/// How clicks and log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    #[default]
    Avro,
    Protobuf,
    Json,
}

/// Our own Avro schema of a kind.
fn avro_schema(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Clicks => include_str!("click.avsc"),
        EventKind::Logs => include_str!("log.avsc"),
    }
}

/// Our own Protobuf file of a kind.
fn protobuf_file(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Clicks => include_str!("click.proto"),
        EventKind::Logs => include_str!("log.proto"),
    }
}
