//! A schema that is not ours: pgbench's tables under pgbench's own load, captured by configuration
//! alone. One of them has no primary key: it grows while it is read for the first time, and is truncated
//! before every run.

use crate::installation::{Installation, turn};
use affluent_testkit::{Database, Postgres};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_pgbench_are_captured_by_configuration_alone() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    pgbench(&database, &["-i", "-s", "1", "-q"]).await;
    let mut installation = Installation::new(&database, "tables = [\"public.pgbench_*\"]\nexclude = []");

    // The first reading falls into the first run.
    let run = ["-c", "4", "-j", "1", "-R", "300", "-T", "6", "--no-vacuum"];
    let load = pgbench(&database, &run);
    let begin = async {
        installation.start(None);
        installation.wait_ready().await;
    };
    tokio::join!(load, begin);
    let verified = installation.verify().await;
    eprintln!("verified in {verified:?} after the first run");

    // With its truncate, and a kill in the midst of it.
    let truncating = ["-c", "4", "-j", "1", "-R", "300", "-T", "6"];
    let load = pgbench(&database, &truncating);
    let client = database.connect().await.unwrap();
    let kill = async {
        let some = "SELECT count(*) BETWEEN 1 AND 500 FROM pgbench_history";
        while !client.query_one(some, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        installation.kill().await;
        installation.start(None);
        installation.wait_ready().await;
    };
    tokio::join!(load, kill);
    let verified = installation.verify().await;
    eprintln!("verified in {verified:?} after the second run");

    let load = pgbench(&database, &run);
    let (_, verified) = tokio::join!(load, installation.verify());
    eprintln!("verified in {verified:?} under load");
}

/// Runs pgbench against the database to its end.
async fn pgbench(database: &Database, arguments: &[&str]) {
    let mut command = Command::new(Postgres::shared().bin().join("pgbench"));
    command.args(arguments).arg(&database.name).stdin(Stdio::null()).kill_on_drop(true);
    command
        .env("PGHOST", &database.host)
        .env("PGPORT", database.port.to_string())
        .env("PGUSER", &database.user);
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("pgbench ends in time").unwrap();
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
}
