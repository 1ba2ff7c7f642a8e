//! The pipelines as the scheduler calls them: their tasks, and what each does.

use super::fence::Fence;
use super::model::Task;
use super::tables::Done;
use super::{Batch, BatchError};
use affluent_schedule::{Interval, Outcome, RunContext, Work, WorkError};
use affluent_telemetry::metrics_list;
use async_trait::async_trait;

/// The tasks of the pipelines, in their order.
pub const TASKS: &[&str] = &["ingest", "clean", "deduplicate", "enrich", "load", "check", "publish"];

/// The tasks over one lake. A task does what is left to do, whatever the interval: tables know how far they are.
#[derive(Debug, Clone)]
pub struct RawToDwh {
    batch: Batch,
    /// Every table is computed in full and compared: the nightly rebuild.
    full: bool,
}

impl RawToDwh {
    /// The pipeline that takes on what came since the last run.
    #[must_use]
    pub fn increments(batch: Batch) -> Self {
        RawToDwh { batch, full: false }
    }

    /// The pipeline that computes everything again, compares, and puts right what differs.
    #[must_use]
    pub fn rebuild(batch: Batch) -> Self {
        RawToDwh { batch, full: true }
    }

    /// Does one task.
    ///
    /// # Errors
    /// [`BatchError`].
    pub async fn task(&self, task: &str, run: i64, fence: &dyn Fence) -> Result<Outcome, BatchError> {
        match task {
            "ingest" => {
                let done = self.batch.ingest().await?;
                Ok(Outcome { skipped: done.rows_in == 0, ..outcome(done, None) })
            }
            "clean" => self.compute(Task::Clean, run, fence).await,
            "deduplicate" => self.compute(Task::Deduplicate, run, fence).await,
            "enrich" => self.compute(Task::Enrich, run, fence).await,
            "load" => self.compute(Task::Load, run, fence).await,
            "check" => {
                let (done, results) = self.batch.check(run, self.full, fence).await?;
                let warned: Vec<String> =
                    results.iter().filter(|result| result.failures > 0).map(ToString::to_string).collect();
                Ok(outcome(done, Some(warned.join("; "))))
            }
            "publish" => {
                let (done, version) = self.batch.publish(run, fence).await?;
                Ok(outcome(done, version.map(|version| format!("version {version}"))))
            }
            other => {
                Err(BatchError::Options(format!("there is no task {other}; there are {}", TASKS.join(", "))))
            }
        }
    }

    async fn compute(&self, task: Task, run: i64, fence: &dyn Fence) -> Result<Outcome, BatchError> {
        if !self.full {
            let done = match task {
                Task::Clean => self.batch.clean(fence).await?,
                Task::Deduplicate | Task::Enrich | Task::Load => self.batch.compute(task, fence).await?,
            };
            let notes =
                (done.rejected > 0).then(|| format!("{} rows refused, see ops.rejected", done.rejected));
            return Ok(outcome(done, notes));
        }
        let (done, differences) = self.batch.rebuild(task, fence).await?;
        self.batch.tell(run, &differences, fence).await?;
        for model in self.batch.models().of(task) {
            let table = model.table();
            let days = differences.iter().find(|difference| difference.table == table).map_or(0, |found| {
                // A table that is not divided differs as a whole.
                found.days.len().max(1)
            });
            metrics_list::reconcile_difference(&table, "days", days);
        }
        if !differences.is_empty() {
            metrics_list::batch_alert(affluent_schedule::REBUILD, "different");
        }
        let notes = if differences.is_empty() {
            "equal to the increments".to_owned()
        } else {
            let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
            format!("put right: {}", texts.join("; "))
        };
        // A rebuild has done something where it found everything equal.
        Ok(Outcome { skipped: false, ..outcome(done, Some(notes)) })
    }
}

fn outcome(done: Done, notes: Option<String>) -> Outcome {
    let notes = notes.filter(|notes| !notes.is_empty());
    Outcome {
        rows_in: done.rows_in,
        rows_out: done.rows_out,
        skipped: done.tables == 0 && done.rows_in == 0,
        notes,
    }
}

#[async_trait]
impl Work for RawToDwh {
    async fn run(&self, task: &str, _interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        self.task(task, context.run(), context).await.map_err(|error| {
            let retryable = error.is_passing();
            WorkError { message: error.to_string(), retryable }
        })
    }
}
