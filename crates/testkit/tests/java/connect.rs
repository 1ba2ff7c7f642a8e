//! A Kafka Connect worker in distributed mode on our broker: its three compacted topics, its groups, a source and a sink.

use crate::{java, topic};
use affluent_testkit::{Broker, ConnectWorker};
use serde_json::json;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const LINES: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_through_connect_and_comes_out_the_same() {
    let broker = Broker::start().unwrap();
    let bootstrap = broker.bootstrap_servers();
    let directory = tempfile::tempdir().unwrap();
    let (source, sink) = (directory.path().join("in"), directory.path().join("out"));
    let text: String = (0..LINES).map(|n| format!("line {n}\n")).collect();
    std::fs::write(&source, &text).unwrap();

    let mut worker = ConnectWorker::start(&java(), bootstrap).await.unwrap();
    let class = |name: &str| format!("org.apache.kafka.connect.file.FileStream{name}Connector");
    let plain = "org.apache.kafka.connect.storage.StringConverter";
    let from = json!({
        "connector.class": class("Source"), "tasks.max": "1", "file": source, "topic": "lines", "value.converter": plain,
    });
    worker.configure("from-file", &from).await.unwrap();
    let to = json!({
        "connector.class": class("Sink"), "tasks.max": "1", "file": sink, "topics": "lines", "value.converter": plain,
    });
    worker.configure("to-file", &to).await.unwrap();

    let deadline = Instant::now() + LIMIT;
    while std::fs::read_to_string(&sink).unwrap_or_default().lines().count() < LINES {
        assert!(Instant::now() < deadline, "{} records in the topic", topic(bootstrap, "lines", &[]).len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut sent: Vec<&str> = text.lines().collect();
    let received = std::fs::read_to_string(&sink).unwrap();
    let mut received: Vec<&str> = received.lines().collect();
    // Records of one file have no key: of several partitions each keeps its order.
    sent.sort_unstable();
    received.sort_unstable();
    assert_eq!(received, sent);
    worker.remove("to-file").await.unwrap();
    worker.remove("from-file").await.unwrap();
}
