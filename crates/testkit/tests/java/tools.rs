//! Kafka's tools that measure and verify.

use crate::{java, output};
use affluent_testkit::Broker;
use affluent_testkit::java::Running;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const HEAP_MB: u32 = 256;
const LIMIT: Duration = Duration::from_secs(120);
const RECORDS: u64 = 200_000;
const VERIFIED: usize = 12_000;

#[test]
fn what_the_performance_tools_write_they_read() {
    let broker = Broker::start().unwrap();
    let bootstrap = broker.bootstrap_servers();
    let count = RECORDS.to_string();
    let mut producing = java().program("org.apache.kafka.tools.ProducerPerformance", HEAP_MB);
    producing.args([
        "--topic",
        "measured",
        "--num-records",
        &count,
        "--record-size",
        "200",
        "--throughput",
        "-1",
    ]);
    producing.args([
        "--producer-props",
        &format!("bootstrap.servers={bootstrap}"),
        "acks=all",
        "compression.type=lz4",
    ]);
    let said = output(&mut producing);
    let summary =
        said.lines().rfind(|line| line.starts_with(&format!("{count} records sent"))).unwrap_or_default();
    assert!(summary.contains("records/sec"), "{said}");
    eprintln!("producer: {summary}");

    let mut consuming = java().program("org.apache.kafka.tools.ConsumerPerformance", HEAP_MB);
    consuming.args([
        "--bootstrap-server",
        bootstrap,
        "--topic",
        "measured",
        "--messages",
        &count,
        "--hide-header",
    ]);
    let said = output(&mut consuming);
    // start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, …
    let line = said.lines().rfind(|line| line.split(", ").count() > 5).unwrap_or_default();
    assert_eq!(line.split(", ").nth(4), Some(count.as_str()), "{said}");
    eprintln!("consumer: {line}");
}

/// The events that a verifiable tool has printed into its log, by name.
fn events(log: &Path, name: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    events.filter(|event| event["name"] == name).collect()
}

fn values(events: &[Json]) -> BTreeSet<String> {
    events.iter().filter_map(|event| event["value"].as_str()).map(str::to_owned).collect()
}

/// The producer does not repeat what fails: what it calls acknowledged has to be there, whatever happened between. Two
/// consumers share the work.
#[test]
fn the_verifiable_tools_find_everything_acknowledged_through_a_restart() {
    let broker = Broker::start().unwrap();
    let bootstrap = broker.bootstrap_servers();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);

    let mut produce = java().program("org.apache.kafka.tools.VerifiableProducer", HEAP_MB);
    produce.args([
        "--bootstrap-server",
        bootstrap,
        "--topic",
        "verified",
        "--acks",
        "-1",
        "--throughput",
        "3000",
    ]);
    produce.args(["--max-messages", &VERIFIED.to_string()]);
    let mut producer = Running::start(&mut produce, &file("producer")).unwrap();
    let sent = || events(&file("producer"), "producer_send_success").len();
    producer.until("records are acknowledged", LIMIT, || sent() > VERIFIED / 6).unwrap();
    broker.stop().unwrap();
    broker.start_again().unwrap();
    let ended = || !events(&file("producer"), "shutdown_complete").is_empty();
    // It may end between two looks.
    if let Err(error) = producer.until("the producer ends", LIMIT, ended) {
        assert!(ended(), "{error:#}");
    }
    let acknowledged = values(&events(&file("producer"), "producer_send_success"));
    assert!(acknowledged.len() > VERIFIED / 2, "{} are acknowledged", acknowledged.len());

    let mut consumers: Vec<Running> = (0..2)
        .map(|number| {
            let mut consume = java().program("org.apache.kafka.tools.VerifiableConsumer", HEAP_MB);
            consume.args([
                "--bootstrap-server",
                bootstrap,
                "--topic",
                "verified",
                "--group-id",
                "verifiers",
                "--verbose",
            ]);
            Running::start(&mut consume, &file(&format!("consumer{number}"))).unwrap()
        })
        .collect();
    let seen = || {
        let of = |number: u32| values(&events(&file(&format!("consumer{number}")), "record_data"));
        &of(0) | &of(1)
    };
    consumers[0].until("everything acknowledged is read", LIMIT, || acknowledged.is_subset(&seen())).unwrap();
    for (number, consumer) in consumers.into_iter().enumerate() {
        consumer.stop(LIMIT).unwrap();
        let log = file(&format!("consumer{number}"));
        assert!(!events(&log, "partitions_assigned").is_empty(), "consumer {number} had no part of it");
        assert!(!events(&log, "offsets_committed").is_empty(), "consumer {number} committed nothing");
    }
}

#[test]
fn the_console_tools_of_two_versions_work() {
    let broker = Broker::start().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../broker/tests/java/verify.sh");
    for version in ["3.9.1", "4.1.1"] {
        let mut verify = Command::new("bash");
        verify.args([script, broker.bootstrap_servers(), version]).stdin(Stdio::null());
        assert!(output(&mut verify).contains("ok"));
    }
}
