//! The pipeline from a dataset to a registered model; metrics and drift against the Python libraries that define them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod imports;
mod oracle;
mod payments;
mod pipeline;
mod python;
mod registry;
mod rows;
mod transforms;
mod values;
