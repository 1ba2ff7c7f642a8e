//! Balances of whole tables: what an increment knows of files that are as they were, and what it does not believe.

use super::world::{Change, World, files};
use affluent_lake::sql::{Engine, EngineOptions, Pins};
use affluent_lake::{Commit, LakeTable, Overwrite, Remove};
use affluent_warehouse::batch::{BatchError, RawToDwh, TASKS, Unfenced};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use std::sync::Arc;

const KEPT: &str = "select \"table\", path, \"value\", \"rows\", \"sum\" from ops.file_sums";
const UNEQUAL: &str = "dwh.fact_payments every_payment_once (1 rows)";

/// A payment a day on ten days, and a balance of the facts with the payments.
async fn world() -> World {
    let mut files = files();
    let fact = files.iter_mut().find(|(path, _)| path == "dwh/fact_payments.sql").unwrap();
    fact.1 = fact.1.replace(
        "\n*/",
        "\n[[balances]]\nname = \"every_payment_once\"\nwith = \"curated.payments\"\nby = \"currency\"\namount = \"amount\"\n*/",
    );
    let world = World::with(1000, &files).await;
    world.append(&(0..10).map(|day| payment(day, day + 1, day)).collect::<Vec<_>>()).await;
    world.run_whole().await;
    world
}

fn payment(id: i64, lsn: i64, days_ago: i64) -> Change {
    Change { days_ago, ..Change::payment("c", id, lsn, 10_000 + id) }
}

/// The rows of one table that a query yields.
async fn batches(world: &World, text: &str) -> Vec<RecordBatch> {
    let engine = Engine::new(world.lake.clone(), EngineOptions::default()).unwrap();
    engine.session(Pins::default()).await.unwrap().collect(text).await.unwrap()
}

async fn write(table: &LakeTable, remove: Remove, rows: Vec<RecordBatch>) {
    table.overwrite(Commit::default(), Overwrite { remove, rows }).await.unwrap();
}

/// A second row of payment `id` in the facts, in a file of its own on the same day.
async fn double(world: &World, id: i64) {
    let rows = batches(world, &format!("select * from dwh.fact_payments where payment = {id}")).await;
    let facts = world.lake.table("dwh", "fact_payments").await.unwrap();
    write(&facts, Remove::Nothing, rows).await;
}

