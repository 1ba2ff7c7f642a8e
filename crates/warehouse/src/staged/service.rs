//! The staging of all sources, round after round.

use super::agent::Agents;
use super::clicks::{self, Clicks};
use super::geo::Geo;
use super::once::{Seen, new_ones};
use super::progress::Step;
use super::table::{DAY, KAFKA, KEY, NAMESPACE, Source};
use super::{StageOptions, logs};
use affluent_lake::{ColumnRange, Lake, LakeError, LakeTable, Lookup, Partition, RowBatch, Scan};
use affluent_model::{Column, EventKind, Row, Value, time::now_micros};
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::{failpoint, metrics_list};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
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
    pub async fn run(mut self, shutdown: CancellationToken) {
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
        let columns = match source.kind {
            EventKind::Clicks => clicks::columns(),
            EventKind::Logs => logs::columns(),
        };
        let staged = self.table(source.kind, &columns).await?;
        let done = staged.offsets().await?;
        let Some(step) = Step::next(&source.topic, &done, ends, self.options.rows_max) else {
            return Ok(None);
        };
        let fresh = self.read(&raw, current.id, source, &step).await?;
        let (rows, repeated) = self.new_rows(&staged, &columns, fresh).await?;
        let occurred = column(&columns, "occurred_at");
        let occurred_us: Vec<i64> = rows.iter().filter_map(|row| micros(row.get(occurred)?)).collect();
        let count = rows.len() as u64;
        failpoint("stage::before_commit");
        let batch = Arc::new(RowBatch { columns: columns.into(), rows });
        staged.append(batch, step.advances(&source.topic)).await?;
        failpoint("stage::after_commit");
        if step.last {
            self.seen.insert(Arc::clone(&source.topic), current.sequence);
        }
        let pipeline = source.kind.pipeline();
        metrics_list::records(pipeline, "staged", "ok", count);
        metrics_list::records(pipeline, "staged", "duplicate", repeated);
        let now = now_micros();
        for occurred_us in occurred_us {
            metrics_list::pipeline_latency(pipeline, "staged", (now - occurred_us) as f64 / 1e6, 1);
        }
        Ok(Some(Staged { last: step.last }))
    }

    async fn table(&self, kind: EventKind, columns: &[Column]) -> Result<LakeTable, LakeError> {
        let day = Partition::Day(DAY.to_owned());
        // As in the raw zone: what a query for log lines names first.
        let sort_by: &[&str] = match kind {
            EventKind::Clicks => &[],
            EventKind::Logs => &["service", "occurred_at"],
        };
        let name = kind.collection();
        let table = self.lake.ensure_sorted_table(NAMESPACE, name, columns, &day, sort_by).await?;
        table.keep_filter(KEY).await?;
        Ok(table)
    }

    /// The staged rows of the records that the step holds, whether they came before or not.
    async fn read(
        &mut self,
        raw: &LakeTable,
        snapshot: i64,
        source: &Source,
        step: &Step,
    ) -> Result<Vec<Row>, LakeError> {
        let own = match source.kind {
            EventKind::Clicks => clicks::READ,
            EventKind::Logs => logs::READ,
        };
        let names: Vec<String> = own.iter().chain(KAFKA).map(|name| (*name).to_owned()).collect();
        let (from, to) = step.offsets();
        let scan = Scan {
            columns: names,
            snapshot: Some(snapshot),
            range: Some(ColumnRange { column: "_kafka_offset".to_owned(), from, to }),
            since: self.seen.get(&source.topic).copied(),
        };
        let mut stream = raw.scan(scan).await?;
        let mut rows = Vec::new();
        while let Some(batch) = stream.next().await {
            for row in batch? {
                let [.., topic, partition, offset, _] = row.as_slice() else { continue };
                let (Value::Text(topic), Value::Int(partition), Value::Int(offset)) =
                    (topic, partition, offset)
                else {
                    continue;
                };
                if **topic == *source.topic && step.holds(*partition, *offset) {
                    rows.push(match source.kind {
                        EventKind::Clicks => self.clicks.row(row),
                        EventKind::Logs => logs::row(row),
                    });
                }
            }
        }
        Ok(rows)
    }

    /// The rows whose event was not staged within the window, and the number of the others.
    async fn new_rows(
        &self,
        staged: &LakeTable,
        columns: &[Column],
        rows: Vec<Row>,
    ) -> Result<(Vec<Row>, u64), LakeError> {
        let window = self.options.window_micros();
        let places = [KEY, DAY, "_kafka_partition", "_kafka_offset"].map(|name| column(columns, name));
        let known: Vec<Option<(&str, Seen)>> = rows.iter().map(|row| seen(row, places)).collect();
        let seen: Vec<(&str, Seen)> = known.iter().flatten().copied().collect();
        let times = || seen.iter().map(|(_, seen)| seen.received_at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return Ok((rows, 0));
        };
        let keys: BTreeSet<String> = seen.iter().map(|(id, _)| (*id).to_owned()).collect();
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
                Ok([Value::Text(id), received_at]) => Some((id, micros(&received_at)?)),
                _ => None,
            })
            .collect();
        let mut new = new_ones(&seen, &before, window).into_iter();
        // What has no id is no repetition of anything.
        let keep: Vec<bool> = known.iter().map(|known| known.is_none() || new.next() == Some(true)).collect();
        let total = rows.len();
        let kept: Vec<Row> =
            rows.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(row, _)| row).collect();
        let repeated = (total - kept.len()) as u64;
        Ok((kept, repeated))
    }
}

fn column(columns: &[Column], name: &str) -> usize {
    columns.iter().position(|column| column.name == name).unwrap_or(usize::MAX)
}

/// The event id of a row and what decides which of several stays.
fn seen(row: &Row, [id, received_at, partition, offset]: [usize; 4]) -> Option<(&str, Seen)> {
    let Value::Text(id) = row.get(id)? else { return None };
    let Value::Int(partition) = *row.get(partition)? else { return None };
    let Value::Int(offset) = *row.get(offset)? else { return None };
    Some((id, Seen { received_at: micros(row.get(received_at)?)?, partition, offset }))
}

fn micros(value: &Value) -> Option<i64> {
    match value {
        Value::TimestampTz(micros) => Some(*micros),
        _ => None,
    }
}
