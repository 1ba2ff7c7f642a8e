//! Increments, however they are cut and killed, give what one rebuild gives.

use super::world::{Change, Dying, World};
use affluent_warehouse::batch::{Task, Unfenced};
use proptest::prelude::*;

/// A history with late data, deletes, records that come again, and rows that rules refuse.
fn history() -> impl Strategy<Value = Vec<Change>> {
    let one = (0i64..12, 0usize..10, 0i64..9, 0i64..50, any::<bool>());
    proptest::collection::vec(one, 5..60).prop_map(|picks| {
        let mut changes: Vec<Change> = Vec::new();
        for (lsn, (id, kind, merchant, days_ago, yen)) in picks.into_iter().enumerate() {
            let lsn = i64::try_from(lsn).unwrap() + 1;
            let op = if kind == 0 { "d" } else { "u" };
            let change = match kind {
                1 | 2 => Change::merchant(if merchant == 8 { "d" } else { "u" }, merchant % 4, lsn),
                3 if !changes.is_empty() => changes[usize::try_from(lsn).unwrap() % changes.len()].clone(),
                4 => Change { amount: -lsn * 10_000 - 1, ..Change::payment(op, id, lsn, 0) },
                _ => {
                    let currency = if yen { "jpy" } else { "eur" };
                    Change {
                        merchant: merchant % 5,
                        currency,
                        days_ago,
                        ..Change::payment(op, id, lsn, lsn * 12_345)
                    }
                }
            };
            changes.push(change);
        }
        changes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn any_increments_equal_one_rebuild(
        changes in history(),
        cuts in proptest::collection::vec((1usize..20, 0i64..14), 1..6),
        rows_max in prop_oneof![Just(1000u64), 2u64..9],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new(rows_max).await;
            let mut rest = changes.as_slice();
            for (count, commits) in cuts {
                let (now, later) = rest.split_at(count.min(rest.len()));
                rest = later;
                world.append(now).await;
                // Killed before its commit number `commits`; what is left is done by a later run.
                let _ = world.run(&Dying::after(commits)).await;
            }
            world.append(rest).await;
            world.run_whole().await;
            let once = World::new(1000).await;
            once.append(&changes).await;
            once.run_whole().await;
            let (found, expected) = (world.tables().await, once.tables().await);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "after {changes:#?}");
            }
            for task in [Task::Clean, Task::Deduplicate, Task::Enrich, Task::Load] {
                let (_, differences) = world.batch.rebuild(task, &Unfenced).await.unwrap();
                assert_eq!(differences, []);
            }
            let refused = "select rule, _kafka_offset from ops.rejected";
            if changes.iter().any(|change| change.amount < 0) {
                assert_eq!(world.rows(refused).await, once.rows(refused).await);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_dimension_reaches_the_facts_and_a_delete_takes_them_away() {
    let world = World::new(1000).await;
    world
        .append(&[
            Change::merchant("c", 1, 1),
            Change::payment("c", 1, 2, 25_000),
            Change::payment("c", 4, 3, 1),
        ])
        .await;
    world.run_whole().await;
    let facts = "select payment, merchant, amount from dwh.fact_payments";
    assert_eq!(world.rows(facts).await, ["1,merchant 1,2.5000", "4,merchant 1,0.0001"]);
    world.append(&[Change::merchant("u", 1, 7), Change::payment("d", 4, 8, 1)]).await;
    world.run_whole().await;
    assert_eq!(world.rows(facts).await, ["1,merchant 2,2.5000"]);
    assert_eq!(
        world.rows("select merchant_id, name, valid_to is null from dwh.dim_merchant").await,
        ["1,merchant 1,false", "1,merchant 2,true"]
    );
    assert_eq!(world.rows("select currency, payments, amount from dwh.totals").await, ["EUR,1,2.5000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_there_before_their_first_row_and_nothing_new_changes_nothing() {
    let world = World::new(1000).await;
    world.run_whole().await;
    assert_eq!(world.rows("select count(*) from dwh.fact_payments").await, ["0"]);
    world.append(&[Change::payment("c", 1, 1, 1)]).await;
    world.run_whole().await;
    let snapshots = "select count(*) from dwh.\"fact_payments$snapshots\"";
    let before = world.rows(snapshots).await;
    world.run_whole().await;
    assert_eq!(world.rows(snapshots).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_data_touches_its_own_day_alone() {
    let world = World::new(1000).await;
    let payment = |id, lsn, days_ago| Change { days_ago, ..Change::payment("c", id, lsn, 100) };
    world.append(&(0..40).map(|day| payment(day, day + 1, day)).collect::<Vec<_>>()).await;
    world.run_whole().await;
    let files = "select path from dwh.\"fact_payments$files\"";
    let before = world.rows(files).await;
    world.append(&[payment(100, 100, 39)]).await;
    world.run_whole().await;
    let after = world.rows(files).await;
    let kept = before.iter().filter(|file| after.contains(file)).count();
    assert!(kept >= before.len() - 1, "{kept} of {} files stayed", before.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_finds_a_table_that_was_tampered_with_and_puts_it_right() {
    use affluent_lake::Commit;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use std::sync::Arc;
    let world = World::new(1000).await;
    world.append(&(1..9).map(|id| Change::payment("c", id, id, id * 10_000)).collect::<Vec<_>>()).await;
    world.run_whole().await;
    let expected = world.tables().await;
    let table = world.lake.table("dwh", "fact_payments").await.unwrap();
    let keys =
        RecordBatch::try_from_iter([("payment", Arc::new(Int64Array::from(vec![3])) as ArrayRef)]).unwrap();
    table.delete_keys(Commit::default(), vec![keys], &["payment"]).await.unwrap();
    let (_, differences) = world.batch.rebuild(Task::Load, &Unfenced).await.unwrap();
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(
        (differences[0].table.as_str(), differences[0].keys.as_slice()),
        ("dwh.fact_payments", &["3".to_owned()][..])
    );
    assert_eq!(differences[0].days, ["2026-11-22"]);
    assert_eq!(world.tables().await, expected);
}
