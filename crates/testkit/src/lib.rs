//! Real services for tests, benches and the demo: PostgreSQL, the broker, a REST catalog that is already
//! there, simulated payments, clicks and log lines, a history of card payments.
//!
//! Nothing here is a mock. What is started here belongs to this process and goes with it, also when
//! it is killed: see [`postgres`].

pub mod broker;
pub mod card_history;
pub mod catalog;
pub mod events;
pub mod payments;
pub mod postgres;

pub use broker::Broker;
pub use catalog::RestCatalog;
pub use postgres::{Database, Postgres, PostgresError, PostgresOptions, Stop};

/// A name no other test uses: `name` and the first part of a fresh UUID, in the characters that
/// databases, slots and topics all allow.
#[must_use]
pub fn unique(name: &str) -> String {
    let tail = uuid::Uuid::new_v4().simple().to_string();
    format!("{name}_{}", &tail[..12])
}
