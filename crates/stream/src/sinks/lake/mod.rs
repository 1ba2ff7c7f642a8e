//! Records to the raw zone of the lake: one append-only table a topic, each record in it once.
//!
//! What becomes of a record is decided in [`rows`]; which columns a table has, in `layout`. Offsets
//! live in the table, changed by the commit that adds the rows, and reading resumes from them: a
//! batch that was stored before, by this process or by a zombie, is refused as a whole.
//!
//! A partition that ends before them is refused ([`ends`]).
//!
//! A topic of changes gives a typed table, one of clicks or log lines its own ([`events`]), any other
//! UTF-8 topic a table of its texts; dead letters go to `ops.quarantine`. See [`table_of`] for the names.

mod ends;
mod events;
mod layout;
pub mod rows;
mod store;

pub use store::table_of;

use super::events::{EventOptions, refused};
use super::{Rejected, Sink, SinkError};
use crate::consume::trace_of;
use affluent_bus::codec::{ChangeDecoder, Decoded, EventDecoder};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Admin, Incoming, TopicPartition};
use affluent_lake::{Advance, Lake, LakeError, RowBatch};
use affluent_model::{EventKind, Row, Snapshot, names::TOPIC_DEAD_LETTERS, time::now_micros};
use affluent_telemetry::traces::TraceContext;
use affluent_telemetry::{failpoint, metrics_list};
use async_trait::async_trait;
use ends::Ends;
use futures::StreamExt;
use layout::{Layout, TableKind};
use rows::Unfit;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use store::{Store, kind_of};

const NAME: &str = "sink-lake";
/// Tables that are committed at the same time.
const COMMITS_AT_ONCE: usize = 4;

/// Writes the raw zone.
pub struct LakeSink {
    store: Store,
    ends: Ends,
    decoder: ChangeDecoder,
    events: EventOptions,
    event_decoder: EventDecoder,
    layouts: HashMap<Arc<str>, Layout>,
    staged: BTreeMap<TopicPartition, Staged>,
    /// Batches of a commit under way. A commit that is cancelled leaves them here.
    in_flight: Vec<Batch>,
    /// The offset stored in the table, of every assigned partition; `None`: nothing stored yet.
    stored: BTreeMap<TopicPartition, Option<i64>>,
}

/// What is staged of one partition.
#[derive(Debug, Default)]
struct Staged {
    rows: Vec<Row>,
    /// One past the last record seen, written or not.
    next: i64,
    /// When streamed changes were committed at the source, or events occurred; microseconds UTC.
    begun_us: Vec<i64>,
    /// Those among them that are followed.
    followed: Vec<(TraceContext, i64)>,
}

impl LakeSink {
    /// A sink into `lake`, in the format of its options. `admin` says where partitions end.
    #[must_use]
    pub fn new(lake: Lake, admin: Admin, registry: Option<RegistryClient>, events: EventOptions) -> Self {
        LakeSink {
            store: Store::new(lake),
            ends: Ends::new(admin),
            decoder: ChangeDecoder::new(registry.clone()),
            events,
            event_decoder: EventDecoder::new(registry),
            layouts: HashMap::new(),
            staged: BTreeMap::new(),
            in_flight: Vec::new(),
            stored: BTreeMap::new(),
        }
    }

