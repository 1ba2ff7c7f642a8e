//! Tables that are sorted inside their files, by what pyiceberg and the footers see of them.

use crate::python;
use crate::tables::{DAY, column, options};
use affluent_lake::{Advance, Lake, LakeError, LakeOptions, LakeTable, Partition, RowBatch, Scan};
use affluent_model::{Column, ColumnType, Row, Value};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const SERVICES: i64 = 40;
const ROWS: i64 = 16_000;
const SORT_BY: [&str; 2] = ["service", "at"];

fn columns() -> Arc<[Column]> {
    [
        column("id", ColumnType::Int64),
        column("at", ColumnType::TimestampTz),
        column("service", ColumnType::Text),
    ]
    .into()
}

/// Lines of three hours, the services in turn, the `slice`th eighth of the day.
fn lines(slice: i64) -> Arc<RowBatch> {
    let row = |n: i64| -> Row {
        let at = DAY + (slice * 3 * 3_600 + n * 3 * 3_600 / ROWS) * 1_000_000;
        let service = format!("service-{:02}", (n * 7) % SERVICES);
        vec![Value::Int(slice * ROWS + n), Value::TimestampTz(at), Value::Text(service)]
    };
    Arc::new(RowBatch { columns: columns(), rows: (0..ROWS).map(row).collect() })
}

async fn append(table: &LakeTable, slices: std::ops::Range<i64>) {
    for slice in slices {
        let expected = (slice > 0).then_some(slice);
        let advance = vec![Advance { topic: "logs".into(), partition: 0, expected, next: slice + 1 }];
        table.append(lines(slice), advance).await.unwrap();
    }
}

fn eager(warehouse: &Path) -> LakeOptions {
    let mut options = options(warehouse);
    options.maintenance.compact_files_min = 4;
    options
}

async fn read(table: &LakeTable) -> Vec<Row> {
    let columns = ["service", "at", "id"].map(str::to_owned).to_vec();
    let mut stream = table.scan(Scan { columns, ..Scan::default() }).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        rows.extend(batch.unwrap());
    }
    rows
}

fn texts(row: &Row) -> Vec<String> {
    row.iter().map(Value::to_text).collect()
}

/// Row groups of the first file whose services may hold `service`, of how many.
fn to_read(seen: &Json, service: &str) -> (usize, usize) {
    let groups = seen["groups"][0].as_array().unwrap();
    let bound = |group: &Json, end: usize| group["bounds"][0][end].as_str().unwrap().to_owned();
    let holds = |group: &&Json| bound(group, 0).as_str() <= service && service <= bound(group, 1).as_str();
    assert!(groups.windows(2).all(|pair| bound(&pair[0], 1) <= bound(&pair[1], 0)), "{groups:#?}");
    (groups.iter().filter(holds).count(), groups.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_for_one_service_and_hour_skips_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(eager(dir.path())).await.unwrap();
    let partition = Partition::Day("at".to_owned());
    let table = lake.ensure_sorted_table("raw", "logs", &columns(), &partition, &SORT_BY).await.unwrap();
    append(&table, 0..8).await;
    let ask = |filter: &str| {
        python::ask(dir.path(), json!({"table": "raw.logs", "filter": filter, "groups": SORT_BY}))
    };
    let hour =
        "service == 'service-07' and at >= '2026-11-22T04:00:00+00:00' and at < '2026-11-22T05:00:00+00:00'";
    let expected = ROWS / SERVICES / 3;

    // As appended: a file is sorted, and one of eight has the hour.
    let seen = ask(hour);
    assert_eq!(seen["sort_order"], json!(SORT_BY));
    assert_eq!(seen["sorted_files"], json!([1, 1, 1, 1, 1, 1, 1, 1]));
    assert_eq!(seen["groups"].as_array().unwrap().len(), 1);
    let rows = seen["rows"].as_i64().unwrap();
    assert!((expected - 2..=expected + 2).contains(&rows), "{rows} rows");

    // Merged: still sorted, and one or two row groups of the file have the service.
    let compacted = table.compact(CancellationToken::new()).await.unwrap();
    assert_eq!((compacted.files_before, compacted.files_after), (8, 1));
    let merged = ask(hour);
    assert_eq!((&merged["rows"], &merged["sorted_files"]), (&seen["rows"], &json!([1])));
    let (groups, of) = to_read(&merged, "service-07");
    assert!((1..=2).contains(&groups) && of == 4, "{groups} of {of} row groups");
    let rows = read(&table).await;
    assert_eq!(rows.len() as i64, 8 * ROWS);
    assert!(rows.windows(2).all(|pair| texts(&pair[0])[..2] <= texts(&pair[1])[..2]));
    let mut ids: Vec<String> = rows.iter().map(|row| texts(row)[2].clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as i64, 8 * ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_be_sorted_later_and_keeps_its_older_rows() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(eager(dir.path())).await.unwrap();
    let partition = Partition::Day("at".to_owned());
    let table = lake.ensure_table("raw", "logs", &columns(), &partition).await.unwrap();
    append(&table, 0..2).await;
    for _ in 0..2 {
        lake.ensure_sorted_table("raw", "logs", &columns(), &partition, &SORT_BY).await.unwrap();
    }
    append(&table, 2..4).await;
    let ask = || python::ask(dir.path(), json!({"table": "raw.logs", "groups": SORT_BY}));
    let mut marks: Vec<Json> = ask()["sorted_files"].as_array().unwrap().clone();
    marks.sort_by_key(Json::is_null);
    assert_eq!(marks, [json!(1), json!(1), Json::Null, Json::Null]);
    table.compact(CancellationToken::new()).await.unwrap();
    let seen = ask();
    assert_eq!((&seen["files"], &seen["rows"]), (&json!(1), &json!(4 * ROWS)));
    assert_eq!(seen["sorted_files"], json!([null]), "not called sorted: its inputs were not");
    let refused = lake.ensure_sorted_table("raw", "other", &columns(), &Partition::None, &["nothing"]).await;
    assert!(matches!(refused, Err(LakeError::NoColumn { .. })), "{refused:?}");
}
