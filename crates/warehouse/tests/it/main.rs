//! Staging and the batch pipeline over a real lake: each event once, whatever comes between.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod geo;
mod models;
mod raw;
mod staging;
