//! What no client sends: malformed and oversized frames, unknown requests and versions.

use crate::support::{TestBroker, lines};
use affluent_broker::BrokerOptions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

struct Raw(TcpStream);

impl Raw {
    fn connect(broker: &TestBroker) -> Self {
        let stream = TcpStream::connect(broker.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    fn send(&mut self, content: &[u8]) {
        let mut frame = (content.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(content);
        self.0.write_all(&frame).unwrap();
    }

    fn request(&mut self, key: i16, version: i16, correlation: i32, body: &[u8]) {
        let mut content = key.to_be_bytes().to_vec();
        content.extend_from_slice(&version.to_be_bytes());
        content.extend_from_slice(&correlation.to_be_bytes());
        content.extend_from_slice(&[0xff, 0xff]);
        content.extend_from_slice(body);
        self.send(&content);
    }

    fn response(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut content = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut content).unwrap();
        content
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 1]), Ok(0) | Err(_))
    }
}

#[test]
fn an_unknown_version_of_api_versions_gets_the_list_in_version_0() {
    let broker = TestBroker::start();
    let mut raw = Raw::connect(&broker);
    raw.send(&[0, 18, 0, 99, 0, 0, 0, 7]);
    let answer = raw.response();
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 35]);
    assert!(answer.len() > 100);
    raw.request(18, 0, 8, &[]);
    assert_eq!(raw.response()[..6], [0, 0, 0, 8, 0, 0]);
}

#[test]
fn unknown_requests_and_versions_get_the_protocols_error() {
    let broker = TestBroker::start();
    let mut raw = Raw::connect(&broker);
    for (key, version) in [(999, 0), (0, 2), (1, 99), (24, 3), (68, 0)] {
        raw.request(key, version, 5, &[1, 2, 3]);
        assert_eq!(raw.response(), [0, 0, 0, 5, 0, 35], "{key} {version}");
    }
}

#[test]
fn malformed_and_oversized_frames_close_their_connection_and_nothing_else() {
    let broker = TestBroker::with(BrokerOptions { max_request_bytes: 2 << 20, ..BrokerOptions::default() });
    let mut healthy = Raw::connect(&broker);
    let close = |bytes: &[u8]| {
        let mut raw = Raw::connect(&broker);
        raw.0.write_all(bytes).unwrap();
        assert!(raw.is_closed(), "{bytes:?}");
    };
    close(&i32::MAX.to_be_bytes());
    close(&(-1i32).to_be_bytes());
    close(&((2 << 20) + 1i32).to_be_bytes());
    close(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n");
    close(&[0, 0, 0, 2, 0, 0]);
    close(&[0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff]);
    // A metadata request that claims two billion topics, and one that ends in the middle of a name.
    close(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    close(&[0, 0, 0, 17, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1, 0, 9, b'a']);
    healthy.request(18, 0, 1, &[]);
    assert_eq!(healthy.response()[..6], [0, 0, 0, 1, 0, 0]);
    broker.produce("t", &lines(0..3, "v"), &[]);
    assert_eq!(broker.consume("t", "%s\n").len(), 3);
}

#[test]
fn a_damaged_batch_is_refused_and_not_stored() {
    let broker = TestBroker::start();
    broker.produce("t", &["good".into()], &["-p", "0"]);
    let mut raw = Raw::connect(&broker);
    let mut batch = vec![0u8; 61];
    batch[8..12].copy_from_slice(&49i32.to_be_bytes());
    batch[16] = 2;
    batch[57..61].copy_from_slice(&1i32.to_be_bytes());
    let mut body =
        vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0];
    body.extend_from_slice(&(batch.len() as i32).to_be_bytes());
    body.extend_from_slice(&batch);
    raw.request(0, 3, 9, &body);
    let answer = raw.response();
    // correlation, one topic "t", one partition 0, error 2 (CORRUPT_MESSAGE)
    assert_eq!(answer[4..21], [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 2]);
    assert_eq!(broker.consume("t", "%s\n"), ["good"]);
}

#[test]
fn more_connections_than_allowed_are_turned_away() {
    let broker = TestBroker::with(BrokerOptions { max_connections: 3, ..BrokerOptions::default() });
    let mut held: Vec<_> = (0..3).map(|_| Raw::connect(&broker)).collect();
    for raw in &mut held {
        raw.request(18, 0, 1, &[]);
        raw.response();
    }
    assert!(Raw::connect(&broker).is_closed());
    drop(held);
    crate::support::eventually("a place is free again", || {
        let mut raw = Raw::connect(&broker);
        raw.request(18, 0, 1, &[]);
        let mut first = [0];
        matches!(raw.0.read(&mut first), Ok(1))
    });
}
