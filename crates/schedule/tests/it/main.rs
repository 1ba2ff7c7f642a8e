//! The calendar against Airflow's, the ledger between processes, runs that fail, stop and go on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod calendar;
mod harness;
mod ledger;
mod processes;
mod runs;
mod service;
