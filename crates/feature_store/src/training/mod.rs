//! Rows for training: of each event of a source its features as they were then, and what is known of it now.
//!
//! A row sees the events that had happened and had arrived when its own did; its label is what was known the label's delay after the
//! event, and null where that is later than the set's `as_of`. The table `features.training_<name>` is written once: corrections that
//! come later change no set that there is.
//!
//! `planned` decides what is computed, `collector` which events become rows, `output` writes. History is gone through once with all windows
//! in memory, or in `parts` where they do not fit. [`customer_rows`] are rows of customers at instants in place of events; [`load()`] reads
//! either as they were, `beside` writes what is known of payments beside their features.
//!
//! Invariants: one name, one set: a call with the same name and meaning goes on where it was killed, or finds it done. Memory holds windows
//! of at most `memory_bytes`, a chunk of rows and the marks of labels, however long the history.

mod beside;
mod collector;
mod customers;
mod load;
mod marks;
mod output;
mod parts;
mod planned;
mod readable;
mod rows;
mod spill;

pub use beside::{CATEGORIES, write_beside};
pub use customers::{
    CUSTOMER_CATEGORIES, CustomerRows, CustomerSet, INSTANTS_MAX, customer_rows, payments_span,
};
pub use load::{Loaded, Wanted, drop_table, events_between, keep_snapshots, load, table_of};
pub use readable::readable;
pub use rows::TrainingColumns;

use crate::history::{Counted, Events, History, HistoryError, Kept, Piece, Range};
use crate::offline::{Offline, Writer};
use affluent_features::event::DAY;
use affluent_features::replay::Row;
use affluent_features::{Engine, Options, Plan};
use affluent_lake::sql::Session;
use collector::Collector;
use output::Output;
use planned::Planned;
use std::sync::Arc;

const NAMESPACE: &str = "features";
/// Rows of a commit.
const CHUNK_ROWS: usize = 50_000;

/// What a training set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingSet {
    /// Its table is `features.training_<name>`.
    pub name: String,
    /// The source whose events are its rows, such as `transactions`.
    pub source: String,
    /// Its features; empty: all of the event itself and of the entities it belongs to.
    pub features: Vec<String>,
    /// Events that happened from here, and before there; microseconds UTC.
    pub from: i64,
    pub to: i64,
    /// What had arrived by then is known.
    pub as_of: i64,
    pub label: Option<TrainingLabel>,
}

/// Which events are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingLabel {
    /// The source whose events mark those with the same time and id, such as `fraud_labels`.
    pub source: String,
    /// An event that is not marked so long after it happened counts as good, whatever comes later; microseconds.
    pub delay: i64,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrainingRows {
    pub table: String,
    /// The features, in the order of the table's columns.
    pub features: Vec<String>,
    pub rows: u64,
    /// Of these, rows that were written now.
    pub written: u64,
    pub marked: u64,
    /// Rows that are too young for their label to be known.
    pub unlabelled: u64,
    /// Rows with a window that reached back to events that had been let go.
    pub inexact: u64,
    pub read: Counted,
}

/// Writes the rows of a set. `progress` is told how many there are after each commit.
///
/// # Errors
/// [`HistoryError`]: names that there are not, tables that are missing, another set of this name; no event at all.
pub async fn training_rows(
    offline: &Offline,
    set: &TrainingSet,
    writer: &dyn Writer,
    mut progress: impl FnMut(u64) + Send,
) -> Result<TrainingRows, HistoryError> {
    let planned = Planned::new(offline.history().definitions(), set)?;
    let session = offline.history().session().await?;
    let job = Job { history: offline.history(), session: &session, planned: &planned, set };
    let mut collector = job.collector(offline.memory_bytes()).await?;
    let mut output = Output::open(offline, set, &planned).await?;
    collector.done.table = output.table();
    let chunks = Chunks { writer, target: Target::Table(&mut output, &mut progress) };
    let read = job.collect(&mut collector, chunks, offline.memory_bytes()).await?;
    let done = TrainingRows { read, ..collector.done };
    if done.rows == 0 {
        return Err(nothing(set, &done.read));
    }
    output.complete(writer, done.rows).await?;
    Ok(done)
}

/// The same rows in memory, in the order of time, and no table: at most `rows_max`. Of more a sample is taken by the hash of their ids, the same each time.
///
/// # Errors
/// As [`training_rows`].
pub async fn training_columns(
    offline: &Offline,
    set: &TrainingSet,
    rows_max: usize,
    writer: &dyn Writer,
) -> Result<TrainingColumns, HistoryError> {
    let planned = Planned::new(offline.history().definitions(), set)?;
    let session = offline.history().session().await?;
    let job = Job { history: offline.history(), session: &session, planned: &planned, set };
    let mut collector = job.collector(offline.memory_bytes()).await?;
    let chunks = Chunks { writer, target: Target::Memory(rows_max) };
    let read = job.collect(&mut collector, chunks, offline.memory_bytes()).await?;
    if collector.rows.len() == 0 {
        return Err(nothing(set, &read));
    }
    Ok(collector.rows.into_columns())
}

