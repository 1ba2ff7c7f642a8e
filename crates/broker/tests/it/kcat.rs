//! kcat, as Debian ships it.

use crate::support::{TestBroker, lines, run};

#[test]
fn every_compression_makes_the_round_trip() {
    let broker = TestBroker::start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("round.{codec}");
        let sent = lines(0..500, "value-");
        broker.produce(&topic, &sent, &["-z", codec, "-p", "0", "-X", "acks=all"]);
        assert_eq!(broker.consume(&topic, "%s\n"), sent, "{codec}");
    }
}

#[test]
fn keys_headers_and_offsets_are_kept() {
    let broker = TestBroker::start();
    broker.produce("t", &["k1:v1".into(), "k2:v2".into()], &["-K:", "-H", "a=b", "-p", "1"]);
    assert_eq!(broker.consume("t", "%p %o %k %s %h\n"), ["1 0 k1 v1 a=b", "1 1 k2 v2 a=b"]);
}

#[test]
fn metadata_shows_broker_and_partitions() {
    let broker = TestBroker::start();
    broker.produce("listed", &["x".into()], &[]);
    let shown = run("kcat", &["-L", "-b", &broker.bootstrap()]);
    assert!(shown.contains("topic \"listed\" with 4 partitions"), "{shown}");
    assert!(shown.contains(&format!("broker 1 at {}", broker.bootstrap())), "{shown}");
}

#[test]
fn consuming_from_the_end_and_by_time() {
    let broker = TestBroker::start();
    broker.produce("t", &lines(0..10, "old-"), &["-p", "0"]);
    let bootstrap = broker.bootstrap();
    let tail = ["-C", "-b", &bootstrap, "-t", "t", "-p", "0", "-o", "-3", "-e", "-q"];
    assert_eq!(run("kcat", &tail).lines().collect::<Vec<_>>(), ["old-7", "old-8", "old-9"]);
    let from_start = run("kcat", &["-Q", "-b", &bootstrap, "-t", "t:0:1"]);
    assert!(from_start.contains("offset 0"), "{from_start}");
    let future = run("kcat", &["-Q", "-b", &bootstrap, "-t", "t:0:99999999999999"]);
    assert!(future.contains("offset -1"), "{future}");
}

#[test]
fn a_consumer_waits_for_what_comes_later() {
    let broker = TestBroker::start();
    broker.produce("t", &["first".into()], &["-p", "0"]);
    let bootstrap = broker.bootstrap();
    let waiting = crate::support::spawn(
        "kcat",
        &["-C", "-b", &bootstrap, "-t", "t", "-p", "0", "-o", "1", "-c", "1", "-q"],
    );
    broker.produce("t", &["second".into()], &["-p", "0"]);
    assert_eq!(crate::support::finish(waiting, "waiting kcat"), "second\n");
}
