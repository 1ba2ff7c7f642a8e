//! Each step of the loop, tried again while its fault is a passing one.
//!
//! Pauses double up to a bound. A step ends at its deadline; without one, at shutdown: whatever a sink
//! cannot write, it waits for, and the records wait in the bus.

use super::{ConsumeError, Loop, Stop};
use crate::sinks::{Rejected, SinkError};
use affluent_bus::{Incoming, TopicPartition};
use affluent_telemetry::health::{Health, State};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Offsets at which a sink wants to go on.
pub(super) type Starts = BTreeMap<TopicPartition, i64>;

/// Repeated attempts at one thing.
pub(super) struct Attempts {
    role: &'static str,
    action: &'static str,
    /// Where absent, they end when `end` is cancelled.
    deadline: Option<Instant>,
    end: CancellationToken,
    health: Health,
    faults: u64,
    /// Before the next attempt.
    pause: Duration,
    pause_max: Duration,
}

impl Attempts {
    /// Decides what follows from a fault: a pause (then the caller tries again), or a stop.
    pub(super) async fn fault(&mut self, error: SinkError) -> Result<(), Stop> {
        let error = match error {
            SinkError::Fenced(reason) => return Err(Stop::Fenced(reason)),
            SinkError::Fatal(error) => {
                return Err(Stop::Failed(ConsumeError::Sink { role: self.role, error }));
            }
            SinkError::Passing(error) => error,
        };
        self.faults += 1;
        let Attempts { role, action, faults, pause, .. } = self;
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(role, action, faults, error, pause_ms, "fault, trying again");
        self.health.set(role, State::Degraded(format!("{action}: {error}")));
        if self.deadline.is_some_and(|deadline| Instant::now() + *pause > deadline) {
            return Err(Stop::GivenUp);
        }
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = self.end.cancelled(), if self.deadline.is_none() => return Err(Stop::GivenUp),
        }
        *pause = (*pause * 2).min(self.pause_max);
        Ok(())
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&self) {
        if self.faults > 0 {
            tracing::info!(role = self.role, action = self.action, faults = self.faults, "works again");
            self.health.set(self.role, State::Ready);
        }
    }
}

impl Loop {
    /// Attempts until the deadline; without one, until `end`.
    pub(super) fn attempts(
        &self,
        action: &'static str,
        deadline: Option<Instant>,
        end: &CancellationToken,
    ) -> Attempts {
        Attempts {
            role: self.role,
            action,
            deadline,
            end: end.clone(),
            health: self.health.clone(),
            faults: 0,
            pause: Duration::from_millis(self.options.retry_first_ms),
            pause_max: Duration::from_millis(self.options.retry_max_ms),
        }
    }

    /// Of a step of the loop's own: the lag grows meanwhile.
    async fn fault(&mut self, attempts: &mut Attempts, error: SinkError) -> Result<(), Stop> {
        self.publish_lag();
        attempts.fault(error).await
    }

    pub(super) async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, Stop> {
        let mut attempts = self.attempts("prepare", None, &self.shutdown);
        loop {
            match self.sink.prepare(records).await {
                Ok(rejected) => {
                    attempts.succeeded();
                    return Ok(rejected);
                }
                Err(error) => self.fault(&mut attempts, error).await?,
            }
        }
    }

    pub(super) async fn write_letters(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        let mut attempts = self.attempts("write dead letters", deadline, &self.shutdown);
        while let Err(error) = self.dead_letters.write(&self.staged.letters).await {
            self.fault(&mut attempts, SinkError::Passing(error.to_string())).await?;
        }
        attempts.succeeded();
        self.staged.letters.clear();
        Ok(())
    }

    pub(super) async fn commit_sink(&mut self, deadline: Option<Instant>) -> Result<(), Stop> {
        let mut attempts = self.attempts("commit", deadline, &self.shutdown);
        while let Err(error) = self.sink.commit().await {
            self.fault(&mut attempts, error).await?;
        }
        attempts.succeeded();
        Ok(())
    }

    pub(super) async fn revoke_sink(&mut self, partitions: &[TopicPartition]) -> Result<(), Stop> {
        let mut attempts = self.attempts("revoke", None, &self.shutdown);
        while let Err(error) = self.sink.revoke(partitions).await {
            self.fault(&mut attempts, error).await?;
        }
        attempts.succeeded();
        Ok(())
    }

    pub(super) async fn resume_sink(&mut self, partitions: &[TopicPartition]) -> Result<Starts, Stop> {
        let mut attempts = self.attempts("resume", None, &self.shutdown);
        loop {
            match self.sink.resume(partitions).await {
                Ok(starts) => {
                    attempts.succeeded();
                    return Ok(starts);
                }
                Err(error) => self.fault(&mut attempts, error).await?,
            }
        }
    }

    pub(super) async fn seek(&mut self, seeks: &[(TopicPartition, i64)]) -> Result<(), Stop> {
        let mut attempts = self.attempts("seek", None, &self.shutdown);
        while let Err(error) = self.consumer.seek(seeks).await {
            self.fault(&mut attempts, SinkError::Passing(error.to_string())).await?;
        }
        attempts.succeeded();
        Ok(())
    }
}
