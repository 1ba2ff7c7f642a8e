//! `kill -9` at random moments and an abort at every failpoint that the sources name, under load:
//! after each, the next start is ready by itself and `verify` is exact.
//!
//! `AFFLUENT_SOAK_ROUNDS` sets the number of rounds, `AFFLUENT_SEED` repeats the moments of a run.

use crate::installation::{Installation, turn};
use crate::load::{Load, stir};
use affluent_model::names::COLLECTION_CLICKS;
use affluent_testkit::{Database, Postgres};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// `make kills` plays 200.
const ROUNDS: usize = 20;
/// Rounds on one installation: what it stores grows, and with it what `verify` has to compare.
const ROUNDS_OF_A_TRIAL: usize = 25;
/// What failpoints begin with that this installation does not pass: its lake is of tables, and nothing in it is
/// overwritten. `lake` kills at the first, `features_kill`, `score_kill`, `history_kill`, `batch_kill` and `batch_cluster` at theirs;
/// rows to learn from are made on demand.
const ELSEWHERE: &[&str] = &[
    "lake::json_",
    "lake::before_overwrite_files",
    "lake::after_overwrite_files",
    "features::",
    "score::",
    "schedule::",
    "batch::",
    "cluster::",
    "import::",
    "materialise::",
    "training::",
    "customers::",
    "erase::",
];
/// How long an armed failpoint may wait to be passed before it is armed for its first pass.
const PATIENCE: Duration = Duration::from_secs(8);
const PATIENCE_FIRST: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_by_kills_at_random_moments() {
    let mut left = rounds();
    while left > 0 {
        let mut trial = Trial::begin().await;
        let count = left.min(ROUNDS_OF_A_TRIAL);
        for _ in 0..count {
            trial.kill_at_a_random_moment().await;
            trial.recover().await;
        }
        trial.end().await;
        left -= count;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_by_a_kill_at_any_failpoint() {
    let names: Vec<String> = failpoints().into_iter().collect();
    assert!(!names.is_empty(), "the sources name no failpoint");
    // Each once, and in a soak each as often as there are rounds for it.
    let mut order: Vec<&String> = names.iter().cycle().take(rounds().max(names.len())).collect();
    while !order.is_empty() {
        let mut trial = Trial::begin().await;
        let rest = order.split_off(order.len().min(ROUNDS_OF_A_TRIAL.max(names.len())));
        order.shuffle(&mut trial.rng);
        for name in std::mem::replace(&mut order, rest) {
            trial.abort_at(name).await;
            trial.recover().await;
        }
        trial.end().await;
    }
}

pub(crate) fn rounds() -> usize {
    match std::env::var("AFFLUENT_SOAK_ROUNDS") {
        Ok(text) => text.parse().expect("AFFLUENT_SOAK_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

/// Every name given to `failpoint` in the sources of this workspace that this installation passes.
fn failpoints() -> BTreeSet<String> {
    chosen(|name| !ELSEWHERE.iter().any(|prefix| name.starts_with(prefix)))
}

/// Every such name that `is_ours` says is, and of these what `AFFLUENT_FAILPOINTS` asks for.
pub(crate) fn chosen(is_ours: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = BTreeSet::new();
    for member in std::fs::read_dir(crates).unwrap() {
        collect(&member.unwrap().path().join("src"), &mut names);
    }
    names.retain(|name| is_ours(name));
    if let Ok(only) = std::env::var("AFFLUENT_FAILPOINTS") {
        names.retain(|name| only.split(',').any(|wanted| name.contains(wanted)));
    }
    names
}

fn collect(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // The name may be on the next line.
            for rest in text.split("failpoint(").skip(1) {
                let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
                names.extend(name.map(|(name, _)| name.to_owned()).filter(|name| name.contains("::")));
            }
        }
    }
}

/// Every acknowledged click, and none twice; a click that was not acknowledged may be there too.
pub(crate) async fn clicks_are_staged_once(installation: &Installation, acknowledged: &[String]) {
    let deadline = Instant::now() + PATIENCE_FIRST;
    loop {
        let staged = installation.events_in_lake("staged", COLLECTION_CLICKS).await;
        let distinct: BTreeSet<String> = staged.iter().map(uuid::Uuid::to_string).collect();
        assert_eq!(staged.len(), distinct.len(), "some clicks are staged twice");
        let missing = acknowledged.iter().filter(|id| !distinct.contains(*id)).count();
        if missing == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{missing} acknowledged clicks are not staged");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// An installation, its load, and what has been done to it.
struct Trial {
    installation: Installation,
    database: Database,
    load: Load,
    rng: SmallRng,
    round: u32,
    what: String,
    reached: BTreeMap<String, u32>,
    /// Clicks that the collector has acknowledged.
    acknowledged: Vec<String>,
    /// How many of them were looked for in the document store.
    looked_for: usize,
    slowest_start: Duration,
    slowest_verify: Duration,
    begun: Instant,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Trial {
    async fn begin() -> Self {
        let turn = turn().await;
        let seed = match std::env::var("AFFLUENT_SEED") {
            Ok(text) => text.parse().expect("AFFLUENT_SEED is a number"),
            Err(_) => rand::random::<u32>().into(),
        };
        eprintln!("AFFLUENT_SEED={seed}");
        let database = Postgres::shared().fresh_database().await.unwrap();
        let load = Load::start(&database, 300, seed).await;
        let installation = Installation::new(&database, "");
        Trial {
            installation,
            database,
            load,
            rng: SmallRng::seed_from_u64(seed),
            round: 0,
            what: String::new(),
            reached: BTreeMap::new(),
            acknowledged: Vec::new(),
            looked_for: 0,
            slowest_start: Duration::ZERO,
            slowest_verify: Duration::ZERO,
            begun: Instant::now(),
            _turn: turn,
        }
    }

    /// Half of the moments lie before readiness, where stores recover from the kill before.
    async fn kill_at_a_random_moment(&mut self) {
        self.round += 1;
        self.installation.start(None);
        let early = self.rng.random_bool(0.5);
        if !early {
            self.installation.wait_ready().await;
            stir(&self.database, self.round, false).await;
        }
        let wait = Duration::from_millis(self.rng.random_range(0..1_500));
        tokio::time::sleep(wait).await;
        self.installation.kill().await;
        let from = if early { "the start" } else { "readiness" };
        self.what = format!("killed {} ms after {from}", wait.as_millis());
    }

    async fn abort_at(&mut self, name: &str) {
        self.round += 1;
        let passes = self.rng.random_range(0..4);
        for (passes, patience) in [(passes, PATIENCE), (0, PATIENCE_FIRST)] {
            self.installation.start(Some(&format!("{name}={passes}*off->return")));
            if let Some(status) = self.provoke(name, patience).await {
                let expected = format!("name={name:?}");
                let said = self.installation.log();
                let line =
                    said.lines().rev().take(200).find(|line| line.contains("failpoint aborts the process"));
                assert!(
                    line.is_some_and(|line| line.contains(&expected) || line.contains(name)),
                    "{name}: ended with {status}, not at the failpoint\n{}",
                    self.installation.tail()
                );
                *self.reached.entry(name.to_owned()).or_default() += 1;
                self.what = format!("aborted at {name} after {passes} passes");
                return;
            }
            self.installation.kill().await;
        }
        panic!("the failpoint {name} is never reached\n{}", self.installation.tail());
    }

    /// Makes everything happen until the process ends; absent when it does not.
    async fn provoke(&mut self, name: &str, patience: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + patience;
        let mut turn = self.round;
        // Only a table that is read for the first time passes these.
        let fresh = name.contains("chunk") || name.contains("snapshot");
        while Instant::now() < deadline {
            stir(&self.database, turn, fresh).await;
            turn += 1;
            let id = uuid::Uuid::now_v7().to_string();
            if self.installation.click(&id).await {
                self.acknowledged.push(id);
            }
            if let Some(status) = self.installation.wait_end(Duration::from_secs(2)).await {
                return Some(status);
            }
        }
        None
    }

    /// The next start needs no help, and nothing is missing or twice.
    async fn recover(&mut self) {
        self.installation.start(None);
        let ready = self.installation.wait_ready().await;
        let verified = self.installation.verify().await;
        for id in &self.acknowledged[self.looked_for..] {
            let page = format!("/v1/documents/clickstream_events/{id}");
            self.installation.wait_page(&page, PATIENCE_FIRST, |status, _| status == 200).await;
        }
        self.looked_for = self.acknowledged.len();
        eprintln!(
            "round {}: {}; ready after {} ms, verified in {} ms, {} changes, {} MB resident",
            self.round,
            self.what,
            ready.as_millis(),
            verified.as_millis(),
            self.load.changes(),
            self.installation.resident() / 1_000_000,
        );
        self.slowest_start = self.slowest_start.max(ready);
        self.slowest_verify = self.slowest_verify.max(verified);
        self.installation.kill().await;
    }

    async fn end(mut self) {
        let changes = self.load.stop().await;
        self.installation.start(None);
        self.installation.wait_ready().await;
        self.installation.verify().await;
        clicks_are_staged_once(&self.installation, &self.acknowledged).await;
        eprintln!(
            "{} rounds in {:?}, {changes} changes; slowest start {:?}, slowest verify {:?}; failpoints {:?}",
            self.round,
            self.begun.elapsed(),
            self.slowest_start,
            self.slowest_verify,
            self.reached,
        );
    }
}
