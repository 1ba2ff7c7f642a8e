//! The bytes of an accepted item, and the key that chooses its partition.

use super::options::PartitionBy;
use affluent_bus::codec::{CodecError, Format};
use affluent_bus::registry::RegistryClient;
use affluent_model::{ClickEvent, LogEvent, time};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;

/// Encoders that are kept between requests.
const IDLE_MAX: usize = 32;

/// Encoders for requests that run at the same time; each has what it learnt of the registry.
pub(crate) struct Encoders {
    format: Format,
    registry: Option<RegistryClient>,
    idle: Mutex<Vec<EventEncoder>>,
}

impl Encoders {
    pub(crate) fn new(format: Format, registry: Option<RegistryClient>) -> Self {
        Encoders { format, registry, idle: Mutex::default() }
    }

    pub(crate) fn take(&self) -> EventEncoder {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| EventEncoder::new(self.format, self.registry.clone()))
    }

    pub(crate) fn give_back(&self, encoder: EventEncoder) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(encoder);
        }
    }
}

/// The key of a click.
pub(crate) fn click_key(event: &ClickEvent, by: PartitionBy) -> Bytes {
    match by {
        PartitionBy::User => event.visitor().map_or_else(
            || Bytes::from(event.event_id.to_string()),
            |visitor| Bytes::copy_from_slice(visitor.as_bytes()),
        ),
        PartitionBy::Date => {
            let days = event.occurred_at.div_euclid(86_400_000_000);
            Bytes::from(time::format_date(i32::try_from(days).unwrap_or(0)))
        }
    }
}

/// The key of a log line.
pub(crate) fn log_key(event: &LogEvent) -> Bytes {
    Bytes::copy_from_slice(event.service.as_bytes())
}

/// Encodes events as JSON. PLACEHOLDER until affluent_bus::codec::events is merged.
pub(crate) struct EventEncoder;

#[derive(Serialize)]
struct Click<'a> {
    event_id: String,
    user_id: Option<&'a str>,
    anonymous_id: Option<&'a str>,
    session_id: Option<&'a str>,
    event_type: &'a str,
    occurred_at: i64,
    received_at: i64,
    url: Option<&'a str>,
    referrer: Option<&'a str>,
    device: Option<&'a str>,
    ip: Option<&'a str>,
    user_agent: Option<&'a str>,
    is_bot: bool,
    is_late: bool,
    properties: &'a str,
}

#[derive(Serialize)]
struct Log<'a> {
    event_id: String,
    occurred_at: i64,
    received_at: i64,
    service: &'a str,
    severity: u8,
    kind: &'a str,
    trace_id: Option<&'a str>,
    span_id: Option<&'a str>,
    message: &'a str,
    attributes: &'a str,
}

impl EventEncoder {
    pub(crate) fn new(_format: Format, _registry: Option<RegistryClient>) -> Self {
        EventEncoder
    }

    pub(crate) async fn click(&mut self, _topic: &str, e: &ClickEvent) -> Result<Bytes, CodecError> {
        let click = Click {
            event_id: e.event_id.to_string(),
            user_id: e.user_id.as_deref(),
            anonymous_id: e.anonymous_id.as_deref(),
            session_id: e.session_id.as_deref(),
            event_type: &e.event_type,
            occurred_at: e.occurred_at,
            received_at: e.received_at,
            url: e.url.as_deref(),
            referrer: e.referrer.as_deref(),
            device: e.device.as_deref(),
            ip: e.ip.as_deref(),
            user_agent: e.user_agent.as_deref(),
            is_bot: e.is_bot,
            is_late: e.is_late,
            properties: &e.properties,
        };
        serde_json::to_vec(&click)
            .map(Bytes::from)
            .map_err(|error| CodecError::Undecodable(error.to_string()))
    }

    pub(crate) async fn log(&mut self, _topic: &str, e: &LogEvent) -> Result<Bytes, CodecError> {
        let log = Log {
            event_id: e.event_id.to_string(),
            occurred_at: e.occurred_at,
            received_at: e.received_at,
            service: &e.service,
            severity: e.severity,
            kind: e.kind.name(),
            trace_id: e.trace_id.as_deref(),
            span_id: e.span_id.as_deref(),
            message: &e.message,
            attributes: &e.attributes,
        };
        serde_json::to_vec(&log).map(Bytes::from).map_err(|error| CodecError::Undecodable(error.to_string()))
    }
}
