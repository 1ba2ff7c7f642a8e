//! The zones above the raw one: [`staged`], clicks and log lines typed, parsed and each once, and [`batch`],
//! the models that lead from raw changes to the warehouse; and [`import`], history of files into the raw zone.
//!
//! What lives here: which rows become which, and when. What does not: how tables are written and read,
//! which is `lake`'s.

pub mod batch;
pub mod import;
pub mod staged;
