//! Properties of the event codecs; our bytes read by others' libraries; others' schemas.

use super::decoder::{Writer, click, log};
use super::fields::Origin;
use super::{avro_schema, json, own_avro, own_protobuf, protobuf_file};
use crate::Incoming;
use crate::registry::{Schema, SchemaType};
use affluent_model::{ClickEvent, EventKind, LogEvent, LogKind};
use apache_avro::types::Value as Avro;
use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::hint::black_box;
use std::time::Instant;
use uuid::Uuid;

const TOPIC: &str = "clicks";

fn record() -> Incoming {
    Incoming {
        topic: TOPIC.into(),
        partition: 3,
        offset: 77,
        timestamp_ms: 1_714_557_600_123,
        key: None,
        value: None,
        headers: Vec::new(),
    }
}

fn writer(schema_type: SchemaType, text: &str) -> Writer {
    Writer::new(&Schema::new(schema_type, text), &[])
}

fn own(schema_type: SchemaType, kind: EventKind) -> Writer {
    writer(
        schema_type,
        match schema_type {
            SchemaType::Avro => avro_schema(kind),
            SchemaType::Protobuf => protobuf_file(kind),
            SchemaType::Json => "{}",
        },
    )
}

fn decode_click(schema_type: SchemaType, body: &[u8]) -> Result<ClickEvent, String> {
    click(&own(schema_type, EventKind::Clicks), body, Origin::new(&record()))
        .map(|event| event.into_owned())
        .map_err(|e| e.to_string())
}

fn decode_log(schema_type: SchemaType, body: &[u8]) -> Result<LogEvent, String> {
    log(&own(schema_type, EventKind::Logs), body, Origin::new(&record()))
        .map(|event| event.into_owned())
        .map_err(|e| e.to_string())
}

fn click_bytes(schema_type: SchemaType, event: &ClickEvent) -> BytesMut {
    let mut bytes = BytesMut::new();
    match schema_type {
        SchemaType::Avro => own_avro::put_click(&mut bytes, &event.lent()),
        SchemaType::Protobuf => {
            bytes.extend_from_slice(&[0]);
            own_protobuf::put_click(&mut bytes, &event.lent());
        }
        SchemaType::Json => json::put_click(&mut bytes, &event.lent()),
    }
    bytes
}

fn log_bytes(schema_type: SchemaType, event: &LogEvent) -> BytesMut {
    let mut bytes = BytesMut::new();
    match schema_type {
        SchemaType::Avro => own_avro::put_log(&mut bytes, event),
        SchemaType::Protobuf => {
            bytes.extend_from_slice(&[0]);
            own_protobuf::put_log(&mut bytes, event);
        }
        SchemaType::Json => json::put_log(&mut bytes, event),
    }
    bytes
}

/// The text of a JSON object, also with the names that events have themselves.
fn properties() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        any::<i64>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from),
    ];
    prop::collection::btree_map("[a-z_]{0,6}|event_id|properties|url", value, 0..4)
        .prop_map(|members| json!(members).to_string())
}

fn optional() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,12}")
}

prop_compose! {
    fn clicks()(
        id: u128,
        (user_id, anonymous_id, session_id) in (optional(), optional(), optional()),
        event_type in ".{0,12}",
        (occurred_at, received_at) in (any::<i64>(), any::<i64>()),
        (url, referrer, device, ip, user_agent) in (optional(), optional(), optional(), optional(), optional()),
        (is_bot, is_late) in (any::<bool>(), any::<bool>()),
        properties in properties(),
    ) -> ClickEvent {
        ClickEvent {
            event_id: Uuid::from_u128(id), user_id, anonymous_id, session_id, event_type, occurred_at,
            received_at, url, referrer, device, ip, user_agent, is_bot, is_late, properties,
        }
    }
}