fn nothing(set: &TrainingSet, read: &Counted) -> HistoryError {
    let first = read.first_refused.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let what = format!("training set {}", set.name);
    HistoryError::NoRows { what, events: read.events, refused: read.refused, first }
}

/// What is worked on.
struct Job<'a> {
    history: &'a History,
    session: &'a Session,
    planned: &'a Planned,
    set: &'a TrainingSet,
}

impl<'a> Job<'a> {
    /// A collector that knows what is marked, once all that the set needs can be read.
    async fn collector(&self, memory_bytes: u64) -> Result<Collector<'a>, HistoryError> {
        let label = self.set.label.as_ref().map(|label| &label.source);
        for name in self.planned.sources.iter().chain(label) {
            let source = self.history.source(name)?;
            if let Some(missing) = self.history.unreadable(self.session, source).await? {
                let message = format!("training set {}: {missing}", self.set.name);
                return Err(HistoryError::Definition(message));
            }
        }
        let marked = marks::marked(self, memory_bytes).await?;
        Ok(Collector::new(self.set, self.planned, marked))
    }

    /// Goes through history; what was read.
    async fn collect(
        &self,
        collector: &mut Collector<'_>,
        mut chunks: Chunks<'_>,
        memory_bytes: u64,
    ) -> Result<Counted, HistoryError> {
        let read = match parts::needed(self, memory_bytes).await? {
            None => whole(self, collector, &mut chunks).await?,
            Some(parts) => parts::joined(self, &parts, collector, &mut chunks).await?,
        };
        chunks.after_all(collector).await?;
        Ok(read)
    }
}

/// What becomes of rows as they are collected.
struct Chunks<'a> {
    writer: &'a dyn Writer,
    target: Target<'a>,
}

enum Target<'a> {
    /// They are written, a commit at a time, and it is told how many there are.
    Table(&'a mut Output, &'a mut (dyn FnMut(u64) + Send)),
    /// They stay in the collector: so many at most, of more a sample.
    Memory(usize),
}

impl Chunks<'_> {
    /// Writes as long as there are enough rows for a commit.
    async fn after_piece(&mut self, collector: &mut Collector<'_>) -> Result<(), HistoryError> {
        self.write(collector, CHUNK_ROWS).await
    }

    /// Writes what is left.
    async fn after_all(&mut self, collector: &mut Collector<'_>) -> Result<(), HistoryError> {
        self.write(collector, 1).await
    }

    async fn write(&mut self, collector: &mut Collector<'_>, least: usize) -> Result<(), HistoryError> {
        match &mut self.target {
            Target::Table(output, progress) => {
                while collector.rows.len() >= least {
                    let rows = collector.rows.take(CHUNK_ROWS);
                    output.write(rows, self.writer, &mut collector.done).await?;
                    (**progress)(collector.done.rows);
                }
            }
            Target::Memory(rows_max) => {
                self.writer.permit().await?;
                collector.rows.sample(*rows_max);
            }
        }
        Ok(())
    }
}

/// Collects the rows with all windows in memory.
async fn whole(
    job: &Job<'_>,
    collector: &mut Collector<'_>,
    chunks: &mut Chunks<'_>,
) -> Result<Counted, HistoryError> {
    let Planned { definitions, plan, sources, .. } = job.planned;
    let range = Range { since: job.set.from.saturating_sub(job.planned.reach), until: job.set.as_of };
    let kept = Kept { ids_of: Some(job.set.source.clone()), ..Kept::default() };
    let mut feed = job.history.feed(job.session, (definitions, plan), sources, range, &kept).await?;
    let (mut engine, mut day) = (windows(plan), i64::MIN);
    loop {
        let piece = {
            let collector = &mut *collector;
            let mut sink = |events: &Events, row: Row<'_>| {
                if collector.takes(events, row.event) {
                    collector.push(events, row);
                }
            };
            feed.step(&mut engine, range.until, Some(job.planned.spine), &mut sink).await?
        };
        let Some(piece) = piece else { break };
        chunks.after_piece(collector).await?;
        evict_daily(&mut engine, &piece, &mut day);
    }
    Ok(feed.counted)
}

/// An engine for history, which is read in the order of arrival.
fn windows(plan: &Arc<Plan>) -> Engine {
    Engine::new(Arc::clone(plan), Options { any_order: true, ..Options::default() })
}

/// Lets go of what no window needs any more, so that memory holds the windows and not the history; `day` is that of the last time.
fn evict_daily(engine: &mut Engine, piece: &Piece, day: &mut i64) {
    let newest = piece.iter().filter_map(|(_, events)| events.arrived.last()).max().copied();
    if let Some(newest) = newest.filter(|newest| newest.div_euclid(DAY) > *day) {
        *day = newest.div_euclid(DAY);
        engine.evict(newest);
    }
}
