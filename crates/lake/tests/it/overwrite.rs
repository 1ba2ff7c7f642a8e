//! Replacing and removing rows, once each; returning to an older snapshot.

use crate::tables::{
    DAY, MICROS_A_DAY, advance, amounts, expected_sums, options, payment_batch, payment_batch_of,
    payments_table, sums,
};
use affluent_lake::{
    COMMITS_KEPT, Commit, Lake, LakeError, LakeTable, Outcome, Overwrite, Overwritten, Partition, Remove,
    Scan, Upsert,
};
use affluent_model::{Column, ColumnType};
use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Rows of a day of [`payments_table`].
const A_DAY: i64 = 86_400;

fn day(n: i64) -> i32 {
    i32::try_from(DAY / MICROS_A_DAY + n).unwrap()
}

/// Some rows of three days: 0..10 of the first, and so on.
fn three_days() -> RecordBatch {
    payment_batch((0..3).flat_map(|day| day * A_DAY..day * A_DAY + 10))
}

async fn overwrite(table: &LakeTable, remove: Remove, rows: Vec<RecordBatch>) -> Overwritten {
    table.overwrite(Commit::default(), Overwrite { remove, rows }).await.unwrap().committed().unwrap()
}

fn ids(ranges: impl IntoIterator<Item = std::ops::Range<i64>>) -> Vec<i64> {
    ranges.into_iter().flatten().collect()
}

