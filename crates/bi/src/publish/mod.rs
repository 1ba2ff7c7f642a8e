//! Copies of the published warehouse in a PostgreSQL, for tools that accept only that: section `[bi.publish]`.
//!
//! The way of a version: `tables` decides what is copied and under which types and keys, `copy` writes rows as `COPY`
//! reads them, `target` fills new tables and puts them in the place of the old ones; [`Publisher`] does so after each
//! publication. What does not live here: how the PostgreSQL is reached (the caller's [`Connect`]), what is published when.
//!
//! Invariants: everything of a version happens in one transaction, so readers see the tables of one version, whatever is
//! killed; a version is copied once, and never one that is older than what is there; no table is replaced that a
//! publication has not made.

mod copy;
mod error;
mod options;
mod service;
mod tables;
mod target;

pub use error::PublishError;
pub use options::PublishOptions;
pub use service::{Connect, Copied, Publisher};
