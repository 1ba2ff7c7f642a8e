//! What is kept of the windows of one key at one instant, and how it follows the instants that are asked for.
//!
//! Each edge has a pointer: how many rows of the log have passed it. Moving to another instant moves the pointers, forwards or
//! backwards, and each row that passes an edge enters or leaves the windows there: constant work a row and edge.
//!
//! Invariant: after a move every pointer divides the log at its edge's bound, and what is kept is a function of the rows
//! between the pointers of its window. So it does not matter from where the move came, nor whether there was one.

use super::log::Rows;
use crate::aggregate::{Kept, instant, passes};
use crate::definition::SESSION_MAX;
use crate::event::At;
use crate::plan::{Group, Side};

#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) pointers: Box<[u32]>,
    pub(crate) kept: Kept,
}

impl Running {
    pub(crate) fn new(group: &Group) -> Self {
        Running { pointers: vec![0; group.pointers()].into(), kept: Kept::new(&group.shape) }
    }

    /// Computes all windows from the log, whatever was there.
    pub(crate) fn build(&mut self, group: &Group, log: Rows<'_>, at: At) {
        self.kept.clear();
        for (pointer, edge) in self.pointers.iter_mut().zip(&group.edges) {
            *pointer = index(log.before_or_at(edge.place.bound(at)));
        }
        for window in group.windows.iter().filter(|window| window.session.is_none()) {
            let range = self.pointers[window.lower] as usize..self.pointers[window.upper] as usize;
            for row in log.range(range) {
                window.steps.iter().for_each(|&step| self.kept.enter(step, row));
            }
        }
    }

    /// Moves all windows to an instant.
    pub(crate) fn move_to(&mut self, group: &Group, log: Rows<'_>, at: At) {
        // Backwards first, beginnings before ends: what an event left it has to be back in before it is taken out.
        for (place, edge) in group.edges.iter().enumerate().rev() {
            let bound = edge.place.bound(at);
            while self.pointers[place] > 0 {
                let row = log.row(self.pointers[place] as usize - 1);
                if instant(row) <= bound {
                    break;
                }
                self.pointers[place] -= 1;
                for &(side, step) in &edge.steps {
                    match side {
                        Side::Upper => self.kept.withdraw(step, row),
                        Side::Lower => self.kept.enter(step, row),
                    }
                }
            }
        }
        let length = log.len();
        for (place, edge) in group.edges.iter().enumerate() {
            let bound = edge.place.bound(at);
            while (self.pointers[place] as usize) < length {
                let row = log.row(self.pointers[place] as usize);
                if instant(row) > bound {
                    break;
                }
                self.pointers[place] += 1;
                for &(side, step) in &edge.steps {
                    match side {
                        Side::Upper => self.kept.enter(step, row),
                        Side::Lower => self.kept.expire(step, row),
                    }
                }
            }
        }
    }

    /// A row was put into the log at `place`: windows that it has passed get it.
    pub(crate) fn inserted(&mut self, group: &Group, log: Rows<'_>, place: usize) {
        let row = log.row(place);
        for (pointer, edge) in self.pointers.iter_mut().zip(&group.edges) {
            if place >= *pointer as usize {
                continue;
            }
            *pointer += 1;
            for &(side, step) in &edge.steps {
                match side {
                    Side::Upper => self.kept.enter(step, row),
                    Side::Lower => self.kept.expire(step, row),
                }
            }
        }
    }

    /// The row at `place` was another one before: windows that hold it exchange it.
    pub(crate) fn replaced(&mut self, group: &Group, place: usize, old: &[i64], new: &[i64]) {
        for window in group.windows.iter().filter(|window| window.session.is_none()) {
            let range = self.pointers[window.lower] as usize..self.pointers[window.upper] as usize;
            if range.contains(&place) {
                for &step in &window.steps {
                    self.kept.withdraw(step, old);
                    self.kept.enter(step, new);
                }
            }
        }
    }

    /// Rows are about to leave the front of the log: windows that hold them lose them, as if they had passed every edge. A long log that is
    /// full loses one an event, so its windows cannot be computed anew for it.
    pub(crate) fn drop_front(&mut self, group: &Group, log: Rows<'_>, rows: usize) {
        for (pointer, edge) in self.pointers.iter_mut().zip(&group.edges) {
            for row in log.range((*pointer as usize).min(rows)..rows) {
                for &(side, step) in &edge.steps {
                    match side {
                        Side::Upper => self.kept.enter(step, row),
                        Side::Lower => self.kept.expire(step, row),
                    }
                }
            }
            *pointer = pointer.saturating_sub(index(rows));
        }
    }

    /// What moving alone does not bring about: sessions, and what was marked stale.
    pub(crate) fn settle(&mut self, group: &Group, log: Rows<'_>, at: At) {
        for window in &group.windows {
            let upper = self.pointers[window.upper] as usize;
            if let Some(gap) = window.session {
                let first = session_start(log, upper, gap, at);
                self.pointers[window.lower] = index(first);
                window.steps.iter().for_each(|&step| self.kept.reset(step));
                for row in log.range(first..upper) {
                    window.steps.iter().for_each(|&step| self.kept.enter(step, row));
                }
            }
            let lower = self.pointers[window.lower] as usize;
            for &step in &window.steps {
                self.kept.settle(step, || Box::new(log.range(lower..upper)));
            }
        }
    }
}

/// The first row of the session that is going on at an instant; `upper` where none is. Removed events do not count.
fn session_start(log: Rows<'_>, upper: usize, gap: i64, at: At) -> usize {
    let (mut first, mut next) = (upper, at.time);
    for place in (0..upper).rev() {
        let row = log.row(place);
        let time = row[0];
        if next - time >= gap || at.time - time >= SESSION_MAX {
            break;
        }
        if passes(row, 0) {
            (first, next) = (place, time);
        }
    }
    first
}

/// Rows of a key are at most [`crate::event::EVENTS_MAX`].
fn index(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}
