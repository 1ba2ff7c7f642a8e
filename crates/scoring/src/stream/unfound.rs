//! Scores whose payments the statement did not find: tried again for a while.
//!
//! A change is captured once its commit is in the log of the database, which is a moment before other transactions see it: until the process that
//! commits is done, and longer where it waits for a standby. A score may be faster. The statement says only how many rows it
//! changed, so all that went with it are tried again, which changes nothing of those that were found. Pure but for the clock.

use super::write_back::Row;
use affluent_model::time::now_micros;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long after its score a payment may still appear, microseconds.
const APPEARS_US: i64 = 120_000_000;
const PAUSE: Duration = Duration::from_secs(1);

/// Rows that are tried again, those first that are there for longest.
pub(super) struct Unfound {
    rows: VecDeque<(Instant, Row)>,
    rows_max: usize,
}

impl Unfound {
    pub(super) fn new(rows_max: usize) -> Self {
        Unfound { rows: VecDeque::new(), rows_max }
    }

    /// Keeps those of which one may yet appear, as far as there is room.
    pub(super) fn put(&mut self, rows: Vec<Row>) {
        let (now, due) = (now_micros(), Instant::now() + PAUSE);
        let recent = rows.into_iter().filter(|row| now.saturating_sub(row.scored_at) < APPEARS_US);
        let room = self.rows_max.saturating_sub(self.rows.len());
        // How long they took is measured, and their traces end, at the first time.
        self.rows.extend(recent.take(room).map(|row| (due, Row { begun_at: None, trace: None, ..row })));
    }

    /// When to try some again; none where nothing is left.
    pub(super) fn due(&self) -> Option<Instant> {
        self.rows.front().map(|(due, _)| *due)
    }

    /// Those whose time has come.
    pub(super) fn take(&mut self, rows: usize) -> Vec<Row> {
        let now = Instant::now();
        let due = self.rows.iter().take(rows).take_while(|(due, _)| *due <= now).count();
        self.rows.drain(..due).map(|(_, row)| row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_ones_are_tried_again_after_a_pause() {
        let row = |scored_at: i64| Row {
            id: scored_at.to_string(),
            score: None,
            decision: "approve",
            scored_at,
            begun_at: Some(1),
            trace: None,
        };
        let (now, mut unfound) = (now_micros(), Unfound::new(2));
        unfound.put(vec![row(now - APPEARS_US), row(now), row(now + 1), row(now + 2)]);
        assert_eq!(unfound.rows.len(), 2, "one is old, one has no room");
        assert!(unfound.due().is_some_and(|due| due > Instant::now()) && unfound.take(9).is_empty());
        unfound.rows.iter_mut().for_each(|(due, _)| *due = Instant::now());
        let again = unfound.take(9);
        assert_eq!(
            again.iter().map(|row| (row.scored_at, row.begun_at)).collect::<Vec<_>>(),
            [(now, None), (now + 1, None)]
        );
        assert_eq!(unfound.due(), None);
    }
}
