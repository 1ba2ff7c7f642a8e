//! The document of an event: pure.

use super::groups::ORIGIN;
use super::{EventKind, EventOptions};
use affluent_documents::{CollectionSpec, Document, IndexSpec, Ttl};
use affluent_model::{ClickEvent, LogEvent, Value};

/// When a document's time is over.
pub(super) const EXPIRES: &str = "expires_at";
const DAY_MICROS: i64 = 86_400_000_000;

/// The collection of a kind: found by user or service and time, gone at `expires_at`.
#[must_use]
pub fn collection(kind: EventKind) -> CollectionSpec {
    let index = match kind {
        EventKind::Clicks => IndexSpec::on(&["user_id", "occurred_at"]),
        EventKind::Logs => IndexSpec::on(&["service", "occurred_at"]),
    };
    let ttl = Ttl { seconds: 0, field: Some(EXPIRES.to_owned()) };
    CollectionSpec { name: kind.collection().to_owned(), indexes: vec![index], ttl: Some(ttl) }
}

/// The document of a click.
#[must_use]
pub fn click(click: ClickEvent, options: &EventOptions) -> Document {
    let expires = expiry(click.received_at, options.clicks_days);
    let fields = vec![
        field("user_id", optional(click.user_id)),
        field("anonymous_id", optional(click.anonymous_id)),
        field("session_id", optional(click.session_id)),
        field("event_type", Value::Text(click.event_type)),
        field("occurred_at", Value::TimestampTz(click.occurred_at)),
        field("received_at", Value::TimestampTz(click.received_at)),
        field("url", optional(click.url)),
        field("referrer", optional(click.referrer)),
        field("device", optional(click.device)),
        field("ip", optional(click.ip)),
        field("user_agent", optional(click.user_agent)),
        field("is_bot", Value::Bool(click.is_bot)),
        field("is_late", Value::Bool(click.is_late)),
        field("properties", Value::Json(click.properties)),
        field(EXPIRES, expires),
    ];
    Document::new(click.event_id.to_string(), fields)
}

/// The document of a log line; an error's carries where its record is (`origin`, see [`super::groups`]).
#[must_use]
pub fn log(log: LogEvent, origin: Option<String>, options: &EventOptions) -> Document {
    let expires = expiry(log.received_at, options.log_days(log.kind));
    let mut fields = vec![
        field("service", Value::Text(log.service)),
        field("severity", Value::Int(log.severity.into())),
        field("kind", Value::Text(log.kind.name().to_owned())),
        field("occurred_at", Value::TimestampTz(log.occurred_at)),
        field("received_at", Value::TimestampTz(log.received_at)),
        field("trace_id", optional(log.trace_id)),
        field("span_id", optional(log.span_id)),
        field("message", Value::Text(log.message)),
        field("attributes", Value::Json(log.attributes)),
        field(EXPIRES, expires),
    ];
    fields.extend(origin.map(|origin| field(ORIGIN, Value::Text(origin))));
    Document::new(log.event_id.to_string(), fields)
}

pub(super) fn field(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

pub(super) fn optional(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}

fn expiry(received_at: i64, days: u32) -> Value {
    Value::TimestampTz(received_at.saturating_add(i64::from(days).saturating_mul(DAY_MICROS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::LogKind;

    #[test]
    fn each_kind_of_log_stays_for_its_time() {
        let options = EventOptions::default();
        let day = |kind| {
            let document = log(LogEvent { kind, received_at: 0, ..LogEvent::default() }, None, &options);
            let expires = document.field(EXPIRES).cloned();
            collection(EventKind::Logs).ttl.map(|ttl| ttl.expiry(&document.fields, 5)).zip(expires)
        };
        for kind in LogKind::ALL {
            let expected = i64::from(options.log_days(kind)) * DAY_MICROS;
            assert_eq!(day(kind), Some((expected, Value::TimestampTz(expected))));
        }
        assert!(options.audit_days > LogKind::ALL[..4].iter().map(|&k| options.log_days(k)).max().unwrap());
    }

    #[test]
    fn what_is_absent_is_null_and_the_id_is_the_events() {
        let document = click(
            ClickEvent { event_type: "page_view".into(), ..ClickEvent::default() },
            &EventOptions::default(),
        );
        assert_eq!(document.id, "00000000-0000-0000-0000-000000000000");
        assert_eq!(document.field("user_id"), Some(&Value::Null));
        assert_eq!(document.field("event_type"), Some(&Value::Text("page_view".into())));
    }
}
