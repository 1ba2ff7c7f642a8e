//! What can be wrong with a configuration: always which key, where it stands, and what to do.

use std::path::PathBuf;

/// A configuration that cannot be used. Ends the process with exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("read config {path}: {source}; check the path given by --config", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{origin} is not valid TOML: {message}")]
    Syntax { origin: String, message: String },
    #[error("unknown key `{key}` in {origin}{hint}; `affluent config show` lists every key")]
    UnknownKey { key: String, origin: String, hint: String },
    #[error("`{key}` = {value} in {origin}: expected {expected}; {remedy}")]
    WrongType { key: String, value: String, origin: String, expected: String, remedy: String },
    #[error("`{key}` = {value} in {origin}: {message}")]
    Refused { key: String, value: String, origin: String, message: String },
    #[error("`{key}` in {origin} refers to {reference}: {message}")]
    Secret { key: String, origin: String, reference: String, message: String },
    #[error("{message}")]
    Invalid { message: String },
}
