//! Any interleaving of two processes, step by step: takes, commits, reports, pauses, deaths, and a clock that
//! jumps. Each interval takes effect once, and no commit of a run comes after one of a later run.

use super::{Begun, Claim, Clock, History, Ledger, Reason, RunState, Scope, Started, TaskEnd, TaskRecord};
use crate::interval::Interval;
use proptest::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const TASKS: &[&str] = &["ingest", "clean", "load"];
const SECOND_US: i64 = 1_000_000;
const INTERVALS: i64 = 2;

/// One step of one of the two processes, or of the clock.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin {
        who: usize,
        interval: i64,
    },
    /// Commits if the ledger still says so, then reports the task done.
    Commit {
        who: usize,
    },
    /// As commit, but asked the ledger long ago and writes only now.
    BlindCommit {
        who: usize,
    },
    Renew {
        who: usize,
    },
    /// Forgets everything, as after kill -9.
    Die {
        who: usize,
    },
    Clock {
        seconds: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..2usize;
    let step = prop_oneof![
        4 => (who(), 0..INTERVALS).prop_map(|(who, interval)| Step::Begin { who, interval }),
        4 => who().prop_map(|who| Step::Commit { who }),
        4 => who().prop_map(|who| Step::BlindCommit { who }),
        1 => who().prop_map(|who| Step::Renew { who }),
        1 => who().prop_map(|who| Step::Die { who }),
        2 => (-40..80i64).prop_map(|seconds| Step::Clock { seconds }),
        // As long as a lease: time enough to take over from a process that pauses.
        2 => Just(Step::Clock { seconds: 30 }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the tasks write to, as a store does that follows the contract of `Work`: once for a key, and nothing of a
/// run that is older than one it has seen.
#[derive(Default)]
struct Store {
    fence: HashMap<i64, i64>,
    effects: HashMap<(i64, String), i64>,
    accepted: Vec<(i64, i64)>,
}

impl Store {
    fn commit(&mut self, interval: i64, task: &str, run: i64) -> bool {
        let fence = self.fence.entry(interval).or_insert(run);
        if run < *fence {
            return false;
        }
        *fence = run;
        self.accepted.push((interval, run));
        // A repeat under the same key is an answer, not a second effect.
        self.effects.entry((interval, task.to_owned())).or_insert(run);
        true
    }
}

/// A process, its run and how far it is in it.
struct Process {
    ledger: Ledger,
    run: Option<(i64, Started, usize)>,
}

fn quarter(index: i64) -> Interval {
    Interval::new(index * 900 * SECOND_US, (index + 1) * 900 * SECOND_US).unwrap()
}

async fn open(dir: &Path, now: &Arc<AtomicI64>) -> Ledger {
    let now = Arc::clone(now);
    Ledger::open(&dir.join("runs.db"), Clock::new(move || now.load(Ordering::SeqCst))).await.unwrap()
}

fn claim(interval: i64) -> Claim<'static> {
    Claim {
        pipeline: "raw-to-dwh",
        scope: &Scope::Intervals,
        interval: quarter(interval),
        tasks: TASKS,
        only: None,
        fresh: false,
        reason: Reason::Schedule,
        attempts_max: u32::MAX,
        lease: Duration::from_secs(30),
    }
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_000_000 * SECOND_US));
    let mut processes = Vec::new();
    for _ in 0..2 {
        processes.push(Process { ledger: open(dir.path(), &clock).await, run: None });
    }
    let mut store = Store::default();
    for step in steps {
        match step {
            Step::Clock { seconds } => {
                clock.fetch_add(seconds * SECOND_US, Ordering::SeqCst);
            }
            Step::Die { who } => processes[who].run = None,
            Step::Renew { who } => {
                if let Some((_, started, _)) = &processes[who].run
                    && !processes[who].ledger.renew(started.run).await.unwrap()
                {
                    processes[who].run = None;
                }
            }
            Step::Begin { who, interval } => {
                if processes[who].run.is_none()
                    && let Begun::Started(started) =
                        processes[who].ledger.begin(&claim(interval)).await.unwrap()
                {
                    let first = started.first;
                    processes[who].run = Some((interval, started, first));
                }
            }
            Step::Commit { who } => advance(&mut processes[who], &mut store, false).await,
            Step::BlindCommit { who } => advance(&mut processes[who], &mut store, true).await,
        }
    }
    // Left alone, every interval gets done.
    clock.fetch_add(1000 * SECOND_US, Ordering::SeqCst);
    let mut last = Process { ledger: open(dir.path(), &clock).await, run: None };
    for interval in 0..INTERVALS {
        if let Begun::Started(started) = last.ledger.begin(&claim(interval)).await.unwrap() {
            let first = started.first;
            last.run = Some((interval, started, first));
            while last.run.is_some() {
                advance(&mut last, &mut store, false).await;
            }
        }
        prop_assert_eq!(last.ledger.begin(&claim(interval)).await.unwrap(), Begun::Done);
    }
    let runs = last.ledger.history(&History { limit: 999, ..History::default() }).await.unwrap();
    for interval in 0..INTERVALS {
        for task in TASKS {
            prop_assert!(
                store.effects.contains_key(&(interval, (*task).to_owned())),
                "{} of {}",
                task,
                interval
            );
        }
        // Each task was reported done once, by one run; what a lost run says is not written down.
        let of_interval = || runs.iter().filter(|run| run.interval == quarter(interval));
        for task in TASKS {
            let done = |record: &&TaskRecord| record.task == *task && record.state == RunState::Succeeded;
            let count = of_interval().flat_map(|run| &run.tasks).filter(done).count();
            prop_assert_eq!(count, 1, "{} of {}: {:?}", task, interval, runs);
        }
        prop_assert!(of_interval().filter(|run| run.state == RunState::Succeeded).count() <= 1, "{:?}", runs);
        let order: Vec<i64> =
            store.accepted.iter().filter(|(of, _)| *of == interval).map(|(_, run)| *run).collect();
        prop_assert!(order.is_sorted(), "interval {}: {:?}", interval, order);
    }
    Ok(())
}

/// The next task of the process's run: commit, report, and at the end the run's own end.
async fn advance(process: &mut Process, store: &mut Store, blind: bool) {
    let Some((interval, started, task)) = process.run.clone() else { return };
    let run = started.run;
    if !blind && process.ledger.check(run).await.is_err() {
        process.run = None;
        return;
    }
    let name = TASKS[task];
    let accepted = store.commit(interval, name, run);
    if !accepted || !report(&process.ledger, run, interval, task).await {
        process.run = None;
        return;
    }
    process.run = Some((interval, started, task + 1)).filter(|_| task + 1 < TASKS.len());
}

/// Writes down that the task is done, and after the last one the run. `false`: the ledger refused.
async fn report(ledger: &Ledger, run: i64, interval: i64, task: usize) -> bool {
    let Ok(row) = ledger.task_begins(run, TASKS[task], 1).await else { return false };
    let end = TaskEnd { state: RunState::Succeeded, rows_in: 1, rows_out: 1, notes: None, error: None };
    if ledger.task_ends(run, row.id, end).await.is_err() {
        return false;
    }
    let of = ("raw-to-dwh", quarter(interval));
    task + 1 < TASKS.len() || ledger.run_ends(run, of, TASKS, RunState::Succeeded, None).await.is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_interval_takes_effect_once(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(steps))?;
    }
}
