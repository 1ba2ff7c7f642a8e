//! The pipelines that materialise features, as the scheduler calls them: `features-5m`, `features-1h`, `features-nightly`.
//!
//! | task | |
//! |---|---|
//! | `materialise` | the vectors of the views that are due, as of the end of the interval, into `features.<view>` |
//! | `serve` | the same features, all of an entity together, into the online store |
//!
//! A run is as of the end of its interval, or as of the newest instant up to which the warehouse has taken everything in, where that is
//! earlier: a vector never claims to know what is still on its way. So a run before which nothing came has nothing to do.
//!
//! Invariant: a task that has written no row has not succeeded: it was skipped and says why, or it failed.

mod parity;

pub use parity::{PARITY_TASKS, ParityJob};

use crate::history::HistoryError;
use crate::offline::{Materialised, Offline, ViewPlan, Writer};
use crate::online::{self, Vector};
use affluent_documents::DocumentStore;
use affluent_features::definition::{Freshness, REQUEST};
use affluent_model::time::{format_micros, now_micros};
use affluent_schedule::{Interval, Outcome, RunContext, Work, WorkError};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The tasks of the pipelines, in their order.
pub const TASKS: &[&str] = &["materialise", "serve"];
/// Documents of one write to the online store.
const DOCUMENTS: usize = 4_096;

/// The tasks of one freshness.
#[derive(Clone)]
pub struct FeatureJobs {
    offline: Offline,
    freshness: Freshness,
    online: Option<Online>,
}

/// The online store, and how many days its values stay.
#[derive(Clone)]
pub struct Online {
    pub store: Arc<dyn DocumentStore>,
    pub ttl_days: u32,
}

impl FeatureJobs {
    /// The tasks of this freshness; without an online store the task `serve` is skipped.
    #[must_use]
    pub fn new(offline: Offline, freshness: Freshness, online: Option<Online>) -> Self {
        FeatureJobs { offline, freshness, online }
    }

    async fn materialise(&self, interval: Interval, writer: &dyn Writer) -> Result<Outcome, HistoryError> {
        let as_of = match self.as_of(interval).await? {
            Ok(as_of) => as_of,
            Err(why) => return Ok(skipped(why)),
        };
        let (mut outcome, mut notes) = (Outcome::default(), Vec::new());
        for name in ViewPlan::due(self.offline.history().definitions(), self.freshness) {
            writer.permit().await?;
            let view = ViewPlan::new(self.offline.history().definitions(), name)?;
            if let Some(missing) = self.offline.missing(&view).await? {
                notes.push(format!("{name}: {missing}"));
                continue;
            }
            let done = self.offline.materialise(&view, &[as_of], writer, |_, _| {}).await?;
            outcome.rows_in += done.read.events;
            outcome.rows_out += done.rows;
            notes.push(format!("{name}: {}", told(&done)));
        }
        outcome.skipped = outcome.rows_out == 0;
        outcome.notes = Some(format!("as of {}; {}", format_micros(as_of, true), notes.join("; ")));
        Ok(outcome)
    }

    async fn serve(&self, interval: Interval, writer: &dyn Writer) -> Result<Outcome, WorkError> {
        let Some(Online { store, ttl_days }) = &self.online else {
            return Ok(skipped(
                "this process has no online store: the role `schedule` of the platform serves".to_owned(),
            ));
        };
        let as_of = match self.as_of(interval).await.map_err(failed)? {
            Ok(as_of) => as_of,
            Err(why) => return Ok(skipped(why)),
        };
        let definitions = self.offline.history().definitions();
        let entities: BTreeSet<&str> =
            definitions.features.iter().map(|feature| feature.entity.as_str()).collect();
        store.ensure(&online::collection(*ttl_days)).await.map_err(WorkError::passing)?;
        let mut outcome = Outcome::default();
        for entity in entities.into_iter().filter(|entity| *entity != REQUEST) {
            let served = self.offline.served(entity, self.freshness, as_of).await.map_err(failed)?;
            let Some((view, vectors, read)) = served else { continue };
            outcome.rows_in += read.events;
            let (features, version) = (view.versions(), now_micros().cast_unsigned());
            let mut writes = Vec::new();
            for (key, is_exact, values) in vectors.iter() {
                let vector = Vector { entity, key, as_of, is_exact, features: &features, values: &values };
                writes.push(vector.write(self.freshness, version));
                if writes.len() == DOCUMENTS {
                    outcome.rows_out += apply(store, &mut writes, writer).await?;
                }
            }
            outcome.rows_out += apply(store, &mut writes, writer).await?;
        }
        outcome.skipped = outcome.rows_out == 0;
        outcome.notes = Some(format!("as of {}", format_micros(as_of, true)));
        Ok(outcome)
    }

