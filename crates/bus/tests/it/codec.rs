//! Changes through encoder, broker, registry and decoder.

use crate::{Registry, bus_at, message, read_topic, topic};
use affluent_bus::codec::{ChangeDecoder, ChangeEncoder, CodecError, Decoded, Format};
use affluent_bus::{Bus, ProducerOptions};
use affluent_model::{
    ChangeEvent, Column, ColumnType, Op, Position, Reason, Snapshot, Source, TableId, TableSchema, Value,
};
use affluent_testkit::broker::Broker;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn schema(columns: &[(&str, ColumnType)]) -> Arc<TableSchema> {
    let column = |(index, (name, column_type)): (usize, &(&str, ColumnType))| Column {
        name: (*name).to_owned(),
        column_type: column_type.clone(),
        nullable: index > 0,
    };
    Arc::new(TableSchema {
        table: TableId::new("public", "payments"),
        columns: columns.iter().enumerate().map(column).collect(),
        key: vec![0],
    })
}

pub(crate) fn change(schema: &Arc<TableSchema>, op: Op, after: Vec<Value>) -> ChangeEvent {
    let (before, after) = if op == Op::Delete { (Some(after), None) } else { (None, Some(after)) };
    ChangeEvent {
        schema: Arc::clone(schema),
        op,
        before,
        after,
        unchanged: Vec::new(),
        source: Source {
            name: "oltp".into(),
            database: "shop".into(),
            position: Position::new(0x16_B374_D848, 3),
            lsn: 0x16_B374_D800,
            tx_id: Some(7),
            ts_us: 1_700_000_000_000_001,
            snapshot: Snapshot::False,
        },
        ts_us: 1_700_000_000_250_000,
        transaction: None,
    }
}

pub(crate) async fn send(bus: &Bus, topic: &str, encoder: &mut ChangeEncoder, changes: &[ChangeEvent]) {
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for change in changes {
        let encoded = encoder.encode(topic, change).await.unwrap();
        let mut record = message(topic, 0, "");
        (record.key, record.value) = (encoded.key, Some(encoded.value));
        producer.send(record).await.unwrap();
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_travel_in_both_formats() {
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let schema = schema(&[
        ("id", ColumnType::Int64),
        ("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        ("note", ColumnType::Text),
    ]);
    let row = |id, note: Value| vec![Value::Int(id), Value::Decimal("12.3400".parse().unwrap()), note];
    let mut updated = change(&schema, Op::Update, row(1, Value::Null));
    updated.unchanged = vec![2];
    let changes = [
        change(&schema, Op::Create, row(1, Value::Text("a".to_owned()))),
        updated,
        change(&schema, Op::Delete, vec![Value::Int(1), Value::Null, Value::Null]),
    ];
    for format in [Format::Avro, Format::Json] {
        let topic = topic(&bus, "changes", 1).await;
        let mut encoder = ChangeEncoder::new(format, Some(registry.client()));
        send(&bus, &topic, &mut encoder, &changes).await;
        let mut decoder = ChangeDecoder::new(Some(registry.client()));
        let mut decoded = Vec::new();
        for record in read_topic(&bus, &topic).await {
            match decoder.decode(&record).await.unwrap() {
                Decoded::Change(change) => decoded.push(change),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(decoded, changes);
        assert!(Arc::ptr_eq(&decoded[0].schema, &decoded[2].schema), "one schema for all");
        let mut tombstone = read_topic(&bus, &topic).await.remove(0);
        tombstone.value = None;
        assert_eq!(decoder.decode(&tombstone).await.unwrap(), Decoded::Tombstone);
    }
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_change_where_its_readers_can_follow() {
    use ColumnType::{Int32, Int64, Numeric, Text};
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let base =
        [("id", Int32), ("amount", decimal(10, 2)), ("fee", Numeric), ("tax", Numeric), ("note", Text)];
    for (name, columns, fits) in [
        ("same", base.to_vec(), true),
        ("added", [&base[..], &[("extra", decimal(18, 4))]].concat(), true),
        ("dropped", [&base[..2], &base[3..]].concat(), true),
        ("renamed", [&base[..4], &[("remark", Text)]].concat(), true),
        ("widened", [&[("id", Int64), ("amount", decimal(18, 2))], &base[2..]].concat(), true),
        ("rescaled", [&base[..1], &[("amount", decimal(12, 4))], &base[2..]].concat(), false),
        ("retyped", [&base[..4], &[("note", Int32)]].concat(), false),
        ("narrowed", [&[("id", ColumnType::Uuid)], &base[1..]].concat(), false),
    ] {
        let topic = affluent_testkit::unique(name);
        let mut encoder = ChangeEncoder::new(Format::Avro, Some(registry.client()));
        for (columns, fits) in [(base.to_vec(), true), (columns, fits), (base.to_vec(), true)] {
            let schema = schema(&columns);
            let mut row = vec![Value::Null; columns.len()];
            row[0] = if schema.columns[0].column_type == ColumnType::Uuid {
                Value::Uuid(uuid::Uuid::nil())
            } else {
                Value::Int(1)
            };
            let encoded = encoder.encode(&topic, &change(&schema, Op::Create, row)).await;
            match encoded {
                Ok(_) => assert!(fits, "{name}: accepted"),
                Err(error) => {
                    assert!(!fits, "{name}: {error}");
                    assert_eq!(error.reason(), Some(Reason::IncompatibleSchema), "{name}: {error}");
                }
            }
        }
    }
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_schema_is_no_passing_fault_and_an_absent_registry_is() {
    let broker = Broker::start().unwrap();
    let registry = Registry::start(&bus_at(broker.bootstrap_servers())).await;
    let record = affluent_bus::Incoming {
        topic: "t".into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key: None,
        value: Some(vec![0, 0, 0, 0, 77, 2].into()),
        headers: Vec::new(),
    };
    let mut decoder = ChangeDecoder::new(Some(registry.client()));
    assert_eq!(decoder.decode(&record).await.unwrap_err().reason(), Some(Reason::UnknownSchema));
    registry.stop().await;
    let error: CodecError = decoder.decode(&record).await.unwrap_err();
    assert_eq!(error.reason(), None, "{error}");
}
