//! Appending with offsets, evolving, reading back: by our scan and by pyiceberg.

use crate::python;
use crate::tables::{
    DAY, MICROS_A_DAY, advance, column, expected_sums, options, payment, payment_columns, payments,
    payments_table, sums,
};
use affluent_lake::{Lake, LakeError, Partition, RowBatch, Scan};
use affluent_model::{ColumnType, Reason, Value};
use serde_json::json;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn pyiceberg_reads_counts_sums_days_and_old_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    let mut next = None;
    let mut snapshots = Vec::new();
    for batch in 0..5 {
        let range = batch * 40_000..(batch + 1) * 40_000;
        let appended = table.append(payments(range.clone()), advance(next, range.end)).await.unwrap();
        next = Some(range.end);
        snapshots.push(appended.snapshot.unwrap());
    }
    assert_eq!(table.offsets().await.unwrap().get("oltp.public.payments", 0), Some(200_000));
    assert_eq!(sums(&table, None).await, expected_sums(0..200_000));
    assert_eq!(sums(&table, Some(snapshots[1])).await, expected_sums(0..80_000));

    let (count, expected) = expected_sums(0..200_000);
    let seen = python::ask(dir.path(), json!({"table": "raw.payments", "sum": ["currency", "amount"]}));
    assert_eq!(seen["rows"], count);
    assert_eq!(seen["sums"], json!(expected));
    assert_eq!(seen["types"]["amount"], "decimal128(18, 4)");
    assert_eq!(seen["types"]["at"], "timestamp[us, tz=UTC]");
    assert_eq!(seen["properties"]["affluent.offsets"], r#"{"oltp.public.payments":{"0":200000}}"#);

    let (count, expected) = expected_sums(0..80_000);
    let seen = python::ask(
        dir.path(),
        json!({"table": "raw.payments", "snapshot": snapshots[1], "sum": ["currency", "amount"]}),
    );
    assert_eq!((&seen["rows"], &seen["sums"]), (&json!(count), &json!(expected)));

    // 86,400 rows a day: the second day is a partition of its own.
    let filter = "at >= '2026-11-23T00:00:00+00:00' and at < '2026-11-24T00:00:00+00:00'";
    let seen = python::ask(dir.path(), json!({"table": "raw.payments", "filter": filter}));
    assert_eq!(seen["rows"], 86_400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_a_zombie_and_a_gap_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    table.append(payments(0..10), advance(None, 10)).await.unwrap();
    // A second process that opened the table before the next append.
    let other = Lake::open(options(dir.path())).await.unwrap();
    let zombie = other.table("raw", "payments").await.unwrap();
    assert_eq!(zombie.offsets().await.unwrap().get("oltp.public.payments", 0), Some(10));
    table.append(payments(10..20), advance(Some(10), 20)).await.unwrap();
    for (expected, next) in [(Some(10), 20), (None, 10), (Some(25), 30)] {
        for writer in [&table, &zombie] {
            let refused = writer.append(payments(0..5), advance(expected, next)).await.unwrap_err();
            assert!(matches!(refused, LakeError::OffsetConflict(_)), "{refused}");
        }
    }
    // Only offsets, no rows: what a batch of nothing but rejected records does.
    let moved = zombie.append(payments(0..0), advance(Some(20), 22)).await.unwrap();
    assert_eq!(moved.snapshot, None);
    assert_eq!(table.offsets().await.unwrap().get("oltp.public.payments", 0), Some(22));
    assert_eq!(sums(&table, None).await, expected_sums(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_widen_and_go_and_every_reader_follows() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    let first = table.append(payments(0..3), advance(None, 3)).await.unwrap().snapshot.unwrap();

    // `currency` dropped, `note` and `Currency` added, `amount` widened.
    let columns = [
        column("id", ColumnType::Int64),
        column("amount", ColumnType::Decimal { precision: 24, scale: 4 }),
        column("at", ColumnType::TimestampTz),
        column("note", ColumnType::Array(Box::new(ColumnType::Text))),
        column("Currency", ColumnType::Text),
    ];
    let row = vec![
        Value::Int(3),
        Value::Decimal("12345678901234567890.1234".parse().unwrap()),
        Value::TimestampTz(DAY + MICROS_A_DAY),
        Value::Array(vec![Value::Text("x".into()), Value::Null]),
        Value::Text("CHF".into()),
    ];
    let batch = Arc::new(RowBatch { columns: columns.clone().into(), rows: vec![row] });
    table.append(batch, advance(Some(3), 4)).await.unwrap();

    let mut stream = table
        .scan(Scan { columns: vec!["id".into(), "Currency".into(), "note".into()], ..Scan::default() })
        .await
        .unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        rows.extend(batch.unwrap());
    }
    rows.sort_by_key(|row| row[0].to_text());
    assert_eq!(rows[0], [Value::Int(0), Value::Null, Value::Null]);
    assert_eq!(rows[3][1], Value::Text("CHF".into()));
    assert_eq!(rows[3][2], Value::Array(vec![Value::Text("x".into()), Value::Null]));
    // The old snapshot has no such column: null.
    let mut old = table
        .scan(Scan { columns: vec!["note".into()], snapshot: Some(first), ..Scan::default() })
        .await
        .unwrap();
    assert_eq!(old.next().await.unwrap().unwrap(), vec![vec![Value::Null]; 3]);

    let seen = python::ask(dir.path(), json!({"table": "raw.payments", "values": true}));
    assert_eq!(seen["rows"], 4);
    assert_eq!(seen["types"]["amount"], "decimal128(24, 4)");
    let values = seen["values"].as_array().unwrap();
    let new = values.iter().find(|row| row["id"] == 3).unwrap();
    assert_eq!(new["amount"], "12345678901234567890.1234");
    assert_eq!((&new["Currency_2"], &new["currency"]), (&json!("CHF"), &json!(null)));

    // A type that does not widen is refused with its reason; the table stays usable.
    let bad = [column("id", ColumnType::Text)];
    let refused = table.accepts(&bad).unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::IncompatibleSchema));
    let batch = Arc::new(RowBatch { columns: bad.into(), rows: vec![vec![Value::Text("x".into())]] });
    assert_eq!(table.append(batch, vec![]).await.unwrap_err().reason(), Some(Reason::IncompatibleSchema));
    // A value that does not fit: nothing is rounded.
    let mut row = payment(9);
    row[2] = Value::Decimal("0.00001".parse().unwrap());
    let batch = Arc::new(RowBatch { columns: payment_columns(), rows: vec![row] });
    let refused = table.append(batch, advance(Some(4), 5)).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::ValueOutOfRange));
    table.append(payments(4..6), advance(Some(4), 6)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_read_by_pyiceberg_as_it_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let uuid = uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let cells = [
        ("bool", ColumnType::Bool, Value::Bool(true), json!(true)),
        ("int", ColumnType::Int16, Value::Int(-7), json!(-7)),
        ("long", ColumnType::Int64, Value::Int(i64::MIN), json!(i64::MIN)),
        ("float", ColumnType::Float32, Value::Float(0.5), json!(0.5)),
        ("double", ColumnType::Float64, Value::Float(1e300), json!(1e300)),
        ("numeric", ColumnType::Numeric, Value::Decimal("1.50".parse().unwrap()), json!("1.50")),
        ("text", ColumnType::Text, Value::Text("é".into()), json!("é")),
        ("bytes", ColumnType::Bytes, Value::Bytes(vec![65, 66]), json!("b'AB'")),
        ("date", ColumnType::Date, Value::Date(-1), json!("1969-12-31")),
        ("time", ColumnType::Time, Value::Time(1_000_001), json!("00:00:01.000001")),
        ("local", ColumnType::Timestamp, Value::Timestamp(DAY + 1), json!("2026-11-22 00:00:00.000001")),
        ("at", ColumnType::TimestampTz, Value::TimestampTz(DAY), json!("2026-11-22 00:00:00+00:00")),
        ("uuid", ColumnType::Uuid, Value::Uuid(uuid), json!(uuid.to_string())),
        ("json", ColumnType::Json, Value::Json("{\"a\": 1}".into()), json!("{\"a\": 1}")),
        (
            "list",
            ColumnType::Array(Box::new(ColumnType::Int32)),
            Value::Array(vec![Value::Int(1), Value::Null]),
            json!([1, null]),
        ),
    ];
    let columns: Vec<_> = cells.iter().map(|(name, ty, _, _)| column(name, ty.clone())).collect();
    let table = lake.ensure_table("ops", "types", &columns, &Partition::None).await.unwrap();
    let rows =
        vec![cells.iter().map(|(_, _, value, _)| value.clone()).collect(), vec![Value::Null; cells.len()]];
    table.append(Arc::new(RowBatch { columns: columns.into(), rows }), vec![]).await.unwrap();
    let seen = python::ask(dir.path(), json!({"table": "ops.types", "values": true}));
    for (name, _, _, expected) in &cells {
        assert_eq!(&seen["values"][0][name], expected, "{name}");
        assert_eq!(seen["values"][1][name], json!(null), "{name}");
    }
}
