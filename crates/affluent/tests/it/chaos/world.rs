//! An installation in pieces: every role that can be is a process of its own, its database and its bus lie behind
//! proxies, its disk has an end. What goes wrong is done here; when, is the plan's.

use super::plan::{Able, Fault, Link, Part};
use crate::broker::Broker;
use crate::disk::Disk;
use crate::installation::Installation;
use crate::load::Load;
use crate::score_kill::RULES;
use affluent_testkit::{Condition, Database, Postgres, PostgresOptions, Proxy};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::DirEntry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// Row changes a second.
const RATE: u32 = 150;
/// Room for data, and for what may not be removed yet: to begin with, and for each second.
const DISK_MB: (u64, u64) = (512, 5);
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// A process that gives up is started again, as a service manager does, after so long; beyond so many times nobody would
/// believe in it.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const GIVEN_UP_MAX: u32 = 60;
/// Names the binary of the next version, to which a rolling restart changes.
const NEXT_BINARY: &str = "AFFLUENT_SOAK_NEXT_BINARY";

/// Names the library that gives a process another clock; else it is looked for where Debian and Ubuntu have it.
const FAKETIME: &str = "AFFLUENT_TEST_FAKETIME";

/// What the processes are to each other, in the order in which they are dropped.
pub(super) struct World {
    /// All but the broker and the one with the stores.
    parts: BTreeMap<Part, Installation>,
    broker: Broker,
    disk: Disk,
    /// The process with the stores; also what is asked and verified.
    pub(super) stores: Installation,
    /// Until it is stopped.
    load: Option<Load>,
    database_link: Proxy,
    /// None where the broker tells its clients another address, which no proxy stands at.
    bus_link: Option<Proxy>,
    pub(super) database: Database,
    cluster: Postgres,
    /// What gives a process another clock, where it is installed.
    faketime: Option<PathBuf>,
    /// Those that are down on purpose.
    down: BTreeSet<Part>,
    /// When those that gave up were started again.
    restarted: BTreeMap<Part, Instant>,
    /// How often each gave up.
    pub(super) given_up: BTreeMap<Part, u32>,
    _rules: NamedTempFile,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn faketime() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(FAKETIME) {
        return Some(named.into());
    }
    let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten();
    let at = |folder: DirEntry| folder.path().join("faketime/libfaketime.so.1");
    libraries.filter_map(Result::ok).map(at).find(|library| library.exists())
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

impl World {
    /// Everything is started; nothing is waited for.
    pub(super) async fn start(seed: u64, time: Duration) -> Self {
        let cluster = Postgres::start(PostgresOptions::default()).expect("PostgreSQL, see `make setup`");
        let database = cluster.fresh_database().await.unwrap();
        let load = Load::start(&database, RATE, seed).await;
        let database_link = Proxy::start(local(cluster.port())).await.unwrap();
        let (direct, proxied) = (cluster.port(), database_link.address().port());
        let url = database.url.replace(&format!(":{direct}/"), &format!(":{proxied}/"));
        let seen = Database { port: proxied, url, ..database.clone() };
        let (disk, mut stores) = Disk::make(&seen, DISK_MB.0 + DISK_MB.1 * time.as_secs());

        let bus_link = match stores.kafka() {
            Some(_) => None,
            None => Some(Proxy::start(local(port_of(&stores.bootstrap()))).await.unwrap()),
        };
        if let Some(link) = &bus_link {
            let address = link.address().to_string();
            stores.set("broker.advertised", Some(&address));
            stores.set("bus.bootstrap_servers", Some(&address));
            // A process that comes back does not wait for its own session to end.
            for sink in ["sink_documents", "sink_events", "sink_lake"] {
                stores.set(&format!("{sink}.instance_id"), Some(sink));
            }
        }
        let rules = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(rules.path(), RULES).unwrap();
        stores.set("score.serving.rules", Some(&rules.path().display().to_string()));
        stores.set("features.stream.snapshot_interval_s", Some("2"));

        let mut world = World {
            parts: BTreeMap::new(),
            broker: Broker::of(&stores),
            disk,
            stores,
            load: Some(load),
            database_link,
            bus_link,
            database,
            cluster,
            faketime: faketime(),
            down: BTreeSet::new(),
            restarted: BTreeMap::new(),
            given_up: BTreeMap::new(),
            _rules: rules,
        };
        world.broker.start();
        for part in Part::OURS {
            world.make(part);
            world.run(part);
        }
        world
    }

    /// Nothing is paid any more; the row changes until then.
    pub(super) async fn stop_load(&mut self) -> u64 {
        match self.load.take() {
            Some(load) => load.stop().await,
            None => 0,
        }
    }

    pub(super) fn able(&self) -> Able {
        Able { broker: self.broker_is_ours(), clock: self.faketime.is_some() }
    }

    /// Whether the broker is one of our processes.
    fn broker_is_ours(&self) -> bool {
        self.bus_link.is_some()
    }

    fn make(&mut self, part: Part) {
        if part == Part::Stores || part == Part::Broker {
            return;
        }
        let mut process = self.stores.beside_with_http();
        // Who a process is stands in a directory of its own.
        let own = self.stores.data().join(format!("score-{part:?}").to_lowercase());
        process.set("score.directory", Some(&own.display().to_string()));
        self.parts.insert(part, process);
    }

    /// The process of a part; none where it is not ours.
    fn process(&mut self, part: Part) -> Option<&mut Installation> {
        match part {
            Part::Broker => match &mut self.broker {
                Broker::Role(role) => Some(&mut **role),
                Broker::Apache(_) => None,
            },
            Part::Stores => Some(&mut self.stores),
            Part::Registry | Part::Capture | Part::Lake | Part::Stage => self.parts.get_mut(&part),
        }
    }

