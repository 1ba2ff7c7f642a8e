//! Each step of the loop, tried again while its fault is a passing one.
//!
//! Pauses double up to a bound. A step ends at its deadline; without one, at shutdown: whatever a sink
//! cannot write, it waits for, and the records wait in the bus.

use super::{ConsumeError, Loop, Stop};
use crate::sinks::{Rejected, Sink, SinkError};
use affluent_bus::{Incoming, TopicPartition};
use affluent_telemetry::health::State;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Offsets at which a sink wants to go on.
pub(super) type Starts = BTreeMap<TopicPartition, i64>;

/// Repeated attempts at one thing.
struct Attempts {
    action: &'static str,
    /// Where absent, they end at shutdown.
    deadline: Option<Instant>,
    faults: u64,
    /// Before the next attempt.
    pause: Duration,
}

impl<S: Sink> Loop<S> {
    /// Decides what follows from a fault: a pause (then the caller tries again), or a stop.
    async fn fault(&mut self, attempts: &mut Attempts, error: SinkError) -> Result<(), Stop> {
        let error = match error {
            SinkError::Fenced(reason) => return Err(Stop::Fenced(reason)),
            SinkError::Fatal(error) => {
                return Err(Stop::Failed(ConsumeError::Sink { role: self.role, error }));
            }
            SinkError::Passing(error) => error,
        };
        let Attempts { action, deadline, faults, pause } = attempts;
        *faults += 1;
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(role = self.role, action, faults, error, pause_ms, "fault, trying again");
        self.health.set(self.role, State::Degraded(format!("{action}: {error}")));
        self.publish_lag();
        if deadline.is_some_and(|deadline| Instant::now() + *pause > deadline) {
            return Err(Stop::GivenUp);
        }
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = self.shutdown.cancelled(), if deadline.is_none() => return Err(Stop::GivenUp),
        }
        *pause = (*pause * 2).min(Duration::from_millis(self.options.retry_max_ms));
        Ok(())
    }

    fn attempts(&self, action: &'static str, deadline: Option<Instant>) -> Attempts {
        let pause = Duration::from_millis(self.options.retry_first_ms);
        Attempts { action, deadline, faults: 0, pause }
    }

    /// An attempt succeeded.
    fn succeeded(&self, attempts: &Attempts) {
        if attempts.faults > 0 {
            tracing::info!(
                role = self.role,
                action = attempts.action,
                faults = attempts.faults,
                "works again"
            );
            self.health.set(self.role, State::Ready);
        }
    }

    pub(super) async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, Stop> {
        let mut attempts = self.attempts("prepare", None);
        loop {
            match self.sink.prepare(records).await {
                Ok(rejected) => {
                    self.succeeded(&attempts);
                    return Ok(rejected);
                }
                Err(error) => self.fault(&mut attempts, error).await?,
            }
        }
    }

    pub(super) async fn write_letters(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        let mut attempts = self.attempts("write dead letters", deadline);
        while let Err(error) = self.dead_letters.write(&self.staged.letters).await {
            self.fault(&mut attempts, SinkError::Passing(error.to_string())).await?;
        }
        self.succeeded(&attempts);
        Ok(())
    }

    pub(super) async fn commit_sink(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        let mut attempts = self.attempts("commit", deadline);
        while let Err(error) = self.sink.commit().await {
            self.fault(&mut attempts, error).await?;
        }
        self.succeeded(&attempts);
        Ok(())
    }

    pub(super) async fn revoke_sink(&mut self, partitions: &[TopicPartition]) -> Result<(), Stop> {
        let mut attempts = self.attempts("revoke", None);
        while let Err(error) = self.sink.revoke(partitions).await {
            self.fault(&mut attempts, error).await?;
        }
        self.succeeded(&attempts);
        Ok(())
    }

    pub(super) async fn resume_sink(&mut self, partitions: &[TopicPartition]) -> Result<Starts, Stop> {
        let mut attempts = self.attempts("resume", None);
        loop {
            match self.sink.resume(partitions).await {
                Ok(starts) => {
                    self.succeeded(&attempts);
                    return Ok(starts);
                }
                Err(error) => self.fault(&mut attempts, error).await?,
            }
        }
    }

    pub(super) async fn seek(&mut self, seeks: &[(TopicPartition, i64)]) -> Result<(), Stop> {
        let mut attempts = self.attempts("seek", None);
        while let Err(error) = self.consumer.seek(seeks).await {
            self.fault(&mut attempts, SinkError::Passing(error.to_string())).await?;
        }
        self.succeeded(&attempts);
        Ok(())
    }
}
