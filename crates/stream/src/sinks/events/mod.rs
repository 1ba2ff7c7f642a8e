//! Clicks and log lines to the document store: one document an event, `_id` is its event id.
//!
//! An event that arrives again, however often and through whichever partition, is stored once: ids are
//! inserted only where they are absent. So offsets are the group's alone. What an event becomes is
//! decided in [`documents`]; which topics hold which events, in [`EventOptions`]. Errors among the log
//! lines are counted besides, by service and [`fingerprint`].

pub mod documents;
pub mod fingerprint;
mod groups;
mod options;

pub use options::EventOptions;

use super::{Rejected, Sink, SinkError};
use affluent_bus::codec::CodecError;
use affluent_bus::codec::EventDecoder;
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Incoming, TopicPartition};
use affluent_documents::{DocumentStore, Inserts};
use affluent_model::{EventKind, Reason, time::now_micros};
use affluent_telemetry::{failpoint, metrics_list};
use async_trait::async_trait;
use groups::ErrorLine;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

const NAME: &str = "sink-events";

/// Keeps clicks and log lines where they can be asked for by user or service and time.
pub struct EventsSink {
    store: Arc<dyn DocumentStore>,
    options: EventOptions,
    decoder: EventDecoder,
    staged: BTreeMap<TopicPartition, Staged>,
    /// Kinds whose collection is known to exist.
    ensured: HashSet<EventKind>,
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
struct Fresh {
    partition: TopicPartition,
    kind: EventKind,
    documents: Inserts,
    occurred_us: Vec<i64>,
    errors: Vec<ErrorLine>,
}

impl Fresh {
    fn new(partition: TopicPartition, kind: EventKind) -> Self {
        Fresh { partition, kind, documents: Inserts::default(), occurred_us: Vec::new(), errors: Vec::new() }
    }

    fn is_of(&self, record: &Incoming) -> bool {
        self.partition.partition == record.partition && self.partition.topic == record.topic
    }
}

impl EventsSink {
    /// A sink into `store`; events in Avro and Protobuf need a registry.
    #[must_use]
    pub fn new(
        store: Arc<dyn DocumentStore>,
        registry: Option<RegistryClient>,
        options: EventOptions,
    ) -> Self {
        let decoder = EventDecoder::new(registry);
        EventsSink { store, options, decoder, staged: BTreeMap::new(), ensured: HashSet::new() }
    }

    /// Adds the document of one record to `fresh`, and when its event occurred, unless it is late.
    async fn stage(
        &mut self,
        record: &Incoming,
        kind: EventKind,
        fresh: &mut Fresh,
    ) -> Result<Result<(), (Reason, String)>, SinkError> {
        let decoded = match kind {
            EventKind::Clicks => self.decoder.click(record).await.map(|click| {
                fresh.occurred_us.extend((!click.is_late).then_some(click.occurred_at));
                documents::push_click(&mut fresh.documents, &click, &self.options);
            }),
            EventKind::Logs => self.decoder.log(record).await.map(|log| {
                fresh.occurred_us.push(log.occurred_at);
                let error = ErrorLine::of(&log, record.offset);
                let origin = error.is_some().then(|| groups::origin(&fresh.partition, record.offset));
                documents::push_log(&mut fresh.documents, &log, origin.as_deref(), &self.options);
                fresh.errors.extend(error);
            }),
        };
        match decoded {
            Ok(()) => Ok(Ok(())),
            Err(error) => refused(&error).map(Err),
        }
    }

    async fn ensure(&mut self, kind: EventKind) -> Result<(), SinkError> {
        if !self.ensured.contains(&kind) {
            self.store.ensure(&documents::collection(kind)).await?;
            match kind {
                EventKind::Clicks => {}
                EventKind::Logs => self.store.ensure(&groups::collection()).await?,
            }
            self.ensured.insert(kind);
        }
        Ok(())
    }

    /// Counts the errors among what is staged. Their documents are stored, `all_new` just now.
    async fn count_errors(&self, all_new: bool) -> Result<(), SinkError> {
        let with_errors = self.staged.iter().filter(|(_, staged)| !staged.errors.is_empty());
        let partitions: Vec<(&TopicPartition, &[ErrorLine])> =
            with_errors.map(|(partition, staged)| (partition, staged.errors.as_slice())).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        Ok(groups::count(self.store.as_ref(), &partitions, all_new, self.options.error_groups_days).await?)
    }
}

/// Why the record can never be decoded; an error where it may be later.
pub(super) fn refused(error: &CodecError) -> Result<(Reason, String), SinkError> {
    match error.reason() {
        Some(reason) => Ok((reason, error.to_string())),
        None => Err(SinkError::Passing(error.to_string())),
    }
}

#[async_trait]
impl Sink for EventsSink {
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
        let mut fresh: Vec<Fresh> = Vec::new();
        let mut rejected = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if record.value.is_none() {
                continue;
            }
            // Records of a partition come in runs.
            let place = match fresh.iter().rposition(|fresh| fresh.is_of(record)) {
                Some(place) => place,
                None => {
                    let Some(kind) = self.options.kind(&record.topic) else {
                        let error = "neither a topic of clicks nor of logs: mend `topics`".to_owned();
                        rejected.push(Rejected { index, reason: Reason::Undecodable, error });
                        continue;
                    };
                    fresh.push(Fresh::new(record.topic_partition(), kind));
                    fresh.len() - 1
                }
            };
            let Some(of_partition) = fresh.get_mut(place) else { continue };
            let kind = of_partition.kind;
            if let Err((reason, error)) = self.stage(record, kind, of_partition).await? {
                rejected.push(Rejected { index, reason, error });
            }
        }
        for Fresh { partition, kind, documents, mut occurred_us, mut errors } in fresh {
            match self.staged.get_mut(&partition) {
                Some(staged) => {
                    Arc::make_mut(&mut staged.documents).append(&documents);
                    staged.occurred_us.append(&mut occurred_us);
                    staged.errors.append(&mut errors);
                }
                None => {
                    let documents = Arc::new(documents);
                    self.staged.insert(partition, Staged { kind, documents, occurred_us, errors });
                }
            }
        }
        Ok(rejected)
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        for kind in [EventKind::Clicks, EventKind::Logs] {
            let of_kind = self.staged.values().filter(|staged| staged.kind == kind);
            let documents: Vec<Arc<Inserts>> = of_kind.map(|staged| Arc::clone(&staged.documents)).collect();
            if documents.iter().all(|documents| documents.is_empty()) {
                continue;
            }
            self.ensure(kind).await?;
            let inserted = self.store.insert_if_absent(kind.collection(), &documents).await?;
            failpoint("sink-events::after_documents");
            match kind {
                EventKind::Clicks => {}
                EventKind::Logs => self.count_errors(inserted.duplicates == 0).await?,
            }
            metrics_list::records(kind.pipeline(), "documents", "ok", inserted.inserted);
            metrics_list::records(kind.pipeline(), "documents", "duplicate", inserted.duplicates);
            let occurred = self.staged.values().filter(|s| s.kind == kind).flat_map(|s| &s.occurred_us);
            metrics_list::pipeline_latencies(kind.pipeline(), "documents", now_micros(), occurred);
            self.staged.retain(|_, staged| staged.kind != kind);
        }
        Ok(())
    }

    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        self.staged.retain(|partition, _| !revoked.contains(partition));
        Ok(())
    }
}
