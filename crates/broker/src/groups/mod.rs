//! Consumer groups: `machine` decides (pure, no clock, no I/O), `coordinator` carries it out and
//! answers, `offsets` keeps committed offsets and group state through restarts.

mod coordinator;
mod machine;
mod member;
mod offsets;

pub(crate) use coordinator::{CommitTarget, Coordinator, Description};
pub(crate) use machine::{JoinRequest, State, SyncRequest};
pub(crate) use offsets::Committed;
