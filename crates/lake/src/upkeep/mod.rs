//! Upkeep: merging small files, expiry, deletion of what nothing refers to, named snapshots and the way back.

pub(crate) mod clean;
pub(crate) mod compact;
pub(crate) mod forget;
mod purge;
pub(crate) mod retain;
pub(crate) mod service;
pub(crate) mod tags;
