//! Why an item was not accepted: stable codes that senders may branch on.
//!
//! A rejected item was never accepted: it is answered and counted, and goes nowhere else.

use serde::Serialize;
use std::borrow::Cow;

/// The codes, as they stand in answers (`snake_case`) and in the metric `affluent_collect_rejected_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Not JSON.
    BadJson,
    /// Not Protobuf, or text that is not UTF-8 in it.
    BadProtobuf,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// JSON, but not an object.
    NotAnObject,
    /// Nested deeper than `json_depth_max`.
    TooDeep,
    /// Larger than `item_bytes_max`, or than the bus takes.
    TooLarge,
    /// A field is longer than its limit.
    TooLong,
    /// A field has a value of another type.
    WrongType,
    /// `event_type` is absent or empty.
    MissingEventType,
    /// A log line without `message`.
    MissingMessage,
    /// `event_id` is not a UUID.
    BadEventId,
    /// A time that cannot be read.
    BadTime,
    /// Occurred later than the clock here allows.
    ClockAhead,
    /// `ip` is not an IP address.
    BadIp,
    /// The item does not fit the registered schema.
    SchemaMismatch,
    /// Past `items_max` of one request.
    TooManyItems,
}

impl RejectReason {
    /// All of them.
    pub const ALL: [RejectReason; 16] = [
        RejectReason::BadJson,
        RejectReason::BadProtobuf,
        RejectReason::InvalidUtf8,
        RejectReason::NotAnObject,
        RejectReason::TooDeep,
        RejectReason::TooLarge,
        RejectReason::TooLong,
        RejectReason::WrongType,
        RejectReason::MissingEventType,
        RejectReason::MissingMessage,
        RejectReason::BadEventId,
        RejectReason::BadTime,
        RejectReason::ClockAhead,
        RejectReason::BadIp,
        RejectReason::SchemaMismatch,
        RejectReason::TooManyItems,
    ];

    /// The code, `missing_event_type`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            RejectReason::BadJson => "bad_json",
            RejectReason::BadProtobuf => "bad_protobuf",
            RejectReason::InvalidUtf8 => "invalid_utf8",
            RejectReason::NotAnObject => "not_an_object",
            RejectReason::TooDeep => "too_deep",
            RejectReason::TooLarge => "too_large",
            RejectReason::TooLong => "too_long",
            RejectReason::WrongType => "wrong_type",
            RejectReason::MissingEventType => "missing_event_type",
            RejectReason::MissingMessage => "missing_message",
            RejectReason::BadEventId => "bad_event_id",
            RejectReason::BadTime => "bad_time",
            RejectReason::ClockAhead => "clock_ahead",
            RejectReason::BadIp => "bad_ip",
            RejectReason::SchemaMismatch => "schema_mismatch",
            RejectReason::TooManyItems => "too_many_items",
        }
    }
}

/// One item that was not accepted. The text names the field and the remedy, never the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    pub reason: RejectReason,
    pub error: Cow<'static, str>,
}

impl Reject {
    pub(crate) fn new(reason: RejectReason, error: impl Into<Cow<'static, str>>) -> Self {
        Reject { reason, error: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_serde_writes_and_differ() {
        let mut codes: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.code()).collect();
        for reason in RejectReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.code());
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), RejectReason::ALL.len());
    }
}
