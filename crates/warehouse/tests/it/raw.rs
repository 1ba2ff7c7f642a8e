//! A raw zone as the lake sink writes it, and a look at the staged one.

use affluent_lake::{Advance, Lake, LakeTable, Partition, RowBatch, Scan};
use affluent_model::{Column, ColumnType, EventKind, Row, Value};
use affluent_telemetry::health::Health;
use affluent_warehouse::staged::{Source, StageOptions, StageService};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(crate) const TOPIC: &str = "clickstream.events";
/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_348_800_000_000;
pub(crate) const HOUR: i64 = 3_600_000_000;

/// A click, as far as the tests care.
#[derive(Debug, Clone)]
pub(crate) struct Click {
    pub(crate) id: String,
    pub(crate) received_at: i64,
    pub(crate) ip: String,
}

impl Click {
    pub(crate) fn new(id: impl ToString, received_at: i64) -> Self {
        Click { id: id.to_string(), received_at, ip: String::new() }
    }
}

fn columns() -> Vec<Column> {
    let text = [
        "event_id",
        "user_id",
        "anonymous_id",
        "session_id",
        "event_type",
        "url",
        "referrer",
        "device",
        "ip",
        "user_agent",
    ];
    let own = text.map(|name| (name, ColumnType::Text)).into_iter().chain([
        ("occurred_at", ColumnType::TimestampTz),
        ("received_at", ColumnType::TimestampTz),
        ("is_bot", ColumnType::Bool),
        ("is_late", ColumnType::Bool),
        ("properties", ColumnType::Json),
        ("_kafka_topic", ColumnType::Text),
        ("_kafka_partition", ColumnType::Int32),
        ("_kafka_offset", ColumnType::Int64),
        ("_kafka_ts", ColumnType::TimestampTz),
    ]);
    own.map(|(name, column_type)| Column { name: name.to_owned(), column_type, nullable: true }).collect()
}

pub(crate) async fn lake(directory: &Path) -> Lake {
    let mut options = crate::lake_options(directory);
    options.maintenance.compact_files_min = 4;
    Lake::open(options).await.unwrap()
}

pub(crate) async fn raw(lake: &Lake) -> LakeTable {
    let day = Partition::Day("_kafka_ts".to_owned());
    lake.ensure_table("raw", "clickstream_events", &columns(), &day).await.unwrap()
}

/// Appends clicks of one partition behind what the table has of it.
pub(crate) async fn append(lake: &Lake, partition: i32, clicks: &[Click]) {
    let table = raw(lake).await;
    let expected = table.offsets().await.unwrap().get(TOPIC, partition);
    let from = expected.unwrap_or(0);
    let columns = columns();
    let row = |(click, offset): (&Click, i64)| -> Row {
        let value = |name: &str| match name {
            "event_id" => Value::Text(click.id.clone()),
            "event_type" => Value::Text("page_view".into()),
            "url" => Value::Text("https://shop.example/p/1?utm_source=mail".into()),
            "ip" if !click.ip.is_empty() => Value::Text(click.ip.clone()),
            "user_agent" => {
                Value::Text("Mozilla/5.0 (Windows NT 10.0) Chrome/120.0.0.0 Safari/537.36".into())
            }
            "occurred_at" | "received_at" | "_kafka_ts" => Value::TimestampTz(click.received_at),
            "properties" => Value::Json(r#"{"price":"9.90"}"#.into()),
            "_kafka_topic" => Value::Text(TOPIC.into()),
            "_kafka_partition" => Value::Int(partition.into()),
            "_kafka_offset" => Value::Int(offset),
            _ => Value::Null,
        };
        columns.iter().map(|column| value(&column.name)).collect()
    };
    let next = from + i64::try_from(clicks.len()).unwrap();
    let rows = clicks.iter().zip(from..).map(row).collect();
    let batch = Arc::new(RowBatch { columns: columns.clone().into(), rows });
    table.append(batch, vec![Advance { topic: TOPIC.into(), partition, expected, next }]).await.unwrap();
}

pub(crate) fn service(lake: &Lake, options: StageOptions) -> StageService {
    let raw = ("raw".to_owned(), "clickstream_events".to_owned());
    let source = Source { kind: EventKind::Clicks, topic: TOPIC.into(), raw };
    StageService::new(lake.clone(), vec![source], options, Health::default()).unwrap()
}

/// The staged rows, by column.
pub(crate) async fn staged(lake: &Lake) -> Vec<BTreeMap<String, Value>> {
    let table = lake.table("staged", "clickstream_events").await.unwrap();
    let mut stream = table.scan(Scan::default()).await.unwrap();
    let names: Vec<String> = stream.columns().iter().map(|column| column.name.clone()).collect();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        rows.extend(batch.unwrap().into_iter().map(|row| names.iter().cloned().zip(row).collect()));
    }
    rows
}

/// Event ids and times of receipt (microseconds after [`NOON`]) of the staged rows, sorted.
pub(crate) async fn staged_ids(lake: &Lake) -> Vec<(String, i64)> {
    let mut ids: Vec<(String, i64)> = staged(lake)
        .await
        .iter()
        .map(|row| match (&row["event_id"], &row["received_at"]) {
            (Value::Text(id), Value::TimestampTz(at)) => (id.clone(), at - NOON),
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort();
    ids
}
