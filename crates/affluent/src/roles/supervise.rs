//! Keeps one role running: restarts it after passing faults, with growing pauses, and gives up where
//! trying again could do harm.
//!
//! What is decided is in [`decide`], a pure function; [`supervise`] carries it out.

use affluent_documents::DocumentError;
use affluent_scoring::serving::NoRules;
use affluent_telemetry::health::{Health, State};
use futures::future::BoxFuture;
use std::time::{Duration, Instant};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A role that ran this long before it failed starts again with the first pause.
const CALM: Duration = Duration::from_secs(60);

/// Why a role stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoleError {
    /// May pass by itself: the role is started again.
    #[error("{0:#}")]
    Passing(anyhow::Error),
    /// Going on could lose or corrupt something, or a person is needed: the process stops.
    #[error("{0:#}")]
    Fatal(anyhow::Error),
}

impl RoleError {
    /// `Passing` where `passing`, else `Fatal`.
    pub(crate) fn new(error: impl Into<anyhow::Error>, passing: bool) -> Self {
        if passing { RoleError::Passing(error.into()) } else { RoleError::Fatal(error.into()) }
    }

    /// An error of opening the document store: passing where the store says so. Rules with a mistake are mended by somebody, while the process waits.
    pub(crate) fn from_store(error: anyhow::Error) -> Self {
        let of_store = error.downcast_ref::<DocumentError>().is_some_and(DocumentError::is_passing);
        let passing = of_store || error.is::<NoRules>();
        RoleError::new(error, passing)
    }
}

/// How one run of a role ended.
type Ended = Result<Result<(), RoleError>, JoinError>;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It was asked to stop, and did.
    Stopped,
    Restart {
        pause: Duration,
        error: String,
    },
    GiveUp {
        error: String,
    },
}

fn decide(ended: Ended, stopping: bool, ran: Duration, last_pause: Option<Duration>) -> Decision {
    let next = |error: String| {
        let pause = match last_pause {
            Some(last) if ran < CALM => (last * 2).min(PAUSE_MAX),
            Some(_) | None => PAUSE_FIRST,
        };
        Decision::Restart { pause, error }
    };
    match ended {
        Ok(Ok(())) if stopping => Decision::Stopped,
        Ok(Ok(())) => next("it ended without being asked to".to_owned()),
        // While stopping there is no other run to wait for; what was not committed is read again.
        Ok(Err(RoleError::Passing(error))) if stopping => {
            Decision::GiveUp { error: format!("while stopping: {error:#}") }
        }
        Ok(Err(RoleError::Passing(error))) => next(format!("{error:#}")),
        Ok(Err(RoleError::Fatal(error))) => Decision::GiveUp { error: format!("{error:#}") },
        Err(panic) => Decision::GiveUp { error: format!("an invariant does not hold: {panic}") },
    }
}

/// Runs `start` again and again until it ends as asked.
///
/// # Errors
/// The error after which the role must not be started again.
pub(crate) async fn supervise(
    name: &'static str,
    health: Health,
    shutdown: CancellationToken,
    start: impl Fn(CancellationToken) -> BoxFuture<'static, Result<(), RoleError>>,
) -> anyhow::Result<()> {
    let mut last_pause = None;
    loop {
        let began = Instant::now();
        // A task of its own, so that a panic ends the role and is seen here.
        let ended = tokio::spawn(start(shutdown.child_token())).await;
        match decide(ended, shutdown.is_cancelled(), began.elapsed(), last_pause) {
            Decision::Stopped => {
                health.set(name, State::Stopped);
                tracing::info!(role = name, "role stopped");
                return Ok(());
            }
            Decision::Restart { pause, error } => {
                health.set(name, State::Failed(error.clone()));
                tracing::warn!(
                    role = name,
                    error,
                    pause_ms = pause.as_millis(),
                    "role failed; starting it again"
                );
                last_pause = Some(pause);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                health.set(name, State::Starting(format!("again after: {error}")));
            }
            Decision::GiveUp { error } => {
                health.set(name, State::Failed(error.clone()));
                tracing::error!(role = name, error, "role failed");
                return Err(anyhow::anyhow!("{name}: {error}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn passing() -> Ended {
        Ok(Err(RoleError::new(anyhow::anyhow!("the broker is away"), true)))
    }

    #[test]
    fn pauses_grow_to_a_bound_and_start_over_after_calm() {
        let short = Duration::from_secs(1);
        let mut pause = None;
        for expected_ms in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let expected = Duration::from_millis(expected_ms);
            let error = "the broker is away".to_owned();
            assert_eq!(decide(passing(), false, short, pause), Decision::Restart { pause: expected, error });
            pause = Some(expected);
        }
        let error = "the broker is away".to_owned();
        assert_eq!(decide(passing(), false, CALM, pause), Decision::Restart { pause: PAUSE_FIRST, error });
    }

    #[test]
    fn what_must_not_go_on_does_not() {
        let fatal = Ok(Err(RoleError::new(anyhow::anyhow!("the slot was recreated"), false)));
        let decision = decide(fatal, false, CALM, None);
        assert_eq!(decision, Decision::GiveUp { error: "the slot was recreated".to_owned() });
        assert_eq!(decide(Ok(Ok(())), true, CALM, None), Decision::Stopped);
        assert!(matches!(decide(Ok(Ok(())), false, CALM, None), Decision::Restart { .. }));
        assert!(matches!(decide(passing(), true, CALM, None), Decision::GiveUp { .. }));
    }

    #[tokio::test]
    async fn a_role_that_fails_is_started_again_and_a_panic_gives_up() {
        let (health, runs) = (Health::default(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&runs);
        let ended = supervise("test", health.clone(), CancellationToken::new(), move |_| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                assert!(run < 1, "unlucky");
                Err(RoleError::new(anyhow::anyhow!("away"), true))
            })
        });
        let error = ended.await.unwrap_err().to_string();
        assert!(error.contains("invariant"), "{error}");
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(!health.is_alive());
    }
}
