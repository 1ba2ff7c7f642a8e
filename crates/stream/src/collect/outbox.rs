//! The way to the bus: one shared producer, and the knowledge whether the bus answers.
//!
//! Invariant: an item counts as accepted only once the bus has acknowledged it (`acks=all`). While the
//! bus is away nothing new is queued, so that what clients send again does not pile up here.

use super::refusal::Refusal;
use affluent_bus::{BusError, Outgoing, Producer};
use parking_lot::{Mutex, RwLock};
use std::time::{Duration, Instant};

/// Records that wait this long without any being acknowledged mean that the bus is away.
const SILENCE: Duration = Duration::from_secs(2);

/// The current producer; none before the topics are there and after the end.
#[derive(Default)]
pub(crate) struct Outbox {
    producer: RwLock<Option<Producer>>,
    progress: Mutex<Option<Progress>>,
}

/// When the watermark was last seen to move, or nothing waited.
struct Progress {
    acked: u64,
    since: Instant,
}

/// What became of one record.
pub(crate) enum Sent {
    /// Queued under this number.
    Queued(u64),
    /// Larger than the bus takes.
    TooLarge,
}

impl Outbox {
    pub(crate) fn open(&self, producer: Producer) {
        *self.progress.lock() = None;
        *self.producer.write() = Some(producer);
    }

    pub(crate) fn close(&self) -> Option<Producer> {
        self.producer.write().take()
    }

    /// The producer to use now.
    ///
    /// # Errors
    /// [`Refusal::NotRunning`], [`Refusal::BusAway`].
    pub(crate) fn producer(&self) -> Result<Producer, Refusal> {
        let producer = self.producer.read().clone().ok_or(Refusal::NotRunning)?;
        if self.is_away(&producer) { Err(Refusal::BusAway) } else { Ok(producer) }
    }

    /// Whether the bus is away, as far as what waits for it tells.
    pub(crate) fn is_silent(&self) -> bool {
        let producer = self.producer.read().clone();
        producer.is_some_and(|producer| self.is_away(&producer))
    }

    fn is_away(&self, producer: &Producer) -> bool {
        let (acked, sent) = (*producer.acked().borrow(), producer.sent());
        let mut progress = self.progress.lock();
        match &mut *progress {
            Some(last) if last.acked == acked && sent > acked => last.since.elapsed() > SILENCE,
            moved => {
                *moved = Some(Progress { acked, since: Instant::now() });
                false
            }
        }
    }
}

/// Queues a record, waiting until `deadline` while the queue is full.
///
/// # Errors
/// [`Refusal::Overload`] where it stays full, [`Refusal::BusAway`].
pub(crate) async fn send(
    producer: &Producer,
    record: Outgoing,
    deadline: tokio::time::Instant,
) -> Result<Sent, Refusal> {
    let sent = match producer.try_send(&record) {
        Ok(Some(sequence)) => Ok(sequence),
        Ok(None) => {
            tokio::time::timeout_at(deadline, producer.send(record)).await.map_err(|_| Refusal::Overload)?
        }
        Err(error) => Err(error),
    };
    match sent {
        Ok(sequence) => Ok(Sent::Queued(sequence)),
        Err(BusError::TooLarge { .. }) => Ok(Sent::TooLarge),
        Err(error) => {
            tracing::warn!(%error, "collected item not sent");
            Err(Refusal::BusAway)
        }
    }
}

/// Waits until everything up to `sequence` is acknowledged.
///
/// # Errors
/// [`Refusal::NotAcknowledged`].
pub(crate) async fn acknowledged(
    producer: &Producer,
    sequence: u64,
    deadline: tokio::time::Instant,
) -> Result<(), Refusal> {
    match tokio::time::timeout_at(deadline, producer.wait_acked(sequence)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Refusal::NotAcknowledged),
    }
}
