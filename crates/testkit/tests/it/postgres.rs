//! A private cluster is fresh, logical, restartable, and never outlives its process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use affluent_testkit::{Postgres, PostgresOptions, Stop};

#[tokio::test]
async fn databases_are_fresh_and_the_log_is_logical() {
    let cluster = Postgres::shared();
    let (one, other) = (cluster.fresh_database().await.unwrap(), cluster.fresh_database().await.unwrap());
    assert_ne!(one.name, other.name);
    let client = one.connect().await.unwrap();
    client.batch_execute("create table only_here (id int primary key)").await.unwrap();
    let level: String = client.query_one("show wal_level", &[]).await.unwrap().get(0);
    assert_eq!(level, "logical");
    let tables = other.connect().await.unwrap();
    let count: i64 = tables
        .query_one("select count(*) from pg_tables where tablename = 'only_here'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_killed_server_recovers_on_its_port() {
    let cluster = Postgres::start(PostgresOptions::default()).unwrap();
    let database = cluster.fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    client.batch_execute("create table kept (id int); insert into kept values (1)").await.unwrap();
    for how in [Stop::Immediate, Stop::Fast] {
        cluster.stop(how).unwrap();
        assert!(database.connect().await.is_err(), "stopped {how:?}, yet it answers");
        assert!(cluster.process_id().is_err());
        cluster.start_again().unwrap();
        let client = database.connect().await.unwrap();
        let count: i64 = client.query_one("select count(*) from kept", &[]).await.unwrap().get(0);
        assert_eq!(count, 1, "after {how:?}");
    }
    let directory = cluster.directory().to_owned();
    drop(cluster);
    assert!(!directory.exists(), "the directory is left behind");
}

#[tokio::test]
async fn a_standby_follows_until_it_is_promoted() {
    let options = PostgresOptions { password: Some("secret".to_owned()), ..PostgresOptions::default() };
    let primary = Postgres::start(options).unwrap();
    let standby = primary.standby().unwrap();
    let client = primary.database("postgres").connect().await.unwrap();
    client.batch_execute("create table followed (id int); insert into followed values (1)").await.unwrap();
    let follower = standby.database("postgres").connect().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while follower.query_one("select id from followed", &[]).await.is_err() {
        assert!(Instant::now() < deadline, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        follower.batch_execute("insert into followed values (2)").await.is_err(),
        "a standby is read only"
    );
    follower.query_one("select pg_promote()", &[]).await.unwrap();
    follower.batch_execute("insert into followed values (2)").await.unwrap();
}

#[tokio::test]
async fn scram_refuses_the_wrong_password() {
    let options = PostgresOptions { password: Some("right".to_owned()), ..PostgresOptions::default() };
    let cluster = Postgres::start(options).unwrap();
    let database = cluster.fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    let method: String = client.query_one("show password_encryption", &[]).await.unwrap().get(0);
    assert_eq!(method, "scram-sha-256");
    let mut wrong = database.clone();
    wrong.url = database.url.replace(":right@", ":wrong@");
    let refused = wrong.connect().await.expect_err("the wrong password is taken");
    assert_eq!(refused.code().map(|c| c.code()), Some("28P01"));
}

/// This test runs itself as a child that starts a cluster, and kills the child.
#[test]
fn the_cluster_dies_with_its_process() {
    if let Ok(marker) = std::env::var("TESTKIT_CHILD_MARKER") {
        let cluster = Postgres::start(PostgresOptions::default()).unwrap();
        let found = format!("{}\n{}", cluster.process_id().unwrap(), cluster.directory().display());
        std::fs::write(format!("{marker}.part"), found).unwrap();
        std::fs::rename(format!("{marker}.part"), marker).unwrap();
        std::thread::sleep(Duration::from_secs(120));
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let marker = scratch.path().join("marker");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::the_cluster_dies_with_its_process"])
        .env("TESTKIT_CHILD_MARKER", &marker)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the child's cluster", || marker.exists());
    let text = std::fs::read_to_string(&marker).unwrap();
    let (pid, directory) = text.split_once('\n').unwrap();
    let process = format!("/proc/{pid}");
    assert!(std::fs::exists(&process).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the end of the server", || !std::fs::exists(&process).unwrap());
    wait_until("the end of the directory", || !std::fs::exists(directory).unwrap());
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
