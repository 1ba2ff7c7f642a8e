//! Tests of scoring: the judge by models that were learned, and the stream against real services.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod judge;
mod learned;
mod rig;
mod serving;
mod stream;
