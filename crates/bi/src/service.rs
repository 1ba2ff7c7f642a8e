//! The server: connections, as many as there may be, until it is told to stop.

use crate::auth::Users;
use crate::options::BiOptions;
use crate::session::{Cancels, Shared, connect};
use crate::snapshots::Snapshots;
use crate::tls;
use affluent_lake::Lake;
use affluent_lake::sql::{Engine, SqlError};
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::metrics_list;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections beyond the most that are told so; further ones wait in the system's queue.
const REFUSED_MAX: usize = 64;
/// Where no connection can be taken, it is tried again after this pause.
const PAUSE: Duration = Duration::from_millis(50);
/// At the end statements get this long.
const GRACE: Duration = Duration::from_secs(1);

/// The server cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// With key and remedy.
    #[error("{0}")]
    Options(String),
    #[error("listen on {address}: {source}; stop what holds it, or set `bi.listen`")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Engine(#[from] SqlError),
}

/// A server of the PostgreSQL protocol over a lake.
pub struct Service {
    shared: Arc<Shared>,
    health: Health,
}

impl Service {
    /// Checks the options and opens the engine. Nothing is listened to yet.
    ///
    /// # Errors
    /// Options that cannot work, certificates that cannot be read.
    pub fn new(options: BiOptions, lake: Lake, health: Health) -> Result<Self, ServiceError> {
        options.check().map_err(ServiceError::Options)?;
        let users = Arc::new(Users::new(&options).map_err(ServiceError::Options)?);
        let tls = tls::acceptor(&options.tls).map_err(ServiceError::Options)?;
        let engine = Engine::new(lake.clone(), options.engine.engine())?;
        let age_max = Duration::from_millis(options.snapshot_age_max_ms);
        let snapshots = Snapshots::new(lake, engine, Arc::clone(&users), age_max);
        let (cancels, places) = (Arc::new(Cancels::default()), Arc::new(Semaphore::new(options.max_running)));
        let shared = Arc::new(Shared { options, users, snapshots, cancels, places, tls });
        Ok(Service { shared, health })
    }

    /// Serves until `stop`; the role `bi` is ready once it listens.
    ///
    /// # Errors
    /// [`ServiceError::Listen`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServiceError> {
        let address = self.shared.options.listen;
        let listen = |source| ServiceError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        self.health.set("bi", State::Ready);
        tracing::info!(%address, tls = self.shared.tls.is_some(), "the warehouse is served");
        let mut connections = JoinSet::new();
        let most = self.shared.options.max_connections;
        loop {
            metrics_list::bi_connections(connections.len());
            let has_room = connections.len() < most.saturating_add(REFUSED_MAX);
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    told(ended);
                    continue;
                }
                accepted = listener.accept(), if has_room => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let is_full = connections.len() >= most;
                    if let Err(error) = tcp.set_nodelay(true) {
                        tracing::debug!(%error, "answers may wait for each other");
                    }
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(connect(tcp, peer, shared, is_full, stop.clone()));
                }
                Err(error) => {
                    // Most likely there are too many open files.
                    tracing::warn!(%error, "no connection could be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(listener);
        let ending = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ending).await.is_err() {
            tracing::info!(connections = connections.len(), "statements were ended");
        }
        connections.shutdown().await;
        metrics_list::bi_connections(0);
        Ok(())
    }
}

fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended unexpectedly");
    }
}
