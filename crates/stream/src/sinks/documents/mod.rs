//! Change events to the mirrors in the document store: `mirrors.<table>`, one document a row.
//!
//! What a change means for its mirror is decided in [`mirror`]; how writes converge is the store's
//! contract. So offsets are the group's alone: reading anything twice changes nothing.

mod mirror;

pub use mirror::{Mirrored, Unfit, id_of, mirror};

use super::{Rejected, Sink, SinkError};
use affluent_bus::codec::{ChangeDecoder, Decoded};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Incoming, TopicPartition};
use affluent_documents::{CollectionSpec, DocumentError, DocumentStore, VersionedWrite};
use affluent_model::names::mirror_collection;
use affluent_model::{Position, Reason, Snapshot, time::now_micros};
use affluent_telemetry::metrics_list;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const NAME: &str = "sink-documents";
const PIPELINE: &str = "cdc";

/// Keeps a mirror of every table whose changes it is given.
pub struct DocumentsSink {
    store: Arc<dyn DocumentStore>,
    decoder: ChangeDecoder,
    staged: BTreeMap<TopicPartition, Staged>,
    /// Collections known to exist.
    ensured: HashSet<String>,
}

/// What is staged of one partition.
#[derive(Default)]
struct Staged {
    writes: Vec<VersionedWrite>,
    truncated_at: Option<Position>,
    /// Commit times at the source, microseconds UTC, of changes that were streamed.
    committed_us: Vec<i64>,
}

impl DocumentsSink {
    /// A sink into `store`; Avro records need a registry.
    #[must_use]
    pub fn new(store: Arc<dyn DocumentStore>, registry: Option<RegistryClient>) -> Self {
        let decoder = ChangeDecoder::new(registry);
        DocumentsSink { store, decoder, staged: BTreeMap::new(), ensured: HashSet::new() }
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
        }
        Ok(Ok(()))
    }

    async fn ensure(&mut self, collection: &str) -> Result<(), SinkError> {
        if !self.ensured.contains(collection) {
            self.store.ensure(&CollectionSpec::new(collection)).await?;
            self.ensured.insert(collection.to_owned());
        }
        Ok(())
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
        for (partition, mut fresh) in fresh {
            let staged = self.staged.entry(partition).or_default();
            staged.writes.append(&mut fresh.writes);
            staged.committed_us.append(&mut fresh.committed_us);
            staged.truncated_at = staged.truncated_at.max(fresh.truncated_at);
        }
        Ok(rejected)
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        let topics: BTreeSet<Arc<str>> = self.staged.keys().map(|p| Arc::clone(&p.topic)).collect();
        for topic in topics {
            let collection = mirror_collection(&topic);
            self.ensure(&collection).await?;
            let of_topic = || self.staged.iter().filter(|(partition, _)| partition.topic == topic);
            if let Some(position) = of_topic().filter_map(|(_, staged)| staged.truncated_at).max() {
                self.store.truncate(&collection, position).await?;
            }
            // Copied, so that a failed attempt can be repeated.
            let writes: Vec<VersionedWrite> =
                of_topic().flat_map(|(_, staged)| staged.writes.iter().cloned()).collect();
            if !writes.is_empty() {
                let outcome = self.store.apply(&collection, writes).await?;
                metrics_list::records(PIPELINE, "mirrors", "ok", outcome.applied);
                metrics_list::records(PIPELINE, "mirrors", "stale", outcome.stale);
            }
            let now = now_micros();
            for committed_us in of_topic().flat_map(|(_, staged)| &staged.committed_us) {
                let seconds = (now - committed_us) as f64 / 1e6;
                metrics_list::pipeline_latency(PIPELINE, "documents", seconds, 1);
            }
            self.staged.retain(|partition, _| partition.topic != topic);
        }
        Ok(())
    }

    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        self.staged.retain(|partition, _| !revoked.contains(partition));
        Ok(())
    }
}
