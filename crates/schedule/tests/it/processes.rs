//! Two processes on one ledger: one is killed or stopped in the middle of a run, the other takes the run over.

use crate::harness::{Scripted, TASKS, options, pipeline, quarter, request};
use affluent_schedule::{
    Clock, History, Interval, Ledger, Outcome, RunContext, RunEnd, RunState, Runner, ScheduleOptions, Work,
    WorkError,
};
use async_trait::async_trait;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const HOME: &str = "AFFLUENT_TEST_CHILD_LEDGER";
const FAILPOINTS: &str = "FAILPOINTS";

/// How far the clock of a child is ahead, in seconds.
const AHEAD: &str = "AFFLUENT_TEST_CHILD_AHEAD_S";
const HOUR_S: i64 = 3600;

/// A lease that is renewed every three seconds, and holds on a machine that is busy for six.
fn leased() -> ScheduleOptions {
    ScheduleOptions { lease_s: 9, ..options() }
}

/// The clock of the machine, put forward: for it, leases given before have run out.
fn ahead(seconds: i64) -> Clock {
    Clock::new(move || Clock::system().now_us() + seconds * 1_000_000)
}

/// Reaches `load` and stays there until the file `go` appears; then checks its lease and commits, which
/// is to write the file `committed`.
struct Stuck(PathBuf);

#[async_trait]
impl Work for Stuck {
    async fn run(&self, task: &str, _: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        if task == "load" && std::env::var_os(FAILPOINTS).is_none() {
            say("reached load");
            while !self.0.join("go").exists() {
                tokio::task::yield_now().await;
            }
            context.check().await?;
            std::fs::write(self.0.join("committed"), context.run().to_string())
                .map_err(WorkError::lasting)?;
        }
        // A store that commits once under a key: the key is the name of a file.
        let key = self.0.join(format!("commit {}", context.commit_key().replace('/', " ")));
        match std::fs::File::create_new(key) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(WorkError::lasting(error)),
        }
        Ok(Outcome::default())
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "CHILD {line}").and_then(|()| out.flush()).unwrap();
}

/// Not a test by itself: the process that the tests below start and end.
#[tokio::test]
async fn child_that_runs_an_interval() {
    let Some(home) = std::env::var_os(HOME) else { return };
    affluent_telemetry::arm_failpoints();
    let home = PathBuf::from(home);
    let seconds = std::env::var(AHEAD).map_or(0, |seconds| seconds.parse().unwrap());
    let ledger = Ledger::open(&home.join("runs.db"), ahead(seconds)).await.unwrap();
    let pipeline = pipeline(Arc::new(Stuck(home)));
    let runner = Runner::new(ledger, leased());
    let request = request(quarter(0));
    let end = runner.run(&pipeline, &request, &CancellationToken::new()).await.unwrap();
    say(&format!("ended {end:?}"));
}

struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child_that_runs_an_interval", "--nocapture"])
            .env(HOME, home)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }

    /// The next thing that the child says.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child ended without a word");
            if let Some((_, said)) = line.trim_end().split_once("CHILD ") {
                return said.to_owned();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; either way it is gone and its entry collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the interval, by a clock that is ahead by so many hours.
async fn take_over(home: &Path, work: &Arc<Scripted>, hours: i64) -> (Ledger, RunEnd) {
    let ledger = Ledger::open(&home.join("runs.db"), ahead(hours * HOUR_S)).await.unwrap();
    let runner = Runner::new(ledger.clone(), leased());
    let run = runner.run(&pipeline(work.clone()), &request(quarter(0)), &CancellationToken::new()).await;
    (ledger, run.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_of_a_killed_process_is_lost_and_done_again() {
    let home = tempfile::tempdir().unwrap();
    let mut child = Running::start(home.path());
    assert_eq!(child.hear(), "reached load");
    // While it lives, it renews its lease, and nobody gets in.
    let mut expiries = Vec::new();
    while expiries.first() == expiries.last() || expiries.is_empty() {
        let (_, end) = take_over(home.path(), &Scripted::new(&[]), 0).await;
        let RunEnd::Busy(holder) = end else { panic!("{end:?}") };
        assert_eq!(holder.pid, child.child.id());
        expiries.push(holder.expires_us);
    }
    assert!(expiries.is_sorted());
    child.signal("-KILL");
    let work = Scripted::new(&[]);
    let (ledger, end) = take_over(home.path(), &work, 1).await;
    assert_eq!(end, RunEnd::Succeeded { run: 2 });
    assert_eq!(work.called(), TASKS[2..], "what the dead one had done was done again");
    let lost = ledger.run(1).await.unwrap().unwrap();
    assert_eq!((lost.state, lost.pid), (RunState::Lost, child.child.id()));
    assert_eq!(lost.tasks.last().unwrap().state, RunState::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_notices_that_its_run_was_taken_over_and_does_not_commit() {
    let home = tempfile::tempdir().unwrap();
    let mut child = Running::start(home.path());
    assert_eq!(child.hear(), "reached load");
    child.signal("-STOP");
    let (ledger, end) = take_over(home.path(), &Scripted::new(&[]), 1).await;
    assert_eq!(end, RunEnd::Succeeded { run: 2 });
    std::fs::write(home.path().join("go"), "").unwrap();
    child.signal("-CONT");
    assert_eq!(child.hear(), "ended Lost { run: 1 }");
    assert!(!home.path().join("committed").exists());
    assert_eq!(ledger.run(1).await.unwrap().unwrap().state, RunState::Lost);
    assert_eq!(ledger.run(2).await.unwrap().unwrap().state, RunState::Succeeded);
}

/// Many processes open a ledger that is not there yet and want the same interval: one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn processes_race_for_a_lease() {
    for _ in 0..3 {
        let home = tempfile::tempdir().unwrap();
        let mut children: Vec<Running> = (0..4).map(|_| Running::start(home.path())).collect();
        std::fs::write(home.path().join("go"), "").unwrap();
        let mut winners = 0;
        for child in &mut children {
            match child.hear().as_str() {
                "reached load" => {
                    winners += 1;
                    assert_eq!(child.hear(), "ended Succeeded { run: 1 }");
                }
                other => assert!(other.starts_with("ended Busy") || other == "ended Done", "{other}"),
            }
        }
        assert_eq!(winners, 1);
        assert_eq!(std::fs::read_to_string(home.path().join("committed")).unwrap(), "1");
    }
}

/// Killed between any two steps of a run and started again, it does the rest, and commits each task once.
#[tokio::test(flavor = "multi_thread")]
async fn an_interval_is_done_once_wherever_its_process_dies() {
    let home = tempfile::tempdir().unwrap();
    let points = [
        ("task_after_begin", 0),
        ("task_before_end", 0),
        ("task_after_end", 1),
        ("task_before_end", 1),
        ("run_before_end", 0),
        ("run_after_end", 0),
    ];
    for (hours, (point, passes)) in (1..).zip(points) {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child_that_runs_an_interval", "--nocapture"])
            .env(HOME, home.path())
            .env(AHEAD, (hours * HOUR_S).to_string())
            .env(FAILPOINTS, format!("schedule::{point}={passes}*off->return"))
            .output()
            .unwrap();
        let (said, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!error.contains("panicked"), "{point}: {error}");
        // The last one finds that all tasks are done, and only says so.
        let died = !output.status.success();
        assert!(died || (point == "run_after_end" && said.contains("ended Done")), "{point}: {said}");
    }
    let (ledger, end) = take_over(home.path(), &Scripted::new(&[]), 99).await;
    assert_eq!(end, RunEnd::Done);
    assert_eq!(ledger.done_to("raw-to-dwh").await.unwrap(), Some(quarter(0).to_us()));
    let runs = ledger.history(&History { limit: 99, ..History::default() }).await.unwrap();
    assert!(runs.iter().all(|run| run.state == RunState::Lost), "{runs:?}");
    let entries = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let commits = entries.filter(|name| name.to_string_lossy().starts_with("commit ")).count();
    assert_eq!(commits, TASKS.len());
}
