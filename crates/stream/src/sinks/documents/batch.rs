//! Writes on their way into the mirrors.
//!
//! Invariant: what was written is dropped topic by topic, so that repeating a batch goes on where it failed.

use super::PIPELINE;
use crate::sinks::{Batch, SinkError};
use affluent_bus::TopicPartition;
use affluent_documents::{CollectionSpec, DocumentStore, VersionedWrite};
use affluent_model::names::mirror_collection;
use affluent_model::{Position, time::now_micros};
use affluent_telemetry::metrics_list;
use affluent_telemetry::traces::TraceContext;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Where changes are written, for one batch after the other.
struct Target {
    store: Arc<dyn DocumentStore>,
    /// Collections known to exist.
    ensured: Mutex<HashSet<String>>,
}

/// What is staged.
pub(super) struct MirrorBatch {
    target: Arc<Target>,
    partitions: BTreeMap<TopicPartition, Staged>,
}

/// What is staged of one partition.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) writes: Vec<VersionedWrite>,
    pub(super) truncated_at: Option<Position>,
    /// Commit times at the source, microseconds UTC, of changes that were streamed.
    pub(super) committed_us: Vec<i64>,
    /// Those among them that are followed, with the commit time.
    pub(super) followed: Vec<(TraceContext, i64)>,
}

impl MirrorBatch {
    pub(super) fn new(store: Arc<dyn DocumentStore>) -> Self {
        let target = Target { store, ensured: Mutex::default() };
        MirrorBatch { target: Arc::new(target), partitions: BTreeMap::new() }
    }

    /// Everything in it; it is empty then.
    pub(super) fn take(&mut self) -> Self {
        MirrorBatch { target: Arc::clone(&self.target), partitions: std::mem::take(&mut self.partitions) }
    }

    pub(super) fn add(&mut self, partition: TopicPartition, mut fresh: Staged) {
        let staged = self.partitions.entry(partition).or_default();
        staged.writes.append(&mut fresh.writes);
        staged.committed_us.append(&mut fresh.committed_us);
        staged.followed.append(&mut fresh.followed);
        staged.truncated_at = staged.truncated_at.max(fresh.truncated_at);
    }

    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    async fn write_topic(&mut self, topic: &Arc<str>) -> Result<(), SinkError> {
        let collection = mirror_collection(topic);
        self.target.ensure(&collection).await?;
        let of_topic = || self.partitions.iter().filter(|(partition, _)| partition.topic == *topic);
        if let Some(position) = of_topic().filter_map(|(_, staged)| staged.truncated_at).max() {
            self.target.store.truncate(&collection, position).await?;
        }
        // Copied, so that a failed attempt can be repeated.
        let writes: Vec<VersionedWrite> =
            of_topic().flat_map(|(_, staged)| staged.writes.iter().cloned()).collect();
        if !writes.is_empty() {
            let outcome = self.target.store.apply(&collection, writes).await?;
            metrics_list::records(PIPELINE, "mirrors", "ok", outcome.applied);
            metrics_list::records(PIPELINE, "mirrors", "stale", outcome.stale);
        }
        let now = now_micros();
        let committed = of_topic().flat_map(|(_, staged)| &staged.committed_us);
        metrics_list::pipeline_latencies(PIPELINE, "documents", now, committed);
        let followed = of_topic().flat_map(|(_, staged)| staged.followed.iter().copied());
        metrics_list::pipeline_exemplars(PIPELINE, "documents", now, followed);
        self.partitions.retain(|partition, _| partition.topic != *topic);
        Ok(())
    }
}

impl Target {
    async fn ensure(&self, collection: &str) -> Result<(), SinkError> {
        if self.ensured.lock().contains(collection) {
            return Ok(());
        }
        self.store.ensure(&CollectionSpec::new(collection)).await?;
        self.ensured.lock().insert(collection.to_owned());
        Ok(())
    }
}

#[async_trait]
impl Batch for MirrorBatch {
    async fn write(&mut self) -> Result<(), SinkError> {
        let topics: BTreeSet<Arc<str>> = self.partitions.keys().map(|p| Arc::clone(&p.topic)).collect();
        for topic in &topics {
            self.write_topic(topic).await?;
        }
        Ok(())
    }
}
