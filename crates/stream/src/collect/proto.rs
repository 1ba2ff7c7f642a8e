//! Protobuf messages: our own batches of clicks, and the logs of OpenTelemetry.
//!
//! Written by hand after `deploy/proto/affluent/collect.proto` and
//! <https://github.com/open-telemetry/opentelemetry-proto> (`collector/logs/v1`, `logs/v1`, `common/v1`,
//! `resource/v1`), of which only what is used is here: a dependency on the whole would bring an RPC
//! stack along. Repeated items are walked as bytes and decoded one by one, so that a broken one spoils
//! only itself and a batch never stands in memory a second time.

use super::reason::{Reject, RejectReason};
use prost::Message;

/// `affluent.collect.v1.Event`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(string, tag = "1")]
    pub(crate) event_id: String,
    #[prost(string, tag = "2")]
    pub(crate) user_id: String,
    #[prost(string, tag = "3")]
    pub(crate) anonymous_id: String,
    #[prost(string, tag = "4")]
    pub(crate) session_id: String,
    #[prost(string, tag = "5")]
    pub(crate) event_type: String,
    #[prost(int64, tag = "6")]
    pub(crate) occurred_at_us: i64,
    #[prost(string, tag = "7")]
    pub(crate) url: String,
    #[prost(string, tag = "8")]
    pub(crate) referrer: String,
    #[prost(string, tag = "9")]
    pub(crate) device: String,
    #[prost(string, tag = "10")]
    pub(crate) ip: String,
    #[prost(string, tag = "11")]
    pub(crate) user_agent: String,
    #[prost(string, tag = "12")]
    pub(crate) properties: String,
}

/// One event.
pub(crate) fn event(item: &[u8]) -> Result<Event, Reject> {
    Event::decode(item).map_err(|error| bad(&error))
}

pub(crate) fn bad(error: &prost::DecodeError) -> Reject {
    Reject::new(RejectReason::BadProtobuf, format!("not the expected Protobuf message: {error}"))
}

/// The items of `affluent.collect.v1.Events` (field 1, repeated). After the first byte that is no
/// Protobuf comes one reject and the end, for nothing tells where the next item begins.
pub(crate) fn items(body: &[u8]) -> impl Iterator<Item = Result<&[u8], Reject>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            match field(&mut rest) {
                Some((1, Some(item))) => return Some(Ok(item)),
                // A field of a later version.
                Some(_) => {}
                None => {
                    rest = &[];
                    let error = "not the message affluent.collect.v1.Events from here on";
                    return Some(Err(Reject::new(RejectReason::BadProtobuf, error)));
                }
            }
        }
        None
    })
}

/// Whether a message can be walked to its end, and so can the messages on this way of field numbers.
pub(crate) fn walks(message: &[u8], way: &[u64]) -> bool {
    let mut rest = message;
    while !rest.is_empty() {
        match (field(&mut rest), way) {
            (Some((number, Some(inner))), [next, further @ ..]) if number == *next => {
                if !walks(inner, further) {
                    return false;
                }
            }
            (Some(_), _) => {}
            (None, _) => return false,
        }
    }
    true
}

/// The bytes of every field of this number, as far as the message can be walked. Nothing is allocated,
/// however many there are.
pub(crate) fn fields(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            match field(&mut rest)? {
                (found, Some(inner)) if found == number => return Some(inner),
                _ => {}
            }
        }
        None
    })
}

/// Takes one field off: its number, and its bytes where it is length-delimited.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = prost::encoding::decode_varint(rest).ok()?;
    let delimited = key & 7 == 2;
    let length = match key & 7 {
        0 => {
            prost::encoding::decode_varint(rest).ok()?;
            0
        }
        1 => 8,
        2 => usize::try_from(prost::encoding::decode_varint(rest).ok()?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((key >> 3, delimited.then_some(taken)))
}

/// Fields of `ExportLogsServiceRequest`, `ResourceLogs` and `ScopeLogs`. These hold all records, so they
/// are walked and never decoded: a few bytes of an empty message would become many of ours.
pub(crate) const RESOURCE_LOGS: u64 = 1;
pub(crate) const RESOURCE: u64 = 1;
pub(crate) const SCOPE_LOGS: u64 = 2;
pub(crate) const SCOPE: u64 = 1;
pub(crate) const LOG_RECORDS: u64 = 2;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(crate) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(crate) time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    pub(crate) severity_number: i32,
    #[prost(string, tag = "3")]
    pub(crate) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    pub(crate) span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    pub(crate) observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    pub(crate) event_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Any {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    KeyValues(KeyValueList),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<KeyValue>,
}

/// `ExportLogsServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportLogsAnswer {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected_log_records: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

/// `google.rpc.Status`, the body of OTLP's errors.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}
