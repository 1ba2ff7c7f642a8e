//! Log lines from JSON, under the names that loggers and shippers (Vector, Fluent Bit, pino, slog, logrus,
//! Elastic) give their fields. What has no name here is kept in the attributes.
//!
//! A line is only rejected where nothing could be made of it; a strange severity or trace id is kept as
//! an attribute instead. Invariant as for events: an item depends on its own bytes alone.

use super::event::{Content, clock, event_id, item_text, reject_fault, time};
use super::json::{self, Kind, Raw};
use super::moment::Clock;
use super::options::CollectOptions;
use super::reason::{Reject, RejectReason};
use super::split::{Framing, Items};
use affluent_model::{LogEvent, LogKind};
use uuid::Uuid;

/// The service of a line that names none, as OpenTelemetry has it.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";
/// Longest name of a service, bytes.
pub(crate) const SERVICE_MAX: usize = 256;

/// What is known of all lines of a request.
#[derive(Debug, Clone, Copy)]
pub struct LogArrival<'a> {
    /// Microseconds since the epoch.
    pub received_at: i64,
    /// For lines that name none.
    pub service: Option<&'a str>,
}

/// Reads log lines by the rules of the configuration.
pub struct LogParser {
    pub(crate) clock: Clock,
    pub(crate) item_bytes_max: usize,
    pub(crate) json_depth_max: usize,
}

impl LogParser {
    /// A parser with these options, which are checked already.
    #[must_use]
    pub fn new(options: &CollectOptions) -> Self {
        LogParser {
            clock: clock(options),
            item_bytes_max: options.item_bytes_max,
            json_depth_max: options.json_depth_max,
        }
    }

    /// The lines of a body, each a log event or the reason why not. [`Content::Protobuf`] is read as
    /// JSON; OTLP has an endpoint of its own.
    pub fn parse<'a>(
        &'a self,
        content: Content,
        body: &'a [u8],
        arrival: &'a LogArrival<'a>,
    ) -> impl Iterator<Item = Result<LogEvent, Reject>> + Send + 'a {
        let framing = match content {
            Content::Lines => Framing::Lines,
            Content::Json | Content::Protobuf => Framing::ByContent,
        };
        Items::new(body, framing).map(|item| self.line(item, arrival))
    }

    fn line(&self, item: &[u8], arrival: &LogArrival<'_>) -> Result<LogEvent, Reject> {
        let text = item_text(item, self.item_bytes_max)?;
        let mut draft = LogDraft::default();
        let mut failure = None;
        json::read_object(text, self.json_depth_max, |name, value| {
            if let Err(reject) = draft.take(&name, value) {
                failure.get_or_insert(reject);
            }
        })
        .map_err(|fault| reject_fault(fault, text))?;
        if let Some(reject) = failure {
            return Err(reject);
        }
        if draft.message.is_none() {
            return Err(Reject::new(RejectReason::MissingMessage, "message is missing (or msg, log, body)"));
        }
        self.finish(draft, arrival.received_at, arrival.service)
    }

    pub(crate) fn finish(
        &self,
        draft: LogDraft,
        received_at: i64,
        service: Option<&str>,
    ) -> Result<LogEvent, Reject> {
        let occurred_at = draft.occurred_at.unwrap_or(received_at);
        self.clock.judge(occurred_at, received_at)?;
        let named = draft.service.filter(|name| !name.is_empty());
        let service = named.unwrap_or_else(|| service.unwrap_or(UNKNOWN_SERVICE).to_owned());
        if service.len() > SERVICE_MAX {
            return Err(Reject::new(
                RejectReason::TooLong,
                format!("service is longer than {SERVICE_MAX} bytes"),
            ));
        }
        let by_severity =
            if draft.severity >= LogEvent::SEVERITY_ERROR { LogKind::Error } else { LogKind::App };
        Ok(LogEvent {
            event_id: draft.event_id.unwrap_or_else(Uuid::now_v7),
            occurred_at,
            received_at,
            service,
            severity: draft.severity,
            kind: draft.kind.unwrap_or(by_severity),
            trace_id: draft.trace_id,
            span_id: draft.span_id,
            message: draft.message.unwrap_or_default(),
            attributes: format!("{{{}}}", draft.attributes),
        })
    }
}

