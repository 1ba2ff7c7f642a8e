//! OpenTelemetry's logs over HTTP, in Protobuf and in JSON, and its answers.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp> and `logs/v1/logs.proto`. Attributes of
//! resource, scope and record are kept side by side under their own names; where a name repeats, the
//! record's counts. Invariant: a record that cannot be read is rejected alone.

use super::json::{self, Kind, Raw};
use super::log::{LogDraft, LogParser, hex_id, severity_of_name};
use super::proto::{self, Any, AnyValue, KeyValue};
use super::reason::{Reject, RejectReason};
use affluent_model::{LogEvent, LogKind};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Levels of nested JSON around a record: request, resource logs, scope logs, record, and their arrays.
const LEVELS_AROUND: usize = 7;

/// How OTLP messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// By the media type of the request.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Encoding::Protobuf),
            "application/json" => Some(Encoding::Json),
            _ => None,
        }
    }

    pub(crate) fn media(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }
}

/// What the ids of a request's records are made from. Exporters send the very same bytes again when an
/// answer was lost: with the same ids, the records are stored once.
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of a body from one address.
    #[must_use]
    pub fn new(body: &[u8], from: Option<IpAddr>) -> Self {
        let mut hash = Sha256::new();
        hash.update(from.map(|ip| ip.to_string()).unwrap_or_default());
        hash.update([0]);
        hash.update(body);
        Seed(hash.finalize().into())
    }

    /// A UUIDv7 whose random part is this request's and record's.
    fn id(&self, index: usize, occurred_at: i64) -> Uuid {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(index.to_le_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        let millis = u64::try_from(occurred_at / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Attributes of resource and scope together, bytes: they are repeated in every record.
const AROUND_BYTES_MAX: usize = 16 << 10;

type Records<'a> = Box<dyn Iterator<Item = Result<LogEvent, Reject>> + Send + 'a>;

/// What the records of one scope share.
#[derive(Clone, Default)]
struct Around {
    service: Option<String>,
    /// Members of the resource's and the scope's attributes.
    attributes: String,
}

impl LogParser {
    /// The records of a request, each a log event or the reason why not.
    ///
    /// # Errors
    /// Where the request as a whole cannot be read.
    pub fn parse_otlp<'a>(
        &'a self,
        encoding: Encoding,
        body: &'a [u8],
        received_at: i64,
        seed: &'a Seed,
    ) -> Result<Records<'a>, Reject> {
        match encoding {
            Encoding::Protobuf => self.parse_protobuf(body, received_at, seed),
            Encoding::Json => self.parse_json(body, received_at, seed),
        }
    }

    fn parse_protobuf<'a>(
        &'a self,
        body: &'a [u8],
        received_at: i64,
        seed: &'a Seed,
    ) -> Result<Records<'a>, Reject> {
        if !proto::walks(body, &[proto::RESOURCE_LOGS, proto::SCOPE_LOGS]) {
            let error = "not the message ExportLogsServiceRequest";
            return Err(Reject::new(RejectReason::BadProtobuf, error));
        }
        let depth_max = self.json_depth_max;
        let records = proto::fields(body, proto::RESOURCE_LOGS).flat_map(move |logs| {
            let resource = Around::of_resource(proto::fields(logs, proto::RESOURCE).next(), depth_max);
            proto::fields(logs, proto::SCOPE_LOGS).flat_map(move |scoped| {
                let scope = proto::fields(scoped, proto::SCOPE).next();
                let around = Arc::new(resource.clone().and_then(|resource| resource.and_scope(scope)));
                proto::fields(scoped, proto::LOG_RECORDS).map(move |record| (Arc::clone(&around), record))
            })
        });
        Ok(Box::new(records.enumerate().map(move |(index, (around, record))| {
            self.sized(record.len())?;
            let record = proto::LogRecord::decode(record).map_err(|error| proto::bad(&error))?;
            self.record(Record::of_proto(record, depth_max), &around, received_at, seed, index)
        })))
    }

    fn parse_json<'a>(
        &'a self,
        body: &'a [u8],
        received_at: i64,
        seed: &'a Seed,
    ) -> Result<Records<'a>, Reject> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Reject::new(RejectReason::InvalidUtf8, "the request is not UTF-8"))?;
        let depth_max = self.json_depth_max;
        let request = Raw::parse(text.trim_start_matches('\u{feff}'), depth_max + LEVELS_AROUND)
            .map_err(|fault| super::event::reject_fault(fault, text))?;
        if request.kind() != Kind::Object {
            return Err(Reject::new(RejectReason::NotAnObject, "the request is a JSON object"));
        }
        let resource_logs = member(request, "resourceLogs").into_iter().flat_map(Raw::elements);
        let records = resource_logs.flat_map(move |logs| {
            let resource = Around::of_json(member(logs, "resource"), depth_max);
            member(logs, "scopeLogs").into_iter().flat_map(Raw::elements).flat_map(move |scoped| {
                let scope = member(scoped, "scope");
                let around = Arc::new(resource.clone().and_then(|resource| resource.and_json_scope(scope)));
                let records = member(scoped, "logRecords").into_iter().flat_map(Raw::elements);
                records.map(move |record| (Arc::clone(&around), record))
            })
        });
        Ok(Box::new(records.enumerate().map(move |(index, (around, record))| {
            self.sized(record.text().len())?;
            if record.kind() != Kind::Object {
                return Err(Reject::new(RejectReason::NotAnObject, "a log record is a JSON object"));
            }
            self.record(Record::of_json(record, depth_max), &around, received_at, seed, index)
        })))
    }

    fn sized(&self, bytes: usize) -> Result<(), Reject> {
        if bytes > self.item_bytes_max {
            return Err(Reject::new(RejectReason::TooLarge, "the record is larger than item_bytes_max"));
        }
        Ok(())
    }

    fn record(
        &self,
        record: Record,
        around: &Result<Around, Reject>,
        received_at: i64,
        seed: &Seed,
        index: usize,
    ) -> Result<LogEvent, Reject> {
        let around = around.as_ref().map_err(Clone::clone)?;
        let mut draft = LogDraft { attributes: around.attributes.clone(), ..LogDraft::default() };
        let nanos = if record.time == 0 { record.observed_time } else { record.time };
        draft.occurred_at = (nanos > 0).then(|| i64::try_from(nanos / 1_000).unwrap_or(i64::MAX));
        draft.service.clone_from(&around.service);
        draft.severity = match record.severity {
            number @ 1..=24 => u8::try_from(number).unwrap_or(0),
            _ => severity_of_name(&record.severity_text).unwrap_or(0),
        };
        if !record.severity_text.is_empty() {
            add_text(&mut draft.attributes, "severity_text", &record.severity_text);
        }
        draft.message = record.message;
        if !record.event_name.is_empty() {
            draft.message.get_or_insert_with(|| record.event_name.clone());
            add_text(&mut draft.attributes, "event_name", &record.event_name);
        }
        (draft.trace_id, draft.span_id) = (hex_id(&record.trace_id, 32), hex_id(&record.span_id, 16));
        for (key, value) in record.attributes {
            match key.as_str() {
                "log.kind" | "event.kind" => {
                    draft.kind = plain(&value).and_then(|name| LogKind::from_name(&name)).or(draft.kind);
                }
                "log.record.uid" => draft.event_id = plain(&value).and_then(|id| Uuid::parse_str(&id).ok()),
                _ => {}
            }
            json::write_member(&mut draft.attributes, &key, &value);
        }
        if let Some(occurred_at) = draft.occurred_at {
            draft.event_id = draft.event_id.or_else(|| Some(seed.id(index, occurred_at)));
        }
        self.finish(draft, received_at, None)
    }
}

