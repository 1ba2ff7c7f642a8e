//! Storing the state while the stream goes on: slice by slice, beside it.
//!
//! Offsets are taken first; the keys of later slices may have later events too, which are known when they are read again. So that no value is
//! written from a state that has more than its offsets say, the file counts only once the values in the store cover all that is in it.

use super::StreamOptions;
use super::ends::Look;
use super::live::LiveState;
use super::state::{self, StoreError};
use crate::online::log::Applied;
use affluent_telemetry::{failpoint, metrics_list};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Storing the state takes at most such a part of the time.
const SHARE: u32 = 20;

/// When the state was stored last, and what is being stored.
pub(super) struct Storing {
    task: Option<AbortOnDropHandle<Duration>>,
    ended: Instant,
    took: Duration,
    /// Told to the thread that writes when this one goes.
    stop: Arc<AtomicBool>,
}

impl Default for Storing {
    fn default() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        Storing { task: None, ended: Instant::now(), took: Duration::ZERO, stop }
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Storing {
    /// Whether it is time to store again. Takes note of what has ended.
    pub(super) async fn is_due(&mut self, options: &StreamOptions) -> bool {
        if let Some(task) = self.task.take_if(|task| task.is_finished()) {
            (self.took, self.ended) = (task.await.unwrap_or_default(), Instant::now());
        }
        let pause = Duration::from_secs(options.snapshot_interval_s).max(self.took * SHARE);
        self.task.is_none() && self.ended.elapsed() >= pause
    }

    /// Begins to store the state as it is now, after letting go of what is over where it may `look` for it. `covered`: what the values in the store cover;
    /// none where no values are written.
    pub(super) fn begin(
        &mut self,
        live: &LiveState,
        options: &StreamOptions,
        covered: Option<watch::Receiver<Applied>>,
        look: Option<Look>,
    ) {
        let (live, directory) = (live.clone(), options.directory.clone());
        let stop = Arc::clone(&self.stop);
        let work = async move {
            let begun = Instant::now();
            let mut waited = Duration::ZERO;
            let stored = store(live, &directory, covered, look, stop, &mut waited).await;
            // To wait for values is no work: else a store that was away for an hour would put off storing for a day.
            let took = begun.elapsed().saturating_sub(waited);
            match stored {
                Ok(Some((bytes, keys))) => metrics_list::features_stored(took.as_secs_f64(), bytes, keys),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "features not stored, trying again later"),
            }
            failpoint("features::after_store");
            took
        };
        self.task = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }
}

/// Bytes and keys of what was stored; none where it was told to stop. `waited`: how long it waited for values.
async fn store(
    live: LiveState,
    directory: &Path,
    covered: Option<watch::Receiver<Applied>>,
    look: Option<Look>,
    stop: Arc<AtomicBool>,
    waited: &mut Duration,
) -> Result<Option<(u64, usize)>, StoreError> {
    let target = directory.to_owned();
    let seen = match look {
        Some(look) => look.see().await,
        None => None,
    };
    let write = move || {
        if let Some(seen) = seen {
            state::evict(&live, &seen);
        }
        let bytes = state::write(&live, &target, &stop)?;
        let (keys, applied) = live.with(|state| (state.engine.keys(), state.applied()));
        Ok(bytes.map(|bytes| (bytes, keys, applied)))
    };
    let Some((bytes, keys, applied)) = blocking(write).await? else { return Ok(None) };
    if let Some(mut covered) = covered {
        let covers = |covered: &Applied| {
            applied.iter().all(|(partition, next)| covered.get(partition).is_some_and(|c| c >= next))
        };
        let begun = Instant::now();
        let is_covered = covered.wait_for(covers).await.is_ok();
        *waited = begun.elapsed();
        // Their writer has gone: so will this task.
        if !is_covered {
            return Ok(None);
        }
    }
    let target = directory.to_owned();
    blocking(move || state::put_in_place(&target)).await?;
    Ok(Some((bytes, keys)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(StoreError::ended(&error)),
    }
}
