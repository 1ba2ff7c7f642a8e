//! Scores that the payments database refuses one by one: kept and tried again, ever more seldom while none is taken. Pure but for the clock.

use super::WriteBackOptions;
use super::write_back::Row;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// They are tried at least this often.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Rows that the database refuses as things stand. What is aside when the process ends is told in its log, and stays in the records.
pub(super) struct Aside {
    rows: VecDeque<Row>,
    rows_max: usize,
    first: Duration,
    pause: Duration,
    tried: Instant,
}

impl Aside {
    pub(super) fn new(options: &WriteBackOptions) -> Self {
        let first = Duration::from_millis(options.aside_retry_ms);
        let (rows, rows_max) = (VecDeque::new(), options.waiting_max);
        Aside { rows, rows_max, first, pause: first, tried: Instant::now() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Puts a row aside; the one that is there for longest makes room. One that is new is tried again soon.
    pub(super) fn put(&mut self, row: Row) -> Option<Row> {
        if self.rows.is_empty() {
            self.tried = Instant::now();
        }
        if row.begun_at.is_some() {
            self.pause = self.first;
        }
        self.rows.push_back(Row { begun_at: None, ..row });
        if self.rows.len() > self.rows_max { self.rows.pop_front() } else { None }
    }

    /// When to try some again; none where nothing is aside.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.rows.is_empty()).then(|| self.tried + self.pause)
    }

    /// Those that are there for longest.
    pub(super) fn take(&mut self, rows: usize) -> Vec<Row> {
        let count = rows.min(self.rows.len());
        self.rows.drain(..count).collect()
    }

    /// Some were tried, of which some were taken or none.
    pub(super) fn was_tried(&mut self, were_taken: bool) {
        self.tried = Instant::now();
        self.pause = if were_taken { self.first } else { (self.pause * 2).min(PAUSE_MAX.max(self.first)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_aside_is_bounded_and_tried_ever_more_seldom() {
        let options = WriteBackOptions { waiting_max: 2, aside_retry_ms: 10, ..WriteBackOptions::default() };
        let mut aside = Aside::new(&options);
        assert_eq!(aside.due(), None);
        let row = |scored_at: i64| Row {
            id: scored_at.to_string(),
            score: None,
            decision: "approve",
            scored_at,
            begun_at: Some(1),
            trace: None,
        };
        assert_eq!((aside.put(row(1)), aside.put(row(2))), (None, None));
        assert_eq!(aside.put(row(3)).map(|row| row.scored_at), Some(1), "the oldest makes room");
        assert!(aside.due().is_some());
        aside.was_tried(false);
        aside.was_tried(false);
        assert_eq!(aside.pause, Duration::from_millis(40));
        for _ in 0..30 {
            aside.was_tried(false);
        }
        assert_eq!(aside.pause, PAUSE_MAX);
        aside.was_tried(true);
        assert_eq!(aside.pause, Duration::from_millis(10));
        aside.was_tried(false);
        let again = aside.take(1).remove(0);
        aside.put(again);
        assert_eq!(aside.pause, Duration::from_millis(20));
        aside.take(1);
        aside.put(row(4));
        assert_eq!(aside.pause, Duration::from_millis(10), "a new one");
        // Their latency is not that of the database.
        assert_eq!(aside.take(9).iter().map(|row| row.begun_at).collect::<Vec<_>>(), [None, None]);
        assert!(aside.is_empty());
    }
}
