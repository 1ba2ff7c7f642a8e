//! Staging over a real lake: each event once, whatever comes between.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod geo;
mod raw;
mod staging;
