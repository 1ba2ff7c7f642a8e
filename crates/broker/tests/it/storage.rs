//! Retention and compaction, seen from outside.

use crate::support::{TestBroker, eventually, files, lines, run};
use affluent_broker::BrokerOptions;
use std::collections::BTreeMap;

fn tidy() -> TestBroker {
    TestBroker::with(BrokerOptions { housekeeping_ms: 100, ..BrokerOptions::default() })
}

/// Bytes of all segments. One that the broker removes between the listing and the look has none.
fn log_bytes(broker: &TestBroker) -> u64 {
    files(&broker.options.data_dir, "log").iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
}

fn earliest(broker: &TestBroker, topic: &str) -> i64 {
    // Kcat asks for the first offset at or after time 0.
    let out = run("kcat", &["-Q", "-b", &broker.bootstrap(), "-t", &format!("{topic}:0:-2")]);
    out.trim().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn size_retention_removes_the_oldest_segments() {
    let broker = tidy();
    broker.python("create.py", &["small", "1", "segment.bytes=16384", "retention.bytes=40000"]);
    let value = "x".repeat(400);
    for _ in 0..20 {
        broker.produce("small", &lines(0..20, &value), &["-X", "acks=all"]);
    }
    eventually("old segments are removed", || log_bytes(&broker) <= 40_000 + 16_384);
    let first = earliest(&broker, "small");
    assert!(first > 0 && first < 400, "{first}");
    let offsets: Vec<i64> = broker.consume("small", "%o\n").iter().map(|o| o.parse().unwrap()).collect();
    assert_eq!(offsets, (first..400).collect::<Vec<_>>());
}

#[test]
fn time_retention_empties_a_topic_and_offsets_go_on() {
    let broker = tidy();
    broker.python("create.py", &["brief", "1", "retention.ms=200"]);
    broker.produce("brief", &lines(0..10, "old"), &["-X", "acks=all"]);
    eventually("everything is removed", || earliest(&broker, "brief") == 10);
    broker.python("create.py", &["brief", "0", "retention.ms=-1"]);
    broker.produce("brief", &["new".into()], &[]);
    assert_eq!(broker.consume("brief", "%o %s\n"), ["10 new"]);
}

#[test]
fn compaction_keeps_the_newest_of_each_key() {
    let mut broker = tidy();
    broker.python(
        "create.py",
        &["keyed", "1", "cleanup.policy=compact", "segment.bytes=32768", "min.cleanable.dirty.ratio=0.1"],
    );
    let mut newest = BTreeMap::new();
    let filler = "y".repeat(100);
    for (round, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().cycle().take(15).enumerate() {
        let sent: Vec<String> = (0..200).map(|n| format!("k{}:{round}-{n}-{filler}", n % 50)).collect();
        for line in &sent {
            let (key, value) = line.split_once(':').unwrap();
            newest.insert(key.to_owned(), value.to_owned());
        }
        broker.produce("keyed", &sent, &["-K:", "-z", codec, "-X", "acks=all", "-X", "batch.size=8192"]);
    }
    let read = |broker: &TestBroker| broker.consume("keyed", "%o %k:%s\n");
    eventually("the log is compacted", || read(&broker).len() < 700 && log_bytes(&broker) < 120_000);
    let check = |lines: Vec<String>| {
        let mut seen = BTreeMap::new();
        let mut last = -1;
        for line in lines {
            let (offset, record) = line.split_once(' ').unwrap();
            let (key, value) = record.split_once(':').unwrap();
            let offset: i64 = offset.parse().unwrap();
            assert!(offset > last, "offsets grow");
            last = offset;
            seen.insert(key.to_owned(), value.to_owned());
        }
        assert_eq!(seen, newest);
        assert_eq!(last, 2999);
    };
    check(read(&broker));
    broker.restart();
    check(read(&broker));
}
