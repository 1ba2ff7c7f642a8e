//! Logs, traces, the one list of metrics, health, and failpoints.
//!
//! Nowhere else may a metric be named: a part takes its handles from [`metrics_list`].

mod failpoints;
pub mod health;
pub mod lag;
pub mod latency;
pub mod logs;
pub mod metrics_list;
pub mod traces;

pub use failpoints::{arm_failpoints, failpoint};