prop_compose! {
    fn logs()(
        id: u128,
        (occurred_at, received_at) in (any::<i64>(), any::<i64>()),
        service in ".{0,12}",
        severity in 0_u8..=24,
        kind in prop::sample::select(LogKind::ALL.to_vec()),
        (trace_id, span_id) in (prop::option::of("[0-9a-f]{32}"), prop::option::of("[0-9a-f]{16}")),
        message in ".{0,20}",
        attributes in properties(),
    ) -> LogEvent {
        LogEvent {
            event_id: Uuid::from_u128(id), occurred_at, received_at, service, severity, kind, trace_id,
            span_id, message, attributes,
        }
    }
}

proptest! {
    #[test]
    fn clicks_round_trip(event in clicks()) {
        for schema_type in SchemaType::ALL {
            let bytes = click_bytes(schema_type, &event);
            prop_assert_eq!(decode_click(schema_type, &bytes), Ok(event.clone()), "{:?}", schema_type);
        }
    }

    #[test]
    fn logs_round_trip(event in logs()) {
        for schema_type in SchemaType::ALL {
            let bytes = log_bytes(schema_type, &event);
            prop_assert_eq!(decode_log(schema_type, &bytes), Ok(event.clone()), "{:?}", schema_type);
        }
    }

    /// What an own schema's straight way reads is what the way of foreign schemas reads.
    #[test]
    fn both_ways_agree(event in clicks(), line in logs()) {
        for schema_type in [SchemaType::Avro, SchemaType::Protobuf] {
            let foreign = match own(schema_type, EventKind::Clicks) {
                Writer::OwnAvro(_, tree) => Writer::Avro(tree),
                Writer::OwnProtobuf(_, schema) => Writer::Protobuf(schema),
                other => panic!("{other:?}"),
            };
            let mut event = event.clone();
            if schema_type == SchemaType::Protobuf {
                // Its mapping leaves empty texts out, and there a number's size tells its unit.
                event.event_type.push('x');
                for time in [&mut event.occurred_at, &mut event.received_at] {
                    *time = 1_000_000_000_000_000 + time.rem_euclid(1_000_000_000_000_000);
                }
            }
            let bytes = click_bytes(schema_type, &event);
            prop_assert_eq!(click(&foreign, &bytes, Origin::new(&record())).unwrap().into_owned(), event);
        }
        let Writer::OwnAvro(_, tree) = own(SchemaType::Avro, EventKind::Logs) else { panic!("own") };
        let bytes = log_bytes(SchemaType::Avro, &line);
        prop_assert_eq!(log(&Writer::Avro(tree), &bytes, Origin::new(&record())).unwrap().into_owned(), line);
    }

    /// `apache-avro` reads our bytes and writes the same again.
    #[test]
    fn apache_avro_agrees(event in clicks(), line in logs()) {
        for (kind, bytes) in [
            (EventKind::Clicks, click_bytes(SchemaType::Avro, &event)),
            (EventKind::Logs, log_bytes(SchemaType::Avro, &line)),
        ] {
            let schema = apache_avro::Schema::parse_str(avro_schema(kind)).unwrap();
            let value = apache_avro::from_avro_datum(&schema, &mut &bytes[..], None).unwrap();
            let Avro::Record(fields) = &value else { panic!("{value:?}") };
            let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap();
            match kind {
                EventKind::Clicks => {
                    prop_assert_eq!(field("event_id"), Avro::Uuid(event.event_id));
                    prop_assert_eq!(field("occurred_at"), Avro::TimestampMicros(event.occurred_at));
                    prop_assert_eq!(field("properties"), Avro::String(event.properties.clone()));
                }
                EventKind::Logs => {
                    prop_assert_eq!(field("severity"), Avro::Int(i32::from(line.severity)));
                    prop_assert_eq!(field("message"), Avro::String(line.message.clone()));
                }
            }
            prop_assert_eq!(apache_avro::to_avro_datum(&schema, value).unwrap(), bytes.to_vec());
        }
    }

    /// A reflective Protobuf decoder reads our bytes.
    #[test]
    fn prost_agrees(event in clicks(), line in logs()) {
        let read = |kind: EventKind, bytes: &[u8]| {
            let Writer::OwnProtobuf(_, schema) = own(SchemaType::Protobuf, kind) else { panic!("own") };
            let message = schema.message(&[0]).unwrap();
            prost_reflect::DynamicMessage::decode(message, &bytes[1..]).unwrap()
        };
        let message = read(EventKind::Clicks, &click_bytes(SchemaType::Protobuf, &event));
        let text = |name: &str| message.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        let has = |name: &str| message.has_field_by_name(name);
        prop_assert_eq!(text("event_id"), event.event_id.to_string());
        prop_assert_eq!(text("event_type"), event.event_type.clone());
        prop_assert_eq!(message.get_field_by_name("occurred_at").unwrap().as_i64(), Some(event.occurred_at));
        for (name, value) in [
            ("user_id", &event.user_id), ("anonymous_id", &event.anonymous_id), ("session_id", &event.session_id),
            ("url", &event.url), ("referrer", &event.referrer), ("device", &event.device), ("ip", &event.ip),
            ("user_agent", &event.user_agent),
        ] {
            prop_assert_eq!(has(name).then(|| text(name)), value.clone(), "{}", name);
        }
        prop_assert_eq!(message.get_field_by_name("is_bot").unwrap().as_bool(), Some(event.is_bot));
        prop_assert_eq!(text("properties"), event.properties);
        let message = read(EventKind::Logs, &log_bytes(SchemaType::Protobuf, &line));
        let severity = message.get_field_by_name("severity").unwrap().as_i32();
        prop_assert_eq!(severity, Some(i32::from(line.severity)));
        let kind = message.get_field_by_name("kind").unwrap();
        prop_assert_eq!(kind.as_str(), Some(line.kind.name()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for schema_type in SchemaType::ALL {
            for kind in EventKind::ALL {
                let writer = own(schema_type, kind);
                let _ = click(&writer, &bytes, Origin::new(&record()));
                let _ = log(&writer, &bytes, Origin::new(&record()));
            }
        }
    }
}

fn check_json(text: &Json) -> ClickEvent {
    click(&Writer::Json, text.to_string().as_bytes(), Origin::new(&record())).unwrap().into_owned()
}

#[test]
fn what_has_no_field_is_kept() {
    let event = check_json(&json!({
        "event_type": "page_view", "user_id": 42, "page": {"title": "x"}, "session_id": {"no": "text"},
        "properties": {"a": 1, "page": "theirs"}, "is_bot": "True", "empty": null,
    }));
    assert_eq!(event.user_id.as_deref(), Some("42"));
    assert_eq!(event.session_id, None);
    assert!(event.is_bot);
    let properties: Json = serde_json::from_str(&event.properties).unwrap();
    assert_eq!(
        properties,
        json!({"a": 1, "page": "theirs", "_page": {"title": "x"}, "session_id": {"no": "text"}})
    );
    for (given, kept) in [
        (json!("{\"a\": 1}"), "{\"a\": 1}"),
        (json!("text"), r#"{"properties":"text"}"#),
        (json!([1]), r#"{"properties":[1]}"#),
        (json!(""), "{}"),
        (json!(null), "{}"),
    ] {
        assert_eq!(check_json(&json!({"event_type": "e", "properties": given})).properties, kept);
    }
}

#[test]
fn ids_and_times_are_made_up_from_the_record() {
    let event = check_json(&json!({"event_type": "e"}));
    assert_eq!(event.event_id, check_json(&json!({"event_type": "f", "event_id": null})).event_id);
    assert_eq!(event.event_id.to_string(), "bccbb112-5141-8d96-972d-ede9ff4820f2");
    assert_eq!(event.event_id.get_version_num(), 8);
    assert_eq!((event.occurred_at, event.received_at), (1_714_557_600_123_000, 1_714_557_600_123_000));
    // The sender's own number tells repetitions, wherever they lie.
    let named = |offset| {
        let other = Incoming { offset, ..record() };
        let text = json!({"event_type": "e", "event_id": "no-7"}).to_string();
        click(&Writer::Json, text.as_bytes(), Origin::new(&other)).unwrap().into_owned()
    };
    assert_eq!(named(1), named(2));
    assert_eq!(named(1).properties, r#"{"event_id":"no-7"}"#);
    for (time, micros) in [
        (json!("2024-05-01T10:00:00.000001Z"), 1_714_557_600_000_001),
        (json!("2024-05-01T12:00:00+02:00"), 1_714_557_600_000_000),
        (json!(1_714_557_600), 1_714_557_600_000_000),
        (json!(1_714_557_600.5), 1_714_557_600_500_000),
        (json!(1_714_557_600_250_i64), 1_714_557_600_250_000),
        (json!(1_714_557_600_250_001_i64), 1_714_557_600_250_001),
        (json!(1_714_557_600_250_001_999_i64), 1_714_557_600_250_001),
        (json!("yesterday"), 1_714_557_600_123_000),
    ] {
        assert_eq!(
            check_json(&json!({"event_type": "e", "occurred_at": time})).occurred_at,
            micros,
            "{time}"
        );
    }
}

#[test]
fn foreign_avro_is_read_by_name() {
    let text = r#"{"type": "record", "name": "Click", "fields": [
        {"name": "user_id", "type": "long"},
        {"name": "event_type", "type": {"type": "enum", "name": "T", "symbols": ["page_view", "buy"]}},
        {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "cart", "type": {"type": "array", "items": {"type": "record", "name": "Item", "fields": [
            {"name": "sku", "type": "string"},
            {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}}},
        {"name": "labels", "type": {"type": "map", "values": "int"}},
        {"name": "first", "type": ["null", "Item"]}]}"#;
    let schema = apache_avro::Schema::parse_str(text).unwrap();
    let item = Avro::Record(vec![
        ("sku".to_owned(), Avro::String("x".to_owned())),
        ("price".to_owned(), Avro::Decimal(vec![0x04, 0xD2].into())),
    ]);
    let value = Avro::Record(vec![
        ("user_id".to_owned(), Avro::Long(7)),
        ("event_type".to_owned(), Avro::Enum(1, "buy".to_owned())),
        ("occurred_at".to_owned(), Avro::TimestampMillis(1_714_557_600_001)),
        ("cart".to_owned(), Avro::Array(vec![item.clone()])),
        ("labels".to_owned(), Avro::Map([("a".to_owned(), Avro::Int(1))].into())),
        ("first".to_owned(), Avro::Union(1, Box::new(item))),
    ]);
    let body = apache_avro::to_avro_datum(&schema, value).unwrap();
    let event = click(&writer(SchemaType::Avro, text), &body, Origin::new(&record())).unwrap();
    assert_eq!((event.user_id.as_deref(), &*event.event_type), (Some("7"), "buy"));
    assert_eq!(event.occurred_at, 1_714_557_600_001_000);
    assert_eq!(
        event.properties,
        r#"{"cart":[{"sku":"x","price":"12.34"}],"labels":{"a":1},"first":{"sku":"x","price":"12.34"}}"#
    );
    // Truncated anywhere, it is refused.
    for length in 0..body.len() {
        assert!(click(&writer(SchemaType::Avro, text), &body[..length], Origin::new(&record())).is_err());
    }
}

#[test]
fn foreign_protobuf_is_read_by_name() {
    let text = "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\";
        message Other { int32 x = 1; }
        message Line {
          string service = 1; google.protobuf.Timestamp occurred_at = 2; Level severity = 3;
          map<string, int64> counts = 4; Inner inner = 5;
          message Inner { repeated string tags = 1; }
          enum Level { NONE = 0; ERROR = 1; }
        }";
    // Other stands first; Line is message 1: one index, zigzag.
    let mut body = vec![2, 2];
    body.extend([0x0A, 3]);
    body.extend(b"pay");
    body.extend([0x12, 6, 0x08, 0xA0, 0xCF, 0xC8, 0xB1, 0x06]);
    body.extend([0x18, 1]);
    body.extend([0x22, 5, 0x0A, 1, b'a', 0x10, 9]);
    body.extend([0x2A, 3, 0x0A, 1, b't']);
    let line = log(&writer(SchemaType::Protobuf, text), &body, Origin::new(&record())).unwrap();
    assert_eq!((&*line.service, line.severity), ("pay", 17));
    assert_eq!(line.occurred_at, 1_714_562_976_000_000);
    assert_eq!(line.attributes, r#"{"counts":{"a":9},"inner":{"tags":["t"]}}"#);
    for indexes in [[4, 4], [1, 0], [2, 9]] {
        let mut body = body.clone();
        body[..2].copy_from_slice(&indexes);
        assert!(log(&writer(SchemaType::Protobuf, text), &body, Origin::new(&record())).is_err());
    }
}

#[test]
fn our_own_schemas_are_known_whatever_their_form() {
    for kind in EventKind::ALL {
        let compact: Json = serde_json::from_str(avro_schema(kind)).unwrap();
        let Writer::OwnAvro(found, _) = writer(SchemaType::Avro, &compact.to_string()) else { panic!("own") };
        assert_eq!(found, kind);
        let Writer::OwnProtobuf(found, _) = own(SchemaType::Protobuf, kind) else { panic!("own") };
        assert_eq!(found, kind);
    }
    let more = protobuf_file(EventKind::Clicks)
        .replace("bool is_late = 14;", "bool is_late = 14; string more = 16;");
    let Writer::Protobuf(_) = writer(SchemaType::Protobuf, &more) else { panic!("not own") };
}

#[test]
fn what_cannot_be_an_event_is_refused() {
    for text in ["{}", "[]", "1", "{", r#"{"event_type":null}"#, r#"{"event_type":{}}"#] {
        assert!(click(&Writer::Json, text.as_bytes(), Origin::new(&record())).is_err(), "{text}");
    }
    for schema in ["{}", "1", r#"{"type":"array","items":"null"}"#, r#"{"type":"record","name":"R"}"#] {
        let Writer::Unusable(_) = writer(SchemaType::Avro, schema) else { panic!("{schema}") };
    }
    let Writer::Unusable(_) = writer(SchemaType::Protobuf, "message {") else { panic!("usable") };
}

/// Prints what an event costs: `cargo test -p affluent-bus events_are_fast -- --nocapture`.
#[test]
fn events_are_fast() {
    let text = |text: &str| Some(text.to_owned());
    let event = ClickEvent {
        event_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        user_id: text("u-1029384756"),
        anonymous_id: text("5a0c1d6e-0f0a"),
        session_id: text("s-77"),
        event_type: "page_view".to_owned(),
        occurred_at: 1_714_557_600_000_001,
        received_at: 1_714_557_600_100_001,
        url: text("https://shop.example/products/1029384756?utm_source=mail"),
        referrer: text("https://shop.example/"),
        device: text("phone"),
        ip: text("203.0.113.0"),
        user_agent: text("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36"),
        is_bot: false,
        is_late: false,
        properties: r#"{"title":"A product","position":3}"#.to_owned(),
    };
    const ROUNDS: u32 = 20_000;
    for schema_type in SchemaType::ALL {
        let (writer, incoming) = (own(schema_type, EventKind::Clicks), record());
        let bytes = click_bytes(schema_type, &event);
        let mut buffer = BytesMut::with_capacity(1 << 20);
        let started = Instant::now();
        for _ in 0..ROUNDS {
            buffer.clear();
            match schema_type {
                SchemaType::Avro => own_avro::put_click(&mut buffer, &black_box(&event).lent()),
                SchemaType::Protobuf => own_protobuf::put_click(&mut buffer, &black_box(&event).lent()),
                SchemaType::Json => json::put_click(&mut buffer, &black_box(&event).lent()),
            }
        }
        let encoded = started.elapsed() / ROUNDS;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            black_box(click(&writer, black_box(&bytes), Origin::new(&incoming)).unwrap());
        }
        let decoded = started.elapsed() / ROUNDS;
        println!("{schema_type:?}: {} bytes, encode {encoded:?}, decode {decoded:?}", bytes.len());
    }
}
