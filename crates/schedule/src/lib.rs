//! When a pipeline runs, what it ran, and who may run it.
//!
//! - [`Calendar`]: the intervals of a cron line in a time zone. Pure.
//! - [`Ledger`]: runs, their tasks and alerts, and the leases by which one process at a time runs an interval.
//! - [`Runner`]: one run: tasks in order, retries, time limits, going on where it failed; and backfills.
//! - [`ScheduleService`]: keeps pipelines on their calendars.
//!
//! What a task does is behind the port [`Work`]; nothing here knows a table.

mod attempt;
mod backfill;
mod calendar;
mod interval;
mod ledger;
mod options;
mod plan;
mod progress;
mod resume;
mod retry;
mod runner;
mod service;
mod work;

pub use backfill::{Backfill, BackfillError, BackfillReport};
pub use calendar::{Calendar, CalendarError};
pub use interval::{Interval, IntervalError, parse_time};
pub use ledger::{
    Alert, AlertKind, AlertRecord, Begun, Claim, Clock, DayCount, History, Holder, Known, Ledger,
    LedgerError, PipelineStatus, Reason, RunRecord, RunState, Scope, Seen, Started, Status, TaskRecord,
};
pub use options::{
    DRIFT, FEATURES_1H, FEATURES_5M, FEATURES_NIGHTLY, FEATURES_PARITY, PipelineOptions, RAW_TO_DWH, REBUILD,
    ScheduleOptions, TRAIN_CHURN, TRAIN_FRAUD, TRAIN_SCORE,
};
pub use runner::{Request, RunEnd, RunError, Runner};
pub use service::{ScheduleError, ScheduleService};
pub use work::{Outcome, Pipeline, RunContext, Work, WorkError};
