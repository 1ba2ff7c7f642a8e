//! What the parsers promise for any bytes, and a corpus of malformed input.

use super::event::Click;
use super::{
    Arrival, CollectOptions, Content, EventParser, LogArrival, LogParser, Reject, RejectReason, otlp,
};
use affluent_model::ClickEvent;
use proptest::prelude::*;
use prost::Message;

const NOW: i64 = 1_763_800_000_000_000;
const ID: &str = "0193508e-5d4a-7c3b-9c3a-0f1e2d3c4b5a";

fn arrival() -> Arrival<'static> {
    Arrival { received_at: NOW, ip: "203.0.113.77".parse().ok(), user_agent: Some("curl/8") }
}

fn parse(content: Content, body: &[u8]) -> Vec<Result<ClickEvent, Reject>> {
    let parser = EventParser::new(&CollectOptions::default());
    let arrival = arrival();
    parser.parse(content, body, &arrival).map(|event| event.map(Click::into_owned)).collect()
}

fn one(item: &str) -> Result<ClickEvent, Reject> {
    let mut items = parse(Content::Json, item.as_bytes());
    assert_eq!(items.len(), 1, "{item}");
    items.remove(0)
}

#[test]
fn an_event_is_read_and_completed() {
    let full = format!(
        r#"{{"event_id":"{ID}","user_id":42,"anonymous_id":"a\u00e9","session_id":"s","event_type":"conversion",
        "occurred_at":"2025-11-22T08:26:39.5Z","url":"https://shop.example/?a=1","referrer":null,"device":"phone",
        "ip":"198.51.100.9","user_agent":"Mozilla/5.0","cart":{{"total": 12.50}},"properties":{{"b":[1, 2]}}}}"#
    );
    let event = one(&full).unwrap();
    let expected = ClickEvent {
        event_id: ID.parse().unwrap(),
        user_id: Some("42".into()),
        anonymous_id: Some("aé".into()),
        session_id: Some("s".into()),
        event_type: "conversion".into(),
        occurred_at: NOW - 500_000,
        received_at: NOW,
        url: Some("https://shop.example/?a=1".into()),
        referrer: None,
        device: Some("phone".into()),
        ip: Some("198.51.100.0".into()),
        user_agent: Some("Mozilla/5.0".into()),
        is_bot: false,
        is_late: false,
        properties: r#"{"cart":{"total": 12.50},"b":[1, 2]}"#.into(),
    };
    assert_eq!(event, expected);

    let short = one(r#"{"event_type":"page_view"}"#).unwrap();
    assert_eq!(short.event_id.get_version_num(), 7);
    assert_eq!((short.occurred_at, short.ip.as_deref()), (NOW, Some("203.0.113.0")));
    assert_eq!((short.user_agent.as_deref(), short.is_bot), (Some("curl/8"), true));
    assert_eq!(short.properties, "{}");
    assert_ne!(short.event_id, one(r#"{"event_type":"page_view"}"#).unwrap().event_id);

    let late = one(r#"{"event_type":"x","occurred_at":1763700000000}"#).unwrap();
    assert!(late.is_late);
}

/// Each: an item, and why it is not accepted.
const MALFORMED: &[(&str, RejectReason)] = &[
    ("{}", RejectReason::MissingEventType),
    (r#"{"event_type":""}"#, RejectReason::MissingEventType),
    (r#"{"event_type":null}"#, RejectReason::MissingEventType),
    (r#"{"event_type":5}"#, RejectReason::WrongType),
    (r#"{"event_type":["a"]}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","user_id":true}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","user_id":1.5}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","properties":[]}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","url":{}}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","occurred_at":{}}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","occurred_at":"yesterday"}"#, RejectReason::BadTime),
    (r#"{"event_type":"x","occurred_at":-1}"#, RejectReason::BadTime),
    (r#"{"event_type":"x","occurred_at":1e99}"#, RejectReason::BadTime),
    (r#"{"event_type":"x","occurred_at":"2026-11-22T08:26:40Z"}"#, RejectReason::ClockAhead),
    (r#"{"event_type":"x","occurred_at":1763900000000}"#, RejectReason::ClockAhead),
    (r#"{"event_type":"x","event_id":"17"}"#, RejectReason::BadEventId),
    (r#"{"event_type":"x","event_id":"00000000-0000-0000-0000-000000000000"}"#, RejectReason::BadEventId),
    (r#"{"event_type":"x","event_id":17}"#, RejectReason::WrongType),
    (r#"{"event_type":"x","ip":"999.1.1.1"}"#, RejectReason::BadIp),
    ("5", RejectReason::NotAnObject),
    (r#""event""#, RejectReason::NotAnObject),
    ("null", RejectReason::NotAnObject),
    (r#"{"event_type":"x",}"#, RejectReason::BadJson),
    (r#"{"event_type":"x" "a":1}"#, RejectReason::BadJson),
    (r#"{'event_type':'x'}"#, RejectReason::BadJson),
    (r#"{"event_type":"x","a":01}"#, RejectReason::BadJson),
    (r#"{"event_type":"x","a":NaN}"#, RejectReason::BadJson),
    (r#"{"event_type":"\ud800"}"#, RejectReason::BadJson),
    (r#"{"event_type":"x"}{"event_type":"y"}"#, RejectReason::BadJson),
    ("event_type=x", RejectReason::BadJson),
    ("<xml/>", RejectReason::BadJson),
];

#[test]
fn malformed_items_are_told_apart_and_their_neighbours_survive() {
    let good = r#"{"event_type":"page_view","a":"}],{["}"#;
    for (item, reason) in MALFORMED {
        let lines = format!("{good}\n{item}\n{good}");
        let array = format!("[{good},{item} , {good}]");
        for (content, body) in [(Content::Lines, &lines), (Content::Json, &lines), (Content::Json, &array)] {
            // Two values side by side have one comma too few for an array's element as well.
            let items = parse(content, body.as_bytes());
            assert_eq!(items.len(), 3, "{body}");
            assert_eq!(items[1].as_ref().unwrap_err().reason, *reason, "{body}");
            assert!(items[0].is_ok() && items[2].is_ok(), "{body}");
        }
    }
    let long = "x".repeat(300);
    let too_long = format!(r#"{{"event_type":"{long}"}}"#);
    assert_eq!(one(&too_long).unwrap_err().reason, RejectReason::TooLong);
    let large = format!(r#"{{"event_type":"x","a":"{}"}}"#, "x".repeat(300_000));
    assert_eq!(one(&large).unwrap_err().reason, RejectReason::TooLarge);
    let deep = format!(r#"{{"event_type":"x","a":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    assert_eq!(one(&deep).unwrap_err().reason, RejectReason::TooDeep);
    let mut bytes = format!("{good}\n{{\"event_type\":\"").into_bytes();
    bytes.extend([0xFF, 0xFE, b'"', b'}', b'\n']);
    bytes.extend(good.as_bytes());
    let items = parse(Content::Lines, &bytes);
    assert_eq!(items[1].as_ref().unwrap_err().reason, RejectReason::InvalidUtf8);
    assert!(items[0].is_ok() && items[2].is_ok());
}

#[test]
fn protobuf_batches_are_read_item_by_item() {
    let event = super::proto::Event {
        event_id: ID.into(),
        user_id: "7".into(),
        event_type: "content_viewed".into(),
        occurred_at_us: NOW - 1,
        properties: r#"{"content":"c1"}"#.into(),
        ..Default::default()
    };
    let message = |item: &[u8]| {
        let mut bytes = vec![10, u8::try_from(item.len()).unwrap()];
        bytes.extend(item);
        bytes
    };
    let broken = super::proto::Event { properties: "[1".into(), ..event.clone() };
    let untyped = super::proto::Event { event_type: String::new(), ..event.clone() };
    let body = [
        message(&event.encode_to_vec()),
        message(&[0xFF, 0xFF]),
        message(&broken.encode_to_vec()),
        // A field of a later version, passed over.
        vec![0x50, 1],
        message(&untyped.encode_to_vec()),
        message(&event.encode_to_vec()),
        vec![10, 100, 1],
    ]
    .concat();
    let items = parse(Content::Protobuf, &body);
    let reasons: Vec<Option<RejectReason>> =
        items.iter().map(|item| item.as_ref().err().map(|reject| reject.reason)).collect();
    use RejectReason::{BadJson, BadProtobuf, MissingEventType};
    assert_eq!(
        reasons,
        [None, Some(BadProtobuf), Some(BadJson), Some(MissingEventType), None, Some(BadProtobuf)]
    );
    let read = items[0].as_ref().unwrap();
    assert_eq!((read.occurred_at, read.properties.as_str()), (NOW - 1, r#"{"content":"c1"}"#));
    assert_eq!(read.user_id.as_deref(), Some("7"));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for content in [Content::Json, Content::Lines, Content::Protobuf] {
            prop_assert!(parse(content, &body).len() <= body.len() + 1);
        }
        let logs = LogParser::new(&CollectOptions::default());
        let arrival = LogArrival { received_at: NOW, service: Some("s") };
        prop_assert!(logs.parse(Content::Json, &body, &arrival).count() <= body.len());
        let seed = otlp::Seed::new(&body, None);
        for encoding in [otlp::Encoding::Protobuf, otlp::Encoding::Json] {
            if let Ok(records) = logs.parse_otlp(encoding, &body, NOW, &seed) {
                prop_assert!(records.count() <= body.len());
            }
        }
    }

    #[test]
    fn what_is_accepted_keeps_every_member(
        members in prop::collection::btree_map("[a-z]{1,6}x", any::<i64>(), 0..6),
        text in any::<String>(),
    ) {
        let mut object = serde_json::json!({"event_type": "t", "text": text, "url": text});
        for (name, value) in &members {
            object[name] = (*value).into();
        }
        let event = one(&object.to_string());
        prop_assume!(text.len() <= 8_192);
        let event = event.unwrap();
        prop_assert_eq!(event.url.unwrap(), text.clone());
        let kept: serde_json::Value = serde_json::from_str(&event.properties).unwrap();
        prop_assert_eq!(kept["text"].as_str().unwrap(), text);
        for (name, value) in members {
            prop_assert_eq!(kept[name].as_i64(), Some(value));
        }
    }
}
