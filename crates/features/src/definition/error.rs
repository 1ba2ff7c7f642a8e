//! What can be wrong with a definition, said so that its author can mend it.

/// Why definitions were refused.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    #[error("{file}: {message}")]
    File { file: String, message: String },
    #[error("there is no {kind} {name}{near}")]
    Unknown { kind: &'static str, name: String, near: String },
    #[error("features: more than {0}; split them over several deployments")]
    TooMany(usize),
    #[error(
        "{name} version {version} means something else than it did (digest {now}, recorded {recorded}): give it version {}",
        version + 1
    )]
    Changed { name: String, version: u32, recorded: String, now: String },
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
}

impl DefinitionError {
    pub(crate) fn file(file: &str, message: impl Into<String>) -> Self {
        DefinitionError::File { file: file.to_owned(), message: message.into() }
    }
}
