//! What an installation lives through without help: its database going away, its broker going away, its disk filling up,
//! being told to stop under load. After each, `verify` is exact.

use crate::broker::Broker;
use crate::disk::Disk;
use crate::installation::{Installation, turn};
use crate::load::Load;
use affluent_testkit::{Postgres, PostgresOptions, Stop};
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
    let (mut disk, mut installation) = Disk::make(&database, 512);
    installation.start(None);
    installation.wait_ready().await;
    installation.verify().await;
    let process = installation.process_id();

    disk.fill(&[process]);
    let before = load.changes();
    installation.wait_page("/v1/status", RECOVERY, |_, body| tells_of_trouble(body)).await;
    let log = installation.log();
    let told = ["No space left on device", "File too large", "disk is full"];
    let line = log.lines().find(|line| told.iter().any(|text| line.contains(text)));
    eprintln!("told: {line:?}");
    assert!(line.is_some(), "the log does not say why\n{}", installation.tail());
    grow(&load, 500).await;
    assert!(load.changes() > before, "the load stopped");

    disk.empty(&[process]);
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
