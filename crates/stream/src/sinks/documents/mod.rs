//! Change events to the mirrors in the document store: `mirrors.<table>`, one document a row.
//!
//! What a change means for its mirror is decided in [`mirror`]; how writes converge is the store's
//! contract. So offsets are the group's alone: reading anything twice changes nothing.

mod batch;
mod mirror;

pub use mirror::{Mirrored, Unfit, id_of, mirror};

use super::{Batch, Rejected, Sink, SinkError};
use crate::consume::trace_of;
use affluent_bus::codec::{ChangeDecoder, Decoded};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Incoming, TopicPartition};
use affluent_documents::{DocumentError, DocumentStore};
use affluent_model::{Reason, Snapshot};
use async_trait::async_trait;
use batch::{MirrorBatch, Staged};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "sink-documents";
const PIPELINE: &str = "cdc";

/// Keeps a mirror of every table whose changes it is given.
pub struct DocumentsSink {
    store: Arc<dyn DocumentStore>,
    decoder: ChangeDecoder,
    staged: MirrorBatch,
}

impl DocumentsSink {
    /// A sink into `store`; Avro records need a registry.
    #[must_use]
    pub fn new(store: Arc<dyn DocumentStore>, registry: Option<RegistryClient>) -> Self {
        let staged = MirrorBatch::new(Arc::clone(&store));
        DocumentsSink { store, decoder: ChangeDecoder::new(registry), staged }
    }

    /// Decodes one record and adds its writes to `staged`.
    async fn stage(
        &mut self,
        record: &Incoming,
        staged: &mut Staged,
    ) -> Result<Result<(), Unfit>, SinkError> {
        let change = match self.decoder.decode(record).await {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Tombstone) => return Ok(Ok(())),
            Ok(Decoded::Other) => {
                return Ok(Err((Reason::Undecodable, "not a change event: mend `topics`".to_owned())));
            }
            Err(error) => {
                return match error.reason() {
                    Some(reason) => Ok(Err((reason, error.to_string()))),
                    None => Err(SinkError::Passing(error.to_string())),
                };
            }
        };
        let (committed_us, snapshot) = (change.source.ts_us, change.source.snapshot);
        let mirrored = match mirror(change, record.partition, record.offset) {
            Ok(mirrored) => mirrored,
            Err(unfit) => return Ok(Err(unfit)),
        };
        match mirrored {
            Mirrored::Truncate(position) => staged.truncated_at = staged.truncated_at.max(Some(position)),
            Mirrored::Writes(writes) => {
                for write in &writes {
                    match self.store.admit(write) {
                        Ok(()) => {}
                        Err(DocumentError::Refused { reason, error, .. }) => return Ok(Err((reason, error))),
                        Err(error) => return Err(error.into()),
                    }
                }
                staged.writes.extend(writes);
            }
        }
        if snapshot == Snapshot::False {
            staged.committed_us.push(committed_us);
            staged.followed.extend(trace_of(record).map(|trace| (trace, committed_us)));
        }
        Ok(Ok(()))
    }
}

#[async_trait]
impl Sink for DocumentsSink {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn resume(
        &mut self,
        _assigned: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SinkError> {
        Ok(BTreeMap::new())
    }

    async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, SinkError> {
        let mut fresh: BTreeMap<TopicPartition, Staged> = BTreeMap::new();
        let mut rejected = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let partition = record.topic_partition();
            let staged = fresh.entry(partition).or_default();
            if let Err((reason, error)) = self.stage(record, staged).await? {
                rejected.push(Rejected { index, reason, error });
            }
        }
        fresh.into_iter().for_each(|(partition, fresh)| self.staged.add(partition, fresh));
        Ok(rejected)
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        self.staged.write().await
    }

    fn hand_over(&mut self) -> Option<Box<dyn Batch>> {
        Some(Box::new(self.staged.take()))
    }

    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        self.staged.forget(revoked);
        Ok(())
    }
}
