//! The document stores against their contract.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod contract;
mod convergence;
mod embedded;
mod history;
