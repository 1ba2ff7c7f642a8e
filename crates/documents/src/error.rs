//! Why a store did not do what it was asked.

use affluent_model::Reason;

/// An error of a document store.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A passing fault: the same call may succeed later.
    #[error("document store unavailable: {0}")]
    Unavailable(String),
    /// The collection was not named to [`crate::DocumentStore::ensure`].
    #[error("unknown collection {0:?}: it was not created at start")]
    UnknownCollection(String),
    #[error("collection {collection:?} has no index {index:?}")]
    UnknownIndex { collection: String, index: String },
    #[error("invalid cursor {0:?}: use the `next` of the page before")]
    InvalidCursor(String),
    /// This document can never be stored there.
    #[error("document {id:?} refused: {error}")]
    Refused { id: String, reason: Reason, error: String },
    /// What is stored cannot be read back.
    #[error("stored document {id:?} of {collection:?} is corrupt: {error}")]
    Corrupt { collection: String, id: String, error: String },
    #[error("invalid documents configuration: {0}")]
    Config(String),
}

impl DocumentError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, DocumentError::Unavailable(_))
    }
}
