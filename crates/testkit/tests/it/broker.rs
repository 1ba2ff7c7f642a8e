//! The broker of the tests keeps its data and its port across a restart. That it speaks Kafka is the
//! broker's own tests' affair.

use affluent_testkit::Broker;
use std::net::TcpStream;

#[test]
fn a_broker_restarts_where_it_was() {
    let broker = Broker::start().unwrap();
    let address = broker.bootstrap_servers().to_owned();
    let directory = broker.data_dir().unwrap();
    TcpStream::connect(&address).unwrap();
    broker.stop().unwrap();
    assert!(TcpStream::connect(&address).is_err(), "stopped, yet it answers");
    broker.start_again().unwrap();
    TcpStream::connect(&address).unwrap();
    drop(broker);
    assert!(!directory.exists());
}

#[test]
fn tests_share_one_broker() {
    assert_eq!(Broker::shared().bootstrap_servers(), Broker::shared().bootstrap_servers());
}
