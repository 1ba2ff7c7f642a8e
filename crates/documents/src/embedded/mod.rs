//! The embedded store: `fjall` on local disk, for one process.
//!
//! This file is the asynchronous face; the work is blocking ([`engine`] and [`insert`] write, [`read`] reads)
//! and runs on the blocking pool. After an I/O error the database refuses further writes by design; the store
//! then opens it again at the next call, so that a full disk heals without a restart.
//!
//! Invariant: documents, index entries, expiry entries and counts change in one atomic batch, and a
//! writing call returns after `fdatasync`.

mod collections;
mod engine;
mod expiry;
mod insert;
mod read;
mod recent;

use crate::encoding;
use crate::{
    ApplyOutcome, CollectionSpec, Document, DocumentError, DocumentStore, EmbeddedOptions, InsertOutcome,
    Inserts, Page, Scan, VersionedWrite,
};
use affluent_model::{Position, Reason};
use async_trait::async_trait;
use engine::Engine;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Longest id in bytes; ids are part of every index key.
const ID_MAX: usize = 8 * 1024;
/// Largest document in bytes of its values, as in MongoDB.
const DOCUMENT_MAX: usize = 16 * 1024 * 1024;

/// A document store on local disk. One process at a time can open a directory.
pub struct EmbeddedStore {
    options: EmbeddedOptions,
    tombstone_ttl_s: u64,
    /// Absent after a fault, until the next call opens it again.
    engine: Mutex<Option<Arc<Engine>>>,
}

impl EmbeddedStore {
    /// Opens the store, or creates it where its directory is empty or missing.
    ///
    /// # Errors
    /// [`DocumentError::Config`] without a path, [`DocumentError::Unavailable`] where the files cannot
    /// be opened (also: held by another process).
    pub async fn open(options: EmbeddedOptions, tombstone_ttl_s: u64) -> Result<Self, DocumentError> {
        let store = EmbeddedStore { options, tombstone_ttl_s, engine: Mutex::new(None) };
        if store.options.batch_writes == 0 {
            return Err(DocumentError::Config("documents.embedded.batch_writes must be at least 1".into()));
        }
        store.run(|_| Ok(())).await?;
        Ok(store)
    }

    /// Runs blocking work on the engine, opening it first where needed.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, DocumentError> + Send + 'static,
    ) -> Result<T, DocumentError> {
        let engine = self.engine().await?;
        let worker = Arc::clone(&engine);
        let result = blocking(move || work(&worker)).await;
        if let Err(DocumentError::Unavailable(error)) = &result {
            let mut current = self.engine.lock().await;
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &engine)) {
                tracing::warn!(error, "document store failed, to be opened again");
                *current = None;
            }
        }
        result
    }

    async fn engine(&self) -> Result<Arc<Engine>, DocumentError> {
        // Held while opening: a second attempt would find the directory locked.
        let mut current = self.engine.lock().await;
        if let Some(engine) = &*current {
            return Ok(Arc::clone(engine));
        }
        let (options, tombstone_ttl_s) = (self.options.clone(), self.tombstone_ttl_s);
        let engine = Arc::new(blocking(move || Engine::open(&options, tombstone_ttl_s)).await?);
        *current = Some(Arc::clone(&engine));
        Ok(engine)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DocumentError> + Send + 'static,
) -> Result<T, DocumentError> {
    let task = tokio::task::spawn_blocking(work).await;
    task.unwrap_or_else(|error| Err(DocumentError::Unavailable(format!("storage task: {error}"))))
}

#[async_trait]
impl DocumentStore for EmbeddedStore {
    async fn ensure(&self, spec: &CollectionSpec) -> Result<(), DocumentError> {
        let spec = spec.clone();
        self.run(move |engine| engine.ensure(&spec)).await
    }

    fn admit(&self, write: &VersionedWrite) -> Result<(), DocumentError> {
        let refused = |reason, error: String| {
            Err(DocumentError::Refused { id: write.id.chars().take(64).collect(), reason, error })
        };
        if write.id.is_empty() || write.id.len() > ID_MAX {
            let error = format!("id of {} bytes, expected 1 to {ID_MAX}", write.id.len());
            return refused(Reason::TooLarge, error);
        }
        let fields = write.action.fields();
        let size = crate::document::size(fields);
        if size > DOCUMENT_MAX {
            return refused(Reason::TooLarge, format!("document of {size} bytes, at most {DOCUMENT_MAX}"));
        }
        match fields.iter().find(|(_, value)| !encoding::is_encodable(value, 0)) {
            Some((name, _)) => {
                refused(Reason::ValueOutOfRange, format!("field {name:?}: arrays nested too deeply"))
            }
            None => Ok(()),
        }
    }

    async fn insert_if_absent(
        &self,
        collection: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError> {
        let (collection, documents) = (collection.to_owned(), documents.to_vec());
        self.run(move |engine| engine.insert_if_absent(&collection, &documents)).await
    }

    async fn apply(
        &self,
        collection: &str,
        writes: Vec<VersionedWrite>,
    ) -> Result<ApplyOutcome, DocumentError> {
        let collection = collection.to_owned();
        self.run(move |engine| engine.apply(&collection, writes)).await
    }

    async fn truncate(&self, collection: &str, position: Position) -> Result<(), DocumentError> {
        let collection = collection.to_owned();
        self.run(move |engine| engine.truncate(&collection, position)).await
    }

    async fn get(&self, collection: &str, ids: &[String]) -> Result<Vec<Document>, DocumentError> {
        let (collection, ids) = (collection.to_owned(), ids.to_vec());
        self.run(move |engine| engine.get(&collection, &ids)).await
    }

    async fn scan(&self, collection: &str, scan: &Scan) -> Result<Page, DocumentError> {
        let (collection, scan) = (collection.to_owned(), scan.clone());
        self.run(move |engine| engine.scan(&collection, &scan)).await
    }

    async fn count(&self, collection: &str) -> Result<u64, DocumentError> {
        let collection = collection.to_owned();
        self.run(move |engine| Ok(engine.collection(&collection)?.count())).await
    }

    async fn expire(&self, now: i64) -> Result<u64, DocumentError> {
        self.run(move |engine| engine.expire(now)).await
    }
}

impl From<fjall::Error> for DocumentError {
    fn from(error: fjall::Error) -> Self {
        DocumentError::Unavailable(format!("embedded store: {error}"))
    }
}