    fn run(&mut self, part: Part) {
        if let Some(process) = self.process(part) {
            process.start_roles(part.roles());
        }
    }

    fn ours(&self) -> impl Iterator<Item = Part> + use<> {
        let broker = self.broker_is_ours().then_some(Part::Broker);
        broker.into_iter().chain(Part::OURS)
    }

    /// Starts what has given up, and says so.
    pub(super) fn keep_up(&mut self) {
        for part in self.ours() {
            let is_early = |at: &Instant| at.elapsed() < RESTART_PAUSE;
            if self.down.contains(&part) || self.restarted.get(&part).is_some_and(is_early) {
                continue;
            }
            let Some(status) = self.process(part).and_then(Installation::ended) else { continue };
            let count = self.given_up.entry(part).or_default();
            *count += 1;
            eprintln!("{part:?} gave up ({status}), and is started again");
            assert!(*count < GIVEN_UP_MAX, "{part:?} gives up again and again\n{}", self.stores.tail());
            self.restarted.insert(part, Instant::now());
            self.run(part);
        }
    }

    /// Whether every process says that it does its work.
    pub(super) async fn is_ready(&self) -> bool {
        for process in self.parts.values().chain([&self.stores]) {
            if !process.is_ready().await {
                return false;
            }
        }
        true
    }

    /// Makes it go wrong.
    pub(super) async fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(part) => {
                self.kill(part).await;
                self.down.insert(part);
            }
            Fault::Clock(part, ahead_s) => {
                self.kill(part).await;
                self.set_clock(part, Some(ahead_s));
                self.run(part);
            }
            Fault::Pause(part) => {
                self.keep_up();
                self.signal(part, "STOP");
            }
            Fault::Refuse(link) => self.set(link, Condition::Refused),
            Fault::Hold(link) => self.set(link, Condition::Held),
            Fault::Slow(link, condition) => self.set(link, condition),
            Fault::FillDisk => {
                let processes = self.process_ids();
                self.disk.fill(&processes);
            }
            Fault::RestartPostgres(how) => self.cluster.stop(how).unwrap(),
            Fault::RestartBroker { kill } => {
                self.keep_up();
                self.down.insert(Part::Broker);
                if kill { self.broker.kill().await } else { self.broker.stop().await }
            }
            Fault::RollingRestart => self.roll().await,
        }
    }

    /// Makes it right again.
    pub(super) async fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Clock(part, _) => {
                self.kill(part).await;
                self.set_clock(part, None);
                self.run(part);
            }
            Fault::Kill(part) => {
                self.down.remove(&part);
                self.run(part);
            }
            Fault::Pause(part) => self.signal(part, "CONT"),
            Fault::Refuse(link) | Fault::Hold(link) | Fault::Slow(link, _) => {
                self.set(link, Condition::Clear);
            }
            Fault::FillDisk => {
                self.keep_up();
                let processes = self.process_ids();
                self.disk.empty(&processes);
            }
            Fault::RestartPostgres(_) => self.cluster.start_again().unwrap(),
            Fault::RestartBroker { .. } => {
                self.down.remove(&Part::Broker);
                self.broker.start();
            }
            Fault::RollingRestart => {}
        }
    }

    async fn kill(&mut self, part: Part) {
        self.keep_up();
        if let Some(process) = self.process(part) {
            process.kill().await;
        }
    }

    /// What is started from now on has a clock that is so many seconds ahead, or the machine's; its timers stay right.
    fn set_clock(&mut self, part: Part, ahead_s: Option<i32>) {
        let library = self.faketime.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let ahead = ahead_s.map(|seconds| format!("{seconds:+}"));
        let Some(process) = self.process(part) else { return };
        process.set_variable("LD_PRELOAD", ahead.as_ref().map(|_| library.as_str()));
        process.set_variable("FAKETIME", ahead.as_deref());
        for keep in ["FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"] {
            process.set_variable(keep, ahead.as_ref().map(|_| "1"));
        }
    }

    fn set(&self, link: Link, condition: Condition) {
        match link {
            Link::Database => self.database_link.set(condition),
            Link::Bus => self.bus_link.iter().for_each(|proxy| proxy.set(condition)),
        }
    }

    /// A process that has given up meanwhile needs no signal.
    fn signal(&mut self, part: Part, signal: &str) {
        if let Some(process) = self.process(part)
            && process.is_running()
        {
            process.signal(signal);
        }
    }

    fn process_ids(&mut self) -> Vec<u32> {
        let running =
            |part| self.process(part).filter(|process| process.is_running()).map(Installation::process_id);
        Part::OURS.into_iter().chain([Part::Broker]).filter_map(running).collect()
    }

    /// Each in order, the next one when the one before runs: what brings records last, as an upgrade asks for.
    async fn roll(&mut self) {
        self.keep_up();
        let next: Option<OsString> = std::env::var_os(NEXT_BINARY);
        for part in [Part::Stage, Part::Lake, Part::Stores, Part::Registry, Part::Capture] {
            let Some(process) = self.process(part) else { continue };
            process.terminate(STOP_LIMIT).await;
            if let Some(next) = &next {
                process.use_binary(next.clone());
            }
            self.run(part);
            if let Some(process) = self.process(part) {
                process.wait_ready().await;
            }
        }
        if self.broker_is_ours() {
            self.broker.stop().await;
            if let (Some(process), Some(next)) = (self.process(Part::Broker), next) {
                process.use_binary(next);
            }
            self.broker.start();
        }
    }
}
