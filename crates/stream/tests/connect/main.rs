//! Kafka Connect beside our own parts: what Debezium captures is stored by our sinks as what we capture ourselves, and the
//! sinks of Connect store what we capture.
//!
//! Needs `AFFLUENT_TEST_CONNECT` and `AFFLUENT_TEST_CONNECT_PLUGINS`, directories of jars; `make interop` fetches them. The
//! broker is the one that `AFFLUENT_TEST_KAFKA` names, else the embedded one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod debezium;
mod rig;
mod sinks;
