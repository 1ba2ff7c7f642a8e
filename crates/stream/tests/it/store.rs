//! The real embedded store, which can be told to fail or to wait.

use affluent_documents::{
    ApplyOutcome, CollectionSpec, Document, DocumentError, DocumentStore, EmbeddedOptions, EmbeddedStore,
    InsertOutcome, Inserts, Page, Scan, VersionedWrite,
};
use affluent_model::Position;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

pub(crate) struct FaultyStore {
    store: EmbeddedStore,
    /// The next versioned write fails, once: a crash before it.
    pub(crate) crash: AtomicBool,
    /// Insertions fail.
    pub(crate) away: AtomicBool,
    /// Insertions wait while it is true.
    held: watch::Sender<bool>,
    /// Documents of each insertion that was begun.
    inserts: Mutex<Vec<usize>>,
}

impl FaultyStore {
    pub(crate) async fn open(directory: &tempfile::TempDir) -> Arc<Self> {
        let options =
            EmbeddedOptions { path: Some(directory.path().to_owned()), ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(options, 3_600).await.unwrap();
        Arc::new(FaultyStore {
            store,
            crash: AtomicBool::new(false),
            away: AtomicBool::new(false),
            held: watch::Sender::new(false),
            inserts: Mutex::default(),
        })
    }

    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub(crate) fn inserts(&self) -> Vec<usize> {
        self.inserts.lock().clone()
    }
}

#[async_trait]
impl DocumentStore for FaultyStore {
    async fn ensure(&self, spec: &CollectionSpec) -> Result<(), DocumentError> {
        self.store.ensure(spec).await
    }
    fn admit(&self, write: &VersionedWrite) -> Result<(), DocumentError> {
        self.store.admit(write)
    }
    async fn insert_if_absent(
        &self,
        c: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError> {
        self.inserts.lock().push(documents.iter().map(|documents| documents.len()).sum());
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        if self.away.load(Ordering::Relaxed) {
            return Err(DocumentError::Unavailable("away".to_owned()));
        }
        self.store.insert_if_absent(c, documents).await
    }
    async fn apply(&self, c: &str, writes: Vec<VersionedWrite>) -> Result<ApplyOutcome, DocumentError> {
        if self.crash.swap(false, Ordering::Relaxed) {
            return Err(DocumentError::Unavailable("crash before the write".to_owned()));
        }
        self.store.apply(c, writes).await
    }
    async fn truncate(&self, c: &str, position: Position) -> Result<(), DocumentError> {
        self.store.truncate(c, position).await
    }
    async fn get(&self, c: &str, ids: &[String]) -> Result<Vec<Document>, DocumentError> {
        self.store.get(c, ids).await
    }
    async fn scan(&self, c: &str, scan: &Scan) -> Result<Page, DocumentError> {
        self.store.scan(c, scan).await
    }
    async fn count(&self, c: &str) -> Result<u64, DocumentError> {
        self.store.count(c).await
    }
    async fn expire(&self, now: i64) -> Result<u64, DocumentError> {
        self.store.expire(now).await
    }
}
