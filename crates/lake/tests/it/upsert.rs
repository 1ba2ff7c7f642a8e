//! Rows by key: replaced, added, deleted; which files are touched; writers that come between.

use crate::python;
use crate::tables::{
    DAY, MICROS_A_DAY, amounts, column, options, payment_batch, payment_batch_of, payment_columns,
    payments_table,
};
use affluent_lake::{
    ColumnRange, Commit, Lake, LakeError, LakeTable, Outcome, Overwrite, Partition, Remove, Upsert, Upserted,
};
use affluent_model::ColumnType;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const A_DAY: i64 = 86_400;

async fn append(table: &LakeTable, rows: std::ops::Range<i64>) {
    let overwrite = Overwrite { remove: Remove::Nothing, rows: vec![payment_batch(rows)] };
    table.overwrite(Commit::default(), overwrite).await.unwrap();
}

fn by_id(rows: Vec<RecordBatch>) -> Upsert {
    Upsert { rows, key: vec!["id".to_owned()], ..Upsert::default() }
}

fn keys(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

async fn upsert(table: &LakeTable, upsert: Upsert) -> Upserted {
    table.upsert(Commit::default(), upsert).await.unwrap().committed().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_replaced_added_and_deleted_in_the_files_that_hold_them() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    // Four files in two days; ids grow from file to file.
    for from in [0, 1_000, A_DAY, A_DAY + 1_000] {
        append(&table, from..from + 1_000).await;
    }
    let rows = payment_batch_of([5, 7, 2_000, A_DAY + 2_000], |n| -n);
    let mut change = by_id(vec![rows]);
    change.delete = vec![keys([9, A_DAY + 1_500, 999_999])];
    let done = upsert(&table, change.clone()).await;
    assert_eq!((done.rows_updated, done.rows_inserted, done.rows_deleted), (2, 2, 2));
    assert_eq!((done.files_read, done.files_rewritten, done.files_kept), (2, 2, 2));
    let found = amounts(&table).await;
    assert_eq!(found.len(), 4_000 + 2 - 2);
    assert_eq!((found[&5], found[&7], found[&2_000], found[&6]), (-5, -7, -2_000, 6 * 12_345 + 1));
    assert!(!found.contains_key(&9) && !found.contains_key(&(A_DAY + 1_500)));

    // Once more it changes nothing but the versions of the same rows.
    let done = upsert(&table, change).await;
    assert_eq!((done.rows_updated, done.rows_inserted, done.rows_deleted), (4, 0, 0));
    assert_eq!(amounts(&table).await, found);
    // A row that moves to another day leaves the old one.
    let mut moved = payment_batch_of([A_DAY + 3], |_| 1);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![20]));
    moved = RecordBatch::try_from_iter([
        ("id", ids),
        ("at", Arc::clone(moved.column_by_name("at").unwrap())),
        ("amount", Arc::clone(moved.column_by_name("amount").unwrap())),
    ])
    .unwrap();
    assert_eq!(upsert(&table, by_id(vec![moved.clone()])).await.rows_updated, 1);
    let found = amounts(&table).await;
    assert_eq!((found.len(), found[&20]), (4_000, 1));
    // A caller that knows where the rows are spares the others, and is taken at its word.
    let range = ColumnRange { column: "at".into(), from: DAY + MICROS_A_DAY, to: i64::MAX };
    let deletion = Upsert {
        delete: vec![keys([20, 21])],
        key: vec!["id".into()],
        range: Some(range),
        ..Upsert::default()
    };
    assert_eq!(upsert(&table, deletion).await.rows_deleted, 1);
    assert_eq!(amounts(&table).await.len(), 3_999);
    let done = table
        .delete_keys(Commit::default(), vec![keys(0..A_DAY)], &["id"])
        .await
        .unwrap()
        .committed()
        .unwrap();
    assert_eq!(done.rows_deleted, 1_999);
    assert!(amounts(&table).await.into_keys().all(|id| id >= A_DAY));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_keys_are_refused_or_the_last_version_counts() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let columns = [
        column("id", ColumnType::Int64),
        column("part", ColumnType::Text),
        column("version", ColumnType::Int64),
    ];
    let table = lake.ensure_table("dwh", "versions", &columns, &Partition::None).await.unwrap();
    let batch = |rows: &[(i64, &str, i64)]| {
        let arrays: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>())),
            ("part", Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>())),
            ("version", Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int64Array>())),
        ];
        RecordBatch::try_from_iter(arrays).unwrap()
    };
    let by_both =
        |rows: Vec<RecordBatch>| Upsert { rows, key: vec!["id".into(), "part".into()], ..Upsert::default() };
    let rows = || {
        vec![batch(&[(1, "a", 1), (1, "b", 9), (1, "a", 5)]), batch(&[(1, "a", 4), (2, "a", 1), (1, "b", 9)])]
    };
    let refused = table.upsert(Commit::default(), by_both(rows())).await.unwrap_err();
    assert!(matches!(refused, LakeError::DuplicateKey { row: 2, .. }), "{refused}");
    let last = Upsert { version: Some("version".into()), ..by_both(rows()) };
    assert_eq!(upsert(&table, last).await.rows_inserted, 3);
    let mut stored = Vec::new();
    let mut stream = table.scan(affluent_lake::Scan::default()).await.unwrap();
    while let Some(rows) = stream.next().await {
        stored.extend(
            rows.unwrap()
                .iter()
                .map(|row| row.iter().map(affluent_model::Value::to_text).collect::<Vec<_>>().join(" ")),
        );
    }
    stored.sort();
    assert_eq!(stored, ["1 a 5", "1 b 9", "2 a 1"]);

    let both = Upsert { delete: vec![batch(&[(1, "a", 0)])], ..by_both(vec![batch(&[(1, "a", 7)])]) };
    assert!(matches!(table.upsert(Commit::default(), both).await, Err(LakeError::DuplicateKey { .. })));
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let wrong =
        Upsert { rows: vec![RecordBatch::try_from_iter([("id", float)]).unwrap()], ..by_both(vec![]) };
    assert!(matches!(table.upsert(Commit::default(), wrong).await, Err(LakeError::Incompatible { .. })));
    let null = by_both(vec![batch(&[(1, "a", 7)]).project(&[0]).unwrap()]);
    assert!(matches!(table.upsert(Commit::default(), null).await, Err(LakeError::Value { .. })));
    assert!(matches!(table.upsert(Commit::default(), Upsert::default()).await, Err(LakeError::Options(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_commit_works_for_upserts_too() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    let change = || by_id(vec![payment_batch(0..10)]);
    let first = table.upsert(Commit::named("k"), change()).await.unwrap().committed().unwrap();
    assert_eq!(
        table.upsert(Commit::named("k"), change()).await.unwrap(),
        Outcome::AlreadyCommitted(first.snapshot)
    );
    assert_eq!(table.snapshots().await.unwrap().len(), 1);
}

/// Files with filters are not opened for keys that they do not hold: destroyed ones are in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn statistics_and_filters_leave_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    table.keep_filter("id").await.unwrap();
    append(&table, 0..1_000).await;
    append(&table, 5_000..6_000).await;
    let even = Overwrite { remove: Remove::Nothing, rows: vec![payment_batch((10_000..12_000).step_by(2))] };
    table.overwrite(Commit::default(), even).await.unwrap();
    // Below, above and between the files: nothing is looked at. Within the last, but odd: only its filter is.
    let done = upsert(&table, by_id(vec![payment_batch([2_000, 20_000])])).await;
    assert_eq!((done.files_read, done.files_rewritten, done.rows_inserted), (0, 0, 2));
    let done = table
        .delete_keys(Commit::default(), vec![keys([10_001])], &["id"])
        .await
        .unwrap()
        .committed()
        .unwrap();
    assert_eq!((done.files_read, done.rows_deleted, done.snapshot), (0, 0, None));
    let done = upsert(&table, by_id(vec![payment_batch([10_002])])).await;
    assert_eq!((done.files_read, done.files_rewritten, done.rows_updated), (1, 1, 1));
}

/// What is written by an upsert into a sorted table, old rows and new, is sorted and marked so.
#[tokio::test(flavor = "multi_thread")]
async fn a_sorted_table_stays_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let day = Partition::Day("at".to_owned());
    let table = lake
        .ensure_sorted_table("raw", "payments", &payment_columns(), &day, &["currency", "id"])
        .await
        .unwrap();
    append(&table, 0..1_000).await;
    append(&table, 1_000..2_000).await;
    let rows = payment_batch_of([1_999, 5, 3_000, 4], |_| 1);
    let done = upsert(&table, by_id(vec![rows])).await;
    assert_eq!((done.rows_updated, done.files_rewritten), (3, 2));
    assert_eq!(amounts(&table).await.len(), 2_001);
    let ask = json!({"table": "raw.payments", "groups": ["currency"], "values": true});
    let seen = python::ask(dir.path(), ask);
    assert_eq!(seen["sort_order"], json!(["currency", "id"]));
    assert_eq!(seen["sorted_files"], json!([1, 1, 1]));
    // pyiceberg returns each file's rows as they are stored: order ends at most where a file ends.
    let key = |row: &serde_json::Value| (row["currency"].to_string(), row["id"].as_i64());
    let keys: Vec<_> = seen["values"].as_array().unwrap().iter().map(key).collect();
    let falls = keys.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(falls <= 2, "{falls} places out of order in three files");
}

/// Two writers add to the same counters and a third merges files meanwhile: no addition is lost.
#[tokio::test(flavor = "multi_thread")]
async fn upserts_beside_appends_and_merges_see_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 3;
    options.manifests_max = 10;
    let open = async || Lake::open(options.clone()).await.unwrap();
    payments_table(&open().await).await;
    let writer = |offset: i64, table: LakeTable| {
        tokio::spawn(async move {
            for n in 0..30 {
                // Rows that the other one writes too, each with its own amount, and new ones.
                let rows = payment_batch_of((0..10).chain([100 + 2 * n + offset]), |id| id * 1_000 + n);
                upsert(&table, by_id(vec![rows])).await;
            }
        })
    };
    let tables = [
        open().await.table("raw", "payments").await.unwrap(),
        open().await.table("raw", "payments").await.unwrap(),
    ];
    let [one, two] = tables;
    let merging = open().await.table("raw", "payments").await.unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let merger = tokio::spawn(async move {
        while !stopped.is_cancelled() {
            merging.compact(stopped.clone()).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
    });
    let (one, two) = (writer(0, one), writer(1, two));
    one.await.unwrap();
    two.await.unwrap();
    stop.cancel();
    merger.await.unwrap();
    // `amounts` refuses rows that come twice.
    let found = amounts(&open().await.table("raw", "payments").await.unwrap()).await;
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (0..10).chain(100..160).collect::<Vec<_>>());
    assert!((0..10).all(|id| found[&id] == i128::from(id * 1_000 + 29)));
}
