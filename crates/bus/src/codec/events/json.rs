//! Events as plain JSON objects: absent fields are left out, `properties` and `attributes` are
//! objects.

use crate::codec::avro::binary::Put;
use affluent_model::time::format_micros;
use affluent_model::{ClickEvent, LogEvent};
use serde_json::{Map, Value as Json};

pub(super) fn put_click(to: &mut impl Put, event: &ClickEvent<&str>) {
    let mut object = Object::default();
    object.put("event_id", event.event_id.to_string());
    object.put_optional("user_id", event.user_id);
    object.put_optional("anonymous_id", event.anonymous_id);
    object.put_optional("session_id", event.session_id);
    object.put("event_type", event.event_type);
    object.put("occurred_at", format_micros(event.occurred_at, true));
    object.put("received_at", format_micros(event.received_at, true));
    object.put_optional("url", event.url);
    object.put_optional("referrer", event.referrer);
    object.put_optional("device", event.device);
    object.put_optional("ip", event.ip);
    object.put_optional("user_agent", event.user_agent);
    object.put("is_bot", event.is_bot);
    object.put("is_late", event.is_late);
    object.put_members("properties", event.properties);
    to.put_raw(object.text().as_bytes());
}

pub(super) fn put_log(to: &mut impl Put, event: &LogEvent) {
    let mut object = Object::default();
    object.put("event_id", event.event_id.to_string());
    object.put("occurred_at", format_micros(event.occurred_at, true));
    object.put("received_at", format_micros(event.received_at, true));
    object.put("service", event.service.as_str());
    object.put("severity", event.severity);
    object.put("kind", event.kind.name());
    object.put_optional("trace_id", event.trace_id.as_deref());
    object.put_optional("span_id", event.span_id.as_deref());
    object.put("message", event.message.as_str());
    object.put_members("attributes", &event.attributes);
    to.put_raw(object.text().as_bytes());
}

#[derive(Default)]
struct Object(Map<String, Json>);

impl Object {
    fn put(&mut self, name: &str, value: impl Into<Json>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn put_optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.put(name, text);
        }
    }

    /// The members of an object that is given as text; other text goes out as it is.
    fn put_members(&mut self, name: &str, text: &str) {
        match serde_json::from_str(text) {
            Ok(members @ Json::Object(_)) => self.put(name, members),
            Ok(_) | Err(_) => self.put(name, text),
        }
    }

    fn text(self) -> String {
        Json::Object(self.0).to_string()
    }
}
