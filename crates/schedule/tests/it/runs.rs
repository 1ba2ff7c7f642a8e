//! Runs: in order, tried again, going on where they failed, stopped, and cut in a range.

use crate::harness::{
    Act, Home, QUARTER_US, START_US, Scripted, TASKS, open, options, pipeline, pipeline_options, quarter,
    request,
};
use affluent_schedule::{
    AlertKind, Backfill, BackfillError, History, Interval, Outcome, Pipeline, PipelineOptions, Reason,
    Request, RunEnd, RunError, RunState, Runner, WorkError,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn passing() -> Act {
    Act::Fail(WorkError::passing("the disk is away"))
}

fn lasting() -> Act {
    Act::Fail(WorkError::lasting("a column is missing"))
}

fn skipped() -> Act {
    Act::Succeed(Outcome { skipped: true, ..Outcome::default() })
}

async fn run(runner: &Runner, work: &Arc<Scripted>, request: &Request) -> RunEnd {
    runner.run(&pipeline(work.clone()), request, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn tasks_run_in_order_and_a_done_interval_is_left_alone() {
    let home = Home::new().await;
    let work = Scripted::new(&[]);
    let request = request(quarter(0));
    assert_eq!(run(&home.runner(), &work, &request).await, RunEnd::Succeeded { run: 1 });
    assert_eq!(work.called(), TASKS);
    assert_eq!(run(&home.runner(), &work, &request).await, RunEnd::Done);
    assert_eq!(work.called(), TASKS);
    let status = home.ledger.status(10).await.unwrap();
    assert_eq!(status.pipelines[0].newest_done, Some(quarter(0)));
    let last = status.pipelines[0].last.as_ref().unwrap();
    assert_eq!(last.tasks.iter().map(|task| (task.rows_in, task.rows_out)).collect::<Vec<_>>(), [(10, 9); 4]);
    // Asked to, it does all of it again, and commits again.
    assert_eq!(work.committed.lock().len(), 4);
    let again = Request { fresh: true, ..request.clone() };
    assert_eq!(run(&home.runner(), &work, &again).await, RunEnd::Succeeded { run: 2 });
    assert_eq!(work.committed.lock().len(), 8);
}

/// A failure at every task, of either kind, is followed by the rest and by nothing twice.
#[tokio::test]
async fn a_run_goes_on_at_the_task_that_failed() {
    for (index, failing) in TASKS.iter().enumerate() {
        let home = Home::new().await;
        let work = Scripted::new(&[(failing, &[passing(), passing(), lasting()])]);
        let end = run(&home.runner(), &work, &request(quarter(0))).await;
        let RunEnd::Failed { run: 1, task, error } = end else { panic!("{end:?}") };
        assert_eq!((task.as_str(), error.as_str()), (*failing, "a column is missing"));
        // Three attempts at the failing one.
        assert_eq!(work.called().len(), index + 3, "{failing}");
        let record = home.ledger.run(1).await.unwrap().unwrap();
        assert_eq!(record.state, RunState::Failed);
        assert_eq!(record.tasks.last().unwrap().attempt, 3);
        work.calls.lock().clear();
        assert_eq!(run(&home.runner(), &work, &request(quarter(0))).await, RunEnd::Succeeded { run: 2 });
        assert_eq!(work.called(), TASKS[index..]);
        assert_eq!(work.committed.lock().len(), TASKS.len());
    }
}

#[tokio::test]
async fn attempts_are_bounded_and_what_lasts_is_not_tried_again() {
    let home = Home::new().await;
    let work = Scripted::new(&[("ingest", &[passing(), passing(), passing(), passing()])]);
    let end = run(&home.runner(), &work, &request(quarter(0))).await;
    assert!(matches!(end, RunEnd::Failed { .. }), "{end:?}");
    assert_eq!(work.called().len(), 3);
    let work = Scripted::new(&[("ingest", &[lasting()])]);
    run(&home.runner(), &work, &request(quarter(1))).await;
    assert_eq!(work.called().len(), 1);
}

#[tokio::test]
async fn one_task_alone_as_another_scheduler_asks() {
    let home = Home::new().await;
    let work = Scripted::new(&[]);
    let runner = home.runner();
    for task in TASKS {
        let only = Request { only: Some((*task).to_owned()), ..request(quarter(0)) };
        assert!(matches!(run(&runner, &work, &only).await, RunEnd::Succeeded { .. }));
    }
    assert_eq!(work.called(), TASKS);
    // Task by task the interval was done.
    assert_eq!(home.ledger.done_to("raw-to-dwh").await.unwrap(), Some(quarter(0).to_us()));
    assert_eq!(run(&runner, &work, &request(quarter(0))).await, RunEnd::Done);
    // One of them again: what follows is due again.
    let only = Request { only: Some("clean".to_owned()), ..request(quarter(0)) };
    run(&runner, &work, &only).await;
    work.calls.lock().clear();
    run(&runner, &work, &request(quarter(0))).await;
    assert_eq!(work.called(), ["load", "publish"]);
    let unknown = Request { only: Some("lode".to_owned()), ..request(quarter(0)) };
    let error = runner.run(&pipeline(work), &unknown, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, RunError::Task { .. }) && error.to_string().contains("load"), "{error}");
}

#[tokio::test]
async fn nothing_to_do_is_told_apart() {
    let home = Home::new().await;
    let skips = [skipped()];
    let all: Vec<(&str, &[Act])> = TASKS.iter().map(|task| (*task, &skips[..])).collect();
    let work = Scripted::new(&all);
    assert_eq!(run(&home.runner(), &work, &request(quarter(0))).await, RunEnd::Skipped { run: 1 });
    let work = Scripted::new(&[("ingest", &[skipped()])]);
    assert_eq!(run(&home.runner(), &work, &request(quarter(1))).await, RunEnd::Succeeded { run: 2 });
}

#[tokio::test]
async fn shutdown_leaves_the_ledger_right() {
    let home = Home::new().await;
    let work = Scripted::new(&[("clean", &[Act::Hang])]);
    let shutdown = CancellationToken::new();
    let (pipeline, request) = (pipeline(work.clone()), request(quarter(0)));
    let runner = home.runner();
    let (end, ()) = tokio::join!(runner.run(&pipeline, &request, &shutdown), async {
        work.hangs.cancelled().await;
        shutdown.cancel();
    });
    assert_eq!(end.unwrap(), RunEnd::Cancelled { run: 1 });
    let record = home.ledger.run(1).await.unwrap().unwrap();
    assert_eq!(record.state, RunState::Cancelled);
    assert_eq!(
        record.tasks.iter().map(|task| task.state).collect::<Vec<_>>(),
        [RunState::Succeeded, RunState::Cancelled]
    );
    // The lease is free at once, and the next run goes on there.
    work.calls.lock().clear();
    assert_eq!(run(&runner, &work, &request).await, RunEnd::Succeeded { run: 2 });
    assert_eq!(work.called(), TASKS[1..]);
}

#[tokio::test]
async fn a_task_beyond_its_limit_is_stopped_and_a_slow_one_raises_an_alert() {
    let home = Home::new().await;
    let work = Scripted::new(&[("load", &[Act::Hang])]);
    let limits = PipelineOptions { task_slow_s: 1, task_limit_s: 2, ..pipeline_options() };
    let pipeline = Pipeline::new("raw-to-dwh", TASKS, limits, "UTC", work.clone()).unwrap();
    let end = home.runner().run(&pipeline, &request(quarter(0)), &CancellationToken::new()).await.unwrap();
    assert_eq!(end, RunEnd::Succeeded { run: 1 });
    let record = home.ledger.run(1).await.unwrap().unwrap();
    let stopped = record.tasks.iter().find(|task| task.task == "load").unwrap();
    assert_eq!(stopped.state, RunState::Failed);
    assert!(stopped.error.as_ref().unwrap().contains("task_limit_s = 2"), "{stopped:?}");
    let alerts = home.ledger.alerts(10).await.unwrap();
    let slow = alerts.iter().find(|alert| alert.task.as_deref() == Some("load")).unwrap();
    assert_eq!((slow.kind, slow.run), (AlertKind::Slow, Some(1)));
}

/// The process stood still so long that another one took its run over: it notices before it commits.
#[tokio::test]
async fn a_run_that_was_taken_over_commits_and_writes_nothing() {
    let home = Home::new().await;
    let work = Scripted::new(&[("clean", &[Act::Hang])]);
    let (pipeline, request) = (pipeline(work.clone()), request(quarter(0)));
    let (first, shutdown) = (home.runner(), CancellationToken::new());
    let second = Runner::new(open(home.dir.path(), home.clock.clock()).await, options());
    let (end, ()) = tokio::join!(first.run(&pipeline, &request, &shutdown), async {
        work.hangs.cancelled().await;
        home.clock.advance(31_000_000);
        let end = run(&second, &work, &request).await;
        assert_eq!(end, RunEnd::Succeeded { run: 2 });
        shutdown.cancel();
    });
    assert_eq!(end.unwrap(), RunEnd::Lost { run: 1 });
    let runs = home.ledger.history(&History { limit: 9, ..History::default() }).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Succeeded, RunState::Lost]);
    // What the first had done was not done again.
    assert_eq!(runs[0].tasks.iter().map(|task| task.task.as_str()).collect::<Vec<_>>(), TASKS[1..]);
}

