//! The test kit against the real programs it starts.
#![allow(clippy::unwrap_used)] // a helper of a test may fail the test, too

mod broker;
mod payments;
mod postgres;
