//! Rows by key, whatever files they are in, and the files that a reader may leave out.

use crate::tables::{
    DAY, MICROS_A_DAY, advance, column, options, parquet_files, payments, payments_table, sums,
};
use affluent_lake::{ColumnRange, Lake, LakeTable, Lookup, Partition, RowBatch, Scan};
use affluent_model::{ColumnType, Value};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Key `n` of the table: scattered, as random ids are.
fn key(n: i64) -> String {
    format!("{:016x}", n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

async fn keyed(lake: &Lake) -> LakeTable {
    let columns = [column("key", ColumnType::Text), column("at", ColumnType::TimestampTz)];
    let day = Partition::Day("at".to_owned());
    lake.ensure_table("staged", "keyed", &columns, &day).await.unwrap()
}

/// Rows `range`, one a second from [`DAY`] on.
async fn append(table: &LakeTable, range: std::ops::Range<i64>) {
    let columns = [column("key", ColumnType::Text), column("at", ColumnType::TimestampTz)].into();
    let row = |n: i64| vec![Value::Text(key(n)), Value::TimestampTz(DAY + n * 1_000_000)];
    let rows = range.map(row).collect();
    table.append(Arc::new(RowBatch { columns, rows }), vec![]).await.unwrap();
}

/// The seconds at which rows with these keys are found.
async fn found(table: &LakeTable, keys: impl IntoIterator<Item = String>, days: (i64, i64)) -> Vec<i64> {
    let (from, to) = (DAY + days.0 * MICROS_A_DAY, DAY + days.1 * MICROS_A_DAY - 1);
    let lookup = Lookup {
        column: "key".to_owned(),
        keys: Arc::new(keys.into_iter().collect::<BTreeSet<_>>()),
        range: Some(ColumnRange { column: "at".to_owned(), from, to }),
        columns: vec!["at".to_owned()],
    };
    let rows = table.find(lookup).await.unwrap();
    let second = |row: &Vec<Value>| match row.as_slice() {
        [Value::Text(_), Value::TimestampTz(at)] => (at - DAY) / 1_000_000,
        other => panic!("{other:?}"),
    };
    let mut seconds: Vec<i64> = rows.iter().map(second).collect();
    seconds.sort_unstable();
    seconds
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_in_files_with_and_without_filters_and_after_merging() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    let lake = Lake::open(options).await.unwrap();
    let table = keyed(&lake).await;
    assert_eq!(found(&table, [key(1)], (0, 9)).await, [] as [i64; 0], "an empty table");
    append(&table, 0..500).await;
    table.keep_filter("key").await.unwrap();
    table.keep_filter("key").await.unwrap();
    for part in 1..6 {
        append(&table, part * 500..(part + 1) * 500).await;
    }
    let wanted = || [3, 499, 500, 1_234, 2_999, 3_000, 77_777].map(key);
    let expected = [3, 499, 500, 1_234, 2_999];
    assert_eq!(found(&table, wanted(), (0, 1)).await, expected);
    assert_eq!(found(&table, [], (0, 1)).await, [] as [i64; 0]);
    let merged = table.compact(CancellationToken::new()).await.unwrap();
    assert_eq!((merged.files_before, merged.files_after), (6, 1));
    assert_eq!(found(&table, wanted(), (0, 1)).await, expected);
}

/// A file that cannot hold the key is not read: destroyed files are in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_hold_a_key_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = keyed(&lake).await;
    table.keep_filter("key").await.unwrap();
    append(&table, 0..1_000).await;
    let first = parquet_files(dir.path());
    append(&table, 86_400..87_400).await;
    assert_eq!(first.len(), 1);
    std::fs::write(&first[0], "destroyed").unwrap();
    assert_eq!(found(&table, [key(5), key(86_400)], (1, 2)).await, [86_400], "the first day is left out");

    // Of the second day only the filter is needed to know that an absent key is absent: the pages of the
    // column, which stand before it, may be gone.
    let second: Vec<PathBuf> =
        parquet_files(dir.path()).into_iter().filter(|path| *path != first[0]).collect();
    let mut bytes = std::fs::read(&second[0]).unwrap();
    for byte in &mut bytes[4..2_000] {
        *byte = 0xff;
    }
    std::fs::write(&second[0], bytes).unwrap();
    let absent = (1_000..1_100).map(key);
    assert_eq!(
        found(&table, absent, (1, 2)).await,
        [] as [i64; 0],
        "within the statistics, not in the filter"
    );
    let lookup = Lookup {
        column: "key".to_owned(),
        keys: Arc::new([key(86_400)].into()),
        range: Some(ColumnRange { column: "at".to_owned(), from: DAY + MICROS_A_DAY, to: i64::MAX }),
        columns: vec![],
    };
    table.find(lookup).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leaves_out_old_files_and_files_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    table.append(payments(0..100), advance(None, 100)).await.unwrap();
    table.append(payments(100..200), advance(Some(100), 200)).await.unwrap();
    let known = table.snapshots().await.unwrap();
    assert!(known[0].sequence < known[1].sequence);
    table.append(payments(200..300), advance(Some(200), 300)).await.unwrap();
    let ids = async |scan: Scan| {
        let mut stream = table.scan(Scan { columns: vec!["id".into()], ..scan }).await.unwrap();
        let mut ids: Vec<i64> = Vec::new();
        while let Some(rows) = stream.next().await {
            ids.extend(rows.unwrap().iter().map(|row| match row[0] {
                Value::Int(id) => id,
                ref other => panic!("{other:?}"),
            }));
        }
        ids.sort_unstable();
        ids
    };
    let range = |from, to| Some(ColumnRange { column: "id".to_owned(), from, to });
    let since = Some(known[1].sequence);
    assert_eq!(ids(Scan { since, ..Scan::default() }).await, (200..300).collect::<Vec<_>>());
    assert_eq!(ids(Scan { range: range(150, 199), ..Scan::default() }).await, (100..200).collect::<Vec<_>>());
    assert_eq!(ids(Scan { range: range(199, 200), since, ..Scan::default() }).await.len(), 100);
    assert_eq!(ids(Scan { range: range(300, 400), ..Scan::default() }).await, [] as [i64; 0]);
    // A merged file is new: its old rows come again, none of its new ones is missed.
    table.compact(CancellationToken::new()).await.unwrap();
    assert_eq!(ids(Scan { since, ..Scan::default() }).await, (0..300).collect::<Vec<_>>());
    assert_eq!(sums(&table, None).await.0, 300);
    let unknown = Some(ColumnRange { column: "nothing".to_owned(), from: 0, to: 0 });
    table.scan(Scan { range: unknown, ..Scan::default() }).await.unwrap_err();
}
