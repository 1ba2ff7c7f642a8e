//! What a receiver of traces is told: OTLP in JSON, as `POST …/v1/traces` takes it
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>). Pure.
//!
//! Ids are hexadecimal, times are whole nanoseconds in texts, enumerations are numbers.

use super::{Span, SpanKind};
use serde_json::{Value, json};

/// The name of this service in traces and log lines.
pub const SERVICE: &str = "affluent";

/// One request for these spans; `instance` tells the processes of an installation apart.
#[must_use]
pub fn request(spans: &[Span], version: &str, instance: &str) -> Value {
    let spans: Vec<Value> = spans.iter().map(of).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", SERVICE),
            attribute("service.version", version),
            attribute("service.instance.id", instance),
        ]},
        "scopeSpans": [{"scope": {"name": SERVICE, "version": version}, "spans": spans}],
    }]})
}

fn of(span: &Span) -> Value {
    let nanos = |micros: i64| micros.saturating_mul(1_000).to_string();
    let attributes: Vec<Value> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut told = json!({
        "traceId": span.context.trace_id(),
        "spanId": span.context.span_id(),
        "name": span.name,
        "kind": match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        },
        "startTimeUnixNano": nanos(span.begun_us),
        // Clocks of two machines may disagree: no span ends before it began.
        "endTimeUnixNano": nanos(span.ended_us.max(span.begun_us)),
        "attributes": attributes,
    });
    if let Some(parent) = &span.parent {
        told["parentSpanId"] = parent.span_id().into();
    }
    if let Some(error) = &span.error {
        told["status"] = json!({"code": 2, "message": error});
    }
    told
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

#[cfg(test)]
mod tests {
    use super::super::TraceContext;
    use super::*;

    #[test]
    fn spans_are_told_as_the_protocol_says() {
        let root = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let child = root.child("sink-lake");
        let span = |context, parent, kind, error: Option<&str>| Span {
            context,
            parent,
            name: "capture",
            kind,
            begun_us: 1_700_000_000_000_001,
            ended_us: 1_700_000_000_000_000,
            attributes: vec![("messaging.system", "kafka".to_owned())],
            error: error.map(str::to_owned),
        };
        let spans = [
            span(root, None, SpanKind::Producer, None),
            span(child, Some(root), SpanKind::Consumer, Some("refused")),
        ];
        let told = request(&spans, "1.2.3", "host-7");
        let scope = &told["resourceSpans"][0];
        assert_eq!(scope["resource"]["attributes"][0], attribute("service.name", "affluent"));
        let told = &scope["scopeSpans"][0]["spans"];
        assert_eq!(
            told[0],
            json!({
                "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "capture", "kind": 4,
                "startTimeUnixNano": "1700000000000001000", "endTimeUnixNano": "1700000000000001000",
                "attributes": [{"key": "messaging.system", "value": {"stringValue": "kafka"}}],
            })
        );
        assert_eq!(told[1]["parentSpanId"], "b7ad6b7169203331");
        assert_eq!(told[1]["status"], json!({"code": 2, "message": "refused"}));
        assert_eq!(told[1]["kind"], 5);
    }
}
