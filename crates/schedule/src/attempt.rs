//! One attempt of a task under its time limits: waits for whatever comes first, and stops it if it must.
//! Knows neither ledger nor retries.

use crate::work::{Outcome, WorkError};
use futures::FutureExt as _;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use tokio_util::sync::CancellationToken;

/// How long an attempt may take, as futures that end when the time is over. None is started before it is
/// needed.
#[derive(Debug)]
pub(crate) struct Timers<S, H, G> {
    /// After this it is slow, which is said once.
    pub(crate) slow: S,
    /// After this it is stopped.
    pub(crate) hard: H,
    /// What is told to stop has so long to do so; then it is dropped.
    pub(crate) grace: G,
}

/// From outside: what ends an attempt early.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) shutdown: CancellationToken,
    /// The lease is gone.
    pub(crate) lost: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Done(Outcome),
    Failed(WorkError),
    /// It took too long.
    Overran,
    Cancelled,
    Lost,
}

/// Runs `work`, which looks at `cancelled`, and calls `on_slow` once when it is slow.
pub(crate) async fn attempt<W, S, H, G, D>(
    work: W,
    cancelled: &CancellationToken,
    timers: Timers<S, H, G>,
    stop: &Stop,
    on_slow: impl FnOnce() -> D,
) -> Ended
where
    W: Future<Output = Result<Outcome, WorkError>>,
    S: Future<Output = ()>,
    H: Future<Output = ()>,
    G: Future<Output = ()>,
    D: Future<Output = ()>,
{
    // A task that panics has failed; the process goes on.
    let work = AssertUnwindSafe(work).catch_unwind();
    tokio::pin!(work);
    let slow = async {
        timers.slow.await;
        on_slow().await;
        std::future::pending::<Infallible>().await
    };
    tokio::pin!(slow);
    let why = tokio::select! {
        biased;
        () = stop.lost.cancelled() => Ended::Lost,
        ended = &mut work => return finished(ended),
        () = stop.shutdown.cancelled() => Ended::Cancelled,
        never = &mut slow => match never {},
        () = timers.hard => Ended::Overran,
    };
    cancelled.cancel();
    let last_word = tokio::select! {
        biased;
        ended = &mut work => Some(ended),
        () = timers.grace => None,
    };
    match (why, last_word) {
        // It came to its end while it was told to stop: what is done is done.
        (Ended::Cancelled | Ended::Overran, Some(Ok(Ok(outcome)))) => Ended::Done(outcome),
        (why, _) => why,
    }
}

fn finished(ended: std::thread::Result<Result<Outcome, WorkError>>) -> Ended {
    match ended {
        Ok(Ok(outcome)) => Ended::Done(outcome),
        Ok(Err(error)) => Ended::Failed(error),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            Ended::Failed(WorkError::lasting(format!("the task panicked: {said}; please report this")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The times that can come, each when the test says so.
    #[derive(Clone, Default)]
    struct Times {
        slow: CancellationToken,
        hard: CancellationToken,
        grace: CancellationToken,
        shutdown: CancellationToken,
        lost: CancellationToken,
        /// Fires when the attempt was called slow.
        told: CancellationToken,
    }

    /// Runs `work`, which is given the times and its own token: how it ended, and how often it was called slow.
    async fn check<W: Future<Output = Result<Outcome, WorkError>>>(
        work: impl FnOnce(Times, CancellationToken) -> W,
    ) -> (Ended, u32) {
        let (times, cancelled, slow) = (Times::default(), CancellationToken::new(), AtomicU32::new(0));
        let timers = Timers {
            slow: times.slow.clone().cancelled_owned(),
            hard: times.hard.clone().cancelled_owned(),
            grace: times.grace.clone().cancelled_owned(),
        };
        let stop = Stop { shutdown: times.shutdown.clone(), lost: times.lost.clone() };
        let on_slow = || async {
            slow.fetch_add(1, Ordering::Relaxed);
            times.told.cancel();
        };
        let work = work(times.clone(), cancelled.clone());
        let ended = attempt(work, &cancelled, timers, &stop, on_slow).await;
        (ended, slow.load(Ordering::Relaxed))
    }

    fn done(rows_out: u64) -> Outcome {
        Outcome { rows_out, ..Outcome::default() }
    }

    #[tokio::test]
    async fn work_within_its_limits_ends_as_it_likes() {
        let quick = check(|_, _| async { Ok(done(1)) }).await;
        assert_eq!(quick, (Ended::Done(done(1)), 0));
        let slow = check(|times, _| async move {
            times.slow.cancel();
            times.told.cancelled().await;
            Err(WorkError::passing("no"))
        });
        assert_eq!(slow.await, (Ended::Failed(WorkError::passing("no")), 1));
    }

    #[tokio::test]
    async fn work_that_overruns_is_told_and_then_dropped() {
        let deaf = check(|times, cancelled| async move {
            times.hard.cancel();
            cancelled.cancelled().await;
            times.grace.cancel();
            std::future::pending().await
        });
        assert_eq!(deaf.await, (Ended::Overran, 0));
        let obedient = check(|times, cancelled| async move {
            times.hard.cancel();
            cancelled.cancelled().await;
            Err(WorkError::lasting("stopped"))
        });
        assert_eq!(obedient.await, (Ended::Overran, 0));
        // One that comes to its end at the last moment has done its work.
        let just = check(|times, cancelled| async move {
            times.hard.cancel();
            cancelled.cancelled().await;
            Ok(done(7))
        });
        assert_eq!(just.await, (Ended::Done(done(7)), 0));
    }

    #[tokio::test]
    async fn shutdown_and_a_lost_lease_stop_it() {
        let told = |lost: bool, end: Result<Outcome, WorkError>| {
            check(move |times, cancelled| async move {
                if lost {
                    times.lost.cancel()
                } else {
                    times.shutdown.cancel()
                }
                cancelled.cancelled().await;
                end
            })
        };
        assert_eq!(told(false, Err(WorkError::passing("stopped"))).await, (Ended::Cancelled, 0));
        assert_eq!(told(false, Ok(done(1))).await, (Ended::Done(done(1)), 0));
        // What was done without the lease does not count.
        assert_eq!(told(true, Ok(done(1))).await, (Ended::Lost, 0));
        let deaf = check(|times, cancelled| async move {
            times.shutdown.cancel();
            cancelled.cancelled().await;
            times.grace.cancel();
            std::future::pending().await
        });
        assert_eq!(deaf.await, (Ended::Cancelled, 0));
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_for_good() {
        let (ended, _) = check(|_, _| async { panic!("row 7") }).await;
        let Ended::Failed(error) = ended else { panic!("{ended:?}") };
        assert!(!error.retryable && error.message.contains("row 7"), "{error}");
    }
}
