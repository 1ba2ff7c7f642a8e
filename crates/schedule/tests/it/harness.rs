//! A ledger in a directory of its own, a clock that the test sets, and work that does what the test says.

use affluent_schedule::{
    Clock, Interval, Ledger, Outcome, Pipeline, PipelineOptions, Reason, Request, RunContext, Runner,
    ScheduleOptions, Work, WorkError,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) const TASKS: &[&str] = &["ingest", "clean", "load", "publish"];
pub(crate) const SECOND_US: i64 = 1_000_000;
pub(crate) const QUARTER_US: i64 = 900 * SECOND_US;
/// 2026-11-22T00:00:00Z.
pub(crate) const START_US: i64 = 1_795_305_600 * SECOND_US;

/// The `index`th quarter of an hour after [`START_US`].
pub(crate) fn quarter(index: i64) -> Interval {
    let from = START_US + index * QUARTER_US;
    Interval::new(from, from + QUARTER_US).unwrap()
}

/// A clock that stands until it is set.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn at(now_us: i64) -> Self {
        HandClock(Arc::new(AtomicI64::new(now_us)))
    }

    pub(crate) fn set(&self, now_us: i64) {
        self.0.store(now_us, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, by_us: i64) {
        self.0.fetch_add(by_us, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::new(move || now.load(Ordering::SeqCst))
    }
}

/// A ledger, and how to open it a second time.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) clock: HandClock,
    pub(crate) ledger: Ledger,
}

impl Home {
    /// At [`START_US`] and two quarters of an hour.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = HandClock::at(START_US + 2 * QUARTER_US);
        let ledger = open(dir.path(), clock.clock()).await;
        Home { dir, clock, ledger }
    }

    pub(crate) fn runner(&self) -> Runner {
        Runner::new(self.ledger.clone(), options())
    }
}

pub(crate) async fn open(dir: &Path, clock: Clock) -> Ledger {
    Ledger::open(&dir.join("runs.db"), clock).await.unwrap()
}

/// Options whose pauses cost no time.
pub(crate) fn options() -> ScheduleOptions {
    ScheduleOptions {
        poll_ms: 10,
        retry_first_ms: 1,
        retry_max_ms: 2,
        rerun_s: 0,
        ..ScheduleOptions::default()
    }
}

pub(crate) fn pipeline_options() -> PipelineOptions {
    PipelineOptions { lock: String::new(), ..options().raw_to_dwh }
}

pub(crate) fn pipeline(work: Arc<dyn Work>) -> Pipeline {
    Pipeline::new("raw-to-dwh", TASKS, pipeline_options(), "UTC", work).unwrap()
}

pub(crate) fn request(interval: Interval) -> Request {
    Request { interval, only: None, fresh: false, reason: Reason::Manual, wait: Duration::ZERO }
}

/// What a task does the next time it is called.
#[derive(Clone)]
pub(crate) enum Act {
    Succeed(Outcome),
    Fail(WorkError),
    /// Never ends by itself; ends when it is told to.
    Hang,
}

/// Work that keeps a book: what was called, and what was committed under which key.
#[derive(Default)]
pub(crate) struct Scripted {
    script: Mutex<HashMap<String, Vec<Act>>>,
    pub(crate) calls: Mutex<Vec<(String, Interval)>>,
    /// Commit key to the fence of the run that committed it.
    pub(crate) committed: Mutex<HashMap<String, i64>>,
    /// Fires when a task hangs.
    pub(crate) hangs: CancellationToken,
}

impl Scripted {
    pub(crate) fn new(script: &[(&str, &[Act])]) -> Arc<Self> {
        let scripted = Scripted::default();
        for (task, acts) in script {
            let acts = acts.iter().rev().cloned().collect();
            scripted.script.lock().insert((*task).to_owned(), acts);
        }
        Arc::new(scripted)
    }

    /// The tasks that were called, in order.
    pub(crate) fn called(&self) -> Vec<String> {
        self.calls.lock().iter().map(|(task, _)| task.clone()).collect()
    }
}

#[async_trait]
impl Work for Scripted {
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        self.calls.lock().push((task.to_owned(), interval));
        let act = self.script.lock().get_mut(task).and_then(Vec::pop);
        match act {
            Some(Act::Fail(error)) => return Err(error),
            Some(Act::Succeed(outcome)) => return Ok(outcome),
            Some(Act::Hang) => {
                self.hangs.cancel();
                context.cancelled().cancelled().await;
                return Err(WorkError::passing("stopped"));
            }
            None => {}
        }
        context.check().await?;
        self.committed.lock().entry(context.commit_key().to_owned()).or_insert(context.fence());
        Ok(Outcome { rows_in: 10, rows_out: 9, ..Outcome::default() })
    }
}
