//! What can go wrong in the lake, told apart where a caller acts on it.

use crate::{OffsetConflict, StoreError};
use affluent_model::Reason;

/// An operation of the lake failed.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("invalid lake options: {0}")]
    Options(String),
    #[error("no table {0} in the lake")]
    NotFound(String),
    #[error("no snapshot {snapshot} in table {table}")]
    NoSnapshot { table: String, snapshot: i64 },
    #[error("table {table} has no column {column}")]
    NoColumn { table: String, column: String },
    /// Somebody else has advanced the table: this writer is a zombie or replays. Resume from
    /// [`crate::LakeTable::offsets`].
    #[error(transparent)]
    OffsetConflict(#[from] OffsetConflict),
    /// A writer with a higher fencing token has written since: this one has lost its right. Nothing was
    /// written.
    #[error("writer {own} of {table} was replaced by writer {seen}")]
    Fenced { table: String, own: i64, seen: i64 },
    /// The columns do not fit the table's and cannot be evolved to.
    #[error("column {column} of {table} is {stored} in the lake and cannot become {wanted}")]
    Incompatible { table: String, column: String, stored: String, wanted: String },
    /// A value does not fit its column. Nothing of the batch was written.
    #[error("row {row}, column {column}: {misfit}")]
    Value { row: usize, column: String, misfit: Misfit },
    /// A key comes twice among the rows of an upsert, or among its rows and its deletions. Nothing was
    /// written.
    #[error("row {row} of an upsert into {table} has the key of an earlier one")]
    DuplicateKey { table: String, row: usize },
    /// Other writers won every attempt of this commit. Passing: try again.
    #[error("commit to {table} lost against other writers {attempts} times")]
    Contention { table: String, attempts: u32 },
    /// The catalog failed while a commit was under way, and did not say since what became of it. Passing:
    /// once it answers, the table's offsets or the key of the commit tell.
    #[error("commit to {table}: whether it was stored is not known: {error}")]
    Unsettled { table: String, error: String },
    /// A REST catalog refuses, or cannot be reached. Nothing was stored.
    #[error("catalog {0}")]
    Rest(String),
    /// The object store that the tables lie in fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("iceberg: {0}")]
    Iceberg(#[source] iceberg::Error),
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error("catalog: {0}")]
    Catalog(#[from] sqlx::Error),
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: String, source: std::io::Error },
    #[error("malformed {what}: {error}")]
    Malformed { what: String, error: String },
    #[error("lake task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<iceberg::Error> for LakeError {
    /// What the object store said is told, not who passed it on.
    fn from(error: iceberg::Error) -> Self {
        match StoreError::among_causes(&error) {
            Some(ours) => LakeError::Store(ours.clone()),
            None => LakeError::Iceberg(error),
        }
    }
}

impl LakeError {
    /// The same error, where the row was counted from the `first` of several.
    pub(crate) fn rows_later(self, first: usize) -> Self {
        match self {
            LakeError::Value { row, column, misfit } => LakeError::Value { row: first + row, column, misfit },
            other => other,
        }
    }

    /// False where what was to be stored may be stored, now or a little later: nothing that it refers to may be
    /// deleted then.
    pub(crate) fn is_settled(&self) -> bool {
        !matches!(self, LakeError::Unsettled { .. })
    }

    /// Whether another attempt may succeed without anybody's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            // Another process has moved the table: what is left to do is found anew.
            LakeError::OffsetConflict(_)
            | LakeError::Contention { .. }
            | LakeError::Unsettled { .. }
            | LakeError::Rest(_)
            | LakeError::Store(_)
            | LakeError::Iceberg(_)
            | LakeError::Catalog(_)
            | LakeError::Io { .. }
            | LakeError::NoSnapshot { .. }
            | LakeError::Task(_) => true,
            LakeError::Options(_)
            | LakeError::Fenced { .. }
            | LakeError::NotFound(_)
            | LakeError::NoColumn { .. }
            | LakeError::Incompatible { .. }
            | LakeError::Value { .. }
            | LakeError::DuplicateKey { .. }
            | LakeError::Arrow(_)
            | LakeError::Malformed { .. } => false,
        }
    }

    /// Why a record that caused this belongs in quarantine; `None` for what is not the record's
    /// fault (disk, catalog, contention): try again.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            LakeError::Incompatible { .. } => Some(Reason::IncompatibleSchema),
            LakeError::Value { misfit, .. } => Some(misfit.reason()),
            LakeError::Options(_)
            | LakeError::NotFound(_)
            | LakeError::NoSnapshot { .. }
            | LakeError::NoColumn { .. }
            | LakeError::OffsetConflict(_)
            | LakeError::Fenced { .. }
            | LakeError::DuplicateKey { .. }
            | LakeError::Contention { .. }
            | LakeError::Unsettled { .. }
            | LakeError::Rest(_)
            | LakeError::Store(_)
            | LakeError::Iceberg(_)
            | LakeError::Arrow(_)
            | LakeError::Catalog(_)
            | LakeError::Io { .. }
            | LakeError::Malformed { .. }
            | LakeError::Task(_) => None,
        }
    }
}

/// Why a value does not fit a column. The message names kinds and bounds, never the value: it may
/// be personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("{kind} does not go into a column of type {target}")]
    Kind { kind: &'static str, target: String },
    #[error("{kind} is out of the range of {target}")]
    Range { kind: &'static str, target: String },
    #[error("null in a required column")]
    Null,
}

impl Misfit {
    /// The reason for the quarantine.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Misfit::Kind { .. } => Reason::IncompatibleSchema,
            Misfit::Range { .. } | Misfit::Null => Reason::ValueOutOfRange,
        }
    }
}
