//! Scores into the payments database: batched, in their own time, for ever tried again.
//!
//! What is recorded waits in a bounded queue. Where that is full, where the database was away for long, or this process has just begun to lead, the rest is
//! read from the records: what is written back up to when is kept. The statement changes nothing where the same score, or a newer one, is there, so
//! repeating it is harmless.

use super::WriteBackOptions;
use super::aside::{Aside, PAUSE_MAX};
use super::progress;
use super::statement::{Database, Fault};
use super::unfound::Unfound;
use super::waiting::Waiting;
use crate::record::{COLLECTION, Record};
use affluent_documents::{DocumentError, DocumentStore, Range, Scan};
use affluent_model::Value;
use affluent_model::time::now_micros;
use affluent_stream::cdc::CdcOptions;
use affluent_telemetry::health::{Health, State};
use affluent_telemetry::traces::{self, Span, SpanKind, TraceContext};
use affluent_telemetry::{failpoint, metrics_list};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The name of its spans.
const SPAN: &str = "write back";
const HEALTH: &str = "score-write-back";
/// How far back records are read again: those of a leader before may be stored in another order than they were judged.
const OVERLAP_US: i64 = 15_000_000;
/// How often it is kept how far it is.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// One score on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) score: Option<f64>,
    pub(super) decision: &'static str,
    /// Microseconds UTC.
    pub(super) scored_at: i64,
    /// When the payment was committed; none where its latency is not measured.
    pub(super) begun_at: Option<i64>,
    /// The span that it follows from, and when it began to wait, microseconds UTC; none where the payment is not followed.
    pub(super) trace: Option<(TraceContext, i64)>,
}

impl Row {
    fn of(record: &Record, begun_at: Option<i64>, trace: Option<TraceContext>) -> Self {
        let (id, decision) = (record.transaction_id.clone(), record.decision.as_str());
        let trace = trace.map(|trace| (trace, now_micros()));
        Row { id, score: record.score, decision, scored_at: record.scored_at, begun_at, trace }
    }
}

/// What waits. The records themselves are in the store.
pub(super) struct Queue {
    waiting: Mutex<Queued>,
    rows_max: usize,
    filled: Notify,
}

#[derive(Default)]
struct Queued {
    rows: VecDeque<Row>,
    /// This process leads.
    is_leading: bool,
    /// Some have to be read from the records first: those scored from here on at the least, microseconds UTC.
    behind: Option<i64>,
}

impl Queue {
    pub(super) fn new(rows_max: usize) -> Self {
        Queue { waiting: Mutex::default(), rows_max, filled: Notify::new() }
    }

