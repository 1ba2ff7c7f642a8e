//! The scheduler: what is due runs, once, whatever number of schedulers there are.

use crate::harness::{
    Act, Home, QUARTER_US, SECOND_US, START_US, Scripted, TASKS, open, options, pipeline, pipeline_options,
    quarter,
};
use affluent_schedule::{
    AlertKind, History, Interval, Ledger, Pipeline, PipelineOptions, RunRecord, RunState, ScheduleOptions,
    ScheduleService, WorkError,
};
use affluent_telemetry::health::{Health, State};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A scheduler that runs until it is dropped or told to stop.
struct Scheduler {
    shutdown: CancellationToken,
    health: Health,
    task: JoinHandle<()>,
}

impl Scheduler {
    fn start(ledger: &Ledger, options: ScheduleOptions, pipeline: Pipeline) -> Self {
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        let service = ScheduleService::new(options, ledger.clone(), vec![pipeline], health.clone()).unwrap();
        let task = tokio::spawn(service.run(shutdown.clone()));
        Scheduler { shutdown, health, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        assert!(self.health.snapshot().values().all(|state| *state == State::Stopped));
    }
}

async fn runs(ledger: &Ledger) -> Vec<RunRecord> {
    let mut runs = ledger.history(&History { limit: 999, ..History::default() }).await.unwrap();
    runs.reverse();
    runs
}

/// Waits until the ledger shows what is wanted.
async fn until(ledger: &Ledger, what: &str, wanted: impl Fn(&[RunRecord]) -> bool) -> Vec<RunRecord> {
    for _ in 0..3000 {
        let runs = runs(ledger).await;
        if wanted(&runs) {
            return runs;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{what} did not come: {:?}", runs(ledger).await)
}

fn done(runs: &[RunRecord]) -> Vec<Interval> {
    runs.iter().filter(|run| run.state == RunState::Succeeded).map(|run| run.interval).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_schedulers_run_each_interval_once() {
    let home = Home::new().await;
    let work = Scripted::new(&[]);
    let other = open(home.dir.path(), home.clock.clock()).await;
    let schedulers = [&home.ledger, &home.ledger, &other]
        .map(|ledger| Scheduler::start(ledger, options(), pipeline(work.clone())));
    // At first only the newest interval is due; then time goes on, in steps of any size.
    until(&home.ledger, "the first run", |runs| done(runs) == [quarter(1)]).await;
    home.clock.advance(QUARTER_US);
    until(&home.ledger, "the second run", |runs| done(runs) == [quarter(1), quarter(2)]).await;
    home.clock.advance(20 * QUARTER_US);
    until(&home.ledger, "catching up", |runs| done(runs).len() == 22).await;
    for scheduler in schedulers {
        assert!(scheduler.health.is_ready());
        scheduler.stop().await;
    }
    let runs = runs(&home.ledger).await;
    assert!(done(&runs).into_iter().eq((1..23).map(quarter)), "the oldest first");
    assert!(runs.iter().all(|run| run.state == RunState::Succeeded), "{runs:?}");
    assert_eq!(work.calls.lock().len(), 22 * TASKS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_is_bounded_and_says_what_it_leaves_out() {
    let home = Home::new().await;
    let work = Scripted::new(&[]);
    let short = PipelineOptions { catchup_max: 3, ..pipeline_options() };
    let pipeline = Pipeline::new("raw-to-dwh", TASKS, short, "UTC", work).unwrap();
    let scheduler = Scheduler::start(&home.ledger, options(), pipeline.clone());
    until(&home.ledger, "the first run", |runs| done(runs) == [quarter(1)]).await;
    scheduler.stop().await;
    home.clock.advance(10 * QUARTER_US);
    let scheduler = Scheduler::start(&home.ledger, options(), pipeline);
    until(&home.ledger, "catching up", |runs| done(runs).len() == 4).await;
    scheduler.stop().await;
    assert!(done(&runs(&home.ledger).await)[1..].iter().copied().eq((9..12).map(quarter)));
    let alerts = home.ledger.alerts(10).await.unwrap();
    let left_out = alerts.iter().find(|alert| alert.kind == AlertKind::LeftOut).unwrap();
    assert_eq!(left_out.interval, Interval::new(quarter(2).from_us(), quarter(9).from_us()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_keeps_failing_is_given_up_and_the_next_ones_run() {
    let home = Home::new().await;
    let fail = || Act::Fail(WorkError::lasting("a column is missing"));
    let work = Scripted::new(&[("clean", &[fail(), fail(), fail()])]);
    let scheduler = Scheduler::start(&home.ledger, options(), pipeline(work));
    until(&home.ledger, "three failures", |runs| {
        runs.iter().filter(|run| run.ended_us.is_some()).count() == 3
    })
    .await;
    home.clock.advance(QUARTER_US + 1000 * SECOND_US);
    let runs = until(&home.ledger, "the next interval", |runs| done(runs) == [quarter(2), quarter(3)]).await;
    assert_eq!(runs.iter().filter(|run| run.state == RunState::Failed).count(), 3);
    let degraded = |state: &State| matches!(state, State::Degraded(text) if text.contains("failed 3 times"));
    assert!(scheduler.health.snapshot().values().any(degraded), "{:?}", scheduler.health.snapshot());
    scheduler.stop().await;
    let alerts = home.ledger.alerts(10).await.unwrap();
    let about =
        |kind| alerts.iter().filter(|alert| alert.kind == kind && alert.interval == quarter(1)).count();
    assert_eq!((about(AlertKind::GivenUp), about(AlertKind::Missed)), (1, 1), "{alerts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_scheduler_leaves_its_run_to_the_next_one() {
    let home = Home::new().await;
    let work = Scripted::new(&[("load", &[Act::Hang])]);
    let scheduler = Scheduler::start(&home.ledger, options(), pipeline(work.clone()));
    work.hangs.cancelled().await;
    scheduler.stop().await;
    assert_eq!(runs(&home.ledger).await[0].state, RunState::Cancelled);
    let scheduler = Scheduler::start(&home.ledger, options(), pipeline(Arc::clone(&work) as _));
    until(&home.ledger, "the rest of the run", |runs| done(runs) == [quarter(1)]).await;
    scheduler.stop().await;
    assert_eq!(work.called(), ["ingest", "clean", "load", "load", "publish"]);
    assert!(home.clock.clock().now_us() == START_US + 2 * QUARTER_US);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_for_a_while_does_not_stop_the_schedule() {
    let home = Home::new().await;
    let scheduler = Scheduler::start(&home.ledger, options(), pipeline(Scripted::new(&[])));
    until(&home.ledger, "the first run", |runs| done(runs) == [quarter(1)]).await;
    home.clock.advance(1000 * QUARTER_US);
    until(&home.ledger, "runs of the future", |runs| done(runs).contains(&quarter(1001))).await;
    home.clock.set(START_US + 3 * QUARTER_US);
    until(&home.ledger, "the run of the present", |runs| done(runs).contains(&quarter(2))).await;
    scheduler.stop().await;
}