    /// The row of one record and the time from which its latency counts. `None`: nothing to write.
    async fn row(
        &mut self,
        record: &Incoming,
    ) -> Result<Result<Option<(Row, Option<i64>)>, Unfit>, SinkError> {
        if &*record.topic == TOPIC_DEAD_LETTERS {
            if record.value.is_none() {
                return Ok(Ok(None));
            }
            let layout = self.layout(record, false).await?;
            return Ok(rows::quarantined(record, layout).map(|row| Some((row, None))));
        }
        if let Some(kind) = self.events.kind(&record.topic) {
            return match &record.value {
                None => Ok(Ok(None)),
                Some(_) => self.event_row(record, kind).await.map(|row| row.map(Some)),
            };
        }
        let decoded = match self.decoder.decode(record).await {
            Ok(decoded) => decoded,
            Err(error) => {
                return match error.reason() {
                    Some(reason) => Ok(Err((reason, error.to_string()))),
                    None => Err(SinkError::Passing(error.to_string())),
                };
            }
        };
        let change = match decoded {
            Decoded::Tombstone => return Ok(Ok(None)),
            Decoded::Other => {
                let layout = self.layout(record, false).await?;
                return Ok(match layout.kind() {
                    TableKind::Records => rows::other(record, layout).map(|row| Some((row, None))),
                    TableKind::Changes | TableKind::Quarantine | TableKind::Clicks | TableKind::Logs => {
                        Err((
                            affluent_model::Reason::Undecodable,
                            "not a change event, in a topic of changes".to_owned(),
                        ))
                    }
                });
            }
            Decoded::Change(change) => change,
        };
        let layout = self.layout(record, true).await?;
        let committed_us = (change.source.snapshot == Snapshot::False).then_some(change.source.ts_us);
        let row = match layout.kind() {
            TableKind::Records => rows::other(record, layout),
            TableKind::Changes | TableKind::Quarantine | TableKind::Clicks | TableKind::Logs => {
                rows::change(record, &change, layout)
            }
        };
        Ok(row.map(|row| Some((row, committed_us))))
    }

    /// The row of a click or a log line, and when it occurred, unless it is late.
    async fn event_row(
        &mut self,
        record: &Incoming,
        kind: EventKind,
    ) -> Result<Result<(Row, Option<i64>), Unfit>, SinkError> {
        match kind {
            EventKind::Clicks => match self.event_decoder.click(record).await {
                Ok(click) => {
                    let occurred = (!click.is_late).then_some(click.occurred_at);
                    let layout = self.layout(record, false).await?;
                    Ok(Ok((events::click(record, click, layout), occurred)))
                }
                Err(error) => refused(&error).map(Err),
            },
            EventKind::Logs => match self.event_decoder.log(record).await {
                Ok(log) => {
                    let occurred = Some(log.occurred_at);
                    let layout = self.layout(record, false).await?;
                    Ok(Ok((events::log(record, log, layout), occurred)))
                }
                Err(error) => refused(&error).map(Err),
            },
        }
    }

    /// The layout of the record's topic; the first record decides what kind a new table is.
    async fn layout(&mut self, record: &Incoming, is_change: bool) -> Result<&mut Layout, SinkError> {
        if !self.layouts.contains_key(&record.topic) {
            let stored = self.store.columns(&record.topic).await.map_err(|error| passing(&error))?;
            let kind = kind_of(&record.topic, self.events.kind(&record.topic), is_change);
            self.layouts.insert(Arc::clone(&record.topic), Layout::new(kind, &stored));
        }
        match self.layouts.get_mut(&record.topic) {
            Some(layout) => Ok(layout),
            None => Err(SinkError::Fatal(format!("no layout for {}", record.topic))),
        }
    }

    /// What is staged of a topic, as one batch with its advances and the rows of each partition.
    fn batch(&mut self, topic: &Arc<str>) -> Batch {
        let (columns, sort_by) = match self.layouts.get(topic) {
            Some(layout) => (layout.columns().into(), layout.kind().sort_by()),
            // Nothing but tombstones and refused records so far: a table that only counts.
            None => (rows::kafka_columns().into(), [].as_slice()),
        };
        let mut batch = Batch { topic: Arc::clone(topic), sort_by, ..Batch::default() };
        let mut rows = Vec::new();
        for (partition, staged) in self.staged.iter_mut().filter(|(partition, _)| partition.topic == *topic) {
            batch.advance.push(Advance {
                topic: Arc::clone(topic),
                partition: partition.partition,
                expected: self.stored.get(partition).copied().flatten(),
                next: staged.next,
            });
            batch.rows_of.push((partition.clone(), staged.rows.len()));
            rows.append(&mut staged.rows);
        }
        batch.rows = Arc::new(RowBatch { columns, rows });
        batch
    }

