//! What both kinds of nodes have: the engine's functions, and their errors.

use super::super::functions;
use crate::store::Store;
use crate::{LakeError, LakeOptions};
use ballista_core::error::BallistaError;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a node stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The options name something that cannot work.
    #[error("{0}")]
    Options(String),
    #[error("listen on {address}: {source}; free the port, or name another one")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("create {}: {source}; name a directory that may be written", .path.display())]
    WorkDir { path: PathBuf, source: std::io::Error },
    #[error(
        "no warehouse at {}: every node of a cluster must have it under the same path as the process that asks, on a file \
         system that they share",
        .0.display()
    )]
    NoWarehouse(PathBuf),
    /// May pass: the other side is not there yet, or has gone.
    #[error("{what}: {error}")]
    Failed { what: String, error: String },
}

impl NodeError {
    pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(BallistaError) -> NodeError {
        let what = what.into();
        move |error| NodeError::Failed { what, error: error.to_string() }
    }

    /// Another attempt may succeed without anybody's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            NodeError::Failed { .. } => true,
            NodeError::Options(_)
            | NodeError::Listen { .. }
            | NodeError::WorkDir { .. }
            | NodeError::NoWarehouse(_) => false,
        }
    }
}

/// The object store that the lake's tables lie in, and below which location, where they lie in one. Connects to nothing yet.
pub(super) fn store(lake: &LakeOptions) -> std::result::Result<Option<(Store, String)>, NodeError> {
    let failed = |error: LakeError| NodeError::Options(error.to_string());
    let Some(place) = lake.bucket().map_err(failed)? else { return Ok(None) };
    let store = Store::new(&place.bucket, &lake.s3).map_err(failed)?;
    Ok(Some((store, place.location())))
}

/// A state with every function that a plan may call.
pub(super) fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    functions::register_all(&context);
    context.state()
}

/// Refuses an address that is taken, before anything else is begun.
pub(super) fn check_free(address: SocketAddr) -> std::result::Result<(), NodeError> {
    std::net::TcpListener::bind(address).map(drop).map_err(|source| NodeError::Listen { address, source })
}

/// Returns once somebody listens at `address`.
pub(super) async fn listening(mut address: SocketAddr) {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(super::PROBE_PAUSE).await;
    }
}

/// A runtime for what is only looked at, never run.
pub(super) fn idle_runtime() -> Result<Arc<RuntimeEnv>> {
    datafusion::execution::runtime_env::RuntimeEnvBuilder::new().build_arc()
}
