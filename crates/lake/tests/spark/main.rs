//! Apache Spark beside us on one REST catalog: it reads and time-travels our table, appends to it, and we go on; we read the
//! table that it made.
//!
//! Needs `AFFLUENT_TEST_CATALOG`, `AFFLUENT_TEST_SPARK` and `AFFLUENT_TEST_SPARK_JAR`; `make interop` sets them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../it/tables.rs"]
#[allow(dead_code, reason = "the other tests need more of it")]
mod tables;

use affluent_lake::Lake;
use affluent_testkit::RestCatalog;
use serde_json::{Value, json};
use std::process::Command;
use tables::{advance, expected_sums, options, payments, payments_table, sums};

fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; `make interop` sets it"))
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_and_we_share_tables() {
    let dir = tempfile::tempdir().unwrap();
    let place = RestCatalog::of(dir.path()).expect("AFFLUENT_TEST_CATALOG=http://… names a server");
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    table.append(payments(0..120), advance(None, 120)).await.unwrap();
    let then = table.tags().await.unwrap()["main"];
    table.append(payments(120..200), advance(Some(120), 200)).await.unwrap();

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spark/session.py");
    let namespace = format!("{}.raw", place.namespace);
    let output = Command::new(given("AFFLUENT_TEST_SPARK"))
        .args([script, &given("AFFLUENT_TEST_SPARK_JAR"), &place.url, &namespace, &then.to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap();
    for (what, rows) in [("now", 0..200), ("then", 0..120), ("after", 0..260)] {
        let (count, expected) = expected_sums(rows);
        assert_eq!(said[what], json!([count, expected]), "{what}: {said}");
    }
    assert_eq!(said["versions"], 3, "{said}");

    // We see what it has added, our offsets are where they were, and we go on behind it.
    let table = lake.table("raw", "payments").await.unwrap();
    assert_eq!(sums(&table, None).await, expected_sums(0..260));
    assert_eq!(sums(&table, Some(then)).await, expected_sums(0..120));
    assert_eq!(table.offsets().await.unwrap().get("oltp.public.payments", 0), Some(200));
    table.append(payments(260..300), advance(Some(200), 300)).await.unwrap();
    assert_eq!(sums(&table, None).await, expected_sums(0..300));

    let theirs = lake.table("raw", "theirs").await.unwrap();
    assert_eq!(sums(&theirs, None).await, expected_sums(0..80));
}
