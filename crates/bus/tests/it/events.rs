//! Clicks and log lines through encoder, broker, registry and decoder; and those that Confluent's
//! own Python client writes.

use crate::{Registry, bus_at, message, read_topic, topic};
use affluent_bus::codec::{EventDecoder, EventEncoder, EventFormat};
use affluent_bus::registry::{Schema, SchemaType};
use affluent_bus::{Bus, ProducerOptions};
use affluent_model::{ClickEvent, LogEvent, LogKind, Reason};
use affluent_testkit::broker::Broker;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tokio::process::Command;
use uuid::Uuid;

fn click(number: u128) -> ClickEvent {
    ClickEvent {
        event_id: Uuid::from_u128(number),
        user_id: Some("u1".to_owned()),
        event_type: "page_view".to_owned(),
        occurred_at: 1_714_557_600_000_001,
        received_at: 1_714_557_600_100_001,
        url: Some("https://shop.example/".to_owned()),
        is_late: true,
        properties: r#"{"title":"x"}"#.to_owned(),
        ..ClickEvent::default()
    }
}

fn line(number: u128) -> LogEvent {
    LogEvent {
        event_id: Uuid::from_u128(number),
        occurred_at: 1_714_557_600_000_001,
        received_at: 1_714_557_600_100_001,
        service: "payments".to_owned(),
        severity: LogEvent::SEVERITY_ERROR,
        kind: LogKind::Security,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        span_id: None,
        message: "refused".to_owned(),
        attributes: "{}".to_owned(),
    }
}

async fn send(bus: &Bus, topic: &str, values: Vec<Bytes>) {
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for value in values {
        let mut record = message(topic, 0, "");
        record.value = Some(value);
        producer.send(record).await.unwrap();
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_travel_in_all_formats() {
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let mut decoder = EventDecoder::new(Some(registry.client()));
    for format in [EventFormat::Avro, EventFormat::Protobuf, EventFormat::Json] {
        let (clicks, logs) = (topic(&bus, "clicks", 1).await, topic(&bus, "logs", 1).await);
        let mut encoder = EventEncoder::new(format, Some(registry.client()));
        let mut values = (Vec::new(), Vec::new());
        for number in 1..=3 {
            values.0.push(encoder.click(&clicks, &click(number)).await.unwrap());
            values.1.push(encoder.log(&logs, &line(number)).await.unwrap());
        }
        send(&bus, &clicks, values.0).await;
        send(&bus, &logs, values.1).await;
        for (record, number) in read_topic(&bus, &clicks).await.iter().zip(1..) {
            assert_eq!(decoder.click(record).await.unwrap().into_owned(), click(number));
        }
        for (record, number) in read_topic(&bus, &logs).await.iter().zip(1..) {
            assert_eq!(decoder.log(record).await.unwrap().into_owned(), line(number));
        }
        let is_registered = registry.client().subjects().await.unwrap().contains(&format!("{clicks}-value"));
        assert_eq!(is_registered, format != EventFormat::Json);
    }
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_another_schema_is_not_written() {
    let broker = Broker::start().unwrap();
    let registry = Registry::start(&bus_at(broker.bootstrap_servers())).await;
    let schema = Schema::new(SchemaType::Json, r#"{"type":"object"}"#);
    registry.client().register_schema("clicks-value", &schema).await.unwrap();
    let mut encoder = EventEncoder::new(EventFormat::Avro, Some(registry.client()));
    for _ in 0..2 {
        let error = encoder.click("clicks", &click(1)).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::IncompatibleSchema), "{error}");
    }
    let mut record = affluent_bus::Incoming {
        topic: "clicks".into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key: None,
        value: Some(vec![0, 0, 0, 0, 77, 2].into()),
        headers: Vec::new(),
    };
    let mut decoder = EventDecoder::new(Some(registry.client()));
    assert_eq!(decoder.click(&record).await.unwrap_err().reason(), Some(Reason::UnknownSchema));
    record.value = None;
    assert_eq!(decoder.click(&record).await.unwrap_err().reason(), Some(Reason::Undecodable));
    registry.stop().await;
    record.value = Some(vec![0, 0, 0, 0, 78, 2].into());
    assert_eq!(decoder.click(&record).await.unwrap_err().reason(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_confluents_python_client_writes_is_read() {
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let mut topics = Vec::new();
    for name in ["avro", "protobuf", "json"] {
        topics.push(topic(&bus, name, 1).await);
    }
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/events.py");
    let output = Command::new(&python)
        .args([script, broker.bootstrap_servers(), &registry.url()])
        .args(&topics)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{python}: {error}; run `make setup`"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("ModuleNotFoundError"), "{python} lacks a package, run `make setup`: {errors}");
    assert!(output.status.success(), "{errors}");
    let refusals: Vec<Json> =
        output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    for (refusal, reason) in refusals.iter().zip([
        "field new is new and has no default",
        "Click.event_type (field 1): string becomes int32",
        "#/properties/user_id: the property became required",
    ]) {
        assert_eq!((&refusal["status"], &refusal["code"]), (&json!(409), &json!(409)));
        assert!(refusal["message"].as_str().unwrap().contains(reason), "{refusal}");
    }
    assert_eq!(refusals.len(), 3, "{refusals:?}");

    let mut decoder = EventDecoder::new(Some(registry.client()));
    for (topic, event_type, occurred_at, properties) in [
        (&topics[0], "page_view", Some(1_714_557_600_001_000), r#"{"cart":{"sku":1.5}}"#),
        (&topics[1], "buy", Some(1_714_557_600_000_001), r#"{"total":{"minor":1234}}"#),
        (&topics[2], "view", None, r#"{"tags":["a"]}"#),
    ] {
        let records = read_topic(&bus, topic).await;
        assert_eq!(records.len(), 2);
        let (first, second) =
            (decoder.click(&records[0]).await.unwrap(), decoder.click(&records[1]).await.unwrap());
        assert_eq!(first.user_id.as_deref(), Some("u1"));
        // A missing time is the record's.
        let occurred_at = occurred_at.unwrap_or(records[0].timestamp_ms * 1_000);
        assert_eq!((&*first.event_type, first.occurred_at), (event_type, occurred_at));
        assert_eq!(first.properties, properties);
        assert_eq!(second.user_id, None);
        assert_ne!(first.event_id, second.event_id);
        assert_eq!(decoder.click(&records[0]).await.unwrap(), first, "the same each time");
    }
    let first = &read_topic(&bus, &topics[0]).await[0];
    let id = decoder.click(first).await.unwrap().event_id;
    assert_eq!(id.to_string(), "01900000-0000-7000-8000-000000000001");

    // All of it survives a restart, the deletion too.
    let subjects = registry.client().subjects().await.unwrap();
    registry.stop().await;
    let registry = Registry::start(&bus).await;
    assert_eq!(registry.client().subjects().await.unwrap(), subjects);
    let mut decoder = EventDecoder::new(Some(registry.client()));
    for topic in &topics {
        for record in read_topic(&bus, topic).await {
            decoder.click(&record).await.unwrap();
        }
    }
    registry.stop().await;
}
