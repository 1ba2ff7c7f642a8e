//! Rules, checks, published versions, and the pipeline as the scheduler runs it.

use super::world::{Change, Dying, NOON, World, files};
use affluent_schedule::{
    Clock, Interval, Ledger, Pipeline, Reason, Request, RunEnd, Runner, ScheduleOptions,
};
use affluent_warehouse::batch::{BatchError, RawToDwh, TASKS, Unfenced, published_pins, versions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const FACTS: &str = "select payment, amount from dwh.fact_payments";
const TOTAL: &str = "select sum(amount) from dwh.fact_payments union all select sum(amount) from dwh.totals";

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_kept_as_they_came_and_the_balance_holds() {
    let world = World::new(1000).await;
    let odd = Change { currency: "xxx", ..Change::payment("c", 3, 3, 10_000) };
    world.append(&[Change::payment("c", 1, 1, 25_000), Change::payment("c", 2, 2, -10_000), odd]).await;
    world.run_whole().await;
    assert_eq!(world.rows(FACTS).await, ["1,2.5000"]);
    let refused = world.rows("select model, rule, _kafka_offset, row from ops.rejected").await;
    assert_eq!(refused.len(), 2);
    assert!(refused[0].starts_with("staged.transactions,amount_negative,1,"), "{refused:?}");
    assert!(refused[0].contains("-1.0000"), "{refused:?}");
    assert!(refused[1].starts_with("staged.transactions,currency_unknown,2,"), "{refused:?}");
    let balances = world.rows("select \"table\", failures from ops.checks where \"check\" = 'balance'").await;
    assert_eq!(balances, ["curated.payments,0", "staged.transactions,0"], "of what changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_go_through_again_when_a_rule_was_corrected() {
    let mut world = World::new(2).await;
    world.append(&[Change::payment("c", 1, 1, 25_000), Change::payment("c", 2, 2, -10_000)]).await;
    let odd = Change { currency: "xxx", ..Change::payment("c", 3, 3, 10_000) };
    world.append(&[odd, Change::payment("c", 4, 4, 10_000)]).await;
    world.run_whole().await;
    let refused = "select rule, _kafka_offset from ops.rejected";
    assert_eq!(world.rows(refused).await, ["amount_negative,1", "currency_unknown,2"]);
    // One rule is gone, another refuses more than it did.
    let mut corrected = files();
    let staged = corrected.iter_mut().find(|(path, _)| path == "staged/transactions.sql").unwrap();
    staged.1 =
        staged.1.replace("amount < 0", "false").replace("currency not in", "id = 4 or currency not in");
    assert_eq!(world.batch.changed().await.unwrap(), [""; 0]);
    world.changed(&corrected);
    world.run_whole().await;
    assert_eq!(world.batch.changed().await.unwrap(), ["staged.transactions"]);
    let rebuild = RawToDwh::rebuild(world.batch.clone());
    for task in TASKS {
        rebuild.task(task, 2, &Unfenced).await.unwrap();
    }
    assert_eq!(world.rows(refused).await, ["currency_unknown,2", "currency_unknown,3"]);
    let pins = published_pins(&world.lake).await.unwrap();
    assert_eq!(world.rows_at(FACTS, pins).await, ["1,2.5000", "2,-1.0000"]);
    assert_eq!(world.batch.changed().await.unwrap(), [""; 0]);
    // What stays refused is not written again.
    let snapshots = "select count(*) from ops.\"rejected$snapshots\"";
    let before = world.rows(snapshots).await;
    for task in TASKS {
        rebuild.task(task, 3, &Unfenced).await.unwrap();
    }
    assert_eq!(world.rows(snapshots).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_check_stops_publication_and_readers_keep_the_version_before() {
    let mut world = World::new(1000).await;
    world.append(&[Change::payment("c", 1, 1, 25_000)]).await;
    world.run_whole().await;
    let mut strict = files();
    let fact = strict.iter_mut().find(|(path, _)| path == "dwh/fact_payments.sql").unwrap();
    fact.1 = fact.1.replace(
        "\n*/",
        "\n[[tests]]\nname = \"small\"\nsql = \"select * from this where amount > 100\"\n\
         [[tests]]\nname = \"odd\"\nseverity = \"warn\"\nsql = \"select * from this where payment = 1\"\n*/",
    );
    world.changed(&strict);
    world.append(&[Change::payment("c", 2, 2, 2_000_000)]).await;
    for _ in 0..2 {
        match world.run(&Unfenced).await {
            Err(BatchError::Checks(failed)) => {
                assert_eq!(failed, ["dwh.fact_payments small (1 rows)"]);
            }
            other => panic!("{other:?}"),
        }
    }
    let pins = published_pins(&world.lake).await.unwrap();
    assert_eq!(world.rows_at(FACTS, pins).await, ["1,2.5000"]);
    assert_eq!(world.rows(FACTS).await.len(), 2);
    world.append(&[Change::payment("u", 2, 3, 20_000)]).await;
    world.run_whole().await;
    let pins = published_pins(&world.lake).await.unwrap();
    assert_eq!(world.rows_at(FACTS, pins).await, ["1,2.5000", "2,2.0000"]);
    assert_eq!(versions(&world.lake).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_whole_versions_wherever_a_run_is_killed() {
    let world = World::new(1000).await;
    world.append(&[Change::payment("c", 1, 1, 10_000)]).await;
    world.run_whole().await;
    for round in 2..5 {
        world.append(&[Change::payment("c", round, round, 10_000)]).await;
        let mut commits = 0;
        loop {
            let ended = world.run(&Dying::after(commits)).await;
            let seen = world.rows_at(TOTAL, published_pins(&world.lake).await.unwrap()).await;
            assert_eq!(seen[0], seen[1], "round {round}, killed after {commits} commits");
            let whole = if ended.is_ok() { round } else { round - 1 };
            assert_eq!(seen[0], format!("{whole}.0000"), "round {round}, killed after {commits} commits");
            if ended.is_ok() {
                break;
            }
            commits += 1;
        }
    }
    let kept = versions(&world.lake).await.unwrap();
    assert_eq!(kept.len(), 4);
    assert!(kept[0].as_of.unwrap() <= kept[0].published_at && kept[0].as_of > kept[1].as_of);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_shows_what_the_version_before_showed() {
    let world = World::new(1000).await;
    assert!(matches!(world.batch.rollback(None).await, Err(BatchError::NoVersion(_))));
    for round in 1..4 {
        world.append(&[Change::payment("c", round, round, 10_000)]).await;
        world.run_whole().await;
    }
    let seen = async || world.rows_at(FACTS, published_pins(&world.lake).await.unwrap()).await.len();
    assert_eq!(seen().await, 3);
    let back = world.batch.rollback(None).await.unwrap();
    assert_eq!((back.version, back.same_as, seen().await), (4, Some(2), 2));
    // A run without news does not undo it.
    world.run_whole().await;
    assert_eq!(seen().await, 2);
    let back = world.batch.rollback(None).await.unwrap();
    assert_eq!((back.version, back.same_as, seen().await), (5, Some(1), 1));
    assert!(matches!(world.batch.rollback(None).await, Err(BatchError::NoVersion(_))));
    assert_eq!(world.batch.rollback(Some(3)).await.unwrap().version, 6);
    assert_eq!(seen().await, 3);
    world.append(&[Change::payment("c", 9, 9, 10_000)]).await;
    world.run_whole().await;
    assert_eq!(seen().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_runs_the_tasks_and_finds_nothing_to_do_the_second_time() {
    let world = World::new(1000).await;
    world.append(&[Change::payment("c", 1, 1, 10_000)]).await;
    let options = ScheduleOptions { retry_first_ms: 1, retry_max_ms: 2, ..ScheduleOptions::default() };
    let ledger = Ledger::open(&world.directory().join("runs.db"), Clock::system()).await.unwrap();
    let runner = Runner::new(ledger, options.clone());
    let run = async |full: bool, quarter: i64| {
        let batch = world.batch.clone();
        let work = if full { RawToDwh::rebuild(batch) } else { RawToDwh::increments(batch) };
        let name = if full { "rebuild" } else { "raw-to-dwh" };
        let pipeline = Pipeline::new(name, TASKS, options.raw_to_dwh.clone(), "UTC", Arc::new(work)).unwrap();
        let from = NOON + quarter * 900_000_000;
        let interval = Interval::new(from, from + 900_000_000).unwrap();
        let request =
            Request { interval, only: None, fresh: false, reason: Reason::Manual, wait: Duration::ZERO };
        runner.run(&pipeline, &request, &CancellationToken::new()).await.unwrap()
    };
    let end = run(false, 0).await;
    assert!(matches!(end, RunEnd::Succeeded { .. }), "{end:?}");
    assert_eq!(world.rows_at(FACTS, published_pins(&world.lake).await.unwrap()).await, ["1,1.0000"]);
    let end = run(false, 0).await;
    assert_eq!(end, RunEnd::Done);
    let end = run(true, 0).await;
    assert!(matches!(end, RunEnd::Succeeded { .. }), "{end:?}");
    assert_eq!(world.rows("select count(*) from ops.checks where \"check\" = 'rebuild_equal'").await, ["0"]);
}