/// A log record of either encoding. Values are JSON texts.
#[derive(Default)]
struct Record {
    /// Nanoseconds since the epoch; 0: unknown.
    time: u64,
    observed_time: u64,
    severity: i32,
    severity_text: String,
    message: Option<String>,
    attributes: Vec<(String, String)>,
    trace_id: String,
    span_id: String,
    event_name: String,
}

impl Record {
    fn of_proto(record: proto::LogRecord, depth_max: usize) -> Self {
        Record {
            time: record.time_unix_nano,
            observed_time: record.observed_time_unix_nano,
            severity: record.severity_number,
            severity_text: record.severity_text,
            message: record.body.and_then(|body| message(body, depth_max)),
            attributes: record.attributes.into_iter().map(|pair| pair_text(pair, depth_max)).collect(),
            trace_id: hex::encode(&record.trace_id),
            span_id: hex::encode(&record.span_id),
            event_name: record.event_name,
        }
    }

    fn of_json(raw: Raw<'_>, depth_max: usize) -> Self {
        let mut record = Record::default();
        for (name, value) in raw.entries() {
            let text = || value.string().unwrap_or_default().into_owned();
            match &*name {
                "timeUnixNano" => record.time = number(value).unwrap_or(0),
                "observedTimeUnixNano" => record.observed_time = number(value).unwrap_or(0),
                "severityNumber" => {
                    record.severity = number(value).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
                }
                "severityText" => record.severity_text = text(),
                "body" => record.message = message(any_value(value, depth_max), depth_max),
                "attributes" => {
                    let pairs = value.elements().map(|pair| pair_text(key_value(pair, depth_max), depth_max));
                    record.attributes = pairs.collect();
                }
                "traceId" => record.trace_id = text(),
                "spanId" => record.span_id = text(),
                "eventName" => record.event_name = text(),
                _ => {}
            }
        }
        record
    }
}

