//! Stopping, starting, and who may use a directory.

use crate::support::{TestBroker, files, lines};
use affluent_broker::{Broker, Flush};

#[test]
fn records_and_topics_survive_a_restart() {
    let mut broker = TestBroker::start();
    broker.produce("kept", &lines(0..1000, "v"), &["-p", "2", "-z", "zstd"]);
    broker.restart();
    assert_eq!(broker.consume("kept", "%s\n"), lines(0..1000, "v"));
    broker.produce("kept", &lines(1000..1010, "v"), &["-p", "2"]);
    assert_eq!(broker.consume("kept", "%o %s\n").last().unwrap(), "1009 v1009");
}

#[test]
fn a_torn_tail_is_cut_off_and_the_rest_is_served() {
    let mut broker = TestBroker::start();
    for n in 0..10 {
        broker.produce("torn", &lines(n..n + 1, "v"), &["-p", "0", "-X", "acks=all"]);
    }
    broker.stop();
    let logs = files(&broker.options.data_dir, "log");
    let log = logs.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(log).unwrap();
    let whole = bytes.len();
    // Half of a batch that was never acknowledged.
    bytes.extend_from_within(..50);
    std::fs::write(log, &bytes).unwrap();
    broker.restart();
    assert_eq!(log.metadata().unwrap().len() as usize, whole);
    assert_eq!(broker.consume("torn", "%s\n"), lines(0..10, "v"));
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused() {
    let broker = TestBroker::start();
    let mut options = broker.options.clone();
    options.listen.set_port(0);
    let error = Broker::open(options).err().unwrap().to_string();
    assert!(error.contains("another broker is using"), "{error}");
}

#[test]
fn relaxed_flush_serves_at_once_and_survives_a_restart() {
    let options = affluent_broker::BrokerOptions { flush: Flush::Relaxed, ..Default::default() };
    let mut broker = TestBroker::with(options);
    broker.produce("t", &lines(0..100, "v"), &["-p", "0", "-X", "acks=all"]);
    assert_eq!(broker.consume("t", "%s\n").len(), 100);
    broker.restart();
    assert_eq!(broker.consume("t", "%s\n").len(), 100);
}
