//! From a tree of any origin to an event: known fields by name, the rest kept.
//!
//! A field whose value does not fit (a user that is an object, a time that is none) stays among the
//! rest under its own name; nothing is thrown away. Numbers as times: their size tells the unit,
//! which is unambiguous from 1973 to 5138: below 10^11 seconds, below 10^14 milliseconds, below
//! 10^17 microseconds, else nanoseconds.

use crate::Incoming;
use crate::codec::text::parse_zoned;
use crate::codec::{CodecError, undecodable};
use affluent_model::{ClickEvent, LogEvent, LogKind};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The text of an object without members.
pub(super) const NO_PROPERTIES: &str = "{}";

/// What a record is known by, and when it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
}

impl<'a> Origin<'a> {
    pub(super) fn new(record: &'a Incoming) -> Self {
        let Incoming { topic, partition, offset, timestamp_ms, .. } = record;
        Origin { topic, partition: *partition, offset: *offset, timestamp_ms: *timestamp_ms }
    }

    /// The id of an event that has none: the same each time the record is read. A UUID of version 8,
    /// from the SHA-256 of topic, partition and offset.
    pub(super) fn id(&self) -> Uuid {
        self.derived(&format!("{}/{}", self.partition, self.offset))
    }

    /// The id of an event that its sender numbers otherwise: the same for each repetition.
    fn named_id(&self, name: &str) -> Uuid {
        self.derived(&format!("={name}"))
    }

    fn derived(&self, name: &str) -> Uuid {
        let digest = Sha256::digest(format!("{}\0{name}", self.topic));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The record's timestamp in microseconds; the epoch where it has none.
    pub(super) fn time(&self) -> i64 {
        self.timestamp_ms.max(0).saturating_mul(1_000)
    }
}

/// The click of a tree.
pub(super) fn click(tree: Json, origin: Origin<'_>) -> Result<ClickEvent, CodecError> {
    let mut fields = Fields::new(tree)?;
    Ok(ClickEvent {
        event_id: fields.event_id(origin),
        user_id: fields.text("user_id"),
        anonymous_id: fields.text("anonymous_id"),
        session_id: fields.text("session_id"),
        event_type: fields.required("event_type")?,
        occurred_at: fields.instant("occurred_at").unwrap_or(origin.time()),
        received_at: fields.instant("received_at").unwrap_or(origin.time()),
        url: fields.text("url"),
        referrer: fields.text("referrer"),
        device: fields.text("device"),
        ip: fields.text("ip"),
        user_agent: fields.text("user_agent"),
        is_bot: fields.flag("is_bot"),
        is_late: fields.flag("is_late"),
        properties: fields.rest("properties"),
    })
}

/// The log line of a tree.
pub(super) fn log(tree: Json, origin: Origin<'_>) -> Result<LogEvent, CodecError> {
    let mut fields = Fields::new(tree)?;
    Ok(LogEvent {
        event_id: fields.event_id(origin),
        occurred_at: fields.instant("occurred_at").unwrap_or(origin.time()),
        received_at: fields.instant("received_at").unwrap_or(origin.time()),
        service: fields.required("service")?,
        severity: fields.take("severity", severity).unwrap_or(0),
        kind: fields
            .take("kind", |kind| LogKind::from_name(&kind.as_str()?.to_lowercase()))
            .unwrap_or_default(),
        trace_id: fields.text("trace_id").map(|id| id.to_lowercase()),
        span_id: fields.text("span_id").map(|id| id.to_lowercase()),
        message: fields.text("message").unwrap_or_default(),
        attributes: fields.rest("attributes"),
    })
}

struct Fields(Map<String, Json>);

impl Fields {
    fn new(tree: Json) -> Result<Self, CodecError> {
        match tree {
            Json::Object(fields) => Ok(Fields(fields)),
            _ => Err(undecodable("the record is no object")),
        }
    }

