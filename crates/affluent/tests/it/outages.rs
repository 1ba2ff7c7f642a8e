//! What an installation lives through without help: its database going away, its broker going away, its disk filling up,
//! being told to stop under load. After each, `verify` is exact.

use crate::broker::Broker;
use crate::installation::{Installation, Shell, turn};
use crate::load::Load;
use affluent_testkit::{Database, Postgres, PostgresOptions, Stop};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const RATE: u32 = 400;
/// A role is started again after pauses that grow up to 30 seconds.
const RECOVERY: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_restarts_under_load_is_followed() {
    let _turn = turn().await;
    let cluster = Postgres::start(PostgresOptions::default()).expect("PostgreSQL, see `make setup`");
    let database = cluster.fresh_database().await.unwrap();
    let load = Load::start(&database, RATE, 11).await;
    let mut installation = Installation::new(&database, "");
    installation.start(None);
    installation.wait_ready().await;
    let process = installation.process_id();
    for down in [Duration::ZERO, Duration::from_secs(3)] {
        grow(&load, 600).await;
        cluster.stop(Stop::Immediate).unwrap();
        tokio::time::sleep(down).await;
        cluster.start_again().unwrap();
        let begun = Instant::now();
        grow(&load, 300).await;
        installation.wait_page("/readyz", RECOVERY, |status, _| status == 200).await;
        eprintln!("down for {down:?}; ready {:?} after its return", begun.elapsed());
        let verified = installation.verify().await;
        eprintln!("verified in {verified:?}");
    }
    load.stop().await;
    installation.verify().await;
    assert_eq!(installation.process_id(), process, "the process was started again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_away_under_changes_is_followed() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, RATE, 14).await;
    let mut installation = Installation::new(&database, "");
    let mut broker = Broker::of(&installation);
    broker.start();
    let roles = ["registry", "cdc", "api", "collect", "sink-documents", "sink-events", "sink-lake", "stage"];
    installation.start_roles(&roles);
    installation.wait_ready().await;
    let process = installation.process_id();
    for kill in [false, true] {
        grow(&load, 600).await;
        if kill {
            broker.kill().await;
        } else {
            broker.stop().await;
        }
        // What is committed meanwhile waits in the database.
        grow(&load, 300).await;
        broker.start();
        let begun = Instant::now();
        installation.wait_page("/readyz", RECOVERY, |status, _| status == 200).await;
        eprintln!("killed: {kill}; ready {:?} after its return", begun.elapsed());
        let verified = installation.verify().await;
        eprintln!("verified in {verified:?}");
    }
    load.stop().await;
    installation.verify().await;
    assert_eq!(installation.process_id(), process, "the process was started again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_under_load_it_ends_in_time_and_goes_on_where_it_was() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, 2 * RATE, 12).await;
    let mut installation = Installation::new(&database, "");
    for at_work in [400, 0, 1_500, 4_000] {
        installation.start(None);
        installation.wait_ready().await;
        tokio::time::sleep(Duration::from_millis(at_work)).await;
        let (status, after) = installation.terminate(Duration::from_secs(10)).await;
        assert_eq!(status.code(), Some(0), "after {after:?}\n{}", installation.tail());
        eprintln!("ended {after:?} after SIGTERM");
    }
    installation.start(None);
    installation.wait_ready().await;
    installation.verify().await;
    load.stop().await;
    installation.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_left_behind() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, RATE, 13).await;
    let (mut disk, mut installation) = Disk::make(&database);
    installation.start(None);
    installation.wait_ready().await;
    installation.verify().await;
    let process = installation.process_id();

    disk.fill(process);
    let before = load.changes();
    installation.wait_page("/v1/status", RECOVERY, |_, body| tells_of_trouble(body)).await;
    let log = installation.log();
    let told = ["No space left on device", "File too large", "disk is full"];
    let line = log.lines().find(|line| told.iter().any(|text| line.contains(text)));
    eprintln!("told: {line:?}");
    assert!(line.is_some(), "the log does not say why\n{}", installation.tail());
    grow(&load, 500).await;
    assert!(load.changes() > before, "the load stopped");

    disk.empty(process);
    let begun = Instant::now();
    installation.wait_page("/readyz", RECOVERY, |status, _| status == 200).await;
    eprintln!("ready {:?} after the disk has room", begun.elapsed());
    installation.verify().await;
    load.stop().await;
    installation.verify().await;
    assert_eq!(installation.process_id(), process, "the process was started again");
}

/// Waits until the load has changed this many more rows.
async fn grow(load: &Load, changes: u64) {
    let (target, deadline) = (load.changes() + changes, Instant::now() + RECOVERY);
    while load.changes() < target {
        assert!(Instant::now() < deadline, "the load stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A role of `/v1/status` is neither at work nor just waiting for others.
fn tells_of_trouble(body: &str) -> bool {
    let status: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let roles = status["roles"].as_object().cloned().unwrap_or_default();
    roles.values().any(|role| matches!(role["state"].as_str(), Some("degraded" | "failed")))
}

/// Where an installation keeps its data, with an end to the room.
enum Disk {
    /// A small file system of its own, where this process may mount one.
    Mounted(PathBuf),
    /// Else: no file of the process may grow.
    Limited,
}

impl Disk {
    fn make(database: &Database) -> (Self, Installation) {
        let directory = std::env::temp_dir().join(affluent_testkit::unique("affluent-system"));
        let mounted = directory.join("disk");
        std::fs::create_dir_all(&mounted).unwrap();
        let asked = std::env::var_os("AFFLUENT_TEST_DISK").is_none_or(|how| how != "limit");
        if asked && mount(&mounted) {
            eprintln!("the disk is a small tmpfs");
            let installation = Installation::with_data_in(&mounted.join("data"), directory, database, "");
            return (Disk::Mounted(mounted), installation);
        }
        eprintln!("the disk is a limit of the file size: mounting is not permitted");
        let installation = Installation::with_data_in(&directory.join("data"), directory, database, "");
        (Disk::Limited, installation.through(Shell::IgnoreFileLimit))
    }

    fn ballast(directory: &Path) -> PathBuf {
        directory.join("ballast")
    }

    fn fill(&mut self, process: u32) {
        match self {
            Disk::Mounted(directory) => fill(&Self::ballast(directory)),
            Disk::Limited => limit_files(process, "0:unlimited"),
        }
    }

    fn empty(&mut self, process: u32) {
        match self {
            Disk::Mounted(directory) => std::fs::remove_file(Self::ballast(directory)).unwrap(),
            Disk::Limited => limit_files(process, "unlimited:unlimited"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Disk::Mounted(directory) = self {
            let _ = Command::new("umount").arg("--lazy").arg(directory).status();
        }
    }
}

fn mount(directory: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", "size=512m,mode=0755", "affluent-test"]).arg(directory);
    command.output().is_ok_and(|output| output.status.success())
}

fn limit_files(process: u32, limit: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &process.to_string(), &format!("--fsize={limit}")]);
    assert!(command.status().expect("prlimit of util-linux").success());
}

/// Writes until there is no room.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    let block = vec![0; 1 << 20];
    let mut size = block.len();
    while size > 0 {
        match file.write(&block[..size]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
            Err(error) => panic!("fill the disk: {error}"),
        }
    }
}
