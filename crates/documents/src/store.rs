//! The contract of a document store.

use crate::{CollectionSpec, Document, DocumentError, Inserts, Page, Scan, VersionedWrite};
use affluent_model::Position;
use async_trait::async_trait;
use std::sync::Arc;

/// What became of an insertion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsertOutcome {
    pub inserted: u64,
    /// The id was there already (also: earlier in the same call); the stored document stayed.
    pub duplicates: u64,
}

/// What became of versioned writes. `applied + stale` is the number of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOutcome {
    /// Changed the stored state.
    pub applied: u64,
    /// Said nothing that was not known or superseded.
    pub stale: u64,
}

/// A store of documents by id.
///
/// - **Durability**: when a writing call returns `Ok`, what it wrote survives a crash of the process
///   and of the machine.
/// - **Duplicates and order**: writes may be repeated, split into other batches and arrive in any
///   order. Once the same set of writes has been applied, the same documents are visible
///   ([`crate::convergence`] has the rules). Two different writes of one id never share a version.
/// - **Values** come back as they were written: decimals with every digit, times with microseconds.
/// - **Failure**: after an error, any part of the call may have taken effect; repeating it is safe.
///   [`DocumentError::is_passing`] tells whether repeating can help.
/// - **Cancellation**: dropping the future of a call has the same effect as a failure.
/// - **Memory**: a caller bounds the batches; a store splits them further as it needs.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// Creates the collection with its indexes and lifetime if they are missing. An index added to
    /// a collection with documents is built before this returns.
    async fn ensure(&self, spec: &CollectionSpec) -> Result<(), DocumentError>;

    /// Whether the store can hold this write at all. Cheap, without I/O: for finding poison before
    /// it is in a batch.
    ///
    /// # Errors
    /// [`DocumentError::Refused`] where it never can.
    fn admit(&self, write: &VersionedWrite) -> Result<(), DocumentError>;

    /// Inserts the documents whose id is not there yet. They are shared, so that a caller can repeat
    /// the call without a copy.
    async fn insert_if_absent(
        &self,
        collection: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError>;

    /// Applies versioned writes.
    async fn apply(
        &self,
        collection: &str,
        writes: Vec<VersionedWrite>,
    ) -> Result<ApplyOutcome, DocumentError>;

    /// Everything written with a version older than `position` is gone, also what arrives later.
    async fn truncate(&self, collection: &str, position: Position) -> Result<(), DocumentError>;

    /// The documents of these ids that are there, in the order of `ids`.
    async fn get(&self, collection: &str, ids: &[String]) -> Result<Vec<Document>, DocumentError>;

    /// One page of documents.
    async fn scan(&self, collection: &str, scan: &Scan) -> Result<Page, DocumentError>;

    /// Documents in the collection, exactly.
    async fn count(&self, collection: &str) -> Result<u64, DocumentError>;

    /// Removes documents and tombstones whose time is over at `now` (microseconds UTC), at most a
    /// bounded number a call; returns how many. Stores that expire by themselves return 0.
    async fn expire(&self, now: i64) -> Result<u64, DocumentError>;
}