async fn stored(table: &LakeTable) -> Vec<i64> {
    amounts(table).await.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_days_and_tables_are_replaced_and_removed_in_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    let done = overwrite(&table, Remove::Nothing, vec![three_days()]).await;
    assert_eq!((done.files_added, done.files_removed, done.rows_added, done.rows_removed), (3, 0, 30, 0));
    let first = done.snapshot.unwrap();

    // The partition of the rows is replaced, the others stay.
    let done = overwrite(&table, Remove::PartitionsOfRows, vec![payment_batch(A_DAY + 5..A_DAY + 20)]).await;
    assert_eq!((done.files_added, done.files_removed, done.rows_added, done.rows_removed), (1, 1, 15, 10));
    assert_eq!(stored(&table).await, ids([0..10, A_DAY + 5..A_DAY + 20, 2 * A_DAY..2 * A_DAY + 10]));
    // A day is removed and rows are added to another, in one commit.
    let remove = Remove::Days([day(1), day(9)].into());
    let done = overwrite(&table, remove, vec![payment_batch(10..12)]).await;
    assert_eq!((done.rows_added, done.rows_removed), (2, 15));
    assert_eq!(stored(&table).await, ids([0..12, 2 * A_DAY..2 * A_DAY + 10]));
    // Removal alone; removal of what is not there; nothing at all.
    let done = overwrite(&table, Remove::Days([day(2)].into()), vec![]).await;
    assert_eq!((done.files_added, done.rows_removed), (0, 10));
    let before = table.snapshots().await.unwrap();
    assert_eq!(overwrite(&table, Remove::Days([day(2)].into()), vec![]).await, Overwritten::default());
    assert_eq!(overwrite(&table, Remove::PartitionsOfRows, vec![]).await, Overwritten::default());
    assert_eq!(table.snapshots().await.unwrap(), before);
    let operations: Vec<&str> = before.iter().map(|snapshot| snapshot.operation.as_str()).collect();
    assert_eq!(operations, ["append", "overwrite", "overwrite", "delete"]);
    assert_eq!((before[3].rows, before[3].files), (12, 2));
    // The whole table; older snapshots stay as they were.
    overwrite(&table, Remove::Table, vec![payment_batch(500..600)]).await;
    assert_eq!(sums(&table, None).await, expected_sums(500..600));
    assert_eq!(sums(&table, Some(first)).await.0, 30);
    overwrite(&table, Remove::Table, vec![]).await;
    assert_eq!(sums(&table, None).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_committed_once_and_offsets_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.keep_all_s = 0;
    options.maintenance.keep_age_s = 0;
    options.maintenance.keep_min = 1;
    let lake = Lake::open(options.clone()).await.unwrap();
    let table = payments_table(&lake).await;
    let run = async |key: &str, rows: std::ops::Range<i64>| {
        let overwrite = Overwrite { remove: Remove::Nothing, rows: vec![payment_batch(rows)] };
        table.overwrite(Commit::named(key), overwrite).await.unwrap()
    };
    let first = run("00:15", 0..10).await.committed().unwrap().snapshot;
    assert_eq!(run("00:15", 0..10).await, Outcome::AlreadyCommitted(first));
    run("00:30", 10..20).await.committed().unwrap();
    // Also after the snapshot is gone, in another process, and where nothing was to be changed.
    assert_eq!(table.expire().await.unwrap(), 1);
    let other = Lake::open(options).await.unwrap().table("raw", "payments").await.unwrap();
    let repeat = Overwrite { remove: Remove::Table, rows: vec![] };
    assert_eq!(
        other.overwrite(Commit::named("00:15"), repeat).await.unwrap(),
        Outcome::AlreadyCommitted(first)
    );
    let nothing = || Overwrite { remove: Remove::Days([1].into()), rows: vec![] };
    let done = table.overwrite(Commit::named("none"), nothing()).await.unwrap();
    assert_eq!(done, Outcome::Committed(Overwritten::default()));
    assert_eq!(
        table.overwrite(Commit::named("none"), nothing()).await.unwrap(),
        Outcome::AlreadyCommitted(None)
    );
    for n in 0..COMMITS_KEPT - 3 {
        run(&format!("later {n}"), 0..0).await.committed().unwrap();
    }
    assert_eq!(run("00:15", 0..10).await, Outcome::AlreadyCommitted(first), "still remembered");
    assert_eq!(sums(&table, None).await, expected_sums(0..20));

    // Offsets are advanced with the rows, or refused with them.
    let with_offsets = |expected, next, rows| {
        let commit = Commit { advance: advance(expected, next), ..Commit::default() };
        table.overwrite(commit, Overwrite { remove: Remove::Nothing, rows: vec![payment_batch(rows)] })
    };
    with_offsets(None, 30, 20..30).await.unwrap();
    let refused = with_offsets(None, 30, 20..30).await.unwrap_err();
    assert!(matches!(refused, LakeError::OffsetConflict(_)), "{refused}");
    assert_eq!(table.offsets().await.unwrap().get("oltp.public.payments", 0), Some(30));
    assert_eq!(sums(&table, None).await, expected_sums(0..30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_partition_is_planned_again_and_a_merged_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    let lake = Lake::open(options.clone()).await.unwrap();
    let table = payments_table(&lake).await;
    for n in 0..3 {
        overwrite(&table, Remove::Nothing, vec![payment_batch(n * 10..n * 10 + 10)]).await;
    }
    let other = Lake::open(options).await.unwrap().table("raw", "payments").await.unwrap();
    // While the plan is made: first rows of the day, then a merge; each time a row of another day too.
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, reader) = (Arc::clone(&asked), table.clone());
    let plan = async move |snapshot: Option<i64>| {
        let round = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match round {
            0 => {
                overwrite(&other, Remove::Nothing, vec![payment_batch(30..40)]).await;
            }
            1 => {
                assert_eq!(other.compact(CancellationToken::new()).await?.files_before, 4);
            }
            _ => {}
        }
        overwrite(&other, Remove::Nothing, vec![payment_batch([A_DAY + i64::try_from(round).unwrap()])])
            .await;
        let seen = sums(&reader, snapshot).await.0;
        let rows = vec![payment_batch([i64::try_from(seen).unwrap()])];
        Ok(Overwrite { remove: Remove::Days([day(0)].into()), rows })
    };
    let done = table.rewrite(Commit::default(), plan).await.unwrap().committed().unwrap();
    // Asked again twice: rows came into the day; then it was merged and a row came into another day, so that
    // what has happened since the plan is no longer merging alone.
    assert_eq!(done.rows_removed, 40);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 3);
    let stored = stored(&table).await;
    assert_eq!(stored.iter().filter(|&&id| id < A_DAY).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_meanwhile_is_no_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    let lake = Lake::open(options.clone()).await.unwrap();
    let table = payments_table(&lake).await;
    for n in 0..3 {
        overwrite(&table, Remove::Nothing, vec![payment_batch(n * 10..n * 10 + 10)]).await;
    }
    let other = Lake::open(options).await.unwrap().table("raw", "payments").await.unwrap();
    let plan = async move |_| {
        assert_eq!(other.compact(CancellationToken::new()).await?.merges, 1, "asked once");
        Ok(Overwrite { remove: Remove::Days([day(0)].into()), rows: vec![payment_batch(0..5)] })
    };
    let done = table.rewrite(Commit::default(), plan).await.unwrap().committed().unwrap();
    assert_eq!((done.files_removed, done.rows_removed, done.rows_added), (1, 30, 5));
    assert_eq!(sums(&table, None).await, expected_sums(0..5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    overwrite(&table, Remove::Nothing, vec![payment_batch(0..10)]).await;
    let float: ArrayRef = Arc::new(Float64Array::from(vec![0.1]));
    let with = |name: &str| RecordBatch::try_from_iter([(name, Arc::clone(&float))]).unwrap();
    let refused = async |rows| {
        let overwrite = Overwrite { remove: Remove::Table, rows: vec![rows] };
        table.overwrite(Commit::named("k"), overwrite).await.unwrap_err()
    };
    assert!(matches!(refused(with("amount")).await, LakeError::Incompatible { .. }));
    assert!(matches!(refused(with("nothing")).await, LakeError::NoColumn { .. }));
    let columns = [Column { name: "n".into(), column_type: ColumnType::Int64, nullable: false }];
    let whole = lake.ensure_table("raw", "whole", &columns, &Partition::None).await.unwrap();
    let days = Overwrite { remove: Remove::Days(BTreeSet::from([1])), rows: vec![] };
    let refused = whole.overwrite(Commit::default(), days).await.unwrap_err();
    assert!(matches!(refused, LakeError::Options(_)), "{refused}");
    assert_eq!(sums(&table, None).await, expected_sums(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_outlives_expiry_and_the_table_returns_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.keep_all_s = 0;
    options.maintenance.keep_age_s = 0;
    options.maintenance.keep_min = 1;
    options.maintenance.grace_s = 0;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    let step = async |key: &str, from: i64, remove| {
        let advance = advance((from > 0).then_some(from), from + 10);
        let commit = Commit { advance, ..Commit::named(key) };
        let rows = vec![payment_batch_of(from..from + 10, |n| n)];
        table
            .overwrite(commit, Overwrite { remove, rows })
            .await
            .unwrap()
            .committed()
            .unwrap()
            .snapshot
            .unwrap()
    };
    let first = step("a", 0, Remove::Nothing).await;
    table.tag("warehouse-1", first).await.unwrap();
    let second = step("b", 10, Remove::Table).await;
    step("c", 20, Remove::Table).await;
    assert_eq!(table.expire().await.unwrap(), 1, "the tagged and the current one stay");
    for _ in 0..2 {
        table.clean().await.unwrap();
    }
    assert_eq!(sums(&table, Some(first)).await.0, 10);
    assert!(matches!(table.tag("x", second).await, Err(LakeError::NoSnapshot { .. })));
    assert!(matches!(table.rollback_to(second).await, Err(LakeError::NoSnapshot { .. })));
    assert!(matches!(table.tag("main", first).await, Err(LakeError::Options(_))));
    assert_eq!(table.tags().await.unwrap()["warehouse-1"], first);

    table.rollback_to(first).await.unwrap();
    assert_eq!(stored(&table).await, (0..10).collect::<Vec<_>>());
    assert_eq!(table.offsets().await.unwrap().get("oltp.public.payments", 0), Some(10));
    // What was undone can be done again, what was not cannot.
    let repeat = Overwrite { remove: Remove::Table, rows: vec![] };
    let again = table.overwrite(Commit::named("a"), repeat).await.unwrap();
    assert_eq!(again, Outcome::AlreadyCommitted(Some(first)));
    step("b", 10, Remove::Nothing).await;
    assert_eq!(stored(&table).await, (0..20).collect::<Vec<_>>());
    table.untag("warehouse-1").await.unwrap();
    table.untag("warehouse-1").await.unwrap();
    table.expire().await.unwrap();
    assert!(table.scan(Scan { snapshot: Some(first), ..Scan::default() }).await.is_err());
    assert_eq!(stored(&table).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_replaced_writes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    let by = |fence| Commit { fence: Some(fence), ..Commit::default() };
    let add = |from: i64| Overwrite { remove: Remove::Nothing, rows: vec![payment_batch(from..from + 10)] };
    table.overwrite(by(7), add(0)).await.unwrap();
    table.overwrite(by(7), add(10)).await.unwrap();
    // The next one says that it is there before it has anything to write.
    table.overwrite(by(8), Overwrite::default()).await.unwrap();
    let refused = table.overwrite(by(7), Overwrite { remove: Remove::Table, rows: vec![] }).await;
    assert!(matches!(refused, Err(LakeError::Fenced { own: 7, seen: 8, .. })), "{refused:?}");
    let upsert = Upsert { rows: vec![payment_batch(0..5)], key: vec!["id".to_owned()], ..Upsert::default() };
    let refused = table.upsert(by(7), upsert).await;
    assert!(matches!(refused, Err(LakeError::Fenced { .. })), "{refused:?}");
    // Neither a merge of files nor a writer without a token forgets it.
    table.compact(CancellationToken::new()).await.unwrap();
    table.append_batches(vec![payment_batch(20..30)], Vec::new()).await.unwrap();
    table.overwrite(by(7), add(30)).await.unwrap_err();
    table.overwrite(by(8), add(30)).await.unwrap();
    assert_eq!(stored(&table).await, (0..40).collect::<Vec<_>>());
}