/// What the sender said of a line.
#[derive(Default)]
pub(crate) struct LogDraft {
    pub(crate) event_id: Option<Uuid>,
    pub(crate) occurred_at: Option<i64>,
    pub(crate) service: Option<String>,
    pub(crate) severity: u8,
    pub(crate) kind: Option<LogKind>,
    pub(crate) trace_id: Option<String>,
    pub(crate) span_id: Option<String>,
    pub(crate) message: Option<String>,
    /// Members without the braces around them.
    pub(crate) attributes: String,
}

impl LogDraft {
    /// One member of the sender's object. A name that was there under another spelling goes to the
    /// attributes.
    fn take(&mut self, name: &str, value: Raw<'_>) -> Result<(), Reject> {
        let taken = match name {
            "event_id" => {
                let text = value.string();
                if text.is_none() && value.kind() != Kind::Null {
                    return Err(Reject::new(RejectReason::WrongType, "event_id must be a string"));
                }
                self.event_id = event_id(text)?;
                true
            }
            "occurred_at" => {
                self.occurred_at = time(value, name)?;
                true
            }
            "timestamp" | "@timestamp" | "time" | "ts" | "date" if self.occurred_at.is_none() => {
                self.occurred_at = time(value, name).ok().flatten();
                self.occurred_at.is_some()
            }
            "service" | "service.name" | "service_name" if self.service.is_none() => {
                self.service = value.string().map(Into::into);
                self.service.is_some()
            }
            "message" | "msg" | "log" | "body" if self.message.is_none() => {
                self.message = match value.kind() {
                    Kind::Null => None,
                    Kind::String => value.string().map(Into::into),
                    Kind::Bool | Kind::Number | Kind::Array | Kind::Object => Some(value.text().to_owned()),
                };
                true
            }
            "severity" | "severity_number" | "severity_text" | "level" if self.severity == 0 => {
                self.severity = severity(name, value).unwrap_or(0);
                self.severity > 0
            }
            "kind" | "log.kind" | "event.kind" if self.kind.is_none() => {
                self.kind = value.string().and_then(|name| LogKind::from_name(&name));
                self.kind.is_some()
            }
            "trace_id" | "traceId" | "trace.id" if self.trace_id.is_none() => {
                self.trace_id = value.string().and_then(|id| hex_id(&id, 32));
                self.trace_id.is_some()
            }
            "span_id" | "spanId" | "span.id" if self.span_id.is_none() => {
                self.span_id = value.string().and_then(|id| hex_id(&id, 16));
                self.span_id.is_some()
            }
            "attributes" if value.kind() == Kind::Object => {
                if !value.inner().is_empty() {
                    if !self.attributes.is_empty() {
                        self.attributes.push(',');
                    }
                    self.attributes.push_str(value.inner());
                }
                true
            }
            _ => false,
        };
        if !taken && value.kind() != Kind::Null {
            json::write_member(&mut self.attributes, name, value.text());
        }
        Ok(())
    }
}

/// OpenTelemetry's number of a severity: a number 1 to 24, pino's `level` 10 to 60, or a name.
fn severity(name: &str, value: Raw<'_>) -> Option<u8> {
    match value.kind() {
        Kind::String => value.string().and_then(|text| severity_of_name(&text)),
        Kind::Number => match (name, value.integer()?) {
            ("level", level @ (10 | 20 | 30 | 40 | 50 | 60)) => u8::try_from(level / 10 * 4 - 3).ok(),
            (_, number @ 1..=24) => u8::try_from(number).ok(),
            _ => None,
        },
        Kind::Null | Kind::Bool | Kind::Array | Kind::Object => None,
    }
}

/// The lowest number of the range that a name stands for; syslog's names included.
pub(crate) fn severity_of_name(name: &str) -> Option<u8> {
    let found = match name.trim().to_ascii_lowercase().as_str() {
        "trace" | "verbose" => 1,
        "debug" => 5,
        "info" | "information" | "informational" => 9,
        "notice" => 10,
        "warn" | "warning" => 13,
        "error" | "err" => 17,
        "critical" | "crit" | "alert" => 18,
        "fatal" | "emergency" | "emerg" | "panic" => 21,
        _ => return None,
    };
    Some(found)
}

