//! Why the broker could not start or had to stop. Errors of single requests are the protocol's own
//! codes and never appear here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why the broker could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("broker option {key}: {reason}")]
    Option { key: &'static str, reason: &'static str },
    #[error("another broker is using {0}: stop it, or set another data_dir")]
    Locked(PathBuf),
    #[error("listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{action} {}: {source}", path.display())]
    Storage { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("read {}: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },
}

impl Error {
    /// Wraps an I/O error with what was being done to which file.
    pub(crate) fn storage(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { action, path, source }
    }
}
