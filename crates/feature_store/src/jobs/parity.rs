//! The pipeline `features-parity`: a sample of what the stream has served, computed once more from the lake.

use super::failed;
use crate::history::History;
use crate::parity::{Parity, parity, sample};
use affluent_documents::DocumentStore;
use affluent_lake::Lake;
use affluent_schedule::{Interval, Outcome, RunContext, Work, WorkError};
use async_trait::async_trait;
use std::sync::Arc;

/// Its one task.
pub const PARITY_TASKS: &[&str] = &["compare"];

/// Compares logged vectors.
#[derive(Clone)]
pub struct ParityJob {
    lake: Lake,
    history: History,
    /// None where this process has no online store.
    store: Option<Arc<dyn DocumentStore>>,
    sample: usize,
}

impl ParityJob {
    /// Compares so many of the vectors that `store` has logged.
    #[must_use]
    pub fn new(lake: Lake, history: History, store: Option<Arc<dyn DocumentStore>>, sample: usize) -> Self {
        ParityJob { lake, history, store, sample }
    }

    async fn compare(&self, interval: Interval) -> Result<Outcome, WorkError> {
        let Some(store) = &self.store else {
            return Ok(super::skipped(
                "this process has no online store: the role `schedule` of the platform compares".to_owned(),
            ));
        };
        let logged =
            sample(store.as_ref(), self.sample, interval.to_us()).await.map_err(WorkError::passing)?;
        let found = parity(&self.lake, &self.history, &logged).await.map_err(failed)?;
        let rows_in = logged.len() as u64;
        if found.mismatches > 0 {
            return Err(WorkError::lasting(format!(
                "{} of {} values of {} vectors are otherwise in the lake: {}; `affluent features parity` shows them",
                found.mismatches,
                found.values,
                found.vectors,
                worst(&found)
            )));
        }
        let notes = Some(format!(
            "{} vectors equal, {} not yet in the lake, {} of older versions",
            found.vectors, found.waiting, found.outdated
        ));
        Ok(Outcome { rows_in, rows_out: found.values, skipped: found.vectors == 0, notes })
    }
}

/// The features with the most mismatches.
fn worst(found: &Parity) -> String {
    let mut features: Vec<_> = found.features.iter().filter(|(_, feature)| feature.mismatches > 0).collect();
    features.sort_by_key(|(_, feature)| std::cmp::Reverse(feature.mismatches));
    let shown = features.iter().take(5).map(|(name, feature)| format!("{name} {}", feature.mismatches));
    shown.collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Work for ParityJob {
    async fn run(&self, task: &str, interval: Interval, _context: &RunContext) -> Result<Outcome, WorkError> {
        match task {
            "compare" => self.compare(interval).await,
            other => Err(WorkError::lasting(format!("there is no task {other}; there is compare"))),
        }
    }
}
