//! Compaction, expiry and cleaning, beside writers and readers.

use crate::python;
use crate::tables::{advance, expected_sums, options, payments, payments_table, sums};
use affluent_lake::{Lake, LakeError, LakeOptions, LakeTable, MaintenanceService, Scan};
use serde_json::json;
use std::path::Path;
use tokio_util::sync::CancellationToken;

fn eager(warehouse: &Path) -> LakeOptions {
    let mut options = options(warehouse);
    options.manifests_max = 8;
    options.maintenance.compact_files_min = 4;
    options.maintenance.keep_all_s = 0;
    options.maintenance.keep_age_s = 0;
    options.maintenance.keep_min = 3;
    options.maintenance.grace_s = 0;
    options
}

/// Appends rows 100 at a time up to `end`.
async fn append_to(table: &LakeTable, end: i64) {
    let mut next = table.offsets().await.unwrap().get("oltp.public.payments", 0);
    while next.unwrap_or(0) < end {
        let from = next.unwrap_or(0);
        table.append(payments(from..from + 100), advance(next, from + 100)).await.unwrap();
        next = Some(from + 100);
    }
}

fn parquet_files(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += parquet_files(&path);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            count += 1;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_expiring_and_cleaning_change_no_row_of_a_kept_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(eager(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    append_to(&table, 2_000).await;
    let before = table.snapshots().await.unwrap();
    assert_eq!(before.len(), 20);
    let (old, current) = (before[10].id, before[19].id);

    let compacted = table.compact(CancellationToken::new()).await.unwrap();
    assert_eq!((compacted.files_before, compacted.files_after, compacted.rows), (20, 1, 2_000));
    assert_eq!(sums(&table, None).await, expected_sums(0..2_000));
    assert_eq!(
        sums(&table, Some(old)).await,
        expected_sums(0..1_100),
        "older snapshots read their own files"
    );
    let merged = table.snapshots().await.unwrap().pop().unwrap();
    assert_eq!((merged.operation.as_str(), merged.rows, merged.files), ("replace", 2_000, 1));
    assert_eq!(merged.offsets.unwrap().get("oltp.public.payments", 0), Some(2_000));
    let (count, expected) = expected_sums(0..2_000);
    let ask =
        |snapshot: i64| json!({"table": "raw.payments", "snapshot": snapshot, "sum": ["currency", "amount"]});
    for snapshot in [merged.id, current] {
        let seen = python::ask(dir.path(), ask(snapshot));
        assert_eq!((&seen["rows"], &seen["sums"]), (&json!(count), &json!(expected)));
    }

    // The newest three snapshots stay: the merge and the two appends before it.
    assert_eq!(table.expire().await.unwrap(), 18);
    assert!(table.scan(Scan { snapshot: Some(old), ..Scan::default() }).await.is_err());
    // Seen unreferenced once, deleted the second time: 20 small files are still in use by the two.
    assert!(table.clean().await.unwrap().waiting > 0);
    assert!(table.clean().await.unwrap().deleted > 0);
    assert_eq!(parquet_files(dir.path()), 21);
    assert_eq!(sums(&table, Some(current)).await, expected_sums(0..2_000));

    // Three more appends push them out, and the small files go.
    append_to(&table, 2_300).await;
    assert_eq!(table.expire().await.unwrap(), 3);
    table.clean().await.unwrap();
    table.clean().await.unwrap();
    assert_eq!(parquet_files(dir.path()), 4);
    assert_eq!(sums(&table, None).await, expected_sums(0..2_300));
    let seen = python::ask(dir.path(), json!({"table": "raw.payments", "sum": ["currency", "amount"]}));
    let (count, expected) = expected_sums(0..2_300);
    assert_eq!((&seen["rows"], &seen["sums"], &seen["files"]), (&json!(count), &json!(expected), &json!(4)));
    assert_eq!(seen["snapshots"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_of_two_processes_runs_beside_appends_and_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = eager(dir.path());
    options.maintenance.grace_s = 60;
    let lake = Lake::open(options.clone()).await.unwrap();
    let table = payments_table(&lake).await;
    append_to(&table, 1_000).await;
    let mut reader = table.scan(Scan { columns: vec!["id".to_owned()], ..Scan::default() }).await.unwrap();

    let stop = CancellationToken::new();
    let mut upkeep = Vec::new();
    for _ in 0..2 {
        let service = MaintenanceService::new(Lake::open(options.clone()).await.unwrap());
        let stop = stop.clone();
        upkeep.push(tokio::spawn(async move {
            let mut rounds = 0;
            while !stop.is_cancelled() {
                service.round(true, &stop).await.unwrap();
                rounds += 1;
            }
            rounds
        }));
    }
    append_to(&table, 7_000).await;
    stop.cancel();
    for task in upkeep {
        assert!(task.await.unwrap() > 0);
    }
    // What came after their last look.
    let service = MaintenanceService::new(Lake::open(options.clone()).await.unwrap());
    service.round(true, &CancellationToken::new()).await.unwrap();
    assert_eq!(sums(&table, None).await, expected_sums(0..7_000));
    let info = table.snapshots().await.unwrap().pop().unwrap();
    assert_eq!(info.rows, 7_000);
    assert!(info.files < 40, "{} files", info.files);
    // The reader began before all of it and reads its own snapshot to the end.
    let mut rows = 0;
    while let Some(batch) = reader.next().await {
        rows += batch.unwrap().len();
    }
    assert_eq!(rows, 1_000);
}

/// What a user waits for: an append of 100 rows stays a few milliseconds after many commits.
#[tokio::test(flavor = "multi_thread")]
async fn commits_stay_fast_after_many() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = eager(dir.path());
    options.manifests_max = 100;
    options.maintenance.keep_min = 50;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    let mut taken = Vec::new();
    for n in 0..600_i64 {
        let start = std::time::Instant::now();
        let expected = (n > 0).then_some(n * 100);
        table.append(payments(n * 100..(n + 1) * 100), advance(expected, (n + 1) * 100)).await.unwrap();
        taken.push(start.elapsed());
        if n % 50 == 49 {
            table.expire().await.unwrap();
        }
    }
    let median = |part: &[std::time::Duration]| {
        let mut part = part.to_vec();
        part.sort();
        part[part.len() / 2]
    };
    let (first, last) = (median(&taken[..100]), median(&taken[500..]));
    println!("median append: {first:?} in the first hundred, {last:?} in the sixth");
    assert!(last < first * 4 + std::time::Duration::from_millis(10), "{first:?} -> {last:?}");
    assert_eq!(sums(&table, None).await, expected_sums(0..60_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_table_leaves_no_file_and_can_be_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(eager(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    append_to(&table, 300).await;
    assert!(parquet_files(dir.path()) > 0);
    let full_name = table.name();
    let (namespace, name) = full_name.split_once('.').unwrap();
    lake.purge_table(namespace, name).await.unwrap();
    assert_eq!(parquet_files(dir.path()), 0);
    assert!(matches!(lake.purge_table(namespace, name).await, Err(LakeError::NotFound(_))));
    assert_eq!(lake.tables().await.unwrap(), []);
    let table = payments_table(&lake).await;
    append_to(&table, 100).await;
    assert_eq!(sums(&table, None).await, expected_sums(0..100));
}