    /// The batch is stored: forget it, and measure.
    fn settle(&mut self, batch: &Batch) {
        let now = now_micros();
        let pipeline = self.events.kind(&batch.topic).map_or("cdc", EventKind::pipeline);
        for (advance, (partition, _)) in batch.advance.iter().zip(&batch.rows_of) {
            self.stored.insert(partition.clone(), Some(advance.next));
            let staged = self.staged.remove(partition).unwrap_or_default();
            metrics_list::pipeline_latencies(pipeline, "lake_visible", now, staged.begun_us.iter());
            metrics_list::pipeline_exemplars(pipeline, "lake_visible", now, staged.followed.into_iter());
        }
        metrics_list::records(pipeline, "lake", "ok", batch.rows.rows.len() as u64);
    }

    /// The batch is not stored: keep its rows for the next attempt.
    fn restore(&mut self, batch: Batch) {
        let rows = Arc::try_unwrap(batch.rows).unwrap_or_else(|shared| (*shared).clone()).rows;
        let mut rows = rows.into_iter();
        for (partition, count) in batch.rows_of {
            let own = rows.by_ref().take(count).collect();
            let staged = self.staged.entry(partition).or_default();
            let later = std::mem::replace(&mut staged.rows, own);
            staged.rows.extend(later);
        }
    }

    /// Takes back what a cancelled commit left in flight. Whether it was stored all the same, the
    /// next commit finds out.
    fn recall(&mut self) {
        for batch in std::mem::take(&mut self.in_flight) {
            self.restore(batch);
        }
    }
}

/// One commit: what is staged of one topic.
#[derive(Debug, Clone, Default)]
struct Batch {
    topic: Arc<str>,
    rows: Arc<RowBatch>,
    /// Empty where nothing decides the table's kind yet.
    sort_by: &'static [&'static str],
    advance: Vec<Advance>,
    /// How many of the rows are each partition's, in the order of `advance`.
    rows_of: Vec<(TopicPartition, usize)>,
}

impl Batch {
    async fn append(self, store: &Store) -> (Self, Result<(), LakeError>) {
        let outcome =
            store.append(&self.topic, Arc::clone(&self.rows), self.sort_by, self.advance.clone()).await;
        let outcome = match outcome {
            // An earlier attempt whose outcome was not known has stored this very batch.
            Err(LakeError::OffsetConflict(conflict)) => match store.offsets(&self.topic).await {
                Ok(offsets) if self.is_stored(&offsets) => Ok(()),
                Ok(_) => Err(conflict.into()),
                Err(error) => Err(error),
            },
            other => other,
        };
        (self, outcome)
    }

    fn is_stored(&self, offsets: &affluent_lake::Offsets) -> bool {
        self.advance.iter().all(|to| offsets.get(&to.topic, to.partition) == Some(to.next))
    }
}

