//! The platform's own log lines, kept for its own pipeline of log lines.
//!
//! They wait in a bounded queue until [`take`], and go the way of every other service's line from there. Invariant: no line causes
//! another. What carries log lines does not speak through them: its own lines are written to standard error alone ([`CARRIERS`]).

use crate::metrics_list;
use crate::traces::HEADER_TRACE;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that wait; what comes on top is dropped and counted.
const QUEUE_MAX: usize = 4_096;
/// Fields are cut here, in bytes: a line is never larger than a record may be.
const FIELD_MAX: usize = 8 << 10;

/// The parts that a log line passes, by the beginnings of their targets: what they say of carrying one line would be one more.
const CARRIERS: &[&str] = &[
    "affluent::observe",
    "affluent_broker",
    "affluent_bus",
    "affluent_documents",
    "affluent_lake",
    "affluent_stream::collect",
    "affluent_stream::consume",
    "affluent_stream::dead_letters",
    "affluent_stream::sinks",
    "affluent_telemetry",
    "affluent_warehouse::staged",
];

/// The target of the audit trail: what people did.
pub const AUDIT: &str = "audit";

static KEPT: Mutex<VecDeque<OwnLine>> = Mutex::new(VecDeque::new());

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnLine {
    /// Microseconds UTC.
    pub occurred_us: i64,
    /// OpenTelemetry's number
    /// (<https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber>).
    pub severity: u8,
    /// The module that wrote it.
    pub target: String,
    pub message: String,
    /// 32 hexadecimal digits, where the line is of a traced record.
    pub trace_id: Option<String>,
    pub fields: Map<String, Value>,
}

/// Keeps lines. It looks at nothing that a filter before it has refused.
pub(super) struct OwnLines;

impl<S: Subscriber> Layer<S> for OwnLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_fed(metadata.target()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = OwnLine {
            occurred_us: now_us(),
            severity: severity(*metadata.level()),
            target: metadata.target().to_owned(),
            message: fields.message,
            trace_id: fields.trace_id,
            fields: fields.others,
        };
        let mut kept = KEPT.lock();
        if kept.len() < QUEUE_MAX {
            kept.push_back(line);
        } else {
            metrics_list::own_log_lines("dropped", 1);
        }
    }
}

/// The oldest lines that wait, at most `count`.
#[must_use]
pub fn take(count: usize) -> Vec<OwnLine> {
    let mut kept = KEPT.lock();
    let count = count.min(kept.len());
    kept.drain(..count).collect()
}

/// Only what the platform itself writes, and nothing that carries log lines.
fn is_fed(target: &str) -> bool {
    let is_within =
        |part: &str| target.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    target == AUDIT || target.starts_with("affluent") && !CARRIERS.iter().any(|carrier| is_within(carrier))
}

fn severity(level: Level) -> u8 {
    match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Fields {
    message: String,
    trace_id: Option<String>,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("trace_id" | HEADER_TRACE, Value::String(text)) => self.trace_id = Some(text),
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }

    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > FIELD_MAX {
            let end = (0..=FIELD_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            text.truncate(end);
        }
        self.put(field, Value::String(text));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn lines_are_kept_but_those_of_what_carries_them() {
        for (target, fed) in [
            ("affluent::roles::up", true),
            ("affluent_stream::cdc::source", true),
            ("affluent_scoring::stream", true),
            ("affluent_stream::consume", false),
            ("affluent_stream::consume::flight", false),
            ("affluent_stream::sinks::events::batch", false),
            ("affluent_bus::producer", false),
            ("affluent_buses", true),
            ("affluent::observe::own_logs", false),
            ("audit", true),
            ("rdkafka::client", false),
            ("hyper", false),
        ] {
            assert_eq!(is_fed(target), fed, "{target}");
        }
    }

    /// The queue is the process's: one test fills it.
    #[test]
    fn a_line_has_its_fields_its_trace_and_a_bound() {
        let subscriber = tracing_subscriber::registry().with(OwnLines);
        tracing::subscriber::with_default(subscriber, || {
            let trace = "0af7651916cd43dd8448eb211c80319c";
            tracing::warn!(target: "affluent_scoring", rows = 3, ok = false, trace_id = trace, why = ?Some(1), "it is so");
            tracing::warn!(target: "affluent_bus::producer", "carrying a line");
            tracing::info!(target: "affluent_scoring", long = "é".repeat(FIELD_MAX).as_str(), "long");
            (0..QUEUE_MAX).for_each(|_| tracing::info!(target: "affluent_scoring", "again"));
        });
        let lines = take(usize::MAX);
        assert_eq!(lines.len(), QUEUE_MAX);
        let line = &lines[0];
        assert_eq!(
            (line.severity, line.message.as_str(), line.target.as_str()),
            (13, "it is so", "affluent_scoring")
        );
        assert_eq!(line.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        let expected = serde_json::json!({"rows": 3, "ok": false, "why": "Some(1)"});
        assert_eq!(Value::Object(line.fields.clone()), expected);
        assert_eq!(lines[1].fields["long"].as_str().map(str::len), Some(FIELD_MAX));
        assert!(take(1).is_empty());
    }
}
