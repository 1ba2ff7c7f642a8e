//! Rows for training: of each event of a source its features as they were then, and what is known of it now.
//!
//! A row sees the events that had happened and had arrived when its own did; its label is what had arrived by the set's `as_of`, and
//! null where the event is younger than the label's delay. The table `features.training_<name>` is written once: corrections that
//! come later change no set that there is.
//!
//! `planned` decides what is computed, `collector` which events become rows, `output` writes. History is gone through once with all windows
//! in memory, or in `parts` where they do not fit.
//!
//! Invariants: one name, one set: a call with the same name and meaning goes on where it was killed, or finds it done. Memory holds windows
//! of at most `memory_bytes`, a chunk of rows and the marks of labels, however long the history.

mod collector;
mod output;
mod parts;
mod planned;
mod rows;
mod spill;

use crate::history::{Counted, Events, History, HistoryError, Kept, Piece, Range};
use crate::offline::{Offline, Writer};
use affluent_features::event::DAY;
use affluent_features::replay::Row;
use affluent_features::{Engine, Options, Plan};
use affluent_lake::sql::Session;
use collector::Collector;
use output::Output;
use planned::Planned;
use std::collections::HashSet;
use std::sync::Arc;

/// Rows of a commit.
const CHUNK_ROWS: usize = 50_000;
/// Bytes that a marked event takes in a set of them that has just grown.
const MARK_BYTES: u64 = 40;

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
    /// An event that is not marked so long after it happened counts as good; microseconds.
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
    let history = offline.history();
    let session = history.session().await?;
    let readable = planned.sources.iter().chain(set.label.as_ref().map(|label| &label.source));
    for name in readable {
        if let Some(missing) = history.unreadable(&session, history.source(name)?).await? {
            return Err(HistoryError::Definition(format!("training set {}: {missing}", set.name)));
        }
    }
    let job = Job { history, session: &session, planned: &planned, set };
    let marked = match &set.label {
        Some(label) => marked(&job, label, offline.memory_bytes()).await?,
        None => HashSet::new(),
    };
    let mut collector = Collector::new(set, &planned, marked);
    let output = Output::open(offline, set, &planned).await?;
    collector.done.table = output.table();
    let mut chunks = Chunks { output, writer, progress: &mut progress };
    let read = match parts::needed(&job, offline.memory_bytes()).await? {
        None => whole(&job, &mut collector, &mut chunks).await?,
        Some(parts) => parts::joined(&job, &parts, &mut collector, &mut chunks).await?,
    };
    chunks.write(&mut collector).await?;
    let Chunks { output, .. } = chunks;
    let done = TrainingRows { read, ..collector.done };
    if done.rows == 0 {
        return Err(nothing(set, &done.read));
    }
    output.complete(writer, done.rows).await?;
    Ok(done)
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

/// Where rows go, a commit at a time.
struct Chunks<'a> {
    output: Output,
    writer: &'a dyn Writer,
    progress: &'a mut (dyn FnMut(u64) + Send),
}

impl Chunks<'_> {
    /// Writes as long as there are enough rows for a commit.
    async fn write_full(&mut self, collector: &mut Collector<'_>) -> Result<(), HistoryError> {
        while collector.rows.len() >= CHUNK_ROWS {
            self.write(collector).await?;
        }
        Ok(())
    }

    async fn write(&mut self, collector: &mut Collector<'_>) -> Result<(), HistoryError> {
        let rows = collector.rows.take(CHUNK_ROWS);
        self.output.write(rows, self.writer, &mut collector.done).await?;
        (self.progress)(collector.done.rows);
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
        chunks.write_full(collector).await?;
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

/// Time and order of the events that are marked.
async fn marked(
    job: &Job<'_>,
    label: &TrainingLabel,
    memory_bytes: u64,
) -> Result<HashSet<(i64, u64)>, HistoryError> {
    let set = job.set;
    let range = Range { since: set.from, until: set.as_of };
    let what = (&job.planned.definitions, &job.planned.plan);
    let sources = std::slice::from_ref(&label.source);
    let mut feed = job.history.feed(job.session, what, sources, range, &Kept::default()).await?;
    let mut marked = HashSet::new();
    while let Some(piece) = feed.next(set.as_of).await? {
        for (_, events) in piece {
            let inside =
                events.time.iter().zip(&events.order).filter(|(time, _)| (set.from..set.to).contains(*time));
            marked.extend(inside.map(|(&time, &order)| (time, order)));
        }
        let bytes = marked.len() as u64 * MARK_BYTES;
        if bytes > memory_bytes {
            let what = format!("training set {}: a part of the marked events", set.name);
            return Err(HistoryError::Memory { what, bytes, limit: memory_bytes });
        }
    }
    Ok(marked)
}
