//! A record that could not be processed, with all that is needed to see why and to try again.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a record was quarantined; the codes are stable, dashboards count by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The bytes are not of the declared format.
    Undecodable,
    /// The schema of the record is unknown to the registry.
    UnknownSchema,
    /// The source's new schema does not fit the registered one.
    IncompatibleSchema,
    /// A value does not fit the target's type.
    ValueOutOfRange,
    /// The record has no key, and the sink needs one.
    MissingKey,
    /// The store refused the record (not a passing fault).
    Refused,
    /// Larger than the target takes.
    TooLarge,
}

impl Reason {
    /// The stable code, as in metrics and in `affluent dead-letters list`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Reason::Undecodable => "undecodable",
            Reason::UnknownSchema => "unknown_schema",
            Reason::IncompatibleSchema => "incompatible_schema",
            Reason::ValueOutOfRange => "value_out_of_range",
            Reason::MissingKey => "missing_key",
            Reason::Refused => "refused",
            Reason::TooLarge => "too_large",
        }
    }

    /// The reason of a code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        use Reason::{
            IncompatibleSchema, MissingKey, Refused, TooLarge, Undecodable, UnknownSchema, ValueOutOfRange,
        };
        [Undecodable, UnknownSchema, IncompatibleSchema, ValueOutOfRange, MissingKey, Refused, TooLarge]
            .into_iter()
            .find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A quarantined record. For a record that never reached Kafka (a source row that does not fit),
/// `topic` is the topic it was meant for, `partition` is -1 and `offset` the source's LSN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Where it failed: `cdc`, `sink-documents`, `sink-lake`, …
    pub stage: String,
    pub reason: Reason,
    /// The message for people. Holds no values of protected columns.
    pub error: String,
    /// Microseconds UTC.
    pub first_seen: i64,
    pub key: Option<Vec<u8>>,
    /// The original bytes, as they were read.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}
