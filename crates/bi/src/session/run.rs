//! One run of a statement: its time, its cancel key, its place among those that run.

use super::Shared;
use super::cancels::Ticket;
use crate::error::{PgError, code};
use crate::wire::Wire;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// A client that takes no bytes for so long keeps its statement's place no longer.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) struct Run {
    pub(crate) begun: Instant,
    deadline: tokio::time::Instant,
    timeout: Duration,
    cancelled: CancellationToken,
    /// Its place among the statements that run.
    permit: Option<OwnedSemaphorePermit>,
    /// Where it was given, once it was.
    places: Option<Arc<Semaphore>>,
    pub(crate) rows: u64,
    /// It reads the lake.
    pub(crate) reads: bool,
    /// The version that it saw.
    pub(crate) version: Option<i64>,
}

impl Run {
    pub(crate) fn new(ticket: &Ticket, timeout: Duration) -> Self {
        let begun = Instant::now();
        let deadline = tokio::time::Instant::from_std(begun) + timeout;
        Run {
            begun,
            deadline,
            timeout,
            cancelled: ticket.begin(),
            permit: None,
            places: None,
            rows: 0,
            reads: false,
            version: None,
        }
    }

    /// Waits for a place among the statements that run.
    ///
    /// # Errors
    /// As [`Run::work`].
    pub(crate) async fn admit(&mut self, shared: &Shared, wire: &mut Wire) -> Result<(), PgError> {
        self.places = Some(Arc::clone(&shared.places));
        self.take_place(wire).await
    }

    async fn take_place(&mut self, wire: &mut Wire) -> Result<(), PgError> {
        if self.permit.is_none()
            && let Some(places) = self.places.clone()
        {
            let place = async { places.acquire_owned().await.map_err(|_| stopped()) };
            self.permit = Some(self.work(wire, place).await?);
        }
        Ok(())
    }

    /// What `work` yields, unless the time is over, the statement is cancelled or the client leaves before.
    ///
    /// # Errors
    /// That of `work`; 57014.
    pub(crate) async fn work<T>(
        &self,
        wire: &mut Wire,
        work: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T, PgError> {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(cancelled()),
            () = tokio::time::sleep_until(self.deadline) => Err(self.late()),
            done = work => done,
            () = wire.gone() => Err(PgError::fatal(code::CANCELLED, "the client has left")),
        }
    }

    /// Sends what was said so far. A client that takes it slowly gives up its statement's place meanwhile.
    ///
    /// # Errors
    /// The client takes it too slowly, or has left: the connection is of no more use. Else as [`Run::work`].
    pub(crate) async fn send(&mut self, wire: &mut Wire) -> Result<(), PgError> {
        let left = |_| PgError::fatal(code::CANCELLED, "the client has left");
        {
            let sending = wire.send();
            tokio::pin!(sending);
            let soon = self.deadline.min(tokio::time::Instant::now() + SLOW);
            match tokio::time::timeout_at(soon, &mut sending).await {
                Ok(sent) => sent.map_err(left)?,
                Err(_) => {
                    self.permit = None;
                    // A message that was begun is ended, so that the client can be told that its time is over.
                    match tokio::time::timeout_at(self.deadline + SLOW, sending).await {
                        Ok(sent) => sent.map_err(left)?,
                        Err(_) => return Err(PgError { is_fatal: true, ..self.late() }),
                    }
                }
            }
        }
        if self.cancelled.is_cancelled() {
            return Err(cancelled());
        }
        // Where the place was given up meanwhile, what is left is not made without one.
        self.take_place(wire).await
    }

    fn late(&self) -> PgError {
        PgError::new(code::CANCELLED, "canceling statement due to statement timeout")
            .with_detail(format!("it took longer than {} s", self.timeout.as_secs_f64()))
    }
}

fn cancelled() -> PgError {
    PgError::new(code::CANCELLED, "canceling statement due to user request")
}

fn stopped() -> PgError {
    PgError::fatal(code::SHUTDOWN, "the server stops")
}