    /// Takes a field where `read` understands it; null is as if it were not there.
    fn take<T>(&mut self, name: &str, read: impl FnOnce(&Json) -> Option<T>) -> Option<T> {
        let value = self.0.get(name)?;
        let taken = read(value);
        if taken.is_some() || value.is_null() {
            self.0.shift_remove(name);
        }
        taken
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| match value {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        })
    }

    fn required(&mut self, name: &str) -> Result<String, CodecError> {
        self.text(name).ok_or_else(|| undecodable(&format!("field {name} is missing")))
    }

    fn instant(&mut self, name: &str) -> Option<i64> {
        self.take(name, |value| match value {
            Json::String(text) => parse_zoned(text.trim()),
            Json::Number(number) => micros(number.as_f64()?, number.as_i64()),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        })
    }

    fn flag(&mut self, name: &str) -> bool {
        let read = |value: &Json| match value {
            Json::Bool(flag) => Some(*flag),
            Json::String(text) => text.to_lowercase().parse().ok(),
            Json::Number(number) => match number.as_i64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        };
        self.take(name, read).unwrap_or(false)
    }

    /// An id that is no UUID still tells repetitions: the event's id is derived from it, and it is
    /// kept among the rest.
    fn event_id(&mut self, origin: Origin<'_>) -> Uuid {
        if let Some(id) = self.take("event_id", |value| value.as_str()?.parse().ok()) {
            return id;
        }
        match self.0.get("event_id") {
            Some(Json::String(name)) if !name.is_empty() => origin.named_id(name),
            Some(Json::Number(number)) => origin.named_id(&number.to_string()),
            _ => {
                self.take("event_id", |value| (value.as_str() == Some("")).then_some(()));
                origin.id()
            }
        }
    }

    /// What nobody took, as the text of one object with the members of the field `name`.
    fn rest(mut self, name: &str) -> String {
        let value = self.0.shift_remove(name);
        let (text, mut members) = match value {
            None | Some(Json::Null) => (None, Map::new()),
            Some(Json::Object(members)) => (None, members),
            Some(Json::String(text)) => match serde_json::from_str(&text) {
                Ok(Json::Object(members)) => (Some(text), members),
                Ok(_) | Err(_) if text.is_empty() => (None, Map::new()),
                Ok(_) | Err(_) => (None, Map::from_iter([(name.to_owned(), Json::String(text))])),
            },
            Some(other) => (None, Map::from_iter([(name.to_owned(), other)])),
        };
        if self.0.is_empty()
            && let Some(text) = text
        {
            return text;
        }
        for (mut key, value) in self.0 {
            if value.is_null() {
                continue;
            }
            while members.contains_key(&key) {
                key.insert(0, '_');
            }
            members.insert(key, value);
        }
        Json::Object(members).to_string()
    }
}

fn micros(number: f64, exact: Option<i64>) -> Option<i64> {
    let scaled = |factor: i64| match exact {
        Some(exact) => exact.checked_mul(factor),
        // Microseconds are more than a float of today's seconds holds; the last digit may be off.
        None => Some((number * factor as f64).round() as i64),
    };
    match number.abs() {
        size if !size.is_finite() => None,
        size if size < 1e11 => scaled(1_000_000),
        size if size < 1e14 => scaled(1_000),
        size if size < 1e17 => scaled(1),
        _ => exact.map(|nanos| nanos.div_euclid(1_000)),
    }
}

/// OpenTelemetry's number, or a name that is in use for one of its ranges.
fn severity(value: &Json) -> Option<u8> {
    match value {
        Json::Number(number) => number.as_u64().and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 24),
        Json::String(name) => match name.to_ascii_lowercase().as_str() {
            "trace" => Some(1),
            "debug" => Some(5),
            "info" | "information" | "notice" => Some(9),
            "warn" | "warning" => Some(13),
            "error" | "err" => Some(17),
            "fatal" | "critical" | "crit" | "alert" | "emergency" | "panic" => Some(21),
            number => number.parse().ok().filter(|n| *n <= 24),
        },
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}
