//! The role: keeps a source running, connects again after passing faults, stops at the others.

use super::emit::ROLE;
use super::source::Source;
use super::{CdcError, CdcOptions};
use affluent_bus::Bus;
use affluent_bus::registry::RegistryClient;
use affluent_telemetry::health::{Health, State};
use futures::future::BoxFuture;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// First and longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A source that ran this long starts again with the shortest pause.
const HEALTHY: Duration = Duration::from_secs(30);

/// Captures the changes of one PostgreSQL database into Kafka, each exactly once.
///
/// - **Order**: the records of a row (its key) are in one partition, in the order of commits.
/// - **Exactly once**: after any crash a topic holds each change once, given a broker that keeps the
///   order of an idempotent producer. Rows of snapshots may be there once more where the stream
///   carries them too; their position is then the smaller one.
/// - **Cancellation**: `shutdown` sends what was read, saves the position and ends within seconds.
pub struct CdcService {
    source: Source,
    health: Health,
}

impl CdcService {
    /// Checks the options; connects to nothing. The registry is needed for Avro.
    ///
    /// # Errors
    /// [`CdcError::Config`] naming the key and the remedy.
    pub fn new(
        options: CdcOptions,
        bus: Bus,
        registry: Option<RegistryClient>,
        health: Health,
    ) -> Result<Self, CdcError> {
        let source = Source::new(options, bus, registry, health.clone())?;
        health.set(ROLE, State::Starting("connecting".to_owned()));
        Ok(CdcService { source, health })
    }

    /// Runs until `shutdown`. Passing faults (server restarted, broker away) are waited out.
    ///
    /// # Errors
    /// What needs a person: [`CdcError::Config`], [`CdcError::Setup`], [`CdcError::Identity`],
    /// [`CdcError::Topic`].
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), CdcError>> {
        Box::pin(self.capture(shutdown))
    }

    async fn capture(mut self, shutdown: CancellationToken) -> Result<(), CdcError> {
        let mut pause = PAUSES.0;
        loop {
            let started = Instant::now();
            match self.source.run(&shutdown).await {
                Ok(()) => {
                    self.health.set(ROLE, State::Stopped);
                    return Ok(());
                }
                Err(error) if error.is_passing() => {
                    if shutdown.is_cancelled() {
                        self.health.set(ROLE, State::Stopped);
                        return Ok(());
                    }
                    if started.elapsed() > HEALTHY {
                        pause = PAUSES.0;
                    }
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "change capture starts again");
                    self.health.set(ROLE, State::Starting(format!("starts again after: {error}")));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.cancelled() => {
                            self.health.set(ROLE, State::Stopped);
                            return Ok(());
                        }
                    }
                    pause = (pause * 2).min(PAUSES.1);
                }
                Err(error) => {
                    tracing::error!(%error, "change capture stopped");
                    self.health.set(ROLE, State::Failed(error.to_string()));
                    return Err(error);
                }
            }
        }
    }
}
