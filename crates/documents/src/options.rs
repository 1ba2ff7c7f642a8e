//! Which store, and how it is reached.

use crate::{DocumentError, DocumentStore, EmbeddedStore, MongoStore};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The two implementations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Inside the process, on local disk.
    #[default]
    Embedded,
    /// A MongoDB deployment.
    Mongodb,
}

/// Configuration of the document store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DocumentsOptions {
    pub backend: Backend,
    /// How long the tombstone of a deleted document is kept, seconds. It must outlast the time in
    /// which older writes may be replayed (the retention of the topics).
    pub tombstone_ttl_s: u64,
    pub embedded: EmbeddedOptions,
    pub mongodb: MongoOptions,
}

impl Default for DocumentsOptions {
    fn default() -> Self {
        DocumentsOptions {
            backend: Backend::default(),
            tombstone_ttl_s: 8 * 24 * 3600,
            embedded: EmbeddedOptions::default(),
            mongodb: MongoOptions::default(),
        }
    }
}

/// Configuration of the embedded store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedOptions {
    /// Its directory; `<data_dir>/documents` where absent.
    pub path: Option<PathBuf>,
    /// Blocks and files kept in memory, bytes.
    pub cache_bytes: u64,
    /// Write buffer of each collection before it goes to a sorted file, bytes; half as much for its
    /// indexes.
    pub memtable_bytes: u64,
    /// Writes in one atomic, durable batch.
    pub batch_writes: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        EmbeddedOptions {
            path: None,
            cache_bytes: 16 * 1024 * 1024,
            memtable_bytes: 12 * 1024 * 1024,
            batch_writes: 8_192,
        }
    }
}

/// How decimals are stored in MongoDB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    /// Decimal128 where the server has it, else text.
    #[default]
    Auto,
    /// Decimal128 for up to 34 digits, text beyond.
    Decimal128,
    /// Text always (servers that lack Decimal128).
    Text,
}

/// Configuration of the MongoDB implementation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MongoOptions {
    /// Connection string, `mongodb://…` or `mongodb+srv://…`.
    pub uri: String,
    pub database: String,
    pub decimals: Decimals,
    /// Writes in one bulk command, at most 100,000.
    pub batch_writes: usize,
    /// Time limit of one command, milliseconds.
    pub timeout_ms: u64,
}

impl Default for MongoOptions {
    fn default() -> Self {
        MongoOptions {
            uri: "mongodb://127.0.0.1:27017".to_owned(),
            database: "affluent".to_owned(),
            decimals: Decimals::default(),
            batch_writes: 1_000,
            timeout_ms: 10_000,
        }
    }
}

/// Opens the configured store. An embedded store without a path lives in `<data_dir>/documents`.
///
/// # Errors
/// [`DocumentError::Config`] for options that cannot work, [`DocumentError::Unavailable`] where the
/// files or the server cannot be reached now.
pub fn open<'a>(
    options: &'a DocumentsOptions,
    data_dir: &'a Path,
) -> BoxFuture<'a, Result<Arc<dyn DocumentStore>, DocumentError>> {
    Box::pin(open_backend(options, data_dir))
}

async fn open_backend(
    options: &DocumentsOptions,
    data_dir: &Path,
) -> Result<Arc<dyn DocumentStore>, DocumentError> {
    match options.backend {
        Backend::Embedded => {
            let mut embedded = options.embedded.clone();
            embedded.path.get_or_insert_with(|| data_dir.join("documents"));
            Ok(Arc::new(EmbeddedStore::open(embedded, options.tombstone_ttl_s).await?))
        }
        Backend::Mongodb => {
            Ok(Arc::new(MongoStore::connect(&options.mongodb, options.tombstone_ttl_s).await?))
        }
    }
}
