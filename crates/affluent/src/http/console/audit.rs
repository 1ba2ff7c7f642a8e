//! The audit trail: who asked for what over the console, and what came of it. Log lines of the kind `audit`, sent with those of the
//! services, so that they end in the collection `logs` and in the lake, and are kept as long as the configuration says of their kind.
//!
//! Invariant: what [`Audit::write`] has answered is durable in the bus.

use crate::http::Problem;
use crate::platform::Platform;
use affluent_bus::codec::EventEncoder;
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Bus, BusError, Outgoing, Producer, ProducerOptions, TopicSpec};
use affluent_model::time::now_micros;
use affluent_model::{LogEvent, LogKind};
use affluent_stream::collect::CollectOptions;
use bytes::Bytes;
use serde_json::json;
use std::fmt::Display;
use std::time::Duration;
use tokio::sync::Mutex;
use uuid::Uuid;

const SERVICE: &str = "affluent";
/// OpenTelemetry's numbers of INFO and WARN.
const INFO: u8 = 9;
const WARN: u8 = 13;
/// The bus has this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way into the trail, opened by the first entry.
pub(super) struct Audit {
    bus: Bus,
    registry: RegistryClient,
    options: CollectOptions,
    open: Mutex<Option<Open>>,
}

struct Open {
    producer: Producer,
    encoder: EventEncoder,
}

/// What the trail says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Name of the token; none where there are no tokens.
    pub(super) who: Option<&'a str>,
    /// As `models.promote`, or the path of a form.
    pub(super) action: &'a str,
    pub(super) subject: &'a str,
    /// `asked`, `done` or `failed`.
    pub(super) outcome: &'a str,
    pub(super) detail: &'a str,
}

impl Audit {
    pub(super) fn new(platform: &Platform) -> Self {
        Audit {
            bus: platform.bus().clone(),
            registry: platform.registry().clone(),
            options: platform.config().collect.clone(),
            open: Mutex::new(None),
        }
    }

    /// Writes an entry, and waits until it is durable.
    ///
    /// # Errors
    /// 503 while the bus does not take it.
    pub(super) async fn write(&self, entry: &Entry<'_>) -> Result<(), Problem> {
        let Entry { who, action, subject, outcome, detail } = *entry;
        tracing::info!(target: "audit", who, action, subject, outcome, detail, "console");
        match tokio::time::timeout(PATIENCE, self.send(event(entry))).await {
            Ok(sent) => sent,
            Err(_) => Err(unavailable(&"it does not answer")),
        }
    }

    async fn send(&self, event: LogEvent) -> Result<(), Problem> {
        let mut guard = self.open.lock().await;
        // Put back only where it works: else the next entry opens it again.
        let mut open = match guard.take() {
            Some(open) => open,
            None => self.open().await.map_err(|error| unavailable(&error))?,
        };
        let topic = self.options.logs_topic.as_str();
        let value = open.encoder.log(topic, &event).await.map_err(|error| unavailable(&error))?;
        let record = Outgoing {
            topic: topic.into(),
            partition: None,
            key: Some(Bytes::from_static(SERVICE.as_bytes())),
            value: Some(value),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        let sequence = open.producer.send(record).await.map_err(|error| unavailable(&error))?;
        let producer = open.producer.clone();
        *guard = Some(open);
        drop(guard);
        producer.wait_acked(sequence).await.map_err(|error| unavailable(&error))
    }

    async fn open(&self) -> Result<Open, BusError> {
        let options = &self.options;
        let spec = TopicSpec { replication: options.replication, ..TopicSpec::new(options.partitions) };
        self.bus.admin()?.ensure_topic(&options.logs_topic, &spec).await?;
        let producer = self.bus.producer(ProducerOptions::default())?;
        Ok(Open { producer, encoder: EventEncoder::new(options.format, Some(self.registry.clone())) })
    }
}

fn event(entry: &Entry<'_>) -> LogEvent {
    let Entry { who, action, subject, outcome, detail } = *entry;
    let now = now_micros();
    let attributes =
        json!({"who": who, "action": action, "subject": subject, "outcome": outcome, "detail": detail});
    LogEvent {
        event_id: Uuid::now_v7(),
        occurred_at: now,
        received_at: now,
        service: SERVICE.to_owned(),
        severity: if outcome == "failed" { WARN } else { INFO },
        kind: LogKind::Audit,
        trace_id: None,
        span_id: None,
        message: format!("console: {} {outcome} {action} {subject}", who.unwrap_or("anyone")),
        attributes: attributes.to_string(),
    }
}

fn unavailable(error: &dyn Display) -> Problem {
    Problem::unavailable(format!("nothing was done: the bus takes no entry of the audit trail: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_asked_for_what() {
        let entry = Entry {
            who: Some("ops"),
            action: "models.promote",
            subject: "fraud 3",
            outcome: "failed",
            detail: "no",
        };
        let event = event(&entry);
        assert_eq!(event.message, "console: ops failed models.promote fraud 3");
        assert_eq!((event.kind, event.severity), (LogKind::Audit, WARN));
        let attributes: serde_json::Value = serde_json::from_str(&event.attributes).unwrap();
        assert_eq!((&attributes["who"], &attributes["detail"]), (&json!("ops"), &json!("no")));
    }
}
