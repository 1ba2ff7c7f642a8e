//! The batch that is being written while the loop reads on: one at the most.
//!
//! Decoding needs the processor, writing waits for the disk: a sink that hands over what is staged
//! ([`crate::sinks::Sink::hand_over`]) has both at the same time. The loop stages the next batch up to its bounds, then
//! waits for this one. Before anything that must find all records written (partitions that leave, the
//! end), it waits for it too.
//!
//! Invariant: the offsets of a batch are committed after it is written, and after those of the batch
//! before. Of one that is given up or fenced, the loop notes where it began, and reads from there.

use super::attempts::Attempts;
use super::traced::{self, Traced};
use super::{ConsumeError, LAG_INTERVAL, Loop, Stop, note_offsets};
use crate::sinks::Batch;
use affluent_bus::{Committer, TopicPartition};
use affluent_telemetry::failpoint;
use std::collections::BTreeMap;
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A batch under way.
pub(super) struct Flight {
    /// First offset of each partition.
    first: BTreeMap<TopicPartition, i64>,
    /// No attempt after the one under way.
    give_up: CancellationToken,
    task: AbortOnDropHandle<Result<(), Stop>>,
}

impl Flight {
    /// Waits for its end. Cancel safe; after its end, not to be asked again.
    async fn ended(&mut self, role: &'static str) -> Result<(), Stop> {
        (&mut self.task).await.unwrap_or_else(|panic| {
            Err(Stop::Failed(ConsumeError::Sink { role, error: format!("the write ended: {panic}") }))
        })
    }
}

/// Waits for the end of the flight, for ever where there is none.
pub(super) async fn ended(flight: &mut Option<Flight>, role: &'static str) -> Result<(), Stop> {
    match flight {
        Some(flight) => flight.ended(role).await,
        None => std::future::pending().await,
    }
}

impl Loop {
    /// Starts to write a batch, which holds everything staged.
    pub(super) fn launch(&mut self, batch: Box<dyn Batch>) {
        let staged = std::mem::take(&mut self.staged);
        let give_up = CancellationToken::new();
        let attempts = self.attempts("commit", None, &give_up);
        let offsets = staged.next.into_iter().collect();
        let written = Written { offsets, traced: staged.traced };
        let task = tokio::spawn(write(batch, attempts, self.role, self.consumer.committer(), written));
        self.flight = Some(Flight { first: staged.first, give_up, task: AbortOnDropHandle::new(task) });
    }

    /// Waits until nothing is being written any more. At the deadline the write is given up; without one,
    /// shutdown ends the waiting, and the write goes on.
    pub(super) async fn land(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        while let Some(flight) = &mut self.flight {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            tokio::select! {
                biased;
                ended = flight.ended(self.role) => return self.landed(ended),
                () = self.shutdown.cancelled(), if deadline.is_none() => return Err(Stop::GivenUp),
                () = tokio::time::sleep(left.unwrap_or(LAG_INTERVAL)) => {}
            }
            if deadline.is_some() {
                return self.recall().await;
            }
            self.publish_lag();
        }
        Ok(())
    }

    /// Gives up what is being written, and waits for the attempt under way.
    pub(super) async fn recall(&mut self) -> Result<(), Stop> {
        let Some(flight) = &mut self.flight else { return Ok(()) };
        flight.give_up.cancel();
        let ended = flight.ended(self.role).await;
        self.landed(ended)
    }

    /// The flight has ended so: notes where to read again if it came to nothing.
    pub(super) fn landed(&mut self, ended: Result<(), Stop>) -> Result<(), Stop> {
        let flight = self.flight.take();
        if ended.is_err() {
            self.staged.begins_at(flight.map(|flight| flight.first).unwrap_or_default());
        }
        ended
    }
}

/// What is to be told of a batch once it is written.
struct Written {
    offsets: Vec<(TopicPartition, i64)>,
    traced: Vec<Traced>,
}

/// Writes the batch, then commits its offsets.
async fn write(
    mut batch: Box<dyn Batch>,
    mut attempts: Attempts,
    role: &'static str,
    committer: Committer,
    written: Written,
) -> Result<(), Stop> {
    failpoint("consume::before_commit");
    while let Err(error) = batch.write().await {
        attempts.fault(error).await?;
    }
    attempts.succeeded();
    failpoint("consume::after_commit");
    traced::stored(role, written.traced);
    note_offsets(role, &committer, &written.offsets).await;
    Ok(())
}