impl Around {
    fn of_resource(resource: Option<&[u8]>, depth_max: usize) -> Result<Self, Reject> {
        let mut around = Around::default();
        if let Some(resource) = resource {
            around_sized(resource.len())?;
            let resource = proto::Resource::decode(resource).map_err(|error| proto::bad(&error))?;
            resource.attributes.into_iter().for_each(|attribute| around.add(attribute, depth_max));
        }
        Ok(around)
    }

    fn and_scope(self, scope: Option<&[u8]>) -> Result<Self, Reject> {
        let Some(scope) = scope else { return Ok(self) };
        around_sized(scope.len() + self.attributes.len())?;
        let scope = proto::Scope::decode(scope).map_err(|error| proto::bad(&error))?;
        Ok(self.with_scope(&scope.name, &scope.version))
    }

    fn of_json(resource: Option<Raw<'_>>, depth_max: usize) -> Result<Self, Reject> {
        let mut around = Around::default();
        if let Some(resource) = resource {
            around_sized(resource.text().len())?;
            for attribute in member(resource, "attributes").into_iter().flat_map(Raw::elements) {
                around.add(key_value(attribute, depth_max), depth_max);
            }
        }
        Ok(around)
    }

    fn and_json_scope(self, scope: Option<Raw<'_>>) -> Result<Self, Reject> {
        let Some(scope) = scope else { return Ok(self) };
        around_sized(scope.text().len() + self.attributes.len())?;
        Ok(self.with_scope(&text_of(scope, "name"), &text_of(scope, "version")))
    }

    fn add(&mut self, attribute: KeyValue, depth_max: usize) {
        let (key, value) = pair_text(attribute, depth_max);
        if key == "service.name" {
            self.service = plain(&value);
        } else {
            json::write_member(&mut self.attributes, &key, &value);
        }
    }

    fn with_scope(mut self, name: &str, version: &str) -> Self {
        for (key, text) in [("otel.scope.name", name), ("otel.scope.version", version)] {
            if !text.is_empty() {
                add_text(&mut self.attributes, key, text);
            }
        }
        self
    }
}

fn around_sized(bytes: usize) -> Result<(), Reject> {
    if bytes > AROUND_BYTES_MAX {
        let error = format!("resource and scope are larger than {AROUND_BYTES_MAX} bytes");
        return Err(Reject::new(RejectReason::TooLarge, error));
    }
    Ok(())
}

fn add_text(members: &mut String, name: &str, text: &str) {
    let mut value = String::with_capacity(text.len() + 2);
    json::write_string(&mut value, text);
    json::write_member(members, name, &value);
}

/// The characters of a JSON text that is a string; other texts as they are.
fn plain(value: &str) -> Option<String> {
    let raw = Raw::parse(value, 1).ok()?;
    Some(raw.string().map_or_else(|| value.to_owned(), Cow::into_owned))
}

fn pair_text(pair: KeyValue, depth_max: usize) -> (String, String) {
    let mut text = String::new();
    write_any(&mut text, pair.value.and_then(|value| value.value), depth_max);
    (pair.key, text)
}

/// A body as a message: a string as it is, anything else as JSON.
fn message(body: AnyValue, depth_max: usize) -> Option<String> {
    match body.value? {
        Any::String(text) => Some(text),
        other => {
            let mut text = String::new();
            write_any(&mut text, Some(other), depth_max);
            Some(text)
        }
    }
}