/// An id of `digits` hexadecimal digits that are not all zero, in lower case.
pub(crate) fn hex_id(id: &str, digits: usize) -> Option<String> {
    let good = id.len() == digits
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0');
    good.then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::LogKind;

    const NOW: i64 = 1_763_800_000_000_000;

    fn parse(body: &str) -> Vec<Result<LogEvent, Reject>> {
        let parser = LogParser::new(&CollectOptions::default());
        let arrival = LogArrival { received_at: NOW, service: None };
        parser.parse(Content::Json, body.as_bytes(), &arrival).collect()
    }

    #[test]
    fn lines_of_many_loggers_are_understood() {
        // Each: the line, service, severity, kind, message, attributes.
        for (line, service, severity, kind, message, attributes) in [
            (
                r#"{"occurred_at":1763800000000,"service":"pay","severity":17,"kind":"audit","message":"m","x":{"y":1}}"#,
                "pay",
                17,
                LogKind::Audit,
                "m",
                r#"{"x":{"y":1}}"#,
            ),
            // Vector.
            (
                r#"{"host":"h","message":"m","source_type":"file","timestamp":"2025-11-22T08:26:40Z"}"#,
                "unknown_service",
                0,
                LogKind::App,
                "m",
                r#"{"host":"h","source_type":"file"}"#,
            ),
            // Fluent Bit.
            (
                r#"{"date":1763800000.0,"log":"m","stream":"stderr"}"#,
                "unknown_service",
                0,
                LogKind::App,
                "m",
                r#"{"stream":"stderr"}"#,
            ),
            // pino.
            (
                r#"{"level":50,"time":1763800000000,"pid":7,"msg":"m"}"#,
                "unknown_service",
                17,
                LogKind::Error,
                "m",
                r#"{"pid":7}"#,
            ),
            // Elastic.
            (
                r#"{"@timestamp":"2025-11-22T08:26:40.000Z","level":"WARN","message":"m","service.name":"s","event.kind":"auth"}"#,
                "s",
                13,
                LogKind::Auth,
                "m",
                "{}",
            ),
            (
                r#"{"msg":{"a":1},"level":"loud","trace_id":"zz","event.kind":"alarm","service":"s","attributes":{"b":2}}"#,
                "s",
                0,
                LogKind::App,
                r#"{"a":1}"#,
                r#"{"level":"loud","trace_id":"zz","event.kind":"alarm","b":2}"#,
            ),
        ] {
            let event = parse(line).remove(0).unwrap();
            assert_eq!(event.occurred_at, NOW, "{line}");
            assert_eq!(
                (event.service.as_str(), event.severity, event.kind, event.message.as_str()),
                (service, severity, kind, message)
            );
            assert_eq!(event.attributes, attributes);
        }
    }

    #[test]
    fn what_cannot_be_a_line_is_told() {
        for (line, reason) in [
            ("{}", RejectReason::MissingMessage),
            ("[1]", RejectReason::NotAnObject),
            (r#"{"message":"m","occurred_at":"soon"}"#, RejectReason::BadTime),
            (r#"{"message":"m","occurred_at":1963800000000}"#, RejectReason::ClockAhead),
            (r#"{"message":"m","event_id":5}"#, RejectReason::WrongType),
            (r#"{"message":"#, RejectReason::BadJson),
        ] {
            assert_eq!(parse(line).remove(0).unwrap_err().reason, reason, "{line}");
        }
    }

    #[test]
    fn ids_are_kept_in_lower_case() {
        let id = "0AF7651916CD43DD8448EB211C80319C";
        assert_eq!(hex_id(id, 32), Some(id.to_ascii_lowercase()));
        for wrong in ["00000000000000000000000000000000", "0af7", "0af7651916cd43dd8448eb211c80319g"] {
            assert_eq!(hex_id(wrong, 32), None);
        }
    }
}
