//! The group fsync: everything written since the last one is made durable together, and everybody
//! who waits is told at once.
//!
//! Invariant: [`Flusher::flushed`] returns only after a sync of the target began after the call; the
//! caller then asks the target itself how far it is durable, so a failed sync is never taken for a
//! good one.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Files synced at the same time by one group fsync, at most.
const PARALLEL_SYNCS: usize = 4;

/// Something that is written now and made durable later. Whoever implements it remembers how far it
/// is durable and logs its own failures.
pub(crate) trait Durable: Send + Sync {
    /// Makes durable everything written before the call.
    fn sync(&self);
}

struct Pending {
    /// By address, each once.
    targets: HashMap<usize, Arc<dyn Durable>>,
    /// The number of the flush that will take `targets`.
    round: u64,
}

/// Schedules group fsyncs.
pub(crate) struct Flusher {
    pending: Mutex<Pending>,
    wake: Notify,
    done: watch::Sender<u64>,
    apart: Duration,
}

impl Flusher {
    /// Flushes begin at least `apart` from each other.
    pub(crate) fn new(apart: Duration) -> Self {
        Self {
            pending: Mutex::new(Pending { targets: HashMap::new(), round: 1 }),
            wake: Notify::new(),
            done: watch::Sender::new(0),
            apart,
        }
    }

    /// Asks for `target` to be made durable by the next flush and returns that flush's number.
    pub(crate) fn mark(&self, target: &Arc<dyn Durable>) -> u64 {
        let mut pending = self.pending.lock();
        let address = Arc::as_ptr(target).cast::<()>() as usize;
        pending.targets.entry(address).or_insert_with(|| Arc::clone(target));
        let round = pending.round;
        drop(pending);
        self.wake.notify_one();
        round
    }

    /// Returns when flush `round` has ended, well or not, or the flusher has stopped.
    pub(crate) async fn flushed(&self, round: u64) {
        let mut done = self.done.subscribe();
        let _ = done.wait_for(|reached| *reached >= round).await;
    }

    /// Flushes until `stop`, then once more.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => break,
            }
            let began = Instant::now();
            self.flush().await;
            tokio::select! {
                () = tokio::time::sleep(self.apart.saturating_sub(began.elapsed())) => {}
                () = stop.cancelled() => break,
            }
        }
        self.flush().await;
    }

    async fn flush(&self) {
        let (targets, round) = {
            let mut pending = self.pending.lock();
            pending.round += 1;
            (std::mem::take(&mut pending.targets).into_values().collect::<Vec<_>>(), pending.round - 1)
        };
        let share = targets.len().div_ceil(PARALLEL_SYNCS).max(1);
        let mut syncs = tokio::task::JoinSet::new();
        for some in targets.chunks(share) {
            let some = some.to_vec();
            syncs.spawn_blocking(move || some.iter().for_each(|target| target.sync()));
        }
        while let Some(ended) = syncs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "group fsync was interrupted");
            }
        }
        self.done.send_replace(round);
    }
}
