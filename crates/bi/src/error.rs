//! Errors as clients of PostgreSQL know them: a code of five letters, a message, what to do.

use affluent_lake::sql::SqlError;

/// What the engine says of a statement that would write.
const WRITES: &str = "only queries can be run here";

/// Codes of PostgreSQL (appendix A of its manual).
pub(crate) mod code {
    pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
    pub(crate) const NOT_SUPPORTED: &str = "0A000";
    pub(crate) const INVALID_VALUE: &str = "22023";
    pub(crate) const OUT_OF_RANGE: &str = "22003";
    /// A text that is none of the type's.
    pub(crate) const INVALID_TEXT: &str = "22P02";
    /// Bytes that are none of the type's.
    pub(crate) const INVALID_BINARY: &str = "22P03";
    pub(crate) const INVALID_CURSOR: &str = "34000";
    pub(crate) const INVALID_STATEMENT: &str = "26000";
    pub(crate) const UNKNOWN_DATABASE: &str = "3D000";
    pub(crate) const READ_ONLY: &str = "25006";
    pub(crate) const IN_TRANSACTION: &str = "25001";
    pub(crate) const NO_TRANSACTION: &str = "25P01";
    pub(crate) const FAILED_TRANSACTION: &str = "25P02";
    pub(crate) const IDLE_IN_TRANSACTION: &str = "25P03";
    pub(crate) const NOT_AUTHENTICATED: &str = "28000";
    pub(crate) const WRONG_PASSWORD: &str = "28P01";
    pub(crate) const SYNTAX: &str = "42601";
    pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub(crate) const UNDEFINED_OBJECT: &str = "42704";
    pub(crate) const UNDEFINED_PARAMETER: &str = "42P02";
    pub(crate) const UNDEFINED_TABLE: &str = "42P01";
    pub(crate) const UNDEFINED_COLUMN: &str = "42703";
    pub(crate) const UNDEFINED_FUNCTION: &str = "42883";
    pub(crate) const DUPLICATE_CURSOR: &str = "42P03";
    pub(crate) const DUPLICATE_STATEMENT: &str = "42P05";
    /// Unknown columns, types that do not go together.
    pub(crate) const INVALID_QUERY: &str = "42000";
    pub(crate) const OUT_OF_MEMORY: &str = "53200";
    pub(crate) const TOO_MANY_CONNECTIONS: &str = "53300";
    pub(crate) const LIMIT_EXCEEDED: &str = "54000";
    pub(crate) const WRONG_STATE: &str = "55000";
    pub(crate) const CANNOT_CHANGE: &str = "55P02";
    pub(crate) const CANCELLED: &str = "57014";
    pub(crate) const SHUTDOWN: &str = "57P01";
    pub(crate) const IDLE_SESSION: &str = "57P05";
    pub(crate) const IO: &str = "58030";
    pub(crate) const INTERNAL: &str = "XX000";
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub(crate) struct PgError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    /// The connection ends with it.
    pub(crate) is_fatal: bool,
}

impl PgError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        PgError { code, message: message.into(), detail: None, hint: None, is_fatal: false }
    }

    /// An error that ends the connection.
    pub(crate) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        PgError { is_fatal: true, ..PgError::new(code, message) }
    }

    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Self {
        PgError { detail: Some(detail.into()), ..self }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        PgError { hint: Some(hint.into()), ..self }
    }
}

impl From<SqlError> for PgError {
    fn from(error: SqlError) -> Self {
        let message = error.to_string();
        match error {
            SqlError::Syntax(_) => PgError::new(code::SYNTAX, message),
            SqlError::UnknownTable { name, nearest } => {
                let error =
                    PgError::new(code::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
                if nearest.is_empty() {
                    error
                } else {
                    error.with_hint(format!("did you mean {}?", nearest.join(" or ")))
                }
            }
            SqlError::Plan(text) if text.starts_with(WRITES) => PgError::new(code::READ_ONLY, message),
            SqlError::Plan(_) => PgError::new(code::INVALID_QUERY, message),
            SqlError::Timeout(_) => PgError::new(code::CANCELLED, message),
            SqlError::Memory(detail) => {
                PgError::new(code::OUT_OF_MEMORY, "the query needs more memory than it may use")
                    .with_detail(detail)
                    .with_hint("ask for fewer rows or columns at once, or raise bi.engine.memory_bytes")
            }
            SqlError::Overflow(_) => PgError::new(code::OUT_OF_RANGE, message),
            SqlError::Lake(_) => PgError::new(code::IO, message),
            SqlError::TooEarly { .. } | SqlError::DeleteFiles(_) | SqlError::FileFormat { .. } => {
                PgError::new(code::WRONG_STATE, message)
            }
            SqlError::Options(_) | SqlError::Execution(_) | SqlError::Cluster(_) => {
                PgError::new(code::INTERNAL, message)
            }
        }
    }
}
