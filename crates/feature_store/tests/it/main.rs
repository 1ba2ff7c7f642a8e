//! Tests of the feature store against real services.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod follow;
mod lake;
mod past;
mod rig;
mod stream;
