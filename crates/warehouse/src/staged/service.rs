//! The staging of all sources, round after round.

use super::agent::Agents;
use super::clicks::{self, Clicks};
use super::geo::Geo;
use super::once::{Seen, new_ones};
use super::progress::Step;
use super::table::{DAY, KAFKA, KEY, NAMESPACE, OCCURRED, OFFSET, PARTITION, Source, TOPIC, texts, whole};
use super::{StageOptions, logs};
use affluent_lake::{ColumnRange, Lake, LakeError, LakeTable, Lookup, Partition, Scan};
use affluent_model::{EventKind, Value, time::now_micros};
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::{failpoint, metrics_list};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "stage";

/// Why staging stopped, or cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("[stage] {0}")]
    Options(String),
    #[error("stage.geo: {path}: {error}; name a MaxMind database of cities or countries, or leave it out")]
    Geo { path: PathBuf, error: String },
    #[error("patterns of user agents: {0}")]
    Patterns(String),
    #[error("staging {topic}: {source}")]
    Lake { topic: Arc<str>, source: Box<LakeError> },
}

/// Keeps the staged zone up with the raw one.
#[derive(Debug)]
pub struct StageService {
    lake: Lake,
    sources: Vec<Source>,
    options: StageOptions,
    health: Health,
    clicks: Clicks,
    /// Of each topic the sequence number of the raw snapshot up to which everything is staged.
    seen: HashMap<Arc<str>, i64>,
}

/// What one commit did.
struct Staged {
    /// Nothing of what was there is left.
    last: bool,
}

impl StageService {
    /// Stages `sources` of `lake`.
    ///
    /// # Errors
    /// Options that cannot work, a `.mmdb` file that cannot be read.
    pub fn new(
        lake: Lake,
        sources: Vec<Source>,
        options: StageOptions,
        health: Health,
    ) -> Result<Self, StageError> {
        options.check()?;
        let geo = Geo::open(options.geo_file())?;
        let clicks = Clicks::new(Agents::new()?, geo);
        Ok(StageService { lake, sources, options, health, clicks, seen: HashMap::new() })
    }

