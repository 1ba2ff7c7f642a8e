//! Why an import stopped.

use affluent_lake::LakeError;

/// An import did not end. What was committed before stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The mapping fits neither file nor table; what to do is in the message.
    #[error("{0}")]
    Mapping(String),
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("read {file}: {source}")]
    Io { file: String, source: std::io::Error },
    #[error("{what}: {source}")]
    Lake { what: String, source: Box<LakeError> },
    #[error("another import of the same file writes to raw.{0}: wait for it, then run this one again")]
    Twice(String),
    #[error("the file's reader ended: {0}")]
    Task(String),
}

impl ImportError {
    pub(super) fn lake(what: impl Into<String>) -> impl FnOnce(LakeError) -> ImportError {
        let what = what.into();
        move |source| ImportError::Lake { what, source: Box::new(source) }
    }

    pub(super) fn io(file: &std::path::Path) -> impl FnOnce(std::io::Error) -> ImportError {
        let file = file.display().to_string();
        move |source| ImportError::Io { file, source }
    }

    /// The caller can put it right: mapping or file.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            ImportError::Mapping(_) | ImportError::File { .. } => true,
            ImportError::Io { .. }
            | ImportError::Lake { .. }
            | ImportError::Twice(_)
            | ImportError::Task(_) => false,
        }
    }
}