#[async_trait]
impl Sink for LakeSink {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn resume(
        &mut self,
        assigned: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SinkError> {
        self.recall();
        let topics: BTreeSet<&Arc<str>> = assigned.iter().map(|partition| &partition.topic).collect();
        let mut starts = BTreeMap::new();
        for topic in topics {
            let offsets = self.store.offsets(topic).await.map_err(|error| passing(&error))?;
            let own = assigned.iter().filter(|partition| partition.topic == *topic);
            let counted = own.filter_map(|own| Some((own.clone(), offsets.get(topic, own.partition)?)));
            self.ends.check(topic, &counted.collect::<Vec<_>>()).await?;
            for partition in assigned.iter().filter(|partition| partition.topic == *topic) {
                let stored = offsets.get(topic, partition.partition);
                self.staged.remove(partition);
                self.stored.insert(partition.clone(), stored);
                // What the table has not counted was never written, whatever the group says.
                starts.insert(partition.clone(), stored.unwrap_or(0));
            }
        }
        Ok(starts)
    }

    async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, SinkError> {
        let mut fresh: BTreeMap<TopicPartition, Staged> = BTreeMap::new();
        let mut rejected = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let partition = record.topic_partition();
            let stored = self.stored.get(&partition).copied().flatten();
            let next = stored.max(self.staged.get(&partition).map(|staged| staged.next));
            // Reading began at what was stored, and nothing arrives twice: only a partition that went back has such a record.
            if let Some(next) = next.filter(|next| record.offset < *next) {
                return Err(self.ends.goes_back(&partition, next));
            }
            let outcome = self.row(record).await?;
            let staged = fresh.entry(partition).or_default();
            staged.next = record.offset + 1;
            match outcome {
                Ok(None) => {}
                Ok(Some((row, begun_us))) => {
                    staged.rows.push(row);
                    staged.begun_us.extend(begun_us);
                    staged.followed.extend(begun_us.and_then(|begun_us| Some((trace_of(record)?, begun_us))));
                }
                Err((reason, error)) => rejected.push(Rejected { index, reason, error }),
            }
        }
        for (partition, mut fresh) in fresh {
            let staged = self.staged.entry(partition).or_default();
            staged.rows.append(&mut fresh.rows);
            staged.begun_us.append(&mut fresh.begun_us);
            staged.followed.append(&mut fresh.followed);
            staged.next = fresh.next;
        }
        Ok(rejected)
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        self.recall();
        let topics: BTreeSet<Arc<str>> = self.staged.keys().map(|p| Arc::clone(&p.topic)).collect();
        let batches: Vec<Batch> = topics.iter().map(|topic| self.batch(topic)).collect();
        self.in_flight.clone_from(&batches);
        failpoint("sink-lake::before_commit");
        let store = self.store.clone();
        let appends = batches.into_iter().map(|batch| batch.append(&store));
        let outcomes: Vec<_> =
            futures::stream::iter(appends).buffer_unordered(COMMITS_AT_ONCE).collect().await;
        failpoint("sink-lake::after_commit");
        self.in_flight.clear();
        let mut failed = Ok(());
        for (batch, outcome) in outcomes {
            match outcome {
                Ok(()) => self.settle(&batch),
                Err(error) => {
                    let error = sink_error(&batch.topic, &error);
                    if matches!(error, SinkError::Fenced(_)) {
                        // Another process may have given the table other columns.
                        self.layouts.remove(&batch.topic);
                    }
                    // What moved under us is worse than what passes: report it first.
                    if failed.is_ok() || matches!(error, SinkError::Fenced(_) | SinkError::Fatal(_)) {
                        failed = Err(error);
                    }
                    self.restore(batch);
                }
            }
        }
        failed
    }

    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        self.recall();
        self.staged.retain(|partition, _| !revoked.contains(partition));
        self.stored.retain(|partition, _| !revoked.contains(partition));
        Ok(())
    }
}

fn passing(error: &LakeError) -> SinkError {
    SinkError::Passing(error.to_string())
}

fn sink_error(topic: &str, error: &LakeError) -> SinkError {
    let text = format!("{topic}: {error}");
    match error {
        LakeError::OffsetConflict(_) | LakeError::Fenced { .. } => SinkError::Fenced(text),
        // Values were checked when they were staged; the table has changed since: stage them again.
        LakeError::Incompatible { .. } | LakeError::Value { .. } | LakeError::NoColumn { .. } => {
            SinkError::Fenced(text)
        }
        LakeError::Options(_) | LakeError::DuplicateKey { .. } | LakeError::Malformed { .. } => {
            SinkError::Fatal(text)
        }
        LakeError::NotFound(_)
        | LakeError::NoSnapshot { .. }
        | LakeError::Contention { .. }
        | LakeError::Unsettled { .. }
        | LakeError::Rest(_)
        | LakeError::Store(_)
        | LakeError::Iceberg(_)
        | LakeError::Arrow(_)
        | LakeError::Catalog(_)
        | LakeError::Io { .. }
        | LakeError::Task(_) => SinkError::Passing(text),
    }
}
