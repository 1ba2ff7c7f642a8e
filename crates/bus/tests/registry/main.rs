//! Somebody else's schema registry in place of ours: what our codecs write by it they read by it, versions follow one another, and
//! what is not compatible is refused.
//!
//! Needs `AFFLUENT_TEST_REGISTRY=http://…`, the base of Confluent's API of a real server; `make interop` starts one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use affluent_bus::Incoming;
use affluent_bus::codec::{
    ChangeDecoder, ChangeEncoder, Decoded, EventDecoder, EventEncoder, EventFormat, Format,
};
use affluent_bus::registry::{RegistryClient, RegistryError, RegistryOptions, Schema, SchemaType};
use affluent_model::{
    ChangeEvent, Column, ColumnType, LogEvent, LogKind, Op, Position, Snapshot, Source, TableId, TableSchema,
    Value,
};
use affluent_testkit::unique;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use uuid::Uuid;

fn client() -> RegistryClient {
    let url = std::env::var("AFFLUENT_TEST_REGISTRY");
    let url = url.expect("AFFLUENT_TEST_REGISTRY=http://… names a server; `make interop` starts one");
    RegistryClient::new(RegistryOptions { url: Some(url), ..RegistryOptions::default() }).unwrap()
}

fn record(topic: &str, key: Option<Bytes>, value: Bytes) -> Incoming {
    Incoming {
        topic: topic.into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key,
        value: Some(value),
        headers: Vec::new(),
    }
}

/// A new row of a table with these columns, whose first is the key.
fn created(columns: &[(&str, ColumnType)], row: Vec<Value>) -> ChangeEvent {
    let column = |(index, (name, column_type)): (usize, &(&str, ColumnType))| Column {
        name: (*name).to_owned(),
        column_type: column_type.clone(),
        nullable: index > 0,
    };
    let columns = columns.iter().enumerate().map(column).collect();
    ChangeEvent {
        schema: Arc::new(TableSchema { table: TableId::new("public", "payments"), columns, key: vec![0] }),
        op: Op::Create,
        before: None,
        after: Some(row),
        unchanged: Vec::new(),
        source: Source {
            name: "oltp".into(),
            database: "shop".into(),
            position: Position::new(7, 1),
            lsn: 7,
            tx_id: Some(3),
            ts_us: 1_700_000_000_000_001,
            snapshot: Snapshot::False,
        },
        ts_us: 1_700_000_000_250_000,
        transaction: None,
    }
}

#[tokio::test]
async fn changes_go_through_it_while_their_table_grows() {
    let topic = unique("oltp.public.payments");
    let narrow = [("id", ColumnType::Int64), ("amount", ColumnType::Decimal { precision: 18, scale: 4 })];
    let wide = [&narrow[..], &[("tags", ColumnType::Array(Box::new(ColumnType::Text)))]].concat();
    let amount = Value::Decimal("12.3400".parse().unwrap());
    let tags = Value::Array(vec![Value::Text("ü".to_owned()), Value::Null]);
    let changes = [
        created(&narrow, vec![Value::Int(1), amount.clone()]),
        created(&wide, vec![Value::Int(2), amount.clone(), tags]),
        // A process that still has the older table.
        created(&narrow, vec![Value::Int(3), amount]),
    ];
    // Clients of their own: what is read is what the registry gives back.
    let mut encoder = ChangeEncoder::new(Format::Avro, Some(client()));
    let mut decoder = ChangeDecoder::new(Some(client()));
    for change in changes {
        let encoded = encoder.encode(&topic, &change).await.unwrap();
        let decoded = decoder.decode(&record(&topic, encoded.key, encoded.value)).await.unwrap();
        assert_eq!(decoded, Decoded::Change(change));
    }
    let subjects = client().subjects().await.unwrap();
    for part in ["key", "value"] {
        assert!(subjects.contains(&format!("{topic}-{part}")), "{subjects:?}");
    }
}

#[tokio::test]
async fn log_lines_go_through_it_in_avro_and_protobuf() {
    let line = LogEvent {
        event_id: Uuid::from_u128(1),
        occurred_at: 1_714_557_600_000_001,
        received_at: 1_714_557_600_100_001,
        service: "payments".to_owned(),
        severity: LogEvent::SEVERITY_ERROR,
        kind: LogKind::Security,
        trace_id: None,
        span_id: None,
        message: "refused".to_owned(),
        attributes: "{}".to_owned(),
    };
    for format in [EventFormat::Avro, EventFormat::Protobuf] {
        let topic = unique("logs");
        let value = EventEncoder::new(format, Some(client())).log(&topic, &line).await.unwrap();
        let mut decoder = EventDecoder::new(Some(client()));
        let decoded = decoder.log(&record(&topic, None, value)).await.unwrap().into_owned();
        assert_eq!(decoded, line, "{format:?}");
    }
}

#[tokio::test]
async fn versions_and_refusals_are_as_with_our_own() {
    let (client, subject) = (client(), unique("subject"));
    let avro = |fields: Json| json!({"type": "record", "name": "R", "fields": fields}).to_string();
    let one = avro(json!([]));
    let two = avro(json!([{"name": "a", "type": "int", "default": 1}]));
    let first = client.register(&subject, &one).await.unwrap();
    client.set_compatibility(&subject, "BACKWARD").await.unwrap();
    let second = client.register(&subject, &two).await.unwrap();
    assert_ne!(first, second);
    // Asked by a client that has seen nothing, the same schema has the same id.
    let other = self::client();
    assert_eq!(other.register(&subject, &one).await.unwrap(), first);
    let back: Json = serde_json::from_str(&other.schema(second).await.unwrap()).unwrap();
    assert_eq!(back, serde_json::from_str::<Json>(&two).unwrap());

    let incompatible = avro(json!([{"name": "b", "type": "string"}]));
    let refused = client.register(&subject, &incompatible).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Incompatible { .. }), "{refused}");
    assert_eq!(refused.reason(), Some(affluent_model::Reason::IncompatibleSchema));
    let unknown = client.schema(2_000_000_000).await.unwrap_err();
    assert!(matches!(unknown, RegistryError::NotFound(_)), "{unknown}");

    let message =
        Schema::new(SchemaType::Protobuf, "syntax = \"proto3\";\nmessage M {\n  string a = 1;\n}\n");
    let id = client.register_schema(&unique("message"), &message).await.unwrap();
    assert_eq!(other.schema_by_id(id).await.unwrap().schema_type, SchemaType::Protobuf);
}
