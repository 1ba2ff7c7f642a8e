//! Running the intervals of a range, some at a time.

use crate::calendar::CalendarError;
use crate::interval::Interval;
use crate::ledger::Reason;
use crate::runner::{Request, RunEnd, RunError, Runner};
use crate::work::Pipeline;
use futures::StreamExt as _;
use serde::Serialize;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Which intervals, and how.
#[derive(Debug, Clone)]
pub struct Backfill {
    pub range: Interval,
    /// So many at the same time.
    pub parallel: usize,
    /// Also those that are done.
    pub fresh: bool,
    /// Waits so long for a run that is in the way of one interval.
    pub wait: Duration,
}

/// What a backfill has done, the oldest interval first. Intervals that were not begun before the
/// shutdown are missing.
#[derive(Debug, Serialize)]
pub struct BackfillReport {
    pub intervals: usize,
    pub ended: Vec<(Interval, RunEnd)>,
}

/// Why a backfill cannot begin, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error(
        "{pipeline} has no cron line, so a range has no intervals; set its key `cron`, or run the range as one"
    )]
    NoCalendar { pipeline: &'static str },
    #[error(
        "{parallel} intervals of {pipeline} at a time are not possible while its key `lock` is \"{lock}\"; \
         use 1, or set it to \"\""
    )]
    Locked { pipeline: &'static str, parallel: usize, lock: String },
    #[error("0 intervals at a time would never end; use 1 or more")]
    None,
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl BackfillReport {
    /// Every interval of the range is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let done = |end: &RunEnd| match end {
            RunEnd::Succeeded { .. } | RunEnd::Skipped { .. } | RunEnd::Done => true,
            RunEnd::Busy(_)
            | RunEnd::GivenUp { .. }
            | RunEnd::Failed { .. }
            | RunEnd::Cancelled { .. }
            | RunEnd::Lost { .. } => false,
        };
        self.ended.len() == self.intervals && self.ended.iter().all(|(_, end)| done(end))
    }
}

impl Runner {
    /// Runs the whole intervals of a range, the oldest first. One that fails does not stop the others.
    ///
    /// # Errors
    /// A range without whole intervals or with too many, more at a time than the pipeline's lock allows, and
    /// faults of the ledger.
    pub async fn backfill(
        &self,
        pipeline: &Pipeline,
        backfill: &Backfill,
        shutdown: &CancellationToken,
    ) -> Result<BackfillReport, BackfillError> {
        let (name, lock) = (pipeline.name, &pipeline.options.lock);
        let Some(calendar) = &pipeline.calendar else {
            return Err(BackfillError::NoCalendar { pipeline: name });
        };
        let parallel = backfill.parallel;
        if parallel == 0 {
            return Err(BackfillError::None);
        }
        if parallel > 1 && !lock.is_empty() {
            return Err(BackfillError::Locked { pipeline: name, parallel, lock: lock.clone() });
        }
        let intervals = calendar.cut(backfill.range, self.options.backfill_max)?;
        let count = intervals.len();
        let mut runs = futures::stream::iter(intervals)
            .take_while(|_| std::future::ready(!shutdown.is_cancelled()))
            .map(|interval| async move {
                let request = Request {
                    interval,
                    only: None,
                    fresh: backfill.fresh,
                    reason: Reason::Backfill,
                    wait: backfill.wait,
                };
                self.run(pipeline, &request, shutdown).await.map(|end| (interval, end))
            })
            .buffered(parallel);
        let mut ended = Vec::with_capacity(count);
        while let Some(end) = runs.next().await {
            let (interval, end) = end?;
            tracing::info!(pipeline = name, %interval, done = ended.len() + 1, of = count, "backfill");
            ended.push((interval, end));
        }
        Ok(BackfillReport { intervals: count, ended })
    }
}
