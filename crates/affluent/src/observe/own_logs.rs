//! The platform's own log lines into its own topic of log lines, where `telemetry.own_logs` says so.
//!
//! From the topic on they are like every service's, under the service `affluent`. That no line causes another is the business of
//! [`own`]: what carries lines, this module among it, is not fed.

use super::ticks;
use crate::platform::Platform;
use affluent_bus::codec::EventEncoder;
use affluent_bus::{Outgoing, Producer, ProducerOptions, TopicSpec};
use affluent_model::time::now_micros;
use affluent_model::{LogEvent, LogKind};
use affluent_telemetry::logs::own::{self, OwnLine};
use affluent_telemetry::metrics_list;
use affluent_telemetry::traces::otlp::SERVICE;
use bytes::Bytes;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const PERIOD: Duration = Duration::from_millis(500);
/// Lines of one period.
const BATCH: usize = 1_000;
/// OpenTelemetry's number of an error.
const SEVERITY_ERROR: u8 = 17;

/// Sends until it is dropped; nothing where it is not asked for.
pub(super) async fn run(platform: &Platform) {
    if !platform.config().telemetry.own_logs {
        return;
    }
    let mut tick = ticks(PERIOD);
    let mut sender = None;
    loop {
        tick.tick().await;
        let opened = match sender.take() {
            Some(opened) => Ok(opened),
            None => Sender::open(platform).await,
        };
        match opened {
            // Until it is open, the lines wait in their queue.
            Err(error) => tracing::debug!(error = format!("{error:#}"), "own log lines wait"),
            Ok(mut opened) => sender = opened.send().await.then_some(opened),
        }
    }
}

struct Sender {
    topic: Arc<str>,
    producer: Producer,
    encoder: EventEncoder,
    waiting: VecDeque<OwnLine>,
}

impl Sender {
    async fn open(platform: &Platform) -> anyhow::Result<Self> {
        let options = &platform.config().collect;
        let spec = TopicSpec { replication: options.replication, ..TopicSpec::new(options.partitions) };
        platform.admin().await?.ensure_topic(&options.logs_topic, &spec).await?;
        let producer =
            ProducerOptions { queue_bytes: 1 << 20, queue_records: 8_192, ..ProducerOptions::default() };
        Ok(Sender {
            topic: options.logs_topic.as_str().into(),
            producer: platform.bus().producer(producer)?,
            encoder: EventEncoder::new(options.format, Some(platform.registry().clone())),
            waiting: VecDeque::new(),
        })
    }

    /// Sends what waits; false where the producer has given up, and is to be made anew.
    async fn send(&mut self) -> bool {
        self.waiting.extend(own::take(BATCH.saturating_sub(self.waiting.len())));
        while let Some(line) = self.waiting.pop_front() {
            let value = match self.encoder.log(&self.topic, &event(&line)).await {
                Ok(value) => value,
                Err(error) if error.reason().is_some() => {
                    metrics_list::own_log_lines("dropped", 1);
                    continue;
                }
                // The registry is away.
                Err(_) => {
                    self.waiting.push_front(line);
                    return true;
                }
            };
            let record = Outgoing {
                topic: Arc::clone(&self.topic),
                partition: None,
                key: Some(Bytes::from_static(SERVICE.as_bytes())),
                value: Some(value),
                headers: Vec::new(),
                timestamp_ms: None,
            };
            match self.producer.try_send(&record) {
                Ok(Some(_)) => metrics_list::own_log_lines("sent", 1),
                Ok(None) => {
                    self.waiting.push_front(line);
                    return true;
                }
                Err(_) => {
                    // This one, and those that go with the sender.
                    metrics_list::own_log_lines("dropped", 1 + self.waiting.len() as u64);
                    return false;
                }
            }
        }
        true
    }
}

/// A line as the pipeline of log lines has it.
fn event(line: &OwnLine) -> LogEvent {
    let kind = match line.target.as_str() {
        own::AUDIT => LogKind::Audit,
        _ if line.severity >= SEVERITY_ERROR => LogKind::Error,
        _ => LogKind::App,
    };
    let mut attributes = line.fields.clone();
    attributes.insert("target".to_owned(), line.target.as_str().into());
    LogEvent {
        event_id: Uuid::now_v7(),
        occurred_at: line.occurred_us,
        received_at: now_micros(),
        service: SERVICE.to_owned(),
        severity: line.severity,
        kind,
        trace_id: line.trace_id.clone(),
        span_id: None,
        message: line.message.clone(),
        attributes: Value::Object(attributes).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_becomes_an_event_of_its_kind() {
        let line = |target: &str, severity| OwnLine {
            occurred_us: 5,
            severity,
            target: target.to_owned(),
            message: "it is so".to_owned(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            fields: json!({"rows": 3}).as_object().cloned().unwrap_or_default(),
        };
        for (target, severity, kind) in [
            ("affluent::roles", 9, LogKind::App),
            ("affluent::roles", 17, LogKind::Error),
            ("audit", 9, LogKind::Audit),
        ] {
            let event = event(&line(target, severity));
            assert_eq!((event.kind, event.severity, event.occurred_at), (kind, severity, 5), "{target}");
            assert_eq!((event.service.as_str(), event.message.as_str()), ("affluent", "it is so"));
            assert_eq!(event.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
            let attributes: Value = serde_json::from_str(&event.attributes).unwrap();
            assert_eq!(attributes, json!({"rows": 3, "target": target}));
        }
    }
}
