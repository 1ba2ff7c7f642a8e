//! Clicks and log lines to the document store: one document an event, `_id` is its event id.
//!
//! An event that arrives again, however often and through whichever partition, is stored once: ids are
//! inserted only where they are absent. So offsets are the group's alone. What an event becomes is
//! decided in [`documents`]; which topics hold which events, in [`EventOptions`]. Errors among the log
//! lines are counted besides, by service and [`fingerprint`].

mod batch;
pub mod documents;
pub mod fingerprint;
mod groups;
mod options;

pub use options::EventOptions;

use super::{Batch, Rejected, Sink, SinkError};
use affluent_bus::codec::CodecError;
use affluent_bus::codec::EventDecoder;
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Incoming, TopicPartition};
use affluent_documents::DocumentStore;
use affluent_model::{EventKind, Reason};
use async_trait::async_trait;
use batch::{EventBatch, Fresh};
use groups::ErrorLine;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "sink-events";

/// Keeps clicks and log lines where they can be asked for by user or service and time.
pub struct EventsSink {
    options: EventOptions,
    decoder: EventDecoder,
    staged: EventBatch,
}

impl EventsSink {
    /// A sink into `store`; events in Avro and Protobuf need a registry.
    #[must_use]
    pub fn new(
        store: Arc<dyn DocumentStore>,
        registry: Option<RegistryClient>,
        options: EventOptions,
    ) -> Self {
        let staged = EventBatch::new(store, &options);
        EventsSink { options, decoder: EventDecoder::new(registry), staged }
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
        fresh.into_iter().for_each(|fresh| self.staged.add(fresh));
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