/// Writes a value as JSON; bytes as base64. Deeper than `depth` it is null.
fn write_any(out: &mut String, value: Option<Any>, depth: usize) {
    match value {
        Some(Any::String(text)) => json::write_string(out, &text),
        Some(Any::Bool(value)) => out.push_str(if value { "true" } else { "false" }),
        Some(Any::Int(value)) => out.push_str(&value.to_string()),
        Some(Any::Double(value)) if value.is_finite() => out.push_str(&format!("{value:?}")),
        // JSON has no infinities and no NaN.
        Some(Any::Double(value)) => json::write_string(out, &value.to_string()),
        Some(Any::Bytes(bytes)) => json::write_string(out, &BASE64.encode(bytes)),
        Some(Any::Array(array)) if depth > 1 => {
            out.push('[');
            for (index, value) in array.values.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_any(out, value.value, depth - 1);
            }
            out.push(']');
        }
        Some(Any::KeyValues(list)) if depth > 1 => {
            let mut members = String::new();
            for pair in list.values {
                let (key, value) = pair_text(pair, depth - 1);
                json::write_member(&mut members, &key, &value);
            }
            out.push('{');
            out.push_str(&members);
            out.push('}');
        }
        Some(Any::Array(_) | Any::KeyValues(_)) | None => out.push_str("null"),
    }
}

fn member<'a>(object: Raw<'a>, name: &str) -> Option<Raw<'a>> {
    object.entries().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn text_of<'a>(object: Raw<'a>, name: &str) -> Cow<'a, str> {
    member(object, name).and_then(Raw::string).unwrap_or_default()
}

/// 64-bit numbers are strings in OTLP's JSON; numbers are read, too.
fn number(value: Raw<'_>) -> Option<u64> {
    value.string().unwrap_or(Cow::Borrowed(value.text())).parse().ok()
}

fn key_value(pair: Raw<'_>, depth: usize) -> KeyValue {
    KeyValue {
        key: text_of(pair, "key").into_owned(),
        value: member(pair, "value").map(|value| any_value(value, depth)),
    }
}

fn any_value(value: Raw<'_>, depth: usize) -> AnyValue {
    let Some((kind, value)) = value.entries().next() else { return AnyValue { value: None } };
    let text = || value.string().unwrap_or_default().into_owned();
    let values = || member(value, "values").into_iter().flat_map(Raw::elements);
    let any = match &*kind {
        "stringValue" => Some(Any::String(text())),
        "boolValue" => Some(Any::Bool(value.text() == "true")),
        "intValue" => value.string().unwrap_or(Cow::Borrowed(value.text())).parse().ok().map(Any::Int),
        "doubleValue" => value.string().unwrap_or(Cow::Borrowed(value.text())).parse().ok().map(Any::Double),
        "bytesValue" => BASE64.decode(text()).ok().map(Any::Bytes),
        "arrayValue" if depth > 1 => {
            let values = values().map(|value| any_value(value, depth - 1)).collect();
            Some(Any::Array(proto::ArrayValue { values }))
        }
        "kvlistValue" if depth > 1 => {
            let values = values().map(|pair| key_value(pair, depth - 1)).collect();
            Some(Any::KeyValues(proto::KeyValueList { values }))
        }
        _ => None,
    };
    AnyValue { value: any }
}

/// `ExportLogsServiceResponse`; a partial success where records were rejected.
pub(crate) fn answer(encoding: Encoding, rejected: usize, message: Option<String>) -> Vec<u8> {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    let error_message = message.unwrap_or_default();
    match encoding {
        Encoding::Protobuf => {
            let partial = proto::PartialSuccess { rejected_log_records: rejected, error_message };
            proto::ExportLogsAnswer { partial_success: (rejected > 0).then_some(partial) }.encode_to_vec()
        }
        Encoding::Json if rejected > 0 => serde_json::json!({
            "partialSuccess": {"rejectedLogRecords": rejected.to_string(), "errorMessage": error_message}
        })
        .to_string()
        .into_bytes(),
        Encoding::Json => b"{}".to_vec(),
    }
}

