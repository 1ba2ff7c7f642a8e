//! Events on their way into the document store, and the errors among them on their way into their counts.
//!
//! Invariant: errors are counted after their documents are durable; what was written is dropped kind by
//! kind, so that repeating a batch goes on where it failed.

use super::groups::{self, ErrorLine};
use super::{EventOptions, documents};
use crate::sinks::{Batch, SinkError};
use affluent_bus::{Incoming, TopicPartition};
use affluent_documents::{DocumentStore, Inserts};
use affluent_model::{EventKind, time::now_micros};
use affluent_telemetry::{failpoint, metrics_list};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Where events are written, for one batch after the other.
pub(super) struct Target {
    store: Arc<dyn DocumentStore>,
    error_groups_days: u32,
    /// Kinds whose collection is known to exist.
    ensured: Mutex<HashSet<EventKind>>,
}

/// What is staged.
pub(super) struct EventBatch {
    target: Arc<Target>,
    partitions: BTreeMap<TopicPartition, Staged>,
}

/// What is staged of one partition.
struct Staged {
    kind: EventKind,
    /// Shared with the store while it writes them.
    documents: Arc<Inserts>,
    /// When the events occurred, microseconds UTC; late ones left out.
    occurred_us: Vec<i64>,
    /// The errors among them, to be counted.
    errors: Vec<ErrorLine>,
}

/// What one call of `prepare` stages of one partition.
pub(super) struct Fresh {
    pub(super) partition: TopicPartition,
    pub(super) kind: EventKind,
    pub(super) documents: Inserts,
    pub(super) occurred_us: Vec<i64>,
    pub(super) errors: Vec<ErrorLine>,
}

impl EventBatch {
    pub(super) fn new(store: Arc<dyn DocumentStore>, options: &EventOptions) -> Self {
        let error_groups_days = options.error_groups_days;
        let target = Target { store, error_groups_days, ensured: Mutex::default() };
        EventBatch { target: Arc::new(target), partitions: BTreeMap::new() }
    }

    /// Everything in it; it is empty then.
    pub(super) fn take(&mut self) -> Self {
        EventBatch { target: Arc::clone(&self.target), partitions: std::mem::take(&mut self.partitions) }
    }

    pub(super) fn add(&mut self, fresh: Fresh) {
        let Fresh { partition, kind, documents, mut occurred_us, mut errors } = fresh;
        match self.partitions.get_mut(&partition) {
            Some(staged) => {
                Arc::make_mut(&mut staged.documents).append(&documents);
                staged.occurred_us.append(&mut occurred_us);
                staged.errors.append(&mut errors);
            }
            None => {
                let documents = Arc::new(documents);
                self.partitions.insert(partition, Staged { kind, documents, occurred_us, errors });
            }
        }
    }

    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    async fn write_kind(&mut self, kind: EventKind) -> Result<(), SinkError> {
        let of_kind = || self.partitions.values().filter(|staged| staged.kind == kind);
        let documents: Vec<Arc<Inserts>> = of_kind().map(|staged| Arc::clone(&staged.documents)).collect();
        if documents.iter().all(|documents| documents.is_empty()) {
            return Ok(());
        }
        self.target.ensure(kind).await?;
        let inserted = self.target.store.insert_if_absent(kind.collection(), &documents).await?;
        failpoint("sink-events::after_documents");
        match kind {
            EventKind::Clicks => {}
            EventKind::Logs => self.count_errors(inserted.duplicates == 0).await?,
        }
        metrics_list::records(kind.pipeline(), "documents", "ok", inserted.inserted);
        metrics_list::records(kind.pipeline(), "documents", "duplicate", inserted.duplicates);
        let occurred = of_kind().flat_map(|staged| &staged.occurred_us);
        metrics_list::pipeline_latencies(kind.pipeline(), "documents", now_micros(), occurred);
        self.partitions.retain(|_, staged| staged.kind != kind);
        Ok(())
    }

    /// Counts the errors among what is staged. Their documents are stored, `all_new` just now.
    async fn count_errors(&self, all_new: bool) -> Result<(), SinkError> {
        let with_errors = self.partitions.iter().filter(|(_, staged)| !staged.errors.is_empty());
        let partitions: Vec<(&TopicPartition, &[ErrorLine])> =
            with_errors.map(|(partition, staged)| (partition, staged.errors.as_slice())).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let Target { store, error_groups_days, .. } = self.target.as_ref();
        Ok(groups::count(store.as_ref(), &partitions, all_new, *error_groups_days).await?)
    }
}

impl Target {
    async fn ensure(&self, kind: EventKind) -> Result<(), SinkError> {
        if self.ensured.lock().contains(&kind) {
            return Ok(());
        }
        self.store.ensure(&documents::collection(kind)).await?;
        match kind {
            EventKind::Clicks => {}
            EventKind::Logs => self.store.ensure(&groups::collection()).await?,
        }
        self.ensured.lock().insert(kind);
        Ok(())
    }
}

#[async_trait]
impl Batch for EventBatch {
    async fn write(&mut self) -> Result<(), SinkError> {
        for kind in [EventKind::Clicks, EventKind::Logs] {
            self.write_kind(kind).await?;
        }
        Ok(())
    }
}

impl Fresh {
    pub(super) fn new(partition: TopicPartition, kind: EventKind) -> Self {
        Fresh { partition, kind, documents: Inserts::default(), occurred_us: Vec::new(), errors: Vec::new() }
    }

    pub(super) fn is_of(&self, record: &Incoming) -> bool {
        self.partition.partition == record.partition && self.partition.topic == record.topic
    }
}
