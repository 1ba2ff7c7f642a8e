//! Administration and idempotence with confluent-kafka; the scripts are in `clients/`.

use crate::support::TestBroker;

#[test]
fn topics_configurations_and_groups_are_administered() {
    let broker = TestBroker::start();
    broker.python("admin.py", &[]);
}

#[test]
fn an_idempotent_producer_delivers_each_record_once_through_a_restart() {
    let mut broker = TestBroker::start();
    let mut producer = broker.spawn_python("idempotent.py", &["once", "20000"]);
    // The producer says so when it is half way through.
    let mut half = [0u8; 5];
    std::io::Read::read_exact(producer.stdout.as_mut().unwrap(), &mut half).unwrap();
    broker.restart();
    crate::support::finish(producer, "idempotent.py");
    let mut seen: Vec<usize> =
        broker.consume("once", "%s\n").iter().map(|line| line.parse().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..20_000).collect::<Vec<_>>());
}