/// `google.rpc.Status`.
pub(crate) fn failure(encoding: Encoding, status: StatusCode, message: &str) -> Vec<u8> {
    // Codes of gRPC: INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, UNAUTHENTICATED.
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::UNAUTHORIZED => 16,
        _ => 3,
    };
    match encoding {
        Encoding::Protobuf => proto::Status { code, message: message.to_owned() }.encode_to_vec(),
        Encoding::Json => serde_json::json!({"code": code, "message": message}).to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::CollectOptions;

    const NOW: i64 = 1_763_800_000_000_000;

    fn parse(encoding: Encoding, body: &[u8]) -> Vec<Result<LogEvent, Reject>> {
        let (parser, seed) = (LogParser::new(&CollectOptions::default()), Seed::new(b"body", None));
        parser.parse_otlp(encoding, body, NOW, &seed).unwrap().collect()
    }

    fn text(text: &str) -> Option<AnyValue> {
        Some(AnyValue { value: Some(Any::String(text.to_owned())) })
    }

    fn pair(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
    }

    fn delimited(number: u32, message: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(number, &message.to_vec(), &mut bytes);
        bytes
    }

    #[test]
    fn what_all_records_share_is_bounded() {
        let large = proto::Resource { attributes: vec![pair("k", Any::String("x".repeat(17 << 10)))] };
        let logs = [delimited(1, &large.encode_to_vec()), delimited(2, &delimited(2, &[]))].concat();
        let records = parse(Encoding::Protobuf, &delimited(1, &logs));
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].as_ref().unwrap_err().reason, RejectReason::TooLarge);
        let cut = &delimited(1, &logs)[..logs.len() - 1];
        let (parser, seed) = (LogParser::new(&CollectOptions::default()), Seed::new(b"body", None));
        assert!(parser.parse_otlp(Encoding::Protobuf, cut, NOW, &seed).is_err());
    }

    #[test]
    fn both_encodings_say_the_same() {
        let list =
            proto::KeyValueList { values: vec![pair("n", Any::Int(-3)), pair("b", Any::Bytes(vec![1, 2]))] };
        let array = proto::ArrayValue {
            values: vec![AnyValue { value: Some(Any::Double(0.5)) }, AnyValue { value: None }],
        };
        let record = proto::LogRecord {
            time_unix_nano: 1_763_799_999_123_456_789,
            severity_number: 18,
            severity_text: "E2".into(),
            body: text("a \"body\""),
            attributes: vec![
                pair("map", Any::KeyValues(list)),
                pair("list", Any::Array(array)),
                pair("log.kind", Any::String("auth".into())),
                pair("ok", Any::Bool(true)),
            ],
            trace_id: vec![0xAB; 16],
            span_id: vec![0; 8],
            event_name: "login".into(),
            ..Default::default()
        };
        let resource = proto::Resource {
            attributes: vec![pair("service.name", Any::String("api".into())), pair("host.id", Any::Int(7))],
        };
        let scope = proto::Scope { name: "lib".into(), version: "1".into() };
        let record = record.encode_to_vec();
        let scoped = [delimited(1, &scope.encode_to_vec()), delimited(2, &record), delimited(2, &[0xFF])];
        let scoped = [scoped.concat(), delimited(2, &record)].concat();
        let logs = [delimited(2, &scoped), delimited(1, &resource.encode_to_vec())].concat();
        let request = delimited(1, &logs);
        let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{
            "timeUnixNano":"1763799999123456789","severityNumber":18,"severityText":"E2",
            "body":{"stringValue":"a \"body\""},"traceId":"ABABABABABABABABABABABABABABABAB",
            "spanId":"0000000000000000","eventName":"login","attributes":[
                {"key":"map","value":{"kvlistValue":{"values":[
                    {"key":"n","value":{"intValue":"-3"}},{"key":"b","value":{"bytesValue":"AQI="}}]}}},
                {"key":"list","value":{"arrayValue":{"values":[{"doubleValue":0.5},{}]}}},
                {"key":"log.kind","value":{"stringValue":"auth"}},
                {"key":"ok","value":{"boolValue":true}}]}],"scope":{"name":"lib","version":"1"}}],
            "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}},
                {"key":"host.id","value":{"intValue":7}}]}}]}"#;

        let records = parse(Encoding::Protobuf, &request);
        assert_eq!(records.len(), 3);
        assert_eq!(records[1].as_ref().unwrap_err().reason, RejectReason::BadProtobuf);
        let event = records[0].as_ref().unwrap();
        assert_eq!(parse(Encoding::Json, json.as_bytes())[0].as_ref().unwrap(), event);
        assert_ne!(event.event_id, records[2].as_ref().unwrap().event_id);
        assert_eq!(event.event_id.get_version_num(), 7);
        let expected = LogEvent {
            event_id: event.event_id,
            occurred_at: 1_763_799_999_123_456,
            received_at: NOW,
            service: "api".into(),
            severity: 18,
            kind: LogKind::Auth,
            trace_id: Some("ab".repeat(16)),
            span_id: None,
            message: "a \"body\"".into(),
            attributes: concat!(
                r#"{"host.id":7,"otel.scope.name":"lib","otel.scope.version":"1","severity_text":"E2","#,
                r#""event_name":"login","map":{"n":-3,"b":"AQI="},"list":[0.5,null],"log.kind":"auth","ok":true}"#
            )
            .into(),
        };
        assert_eq!(*event, expected);
    }
}
