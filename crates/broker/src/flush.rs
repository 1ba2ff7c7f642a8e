//! The group fsync: everything written since the last one is made durable together, and everybody
//! who waits is told at once. It has a thread of its own, so that no timer or queue of the runtime
//! stands between a record and the disk.
//!
//! Invariant: [`Flusher::flushed`] returns only after a sync of the target began after the call to
//! [`Flusher::mark`]; the caller then asks the target itself how far it is durable, so a failed sync
//! is never taken for a good one.

use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

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
    stopped: bool,
}

/// Schedules group fsyncs.
pub(crate) struct Flusher {
    pending: Mutex<Pending>,
    wake: Condvar,
    done: watch::Sender<u64>,
    apart: Duration,
}

impl Flusher {
    /// Flushes begin at least `apart` from each other.
    pub(crate) fn new(apart: Duration) -> Self {
        Self {
            pending: Mutex::new(Pending { targets: HashMap::new(), round: 1, stopped: false }),
            wake: Condvar::new(),
            done: watch::Sender::new(0),
            apart,
        }
    }

    /// Asks for `target` to be made durable by the next flush and returns that flush's number.
    pub(crate) fn mark(&self, target: &Arc<dyn Durable>) -> u64 {
        let address = Arc::as_ptr(target).cast::<()>() as usize;
        let mut pending = self.pending.lock();
        pending.targets.entry(address).or_insert_with(|| Arc::clone(target));
        let round = pending.round;
        drop(pending);
        self.wake.notify_one();
        round
    }

    /// Returns when flush `round` has ended, well or not.
    pub(crate) async fn flushed(&self, round: u64) {
        let mut done = self.done.subscribe();
        let _ = done.wait_for(|reached| *reached >= round).await;
    }

    /// Flushes until [`Self::stop`], then once more. Blocks: to be called on a thread of its own.
    pub(crate) fn run(&self) {
        loop {
            let mut pending = self.pending.lock();
            while pending.targets.is_empty() && !pending.stopped {
                self.wake.wait(&mut pending);
            }
            let stopped = pending.stopped;
            let targets: Vec<_> = std::mem::take(&mut pending.targets).into_values().collect();
            let round = pending.round;
            pending.round += 1;
            drop(pending);
            let began = Instant::now();
            sync_all(&targets);
            self.done.send_replace(round);
            if stopped {
                return;
            }
            std::thread::sleep(self.apart.saturating_sub(began.elapsed()));
        }
    }

    /// Lets [`Self::run`] end.
    pub(crate) fn stop(&self) {
        self.pending.lock().stopped = true;
        self.wake.notify_all();
    }
}

fn sync_all(targets: &[Arc<dyn Durable>]) {
    let share = targets.len().div_ceil(PARALLEL_SYNCS).max(1);
    let mut shares = targets.chunks(share);
    let own = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(|| share.iter().for_each(sync_one));
        }
        own.iter().for_each(sync_one);
    });
}

/// A defect in one target must not keep all others from ever being flushed again.
fn sync_one(target: &Arc<dyn Durable>) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| target.sync())).is_err() {
        tracing::error!("a sync panicked; what it was to make durable is not acknowledged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Durable for Counted {
        fn sync(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn marks_are_flushed_together_and_apart() {
        let flusher = Arc::new(Flusher::new(Duration::from_millis(50)));
        let running = std::thread::spawn({
            let flusher = Arc::clone(&flusher);
            move || flusher.run()
        });
        let counted = Arc::new(Counted::default());
        let target: Arc<dyn Durable> = counted.clone();
        flusher.flushed(flusher.mark(&target)).await;
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        let began = Instant::now();
        let rounds: Vec<u64> = (0..10).map(|_| flusher.mark(&target)).collect();
        flusher.flushed(rounds[9]).await;
        assert!(rounds.windows(2).all(|w| w[0] == w[1]) && began.elapsed() >= Duration::from_millis(30));
        assert_eq!(counted.0.load(Ordering::SeqCst), 2);
        flusher.mark(&target);
        flusher.stop();
        running.join().unwrap();
        assert_eq!(counted.0.load(Ordering::SeqCst), 3, "what is marked before the stop is flushed");
    }
}
