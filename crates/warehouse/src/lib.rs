//! The zones above the raw one. So far: [`staged`], clicks and log lines typed, parsed and each once.
//!
//! What lives here: which rows become which, and when. What does not: how tables are written and read,
//! which is `lake`'s.

pub mod staged;
