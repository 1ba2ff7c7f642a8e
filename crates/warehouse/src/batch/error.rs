//! Why the batch pipeline stopped, told apart by what helps.

use affluent_lake::LakeError;
use affluent_lake::sql::SqlError;

/// A step of the pipeline failed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("[batch] {0}")]
    Options(String),
    #[error("model {file}: {message}")]
    Model { file: String, message: String },
    #[error("seed {file}: {message}")]
    Seed { file: String, message: String },
    #[error("read {path}: {source}")]
    Io { path: String, source: std::io::Error },
    /// A query failed.
    #[error("{what}: {source}")]
    Sql { what: String, source: Box<SqlError> },
    /// A table could not be read or written.
    #[error("{what}: {source}")]
    Lake { what: String, source: Box<LakeError> },
    #[error("{table} reads {upstream}, which is not computed as far: run the task {task} first")]
    Behind { table: String, upstream: String, task: &'static str },
    #[error("checks failed, nothing is published: {}; ops.checks has the rows", .0.join(", "))]
    Checks(Vec<String>),
    #[error("{table} is not computed as far as the staged zone: run the tasks before publish first")]
    Unpublishable { table: String },
    #[error("there is no published version {0}; `affluent batch status` lists them")]
    NoVersion(String),
    /// The run was told to stop, or has lost its lease.
    #[error("{message}")]
    Stopped { message: String, retryable: bool },
}

impl BatchError {
    pub(crate) fn sql(what: impl Into<String>) -> impl FnOnce(SqlError) -> BatchError {
        let what = what.into();
        move |source| BatchError::Sql { what, source: Box::new(source) }
    }

    pub(crate) fn lake(what: impl Into<String>) -> impl FnOnce(LakeError) -> BatchError {
        let what = what.into();
        move |source| BatchError::Lake { what, source: Box::new(source) }
    }

    /// Another attempt may succeed without anybody's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            BatchError::Io { .. } => true,
            BatchError::Sql { source, .. } => source.is_passing(),
            BatchError::Lake { source, .. } => source.is_passing(),
            BatchError::Stopped { retryable, .. } => *retryable,
            BatchError::Options(_)
            | BatchError::Model { .. }
            | BatchError::Seed { .. }
            | BatchError::Behind { .. }
            | BatchError::Checks(_)
            | BatchError::Unpublishable { .. }
            | BatchError::NoVersion(_) => false,
        }
    }
}