    /// Adds what was recorded, as far as there is room.
    pub(super) fn put(&self, recorded: &[Waiting]) {
        let mut waiting = self.waiting.lock();
        for recorded in recorded {
            if waiting.behind.is_some() || waiting.rows.len() >= self.rows_max {
                waiting.falls_behind(recorded.record.scored_at);
                continue;
            }
            waiting.rows.push_back(Row::of(
                &recorded.record,
                Some(recorded.begun_at),
                recorded.trace.map(|trace| trace.context),
            ));
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// This process leads: what others have recorded may not be written back.
    pub(super) fn read_again(&self) {
        *self.waiting.lock() = Queued { rows: VecDeque::new(), is_leading: true, behind: Some(i64::MAX) };
        self.filled.notify_one();
    }

    /// Another process leads: it writes back.
    pub(super) fn forget(&self) {
        *self.waiting.lock() = Queued::default();
    }

    fn take(&self, rows: usize) -> Vec<Row> {
        let mut waiting = self.waiting.lock();
        let count = rows.min(waiting.rows.len());
        waiting.rows.drain(..count).collect()
    }

    /// Where some have to be read from the records: from when on at the least. It is up to the caller from now on.
    fn takes_over(&self) -> Option<i64> {
        let mut waiting = self.waiting.lock();
        if waiting.is_leading && waiting.rows.is_empty() { waiting.behind.take() } else { None }
    }

    fn falls_behind(&self, from: i64) {
        let mut waiting = self.waiting.lock();
        if waiting.is_leading {
            waiting.falls_behind(from);
        }
    }
}

impl Queued {
    fn falls_behind(&mut self, from: i64) {
        self.behind = Some(self.behind.map_or(from, |behind| behind.min(from)));
    }
}

/// Writes back what is in the queue, until `ending`. Without a database it only empties the queue.
pub(super) async fn run(
    queue: &Queue,
    store: &dyn DocumentStore,
    database: Option<CdcOptions>,
    options: &WriteBackOptions,
    health: &Health,
    ending: &CancellationToken,
) {
    let database = database.filter(|database| !database.connection.is_empty());
    let (Some(database), false) = (database, options.statement.trim().is_empty()) else {
        tracing::info!("scores are not written back: no database, or no statement");
        while !ending.is_cancelled() {
            tokio::select! {
                () = queue.filled.notified() => drop(queue.take(usize::MAX)),
                () = ending.cancelled() => {}
            }
        }
        return;
    };
    // What a run before has said of the database is over.
    health.set(HEALTH, State::Ready);
    let database = Database::new(database, options);
    let (aside, unfound) = (Aside::new(options), Unfound::new(options.waiting_max));
    let (written, kept) = (0, Instant::now());
    let mut work = Work { queue, store, database, options, health, ending, aside, unfound, written, kept };
    work.run().await;
}

struct Work<'a> {
    queue: &'a Queue,
    store: &'a dyn DocumentStore,
    database: Database,
    options: &'a WriteBackOptions,
    health: &'a Health,
    ending: &'a CancellationToken,
    aside: Aside,
    unfound: Unfound,
    /// The latest score that is written, microseconds UTC.
    written: i64,
    /// When that was kept last.
    kept: Instant,
}

impl Work<'_> {
    async fn run(&mut self) {
        while !self.ending.is_cancelled() {
            if let Some(from) = self.queue.takes_over()
                && let Err(error) = self.read_records(from).await
            {
                tracing::warn!(%error, "records to write back cannot be read, trying again");
                self.queue.falls_behind(from);
                self.pause(Duration::from_millis(self.options.retry_first_ms)).await;
                continue;
            }
            if self.aside.due().is_some_and(|due| due <= Instant::now()) {
                let rows = self.aside.take(self.options.batch_rows);
                let tried = rows.len();
                let refused = self.write(rows).await;
                self.aside.was_tried(refused < tried);
                if self.aside.is_empty() {
                    self.health.set(HEALTH, State::Ready);
                }
            }
            let again = self.unfound.take(self.options.batch_rows);
            if !again.is_empty() {
                self.write(again).await;
            }
            let rows = self.queue.take(self.options.batch_rows);
            if rows.is_empty() {
                let due = self.aside.due().into_iter().chain(self.unfound.due()).min();
                let again = due.unwrap_or_else(|| Instant::now() + PAUSE_MAX);
                tokio::select! {
                    () = self.queue.filled.notified() => {}
                    () = tokio::time::sleep_until(again.into()) => continue,
                    () = self.ending.cancelled() => return,
                }
                // More may come for the same statement.
                self.pause(Duration::from_millis(self.options.linger_ms)).await;
                continue;
            }
            self.write(rows).await;
        }
    }

