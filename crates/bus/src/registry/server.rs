//! The built-in schema registry: Confluent's REST API over one compacted topic.
//!
//! One writer: one process runs this role. Registrations are taken one after the other, so two
//! concurrent ones of the same schema get the same id.

use super::api;
use super::log::SchemaLog;
use super::schema::Candidate;
use super::state::{Record, Registration, Show, State};
use crate::{Bus, BusError};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Pause between tries to reach the broker at the start.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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

/// The registry's server.
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

    /// Binds its address; from here on clients wait instead of being refused.
    ///
    /// # Errors
    /// [`RegistryServerError::Listen`].
    pub async fn bind(self) -> Result<BoundRegistryServer, RegistryServerError> {
        let address = self.options.listen;
        let listen = |source| RegistryServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "schema registry listens beyond this machine and asks nobody who he is");
        }
        Ok(BoundRegistryServer { server: self, listener, address })
    }

    /// Binds, reads `_schemas` and serves until `shutdown`.
    ///
    /// # Errors
    /// As [`RegistryServer::bind`] and [`BoundRegistryServer::run`].
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), RegistryServerError>> {
        Box::pin(async move { self.bind().await?.run(shutdown).await })
    }
}

/// A registry that has its address.
#[derive(Debug)]
pub struct BoundRegistryServer {
    server: RegistryServer,
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundRegistryServer {
    /// The address, with the port that was chosen where the options say 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads `_schemas`, waiting for the broker if need be, and serves until `shutdown`.
    ///
    /// # Errors
    /// [`RegistryServerError`] where it cannot read or make its topic.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RegistryServerError> {
        let opened = tokio::select! {
            opened = open(&self.server) => opened?,
            () = shutdown.cancelled() => return Ok(()),
        };
        tracing::info!(address = %self.address, "schema registry ready");
        axum::serve(self.listener, api::router(Arc::new(opened)))
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .map_err(RegistryServerError::Serve)
    }
}

async fn open(server: &RegistryServer) -> Result<Registry, BusError> {
    loop {
        match SchemaLog::open(&server.bus, server.options.replication).await {
            Ok((log, state)) => return Ok(Registry { log: Mutex::new(log), state: RwLock::new(state) }),
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "schema registry waits for the broker");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The state, and the log that every change of it goes through.
pub(super) struct Registry {
    log: Mutex<SchemaLog>,
    state: RwLock<State>,
}

impl Registry {
    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    /// Registers a schema; the inner error says what is incompatible.
    pub(super) async fn register(
        &self,
        subject: &str,
        candidate: &Candidate,
    ) -> Result<Result<u32, Vec<String>>, BusError> {
        // Nearly all registrations are of known schemas and need not queue.
        if let Some(known) = self.read(|state| state.lookup(subject, &candidate.identity, Show::Live)) {
            return Ok(Ok(known.id));
        }
        let mut log = self.log.lock().await;
        self.refresh(&mut log).await?;
        let decision = self.read(|state| state.register(subject, candidate));
        match decision {
            Registration::Known(id) => Ok(Ok(id)),
            Registration::Incompatible(violations) => Ok(Err(violations)),
            Registration::New(id, record) => {
                self.write(&mut log, &record).await?;
                tracing::info!(subject, id, "schema registered");
                Ok(Ok(id))
            }
        }
    }

    /// Writes the records that `decide` wants written, and returns what it says; nothing changes in between.
    pub(super) async fn change<T, E>(
        &self,
        decide: impl FnOnce(&State) -> Result<(T, Vec<Record>), E>,
    ) -> Result<Result<T, E>, BusError> {
        let mut log = self.log.lock().await;
        self.refresh(&mut log).await?;
        let (answer, records) = match self.read(decide) {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for record in &records {
            self.write(&mut log, record).await?;
        }
        Ok(Ok(answer))
    }

    async fn refresh(&self, log: &mut SchemaLog) -> Result<(), BusError> {
        if log.is_stale() {
            let state = log.reopen().await?;
            *self.state.write() = state;
        }
        Ok(())
    }

    async fn write(&self, log: &mut SchemaLog, record: &Record) -> Result<(), BusError> {
        log.append(record).await?;
        let applied =
            self.state.write().apply(record.key.as_bytes(), record.value.as_ref().map(String::as_bytes));
        debug_assert!(applied.is_ok(), "own record");
        Ok(())
    }
}
