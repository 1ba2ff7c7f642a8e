//! The document stores against their contract.

mod contract;
mod convergence;
mod embedded;
mod history;
