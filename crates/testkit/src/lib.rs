//! Real services for tests, benches and the demo: PostgreSQL, the broker, a REST catalog and a server of S3
//! that are already there, Apache Kafka and Kafka Connect where their jars are, a network that fails, simulated payments, clicks and log
//! lines, a history of card payments.
//!
//! Nothing here is a mock. What is started here belongs to this process and goes with it, also when
//! it is killed: see [`postgres`].

pub mod apache_kafka;
pub mod broker;
pub mod card_history;
pub mod catalog;
pub mod connect;
pub mod events;
pub mod java;
pub mod payments;
pub mod postgres;
pub mod proxy;
pub mod s3;

pub use apache_kafka::ApacheKafka;
pub use broker::Broker;
pub use catalog::RestCatalog;
pub use connect::ConnectWorker;
pub use postgres::{Database, Postgres, PostgresError, PostgresOptions, Stop};
pub use proxy::{Condition, Proxy};
pub use s3::S3Server;

use std::net::TcpListener;

/// A name no other test uses: `name` and the first part of a fresh UUID, in the characters that
/// databases, slots and topics all allow.
#[must_use]
pub fn unique(name: &str) -> String {
    let tail = uuid::Uuid::new_v4().simple().to_string();
    format!("{name}_{}", &tail[..12])
}

/// Ports of 127.0.0.1 that no outgoing connection takes while nothing listens: below the ephemeral range.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut found = [0; N];
    let mut count = 0;
    while count < N {
        let port = rand::random_range(15_000..32_000);
        let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free && !found.contains(&port) {
            found[count] = port;
            count += 1;
        }
    }
    found
}
