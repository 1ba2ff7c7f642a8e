//! Leases, clocks and history of the ledger alone.

use crate::harness::{Home, QUARTER_US, SECOND_US, START_US, TASKS, open, quarter};
use affluent_schedule::{Begun, Claim, History, Ledger, LedgerError, Reason, RunState, Scope, Started};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);

fn claim(index: i64) -> Claim<'static> {
    Claim {
        pipeline: "raw-to-dwh",
        scope: &Scope::Intervals,
        interval: quarter(index),
        tasks: TASKS,
        only: None,
        fresh: false,
        reason: Reason::Schedule,
        attempts_max: 3,
        lease: LEASE,
    }
}

async fn start(ledger: &Ledger, claim: &Claim<'_>) -> Started {
    match ledger.begin(claim).await.unwrap() {
        Begun::Started(started) => started,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_run_of_an_interval_at_a_time() {
    let home = Home::new().await;
    let other = open(home.dir.path(), home.clock.clock()).await;
    let first = start(&home.ledger, &claim(0)).await;
    let Begun::Busy(holder) = other.begin(&claim(0)).await.unwrap() else { panic!("taken twice") };
    assert_eq!((holder.run, holder.interval, holder.pid), (first.run, quarter(0), std::process::id()));
    // Another interval is free, one that overlaps is not.
    let second = start(&other, &claim(1)).await;
    assert!(second.run > first.run);
    let wide = Claim {
        interval: affluent_schedule::Interval::new(START_US, START_US + 5 * QUARTER_US).unwrap(),
        ..claim(0)
    };
    assert!(matches!(other.begin(&wide).await.unwrap(), Begun::Busy(_)));
}

#[tokio::test]
async fn pipelines_with_one_lock_exclude_each_other() {
    let home = Home::new().await;
    let warehouse = Scope::Named("warehouse".to_owned());
    let rebuild = Claim { pipeline: "rebuild", scope: &warehouse, ..claim(7) };
    let increment = Claim { scope: &warehouse, ..claim(0) };
    start(&home.ledger, &rebuild).await;
    assert!(
        matches!(home.ledger.begin(&increment).await.unwrap(), Begun::Busy(holder) if holder.pipeline == "rebuild")
    );
}

#[tokio::test]
async fn a_silent_run_is_lost_after_its_lease_and_may_write_no_more() {
    let home = Home::new().await;
    let first = start(&home.ledger, &claim(0)).await;
    home.clock.advance(29 * SECOND_US);
    assert!(home.ledger.renew(first.run).await.unwrap());
    home.clock.advance(29 * SECOND_US);
    assert!(matches!(home.ledger.begin(&claim(0)).await.unwrap(), Begun::Busy(_)));
    home.clock.advance(SECOND_US);
    let second = start(&home.ledger, &claim(0)).await;
    assert_eq!((second.attempt, second.first), (2, 0));
    let lost = home.ledger.run(first.run).await.unwrap().unwrap();
    assert_eq!(lost.state, RunState::Lost);
    // Whatever the clock shows now, the first one stays lost.
    for now in [START_US - 1000 * SECOND_US, START_US, START_US + 10 * QUARTER_US] {
        home.clock.set(now);
        assert!(!home.ledger.renew(first.run).await.unwrap());
        assert!(matches!(home.ledger.check(first.run).await, Err(LedgerError::Lost { .. })));
        home.ledger.check(second.run).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_jumps_back_does_not_keep_a_dead_run() {
    let home = Home::new().await;
    start(&home.ledger, &claim(0)).await;
    home.clock.advance(-86_400 * SECOND_US);
    // Somebody looks, and from then on it is one lease and no more.
    assert!(matches!(home.ledger.begin(&claim(0)).await.unwrap(), Begun::Busy(_)));
    home.clock.advance(30 * SECOND_US);
    assert_eq!(start(&home.ledger, &claim(0)).await.attempt, 2);
}

#[tokio::test]
async fn a_crashing_interval_is_given_up() {
    let home = Home::new().await;
    for attempt in 1..=3 {
        assert_eq!(start(&home.ledger, &claim(0)).await.attempt, attempt);
        home.clock.advance(31 * SECOND_US);
        assert_eq!(home.ledger.reap().await.unwrap(), 1);
    }
    assert_eq!(home.ledger.begin(&claim(0)).await.unwrap(), Begun::GivenUp { attempts: 3 });
    // A person may still ask for it.
    start(&home.ledger, &Claim { reason: Reason::Manual, ..claim(0) }).await;
}

#[tokio::test]
async fn history_is_asked_by_pipeline_state_and_time_and_is_bounded() {
    let home = Home::new().await;
    for index in 0..5 {
        start(&home.ledger, &claim(index)).await;
    }
    home.clock.advance(31 * SECOND_US);
    home.ledger.reap().await.unwrap();
    start(&home.ledger, &claim(5)).await;
    let count = async |history: History| home.ledger.history(&history).await.unwrap().len();
    assert_eq!(count(History { limit: 4, ..History::default() }).await, 4);
    assert_eq!(count(History { limit: 9, state: Some(RunState::Lost), ..History::default() }).await, 5);
    assert_eq!(count(History { limit: 9, within: Some(quarter(2)), ..History::default() }).await, 1);
    assert_eq!(
        count(History { limit: 9, pipeline: Some("rebuild".to_owned()), ..History::default() }).await,
        0
    );
    let status = home.ledger.status(10).await.unwrap();
    let [pipeline] = &status.pipelines[..] else { panic!("{status:?}") };
    assert_eq!((pipeline.running.len(), pipeline.runs), (1, 6));
    assert_eq!(pipeline.open_failure.as_ref().unwrap().interval, quarter(4));
    // What runs is never forgotten, whatever the bounds.
    home.clock.advance(100 * SECOND_US);
    assert_eq!(home.ledger.prune(Duration::from_secs(1), 1000).await.unwrap(), 5);
    assert_eq!(count(History { limit: 9, ..History::default() }).await, 1);
    // A number is never given twice.
    assert!(start(&home.ledger, &claim(9)).await.run > 6);
}

#[tokio::test]
async fn runs_are_counted_by_the_day_of_their_interval() {
    let home = Home::new().await;
    // There are 96 quarters in a day.
    for index in [0, 1, 96] {
        start(&home.ledger, &claim(index)).await;
    }
    home.clock.advance(31 * SECOND_US);
    home.ledger.reap().await.unwrap();
    start(&home.ledger, &claim(97)).await;
    let day_us = 86_400 * SECOND_US;
    let days = home.ledger.days("raw-to-dwh", START_US).await.unwrap();
    let found: Vec<_> =
        days.iter().map(|count| (count.day - START_US / day_us, count.state, count.runs)).collect();
    assert_eq!(found, [(0, RunState::Lost, 2), (1, RunState::Lost, 1), (1, RunState::Running, 1)]);
    assert_eq!(home.ledger.days("raw-to-dwh", START_US + day_us).await.unwrap().len(), 2);
    assert!(home.ledger.days("rebuild", START_US).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_left_alone() {
    let home = Home::new().await;
    let path = home.dir.path().join("runs.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&pool).await.unwrap();
    let error = Ledger::open(&path, home.clock.clock()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn fencing_tokens_grow_from_run_to_run_and_from_a_ledger_to_the_next() {
    let home = Home::new().await;
    let first = start(&home.ledger, &claim(0)).await.run;
    let second = start(&home.ledger, &claim(1)).await.run;
    assert!(home.ledger.token(first) < home.ledger.token(second));
    // Opened again, also one that older versions made, it gives the same ones.
    let path = home.dir.path().join("runs.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("DROP TABLE origin; PRAGMA user_version = 1").execute(&pool).await.unwrap();
    home.clock.advance(100 * SECOND_US);
    let again = open(home.dir.path(), home.clock.clock()).await;
    assert_eq!(again.token(second), home.ledger.token(second));
    // A ledger that takes the place of one that was deleted counts runs from 1, but not tokens.
    let later = tempfile::tempdir().unwrap();
    let later = open(later.path(), home.clock.clock()).await;
    assert!(later.token(1) > home.ledger.token(second));
}
