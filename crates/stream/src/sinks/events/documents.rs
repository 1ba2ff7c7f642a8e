//! The document of an event: pure.

use super::EventOptions;
use super::groups::ORIGIN;
use affluent_documents::{CollectionSpec, FieldsWriter, IndexSpec, Inserts, Ttl};
use affluent_model::{ClickEvent, EventKind, LogEvent, Value};
use std::borrow::Cow;
use uuid::Uuid;

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

/// Adds the document of a click.
pub fn push_click(to: &mut Inserts, click: &ClickEvent<Cow<'_, str>>, options: &EventOptions) {
    let expires = expiry(click.received_at, options.clicks_days);
    push(to, click.event_id, |to| {
        to.optional("user_id", click.user_id.as_deref());
        to.optional("anonymous_id", click.anonymous_id.as_deref());
        to.optional("session_id", click.session_id.as_deref());
        to.text("event_type", &click.event_type);
        to.instant("occurred_at", click.occurred_at);
        to.instant("received_at", click.received_at);
        to.optional("url", click.url.as_deref());
        to.optional("referrer", click.referrer.as_deref());
        to.optional("device", click.device.as_deref());
        to.optional("ip", click.ip.as_deref());
        to.optional("user_agent", click.user_agent.as_deref());
        to.value("is_bot", &Value::Bool(click.is_bot));
        to.value("is_late", &Value::Bool(click.is_late));
        to.json("properties", &click.properties);
        to.instant(EXPIRES, expires);
    });
}

/// Adds the document of a log line; an error's carries where its record is (`origin`, see [`super::groups`]).
pub fn push_log(
    to: &mut Inserts,
    log: &LogEvent<Cow<'_, str>>,
    origin: Option<&str>,
    options: &EventOptions,
) {
    let expires = expiry(log.received_at, options.log_days(log.kind));
    push(to, log.event_id, |to| {
        to.text("service", &log.service);
        to.value("severity", &Value::Int(log.severity.into()));
        to.text("kind", log.kind.name());
        to.instant("occurred_at", log.occurred_at);
        to.instant("received_at", log.received_at);
        to.optional("trace_id", log.trace_id.as_deref());
        to.optional("span_id", log.span_id.as_deref());
        to.text("message", &log.message);
        to.json("attributes", &log.attributes);
        to.instant(EXPIRES, expires);
        if let Some(origin) = origin {
            to.text(ORIGIN, origin);
        }
    });
}

fn push(to: &mut Inserts, id: Uuid, write: impl FnOnce(&mut FieldsWriter<'_>)) {
    let mut text = Uuid::encode_buffer();
    to.push(id.hyphenated().encode_lower(&mut text), write);
}

fn expiry(received_at: i64, days: u32) -> i64 {
    received_at.saturating_add(i64::from(days).saturating_mul(DAY_MICROS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_documents::Document;
    use affluent_model::LogKind;

    fn only(inserts: &Inserts) -> Document {
        inserts.documents().next().unwrap().unwrap()
    }

    #[test]
    fn each_kind_of_log_stays_for_its_time() {
        let options = EventOptions::default();
        let day = |kind| {
            let mut inserts = Inserts::default();
            let log = LogEvent { kind, received_at: 0, ..LogEvent::default() };
            push_log(&mut inserts, &log, None, &options);
            let document = only(&inserts);
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
        let event = ClickEvent { event_type: "page_view".into(), ..ClickEvent::default() };
        let mut inserts = Inserts::default();
        push_click(&mut inserts, &event, &EventOptions::default());
        let document = only(&inserts);
        assert_eq!(document.id, "00000000-0000-0000-0000-000000000000");
        assert_eq!(document.field("user_id"), Some(&Value::Null));
        assert_eq!(document.field("event_type"), Some(&Value::Text("page_view".into())));
    }
}