fn failed(ended: Result<(), BatchError>) -> Vec<String> {
    match ended {
        Err(BatchError::Checks(failed)) => failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_stay_are_known_and_what_is_gone_is_forgotten() {
    let world = world().await;
    let before = world.rows(KEPT).await;
    assert_eq!(before.len(), 20, "a file a day of two tables: {before:?}");
    world.append(&[payment(100, 100, 3)]).await;
    world.run_whole().await;
    let after = world.rows(KEPT).await;
    let stayed = before.iter().filter(|row| after.contains(row)).count();
    assert!(stayed >= 18, "{stayed} of 20");
    let paths =
        "select path from dwh.\"fact_payments$files\" union all select path from curated.\"payments$files\"";
    let mut live = world.rows(paths).await;
    live.sort();
    live.dedup();
    let mut kept = world.rows("select path from ops.file_sums").await;
    kept.sort();
    kept.dedup();
    assert_eq!(kept, live);
    // Nothing new: nothing is written.
    let snapshots = "select count(*) from ops.\"file_sums$snapshots\"";
    let count = world.rows(snapshots).await;
    world.run_whole().await;
    assert_eq!(world.rows(snapshots).await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_or_go_where_nothing_changed_stop_the_increment() {
    let world = world().await;
    double(&world, 7).await;
    world.append(&[payment(100, 100, 0)]).await;
    assert_eq!(failed(world.run(&Unfenced).await), [UNEQUAL]);
    // One row too many, one too few: the amounts tell.
    let key = Arc::new(Int64Array::from(vec![4])) as ArrayRef;
    let key = RecordBatch::try_from_iter([("payment", key)]).unwrap();
    let facts = world.lake.table("dwh", "fact_payments").await.unwrap();
    facts.delete_keys(Commit::default(), vec![key], &["payment"]).await.unwrap();
    world.append(&[payment(101, 101, 0)]).await;
    assert_eq!(failed(world.run(&Unfenced).await), [UNEQUAL]);
    let rebuild = RawToDwh::rebuild(world.batch.clone());
    for task in TASKS {
        rebuild.task(task, 2, &Unfenced).await.unwrap();
    }
    world.append(&[payment(102, 102, 0)]).await;
    world.run_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_there_twice_before_anything_is_known_is_found() {
    let world = world().await;
    double(&world, 7).await;
    let sums = world.lake.table("ops", "file_sums").await.unwrap();
    write(&sums, Remove::Table, Vec::new()).await;
    assert_eq!(world.rows(KEPT).await, [""; 0]);
    world.append(&[payment(100, 100, 0)]).await;
    assert_eq!(failed(world.run(&Unfenced).await), [UNEQUAL]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_other_files_or_is_not_whole_is_not_believed() {
    let world = world().await;
    let sums = world.lake.table("ops", "file_sums").await.unwrap();
    let kept = batches(&world, "select * from ops.file_sums").await;
    let place = |batch: &RecordBatch, name: &str| batch.schema_ref().index_of(name).unwrap();
    let changed = |name: &str, of: fn(&RecordBatch, usize) -> ArrayRef| -> Vec<RecordBatch> {
        let change = |batch: &RecordBatch| {
            let place = place(batch, name);
            let mut columns = batch.columns().to_vec();
            columns[place] = of(batch, place);
            RecordBatch::try_new(batch.schema(), columns).unwrap()
        };
        kept.iter().map(change).collect()
    };
    let elsewhere = |batch: &RecordBatch, place: usize| -> ArrayRef {
        let paths = batch.column(place).as_string::<i32>();
        Arc::new(paths.iter().map(|path| path.map(|path| format!("{path}.old"))).collect::<StringArray>())
    };
    let more = |batch: &RecordBatch, place: usize| -> ArrayRef {
        let rows = batch.column(place).as_primitive::<Int64Type>();
        Arc::new(rows.iter().map(|rows| rows.map(|rows| rows + 1)).collect::<Int64Array>())
    };
    let none = |batch: &RecordBatch, _: usize| -> ArrayRef {
        Arc::new(StringArray::from(vec![None::<&str>; batch.num_rows()]))
    };
    let twice = kept.iter().chain(&kept).cloned().collect();
    let cases = [changed("path", elsewhere), changed("rows", more), changed("value", none), twice];
    for (round, rows) in (0..).zip(cases) {
        write(&sums, Remove::Table, rows).await;
        world.append(&[payment(100 + round, 100 + round, 0)]).await;
        world.run_whole().await;
        let kept = world.rows("select sum(\"rows\"), count(distinct path) from ops.file_sums").await;
        let live = world
            .rows(
                "select sum(rows), count(*) from (select rows from dwh.\"fact_payments$files\" \
                 union all select rows from curated.\"payments$files\") as f",
            )
            .await;
        assert_eq!(kept, live, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_changed_day_and_of_one_that_did_not_change_is_found_by_the_increment() {
    let world = world().await;
    world.append(&[Change { days_ago: 2, ..Change::payment("u", 2, 50, 20_000) }]).await;
    let work = RawToDwh::increments(world.batch.clone());
    for task in TASKS {
        if *task == "check" {
            // The same key on another day, after what changed was computed.
            let text = "select payment, merchant_id, merchant, amount, currency, created_at - interval '5 days' as created_at \
                        from dwh.fact_payments where payment = 2";
            let rows = batches(&world, text).await;
            let facts = world.lake.table("dwh", "fact_payments").await.unwrap();
            write(&facts, Remove::Nothing, rows).await;
            match work.task(task, 1, &Unfenced).await {
                Err(BatchError::Checks(failed)) => {
                    assert_eq!(failed, ["dwh.fact_payments unique key (1 rows)", UNEQUAL]);
                }
                other => panic!("{other:?}"),
            }
            return;
        }
        work.task(task, 1, &Unfenced).await.unwrap();
    }
}
