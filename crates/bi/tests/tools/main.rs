//! The endpoint with the tools that analysts use: `make interop` runs it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "the other tests use the rest of what is shared")]

#[path = "../it/endpoint.rs"]
mod endpoint;
#[path = "../it/warehouse.rs"]
mod warehouse;

use affluent_bi::BiOptions;
use endpoint::Endpoint;
use std::process::Command;
use warehouse::Warehouse;

async fn served() -> (Warehouse, Endpoint) {
    let warehouse = Warehouse::new().await;
    warehouse.pay(&[(1, Some("a"), "12.3400", "EUR"), (2, None, "2.5000", "JPY")]).await;
    warehouse.publish().await;
    let endpoint = Endpoint::start(&warehouse, BiOptions::default()).await;
    (warehouse, endpoint)
}

/// What a program prints; it must end well.
async fn printed(mut command: Command) -> String {
    let told = format!("{command:?}");
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let ended = ended.unwrap_or_else(|error| panic!("{told}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{told}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// An address of `crates/testkit/interop/pgjdbc.sh` and its neighbours.
fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run crates/testkit/interop/*.sh"))
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_clients_find_schemas_tables_and_columns() {
    let (_warehouse, endpoint) = served().await;
    let mut java = Command::new("java");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/Metadata.java");
    java.args(["-cp", &format!("{}/*", given("AFFLUENT_TEST_PGJDBC")), program]);
    java.arg(format!("jdbc:postgresql://{}/affluent?user=affluent", endpoint.address));
    assert_eq!(printed(java).await.trim(), "done");
    endpoint.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn superset_makes_a_dataset_and_draws_a_chart() {
    let (_warehouse, endpoint) = served().await;
    let mut python = Command::new(given("AFFLUENT_TEST_SUPERSET_PYTHON"));
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/superset_chart.py"));
    python.args([
        given("AFFLUENT_TEST_SUPERSET"),
        format!("postgresql+psycopg2://affluent@{}/affluent", endpoint.address),
    ]);
    assert_eq!(printed(python).await.trim(), "done");
    endpoint.end().await.unwrap();
}
