//! The configurations of `deploy/connect`: a worker takes them, and our topics fill what they write into.

use crate::rig::{Rig, topic, until};
use affluent_testkit::unique;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A configuration as it is shipped, with other values for some of its keys.
fn shipped(name: &str, other: &Json) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/connect").join(name);
    let mut config: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let config_map = config.as_object_mut().unwrap();
    for (key, value) in other.as_object().unwrap() {
        assert!(config_map.contains_key(key), "{name} has no {key}");
        config_map.insert(key.clone(), value.clone());
    }
    config
}

/// The address of a server that tests are given, or why there is none.
fn given(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        eprintln!("skipped: {variable} names no server; `make interop` starts one");
    }
    address
}

fn ask(arguments: &[&str]) -> Json {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/connect/ask.py");
    let output = Command::new(&python).arg(script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python} {arguments:?}: {said}; `make setup` installs what tests need");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_has_nothing_against_the_shipped_configurations() {
    let mut rig = Rig::start().await;
    for name in ["mongodb-sink.json", "iceberg-sink.json"] {
        let mut config = shipped(name, &json!({}));
        config["name"] = name.into();
        let problems = rig.worker.problems(&config).await.unwrap();
        // Where nothing listens, MongoDB's says so of the address.
        let others: Vec<&String> =
            problems.iter().filter(|problem| !problem.starts_with("connection.uri")).collect();
        assert!(others.is_empty(), "{name}: {problems:?}");
    }
    let mut broken = shipped("iceberg-sink.json", &json!({}));
    broken["tasks.max"] = "many".into();
    assert!(!rig.worker.problems(&broken).await.unwrap().is_empty(), "the worker looks at nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodbs_sink_has_the_rows_of_the_table() {
    let Some(uri) = given("AFFLUENT_TEST_MONGODB") else { return };
    let mut rig = Rig::start().await;
    let (topic, database) = (topic(&rig.ours), unique("connect"));
    let regex = topic.replace('.', "\\.");
    let config = shipped(
        "mongodb-sink.json",
        &json!({"topics.regex": regex, "connection.uri": uri, "database": database}),
    );
    let ours = rig.ours.clone();
    rig.change(&[&ours]).await;
    rig.worker.configure("mongodb-sink", &config).await.unwrap();
    let rows = rig.client.query("select id::text, amount::text from payments", &[]).await.unwrap();
    let expected: BTreeMap<String, Option<String>> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let found = || -> BTreeMap<String, Option<String>> {
        serde_json::from_value(ask(&["mongodb", &uri, &database, &topic])).unwrap()
    };
    until("every row is a document", async || found() == expected).await;
}

/// Its tables are appended to: each change is a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn icebergs_sink_has_every_change() {
    // It writes in transactions, which the embedded broker does not have.
    let (Some(uri), Some(_)) = (given("AFFLUENT_TEST_CATALOG"), given("AFFLUENT_TEST_KAFKA")) else { return };
    let mut rig = Rig::start().await;
    let (topic, namespace) = (topic(&rig.ours), unique("connect"));
    let config = shipped(
        "iceberg-sink.json",
        &json!({
            "topics.regex": topic.replace('.', "\\."),
            "iceberg.catalog.uri": uri,
            "iceberg.control.commit.interval-ms": "2000",
            "transforms.debezium.cdc.target.pattern": format!("{namespace}.{{table}}"),
        }),
    );
    let ours = rig.ours.clone();
    let stores = rig.stores(&ours, None).await;
    rig.change(&[&ours]).await;
    rig.worker.configure("iceberg-sink", &config).await.unwrap();
    // Debezium's letters are c, u, d and r; the sink's are I, U and D.
    let letter = |op: &str| match op {
        "u" => "U",
        "d" => "D",
        _ => "I",
    };
    let table = format!("{namespace}.payments");
    until("every change is a row", async || {
        let mut expected: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for row in stores.raw(&["_op", "id"]).await {
            let ids = expected.entry(letter(&row[0].to_text()).to_owned()).or_default();
            *ids.entry(row[1].to_text()).or_default() += 1;
        }
        let found: BTreeMap<String, BTreeMap<String, u64>> =
            serde_json::from_value(ask(&["iceberg", &uri, &table])).unwrap();
        expected.get("I").is_some_and(|ids| ids.contains_key("9000")) && found == expected
    })
    .await;
}
