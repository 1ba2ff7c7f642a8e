//! Why history cannot be read or what is made of it not written, told apart by what helps.

use affluent_features::definition::DefinitionError;
use affluent_features::plan::PlanError;
use affluent_features::replay::ReplayError;
use affluent_lake::LakeError;
use affluent_lake::sql::SqlError;

/// A step over history failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{what}: {source}")]
    Sql { what: String, source: Box<SqlError> },
    #[error("{what}: {source}")]
    Lake { what: String, source: Box<LakeError> },
    /// What was asked for does not go with the definitions.
    #[error("{0}")]
    Definition(String),
    #[error("{what}: {source}")]
    Replay { what: String, source: ReplayError },
    /// There were events, and nothing came of them.
    #[error(
        "{what}: {events} events, but no row came of them ({refused} rows were refused{first}); nothing is written"
    )]
    NoRows { what: String, events: u64, refused: u64, first: String },
    #[error("{what} needs {bytes} bytes, more than features.memory_bytes = {limit}: raise it")]
    Memory { what: String, bytes: u64, limit: u64 },
    #[error("temporary file: {0}")]
    Spill(std::io::Error),
    /// The run was told to stop, or has lost its lease.
    #[error("{message}")]
    Stopped { message: String, retryable: bool },
}

impl HistoryError {
    pub(crate) fn sql(what: impl Into<String>) -> impl FnOnce(SqlError) -> HistoryError {
        let what = what.into();
        move |source| HistoryError::Sql { what, source: Box::new(source) }
    }

    pub(crate) fn lake(what: impl Into<String>) -> impl FnOnce(LakeError) -> HistoryError {
        let what = what.into();
        move |source| HistoryError::Lake { what, source: Box::new(source) }
    }

    /// Another attempt may succeed without anybody's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            HistoryError::Sql { source, .. } => source.is_passing(),
            HistoryError::Lake { source, .. } => source.is_passing(),
            HistoryError::Stopped { retryable, .. } => *retryable,
            HistoryError::Spill(_)
            | HistoryError::Definition(_)
            | HistoryError::Replay { .. }
            | HistoryError::NoRows { .. }
            | HistoryError::Memory { .. } => false,
        }
    }
}

impl From<DefinitionError> for HistoryError {
    fn from(error: DefinitionError) -> Self {
        HistoryError::Definition(error.to_string())
    }
}

impl From<PlanError> for HistoryError {
    fn from(error: PlanError) -> Self {
        HistoryError::Definition(error.to_string())
    }
}
