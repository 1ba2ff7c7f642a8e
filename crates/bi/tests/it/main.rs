//! The endpoint as its clients meet it, and copies of the warehouse in a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clients;
mod endpoint;
mod limits;
mod publish;
mod security;
mod sessions;
mod warehouse;
