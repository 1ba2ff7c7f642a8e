//! What we write, read by Confluent's own Python client through our registry.

use crate::codec::{change, schema, send};
use crate::{Registry, bus_at, topic};
use affluent_bus::codec::{ChangeEncoder, Format};
use affluent_model::{ColumnType, Op, Value};
use affluent_testkit::broker::Broker;
use serde_json::{Value as Json, json};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn confluents_python_client_reads_the_changes() {
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let topic = topic(&bus, "interop", 1).await;
    let schema = schema(&[
        ("id", ColumnType::Int64),
        ("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        ("fee", ColumnType::Numeric),
        ("active", ColumnType::Bool),
        ("ratio", ColumnType::Float64),
        ("name", ColumnType::Text),
        ("day", ColumnType::Date),
        ("at", ColumnType::TimestampTz),
        ("local", ColumnType::Timestamp),
        ("clock", ColumnType::Time),
        ("token", ColumnType::Uuid),
        ("extra", ColumnType::Json),
        ("tags", ColumnType::Array(Box::new(ColumnType::Text))),
    ]);
    let row = vec![
        Value::Int(7),
        Value::Decimal("-12.3400".parse().unwrap()),
        Value::Decimal("0.000001".parse().unwrap()),
        Value::Bool(true),
        Value::Float(0.5),
        Value::Text("Ünïcode".to_owned()),
        Value::Date(19_844),
        Value::TimestampTz(1_714_557_600_000_001),
        Value::Timestamp(1_714_557_600_000_001),
        Value::Time(3_600_000_001),
        Value::Uuid(uuid::Uuid::nil()),
        Value::Json(r#"{"a":1}"#.to_owned()),
        Value::Array(vec![Value::Text("x".to_owned()), Value::Null]),
    ];
    let mut nulls = vec![Value::Null; row.len()];
    nulls[0] = Value::Int(7);
    let changes = [change(&schema, Op::Create, row), change(&schema, Op::Delete, nulls)];
    send(&bus, &topic, &mut ChangeEncoder::new(Format::Avro, Some(registry.client())), &changes).await;

    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/interop.py");
    let output = Command::new(&python)
        .args([script, broker.bootstrap_servers(), &registry.url(), &topic, "2"])
        .output()
        .await
        .unwrap_or_else(|error| panic!("{python}: {error}; run `make setup`"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("ModuleNotFoundError"), "{python} lacks a package, run `make setup`: {errors}");
    assert!(output.status.success(), "{errors}");
    let lines: Vec<Json> =
        output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["key"], json!({"id": 7}));
    assert_eq!(
        lines[0]["value"]["after"],
        json!({
            "id": 7,
            "amount": "-12.3400",
            "fee": {"scale": 6, "value": "b'\\x01'"},
            "active": true,
            "ratio": 0.5,
            "name": "Ünïcode",
            "day": "2024-05-01",
            "at": "2024-05-01 10:00:00.000001+00:00",
            "local": "2024-05-01 10:00:00.000001",
            "clock": "01:00:00.000001",
            "token": "00000000-0000-0000-0000-000000000000",
            "extra": "{\"a\":1}",
            "tags": ["x", null],
        })
    );
    let source = &lines[0]["value"]["source"];
    assert_eq!((&source["table"], &source["position"]), (&json!("payments"), &json!("16/B374D848+3")));
    assert_eq!(lines[1]["value"]["op"], "d");
    assert_eq!(lines[1]["value"]["after"], Json::Null);
    assert_eq!(lines[1]["value"]["before"]["id"], 7);
    registry.stop().await;
}
