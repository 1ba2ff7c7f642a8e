//! Queries on a cluster: the nodes of one, and the way of a query to it and of its rows back.
//!
//! The scheduler and the executors are Ballista's, started here with what our plans need (`scheduler`, `executor`,
//! `nodes`), and queries that would wait for a dead one are ended (`watch`). A session plans as it does for this process, so files, snapshots and columns are chosen here and nowhere
//! else; the finished plan is what travels (`placement`, `scan`, `codec`), the rows come back in batches (`driver`).
//! What does not live here: the planning of queries, and every write: commits stay with who asked.
//!
//! Invariants: a plan whose parts would not give the same rows on several machines runs here (`placement`); sums and
//! operators are the checked ones on every node; each data file is read by exactly one part of a query.

mod address;
mod codec;
mod driver;
mod executor;
mod failure;
mod joins;
mod nodes;
mod options;
mod placement;
mod scan;
mod scheduler;
mod watch;
mod wire;

pub use address::ClusterAddress;
pub use executor::ExecutorNode;
pub use nodes::NodeError;
pub use options::{ExecutorOptions, SchedulerOptions};
pub use scheduler::SchedulerNode;

pub(crate) use driver::Cluster;
pub(crate) use joins::DividedOuterJoins;
pub(crate) use placement::Placement;

/// Pause between two looks for a node that starts.
const PROBE_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