    /// Stages until `shutdown`. Faults of disk and catalog are waited out.
    pub fn run(self, shutdown: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.rounds(shutdown))
    }

    async fn rounds(mut self, shutdown: CancellationToken) {
        self.health.set(ROLE, State::Ready);
        let pause = Duration::from_millis(self.options.interval_ms);
        while !shutdown.is_cancelled() {
            match self.round(&shutdown).await {
                Ok(()) => self.health.set(ROLE, State::Ready),
                Err(error) => {
                    tracing::warn!(%error, "trying again");
                    self.health.set(ROLE, State::Degraded(error.to_string()));
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.health.set(ROLE, State::Stopped);
    }

    /// Stages everything that the raw tables have now.
    ///
    /// # Errors
    /// [`StageError::Lake`], after the other sources had their turn.
    pub async fn round(&mut self, shutdown: &CancellationToken) -> Result<(), StageError> {
        let mut outcome = Ok(());
        for source in self.sources.clone() {
            while !shutdown.is_cancelled() {
                match self.step(&source).await {
                    Ok(Some(staged)) if !staged.last => {}
                    Ok(_) => break,
                    // Another process has staged these records: go on from what it left.
                    Err(LakeError::OffsetConflict(conflict)) => {
                        tracing::info!(%conflict, "staged by another")
                    }
                    Err(error) => {
                        let topic = Arc::clone(&source.topic);
                        outcome = outcome.and(Err(StageError::Lake { topic, source: Box::new(error) }));
                        break;
                    }
                }
            }
        }
        outcome
    }

    /// One commit; `None` where nothing is new.
    async fn step(&mut self, source: &Source) -> Result<Option<Staged>, LakeError> {
        let (namespace, name) = &source.raw;
        let raw = match self.lake.table(namespace, name).await {
            Ok(raw) => raw,
            Err(LakeError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Rows and offsets of one snapshot: what it counts, it has.
        let snapshots = raw.snapshots().await?;
        let Some(current) = snapshots.last() else { return Ok(None) };
        let Some(ends) = snapshots.iter().rev().find_map(|snapshot| snapshot.offsets.as_ref()) else {
            return Ok(None);
        };
        let staged = table(&self.lake, source.kind).await?;
        let done = staged.offsets().await?;
        let Some(step) = Step::next(&source.topic, &done, ends, self.options.rows_max) else {
            return Ok(None);
        };
        let fresh = self.read(&raw, current.id, source, &step).await?;
        let read: usize = fresh.iter().map(RecordBatch::num_rows).sum();
        let batches = self.new_rows(&staged, fresh).await?;
        let occurred_us: Vec<i64> = batches.iter().flat_map(|batch| wholes(batch, OCCURRED)).collect();
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        failpoint("stage::before_commit");
        staged.append_batches(batches, step.advances(&source.topic)).await?;
        failpoint("stage::after_commit");
        if step.last {
            self.seen.insert(Arc::clone(&source.topic), current.sequence);
        }
        let pipeline = source.kind.pipeline();
        metrics_list::records(pipeline, "staged", "ok", count as u64);
        metrics_list::records(pipeline, "staged", "duplicate", (read - count) as u64);
        metrics_list::pipeline_latencies(pipeline, "staged", now_micros(), occurred_us.iter());
        Ok(Some(Staged { last: step.last }))
    }

    /// The staged rows of the records that the step holds, whether they came before or not.
    async fn read(
        &mut self,
        raw: &LakeTable,
        snapshot: i64,
        source: &Source,
        step: &Step,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let own = match source.kind {
            EventKind::Clicks => clicks::READ,
            EventKind::Logs => logs::READ,
        };
        let names: Vec<String> = own.iter().chain(KAFKA).map(|name| (*name).to_owned()).collect();
        let (from, to) = step.offsets();
        let scan = Scan {
            columns: names,
            snapshot: Some(snapshot),
            range: Some(ColumnRange { column: OFFSET.to_owned(), from, to }),
            since: self.seen.get(&source.topic).copied(),
        };
        let mut stream = raw.scan(scan).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next_batch().await {
            let batch = batch?;
            let (topics, partitions, offsets) =
                (texts(&batch, TOPIC), whole(&batch, PARTITION), whole(&batch, OFFSET));
            let wanted = |row| {
                topics.get(row) == Some(&*source.topic)
                    && partitions
                        .get(row)
                        .zip(offsets.get(row))
                        .is_some_and(|(p, offset)| step.holds(p, offset))
            };
            let wanted: BooleanArray = (0..batch.num_rows()).map(|row| Some(wanted(row))).collect();
            let batch = kept(batch, &wanted)?;
            if batch.num_rows() > 0 {
                batches.push(match source.kind {
                    EventKind::Clicks => self.clicks.staged(&batch)?,
                    EventKind::Logs => logs::staged(&batch)?,
                });
            }
        }
        Ok(batches)
    }

    /// The rows whose event was not staged within the window.
    async fn new_rows(
        &self,
        staged: &LakeTable,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let window = self.options.window_micros();
        let known: Vec<Option<(&str, Seen)>> = batches.iter().flat_map(seen).collect();
        let fresh: Vec<(&str, Seen)> = known.iter().flatten().copied().collect();
        let times = || fresh.iter().map(|(_, seen)| seen.received_at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(batches) };
        let keys: BTreeSet<String> = fresh.iter().map(|(id, _)| (*id).to_owned()).collect();
        let found = staged
            .find(Lookup {
                column: KEY.to_owned(),
                keys: Arc::new(keys),
                range: Some(ColumnRange { column: DAY.to_owned(), from: first - window, to: last + window }),
                columns: vec![DAY.to_owned()],
            })
            .await?;
        let before: Vec<(String, i64)> = found
            .into_iter()
            .filter_map(|row| match <[Value; 2]>::try_from(row) {
                Ok([Value::Text(id), Value::TimestampTz(received_at)]) => Some((id, received_at)),
                _ => None,
            })
            .collect();
        let mut new = new_ones(&fresh, &before, window).into_iter();
        // What has no id is no repetition of anything.
        let keep: Vec<bool> = known.iter().map(|known| known.is_none() || new.next() == Some(true)).collect();
        let mut keep = keep.into_iter();
        let mut kept_batches = Vec::with_capacity(batches.len());
        for batch in batches {
            let new: BooleanArray = keep.by_ref().take(batch.num_rows()).map(Some).collect();
            kept_batches.push(kept(batch, &new)?);
        }
        Ok(kept_batches)
    }
}

/// The staged table of clicks, made where it is missing: those who read it find it empty.
pub(crate) async fn ensure_clicks(lake: &Lake) -> Result<LakeTable, LakeError> {
    table(lake, EventKind::Clicks).await
}

async fn table(lake: &Lake, kind: EventKind) -> Result<LakeTable, LakeError> {
    let day = Partition::Day(DAY.to_owned());
    // As in the raw zone: what a query for log lines names first.
    let (columns, sort_by): (_, &[&str]) = match kind {
        EventKind::Clicks => (clicks::columns(), &[]),
        EventKind::Logs => (logs::columns(), &["service", OCCURRED]),
    };
    let table = lake.ensure_sorted_table(NAMESPACE, kind.collection(), &columns, &day, sort_by).await?;
    table.keep_filter(KEY).await?;
    Ok(table)
}

/// The rows of the batch that are to stay.
fn kept(batch: RecordBatch, stay: &BooleanArray) -> Result<RecordBatch, LakeError> {
    if stay.true_count() == batch.num_rows() { Ok(batch) } else { Ok(filter_record_batch(&batch, stay)?) }
}

/// Of each row the event id and what decides which of several stays; `None` for one without.
fn seen(batch: &RecordBatch) -> impl Iterator<Item = Option<(&str, Seen)>> {
    let ids = texts(batch, KEY);
    let [received_at, partition, offset] = [DAY, PARTITION, OFFSET].map(|name| whole(batch, name));
    (0..batch.num_rows()).map(move |row| {
        let seen = Seen {
            received_at: received_at.get(row)?,
            partition: partition.get(row)?,
            offset: offset.get(row)?,
        };
        Some((ids.get(row)?, seen))
    })
}

/// The values of a column of whole numbers or times, without nulls.
fn wholes(batch: &RecordBatch, name: &str) -> impl Iterator<Item = i64> {
    let column = whole(batch, name);
    (0..batch.num_rows()).filter_map(move |row| column.get(row))
}