    /// Writes what was recorded since what is known to be written, and what was scored from `least` on: who leads now may have judged long before
    /// it records, while the leader before was slow or had another clock.
    async fn read_records(&mut self, least: i64) -> Result<(), DocumentError> {
        // Nothing yet: all of them.
        let written = progress::written_back(self.store).await?.unwrap_or(0);
        let from = written.saturating_sub(OVERLAP_US).min(least);
        let (index, from) = ("scored_at".to_owned(), Some(Value::TimestampTz(from)));
        let range = Range::Index { index, equal: Vec::new(), from, to: None };
        let mut scan = Scan { range, limit: self.options.batch_rows, after: None };
        loop {
            let page = self.store.scan(COLLECTION, &scan).await?;
            let records = page.documents.iter().filter_map(Record::of);
            let rows: Vec<Row> = records.map(|record| Row::of(&record, None, None)).collect();
            self.write(rows).await;
            scan.after = page.next;
            if scan.after.is_none() || self.ending.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Writes rows, however long it takes. One that the database refuses keeps back no other: it is put aside. How many were.
    async fn write(&mut self, mut rows: Vec<Row>) -> usize {
        // In one order, so that two statements do not wait for one another.
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        let first = Duration::from_millis(self.options.retry_first_ms);
        let (mut left, mut pause, mut faults) = (vec![rows.as_slice()], first, 0u32);
        let (mut refused, mut unfound): (Vec<(Row, String)>, Vec<Row>) = (Vec::new(), Vec::new());
        while let Some(part) = left.pop().filter(|part| !part.is_empty()) {
            failpoint("score::before_write_back");
            match self.database.write(part).await {
                Ok(changed) if changed < part.len() as u64 => unfound.extend_from_slice(part),
                Ok(_) => {}
                Err(Fault::Passing(error)) => {
                    faults += 1;
                    tracing::warn!(error, faults, rows = part.len(), "scores not written back, trying again");
                    self.health.set(HEALTH, State::Degraded(format!("payments database: {error}")));
                    left.push(part);
                    self.pause(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(self.options.retry_max_ms));
                }
                Err(Fault::Rows(_)) if part.len() > 1 => {
                    let (one, other) = part.split_at(part.len() / 2);
                    left.extend([other, one]);
                }
                Err(Fault::Rows(error)) => {
                    refused.extend(part.iter().map(|row| (row.clone(), error.clone())))
                }
            }
            if self.ending.is_cancelled() {
                return refused.len();
            }
        }
        failpoint("score::after_write_back");
        self.unfound.put(unfound);
        rows.retain(|row| !refused.iter().any(|(refused, _)| refused.id == row.id));
        self.note(&rows).await;
        let count = refused.len();
        for (row, error) in refused {
            self.put_aside(row, &error);
        }
        if faults > 0 || count > 0 {
            self.health.set(HEALTH, State::Ready);
        }
        if !self.aside.is_empty() {
            let aside = format!("{} scores are refused by the payments database", self.aside.len());
            self.health.set(HEALTH, State::Degraded(aside));
        }
        count
    }

    fn put_aside(&mut self, row: Row, error: &str) {
        // Of one that is tried again it is known.
        if row.begun_at.is_some() {
            tracing::warn!(id = row.id, error, "the payments database refuses a score: it is put aside");
        }
        metrics_list::records("score", "oltp", "refused", 1);
        if let Some(row) = self.aside.put(row) {
            tracing::error!(id = row.id, "too many scores are refused: this one is not tried again");
            metrics_list::records("score", "oltp", "given_up", 1);
        }
    }

    /// Takes note of what is written.
    async fn note(&mut self, rows: &[Row]) {
        metrics_list::records("score", "oltp", "ok", rows.len() as u64);
        rows.iter().filter_map(|row| row.trace).for_each(|(scored, begun_us)| written(scored, begun_us));
        // What was read from the records comes in another order: it says nothing of how far all are.
        let begun: Vec<i64> = rows.iter().filter_map(|row| row.begun_at).collect();
        if begun.is_empty() {
            return;
        }
        let now = now_micros();
        metrics_list::pipeline_latencies("score", "oltp_updated", now, begun.iter());
        let followed = rows.iter().filter_map(|row| Some((row.trace?.0, row.begun_at?)));
        metrics_list::pipeline_exemplars("score", "oltp_updated", now, followed);
        self.written = rows.iter().map(|row| row.scored_at).fold(self.written, i64::max);
        if self.kept.elapsed() >= PROGRESS_PAUSE {
            match progress::save_written_back(self.store, self.written).await {
                Ok(()) => self.kept = Instant::now(),
                Err(error) => tracing::warn!(%error, "how far scores are written back is not kept"),
            }
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.ending.cancelled() => {}
        }
    }
}

/// The span from a score's recording until the payments database has it.
fn written(scored: TraceContext, begun_us: i64) {
    traces::finished(Span {
        context: scored.child(SPAN),
        parent: Some(scored),
        name: SPAN,
        kind: SpanKind::Client,
        begun_us,
        ended_us: now_micros(),
        attributes: vec![("db.system.name", "postgresql".to_owned())],
        error: None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Times;
    use crate::vocabulary::Vocabulary;
    use crate::{Facts, Features, Judge, JudgeOptions};
    use affluent_bus::TopicPartition;

    /// A payment that was recorded, scored at this instant.
    fn recorded(scored_at: i64) -> Waiting {
        let (facts, judge) = (
            Facts::new(scored_at.to_string(), 0),
            Judge::new(Vocabulary::default(), JudgeOptions::default()),
        );
        let times = Times { begun_at: 0, scored_at, source: None };
        let record = Record::new(&facts, &Features::Missing, &judge.judge(&facts, Features::Missing), times);
        Waiting {
            partition: TopicPartition::new("t", 0),
            offset: scored_at,
            begun_at: 0,
            record,
            trace: None,
        }
    }

    #[test]
    fn what_has_no_room_is_read_from_its_earliest_score_on() {
        let queue = Queue::new(2);
        assert_eq!(queue.takes_over(), None, "nobody leads");
        queue.read_again();
        // Judged long ago, recorded before the records are read: they have to reach that far back.
        queue.put(&[recorded(50), recorded(40)]);
        assert_eq!(queue.takes_over(), Some(40));
        queue.falls_behind(40);
        queue.put(&[recorded(60)]);
        assert_eq!(queue.takes_over(), Some(40));
        queue.put(&[recorded(70), recorded(71), recorded(72), recorded(30)]);
        assert_eq!(queue.takes_over(), None, "what is in the queue comes first");
        assert_eq!(queue.take(9).iter().map(|row| row.scored_at).collect::<Vec<_>>(), [70, 71]);
        assert_eq!(queue.takes_over(), Some(30));
        queue.forget();
        queue.falls_behind(1);
        assert_eq!(queue.takes_over(), None, "another process leads");
    }
}
