//! What can go wrong at a PostgreSQL source.

use affluent_bus::BusError;

/// Why the source stopped.
#[derive(Debug, thiserror::Error)]
pub enum CdcError {
    #[error("{0}")]
    Config(String),
    /// The server is not set up for logical replication, or we may not set it up; the text holds
    /// the remedy (the exact SQL).
    #[error("{0}")]
    Setup(String),
    /// The stored position does not belong to this slot. Nothing was read past it.
    #[error("{0}")]
    Identity(String),
    /// A topic no longer fits what was stored about it.
    #[error("{0}")]
    Topic(String),
    #[error("{context}: {error}")]
    Postgres { context: &'static str, error: String, passing: bool },
    #[error("the replication stream is broken: {0}")]
    Protocol(String),
    #[error("bus: {0}")]
    Bus(#[from] BusError),
    #[error("spill large transaction to {path}: {error}")]
    Spill { path: String, error: std::io::Error },
    #[error("checkpoint: {0}")]
    Checkpoint(String),
}

impl CdcError {
    /// Whether trying again may help without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            CdcError::Config(_) | CdcError::Setup(_) | CdcError::Identity(_) | CdcError::Topic(_) => false,
            CdcError::Postgres { passing, .. } => *passing,
            // A producer that gave up is made anew, and what Kafka holds is read back.
            CdcError::Bus(error) => error.is_passing() || matches!(error, BusError::Poisoned(_)),
            CdcError::Protocol(_) | CdcError::Spill { .. } | CdcError::Checkpoint(_) => true,
        }
    }

    /// A failure of the SQL connection.
    pub(crate) fn sql(context: &'static str, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => {
                let class = db.code().code().get(..2).unwrap_or_default();
                // Connection exceptions, resources, operator intervention, system errors, object in
                // use, serialization failures, lock not available: they pass.
                let passing = matches!(class, "08" | "53" | "57" | "58" | "55" | "40" | "XX");
                CdcError::Postgres {
                    context,
                    error: format!("{} ({})", db.message(), db.code().code()),
                    passing,
                }
            }
            None => {
                let mut text = error.to_string();
                let mut cause = std::error::Error::source(error);
                while let Some(inner) = cause {
                    text = format!("{text}: {inner}");
                    cause = inner.source();
                }
                CdcError::Postgres { context, error: text, passing: true }
            }
        }
    }
}