    /// The instant of an interval's vectors, or why there is none.
    async fn as_of(&self, interval: Interval) -> Result<Result<i64, String>, HistoryError> {
        let known = self.offline.known_until().await?;
        Ok(known
            .map(|known| known.min(interval.to_us()))
            .ok_or_else(|| "the warehouse has not taken anything in yet: run raw-to-dwh".to_owned()))
    }
}

async fn apply(
    store: &Arc<dyn DocumentStore>,
    writes: &mut Vec<affluent_documents::VersionedWrite>,
    writer: &dyn Writer,
) -> Result<u64, WorkError> {
    if writes.is_empty() {
        return Ok(0);
    }
    writer.permit().await.map_err(failed)?;
    let count = writes.len() as u64;
    store.apply(online::COLLECTION, std::mem::take(writes)).await.map_err(WorkError::passing)?;
    Ok(count)
}

fn skipped(why: String) -> Outcome {
    Outcome { skipped: true, notes: Some(why), ..Outcome::default() }
}

/// What became of a view, for the history.
fn told(done: &Materialised) -> String {
    let mut text = match (done.rows, done.before) {
        (0, 0) => "no event in its windows".to_owned(),
        (0, _) => "was there before".to_owned(),
        (rows, _) => format!("{rows} rows"),
    };
    for (count, what) in [
        (done.inexact, "not exact"),
        (done.read.late, "events too late"),
        (done.read.refused, "rows refused"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if let Some(why) = &done.read.first_refused {
        text += &format!(" ({why})");
    }
    text
}

pub(crate) fn failed(error: HistoryError) -> WorkError {
    let retryable = error.is_passing();
    WorkError { message: error.to_string(), retryable }
}

#[async_trait]
impl Writer for RunContext {
    async fn permit(&self) -> Result<(), HistoryError> {
        if self.cancelled().is_cancelled() {
            return Err(HistoryError::Stopped { message: "told to stop".to_owned(), retryable: true });
        }
        self.check()
            .await
            .map_err(|error| HistoryError::Stopped { message: error.message, retryable: error.retryable })
    }

    fn fence(&self) -> Option<i64> {
        Some(RunContext::fence(self))
    }
}

#[async_trait]
impl Work for FeatureJobs {
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        match task {
            "materialise" => self.materialise(interval, context).await.map_err(failed),
            "serve" => self.serve(interval, context).await,
            other => {
                Err(WorkError::lasting(format!("there is no task {other}; there are {}", TASKS.join(", "))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Counted;

    #[test]
    fn what_became_of_a_view_is_told() {
        let read =
            Counted { events: 9, late: 2, refused: 1, first_refused: Some("amount: is null".to_owned()) };
        for (done, expected) in [
            (Materialised::default(), "no event in its windows"),
            (Materialised { before: 1, ..Materialised::default() }, "was there before"),
            (
                Materialised { rows: 5, instants: 1, read, ..Materialised::default() },
                "5 rows, 2 events too late, 1 rows refused (amount: is null)",
            ),
        ] {
            assert_eq!(told(&done), expected);
        }
    }
}