#[tokio::test]
async fn a_range_is_done_again_some_at_a_time() {
    let home = Home::new().await;
    let runner = home.runner();
    let work = Scripted::new(&[("load", &[lasting()])]);
    let pipeline = pipeline(work.clone());
    let range = Interval::new(START_US - 1, START_US + 8 * QUARTER_US + 1).unwrap();
    let mut backfill = Backfill { range, parallel: 3, fresh: false, wait: Duration::ZERO };
    let report = runner.backfill(&pipeline, &backfill, &CancellationToken::new()).await.unwrap();
    assert_eq!((report.intervals, report.ended.len(), report.is_done()), (8, 8, false));
    assert!(report.ended.iter().map(|(interval, _)| *interval).eq((0..8).map(quarter)));
    // Again, it does what is left.
    work.calls.lock().clear();
    let report = runner.backfill(&pipeline, &backfill, &CancellationToken::new()).await.unwrap();
    assert!(report.is_done(), "{report:?}");
    assert_eq!(work.called(), ["load", "publish"]);
    backfill.parallel = 0;
    let error = runner.backfill(&pipeline, &backfill, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, BackfillError::None), "{error}");
    let locked = PipelineOptions { lock: "warehouse".to_owned(), ..pipeline_options() };
    let locked = Pipeline::new("raw-to-dwh", TASKS, locked, "UTC", work).unwrap();
    backfill.parallel = 2;
    let error = runner.backfill(&locked, &backfill, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, BackfillError::Locked { .. }), "{error}");
}

/// Two backfills of one range at once: every interval is done once.
#[tokio::test(flavor = "multi_thread")]
async fn two_backfills_share_a_range() {
    let home = Home::new().await;
    let work = Scripted::new(&[]);
    let range = Interval::new(START_US, START_US + 20 * QUARTER_US).unwrap();
    let backfill = Backfill { range, parallel: 4, fresh: false, wait: Duration::from_secs(60) };
    let (first, second) =
        (home.runner(), Runner::new(open(home.dir.path(), home.clock.clock()).await, options()));
    let (pipeline, shutdown) = (pipeline(work.clone()), CancellationToken::new());
    let (one, two) = tokio::join!(
        first.backfill(&pipeline, &backfill, &shutdown),
        second.backfill(&pipeline, &backfill, &shutdown)
    );
    assert!(one.unwrap().is_done() && two.unwrap().is_done());
    assert_eq!(work.calls.lock().len(), 20 * TASKS.len());
    let runs = home.ledger.history(&History { limit: 99, ..History::default() }).await.unwrap();
    assert_eq!(runs.len(), 20);
    assert!(runs.iter().all(|run| run.reason == Reason::Backfill && run.state == RunState::Succeeded));
}
