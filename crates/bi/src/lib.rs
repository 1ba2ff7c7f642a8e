//! The warehouse for tools of business intelligence.
//!
//! What lives here: a server of the PostgreSQL protocol (`wire`, `session`, `auth`), the catalogue that its clients
//! look into and the types they know (`catalog`, `types`), and copies of the marts in a PostgreSQL ([`publish`]).
//! What does not live here: the engine and its tables (`affluent_lake`), what is published when (`affluent_warehouse`).
//!
//! Invariants: nothing is written to the lake; a statement sees one published version, a transaction the same one from
//! its first statement to its last; a table that no role of the user grants is not told of and not read.

mod auth;
mod catalog;
mod error;
mod options;
pub mod publish;
mod service;
mod session;
mod snapshots;
mod tls;
mod types;
mod wire;

pub use options::{BiEngineOptions, BiOptions, RoleOptions, TlsOptions, UserOptions};
pub use service::{Service, ServiceError};
