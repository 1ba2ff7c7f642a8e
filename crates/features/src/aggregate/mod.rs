//! What is kept of the events of a window so that a value can be told at any time: one implementation of each.
//!
//! Everything here holds whole numbers and supports the same four moves: an event enters a window at its end, expires at its
//! beginning, is withdrawn from the end (the window moves back, or the event is corrected) and is reinstated at the beginning, which is
//! entering again. So what is kept depends on the events that are in the window, not on how they came there.
//!
//! Sums and counts undo exactly. An extreme or a sketch forgets what a later event made irrelevant: withdrawing marks it stale, and
//! it is made anew from the log before it is read.

pub mod categories;
pub mod distinct;
pub mod extreme;
pub mod finish;
pub mod sketch;
pub mod sum;

pub use categories::Categories;
pub use distinct::Distinct;
pub use extreme::Extreme;
pub use sum::Sum;

use crate::event::NULL;

/// The words of a row before its cells: event time, order, and which filters it passes (bit 0: it is there at all).
pub const HEADER: usize = 3;

/// Event time and order of a row.
#[must_use]
pub fn instant(row: &[i64]) -> (i64, u64) {
    (row[0], row[1].cast_unsigned())
}

/// Whether a row passes the filter of this bit.
#[must_use]
pub fn passes(row: &[i64], filter: u8) -> bool {
    row[2] >> filter & 1 == 1
}

/// One thing to keep up to date of a window: of the rows that pass a filter, something of a column (by its place in the row).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub filter: u8,
    pub keep: Keep,
}

/// What is kept, and at which place among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    Count { at: u16 },
    Sum { at: u16, column: u16 },
    Squares { at: u16, column: u16 },
    Extreme { at: u16, column: u16 },
    Categories { at: u16, column: u16 },
    Distinct { at: u16, column: u16 },
}

/// How many of each kind there are; for extremes, which of them are maxima.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    pub counts: usize,
    pub sums: usize,
    pub squares: usize,
    pub extremes: Vec<bool>,
    pub categories: usize,
    pub distincts: usize,
}

/// Everything kept of the windows of one key of one source.
#[derive(Debug, Clone)]
pub struct Kept {
    pub counts: Box<[u32]>,
    pub sums: Box<[Sum]>,
    pub squares: Box<[i128]>,
    pub extremes: Box<[Extreme]>,
    pub categories: Box<[Categories]>,
    pub distincts: Box<[Distinct]>,
}

impl Kept {
    /// Nothing yet.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        Kept {
            counts: vec![0; shape.counts].into(),
            sums: vec![Sum::default(); shape.sums].into(),
            squares: vec![0; shape.squares].into(),
            extremes: shape.extremes.iter().map(|&maximum| Extreme::new(maximum)).collect(),
            categories: (0..shape.categories).map(|_| Categories::default()).collect(),
            distincts: (0..shape.distincts).map(|_| Distinct::default()).collect(),
        }
    }

    /// As new, with the memory it has.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.sums.fill(Sum::default());
        self.squares.fill(0);
        self.extremes.iter_mut().for_each(Extreme::clear);
        self.categories.iter_mut().for_each(Categories::clear);
        self.distincts.iter_mut().for_each(Distinct::clear);
    }

    /// One thing as new.
    pub fn reset(&mut self, step: Step) {
        match step.keep {
            Keep::Count { at } => self.counts[usize::from(at)] = 0,
            Keep::Sum { at, .. } => self.sums[usize::from(at)] = Sum::default(),
            Keep::Squares { at, .. } => self.squares[usize::from(at)] = 0,
            Keep::Extreme { at, .. } => self.extremes[usize::from(at)].clear(),
            Keep::Categories { at, .. } => self.categories[usize::from(at)].clear(),
            Keep::Distinct { at, .. } => self.distincts[usize::from(at)].clear(),
        }
    }

    /// The row comes into the window, at whatever place.
    #[inline]
    pub fn enter(&mut self, step: Step, row: &[i64]) {
        if !passes(row, step.filter) {
            return;
        }
        match step.keep {
            Keep::Count { at } => self.counts[usize::from(at)] += 1,
            Keep::Sum { at, column } => self.sums[usize::from(at)].enter(row[usize::from(column)]),
            Keep::Squares { at, column } => {
                self.squares[usize::from(at)] += sum::square(row[usize::from(column)]);
            }
            Keep::Extreme { at, column } => {
                self.extremes[usize::from(at)].enter(instant(row), row[usize::from(column)]);
            }
            Keep::Categories { at, column } => {
                self.categories[usize::from(at)].enter(row[usize::from(column)])
            }
            Keep::Distinct { at, column } => {
                self.distincts[usize::from(at)].enter(instant(row), row[usize::from(column)]);
            }
        }
    }

    /// The oldest row of the window leaves it.
    #[inline]
    pub fn expire(&mut self, step: Step, row: &[i64]) {
        if !passes(row, step.filter) {
            return;
        }
        match step.keep {
            Keep::Count { at } => self.counts[usize::from(at)] -= 1,
            Keep::Sum { at, column } => self.sums[usize::from(at)].leave(row[usize::from(column)]),
            Keep::Squares { at, column } => {
                self.squares[usize::from(at)] -= sum::square(row[usize::from(column)]);
            }
            Keep::Extreme { at, .. } => self.extremes[usize::from(at)].expire(instant(row)),
            Keep::Categories { at, column } => {
                self.categories[usize::from(at)].leave(row[usize::from(column)])
            }
            Keep::Distinct { at, column } => {
                self.distincts[usize::from(at)].expire(instant(row), row[usize::from(column)]);
            }
        }
    }

    /// The row is taken out again from the end or the middle.
    pub fn withdraw(&mut self, step: Step, row: &[i64]) {
        if !passes(row, step.filter) {
            return;
        }
        match step.keep {
            Keep::Count { .. } | Keep::Sum { .. } | Keep::Squares { .. } | Keep::Categories { .. } => {
                self.expire(step, row);
            }
            Keep::Extreme { at, .. } => self.extremes[usize::from(at)].withdraw(),
            Keep::Distinct { at, column } => {
                self.distincts[usize::from(at)].withdraw(row[usize::from(column)])
            }
        }
    }

    /// Makes what is stale, or of the wrong kind for so many events, anew from the rows of the window.
    pub fn settle<'a>(&mut self, step: Step, rows: impl Fn() -> Box<dyn Iterator<Item = &'a [i64]> + 'a>) {
        let values = |column: u16| {
            let rows = rows().filter(move |row| passes(row, step.filter) && row[usize::from(column)] != NULL);
            rows.map(move |row| (instant(row), row[usize::from(column)]))
        };
        match step.keep {
            Keep::Count { .. } | Keep::Sum { .. } | Keep::Squares { .. } | Keep::Categories { .. } => {}
            Keep::Extreme { at, column } => {
                let extreme = &mut self.extremes[usize::from(at)];
                if extreme.is_stale() {
                    extreme.clear();
                    values(column).for_each(|(at, value)| extreme.enter(at, value));
                }
            }
            Keep::Distinct { at, column } => self.distincts[usize::from(at)].settle(|| values(column)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entering and leaving in any order that windows allow ends with what the remaining rows give.
    #[test]
    fn what_is_kept_depends_on_the_rows_in_the_window_alone() {
        let shape =
            Shape { counts: 1, sums: 1, squares: 1, extremes: vec![true], categories: 1, distincts: 1 };
        let row = |nth: i64, value: i64| vec![nth, nth, 1, value];
        let rows: Vec<Vec<i64>> = [5, -3, 5, 8, NULL, 2].iter().zip(1..).map(|(&v, n)| row(n, v)).collect();
        let column = 3;
        let steps = [
            Keep::Count { at: 0 },
            Keep::Sum { at: 0, column },
            Keep::Squares { at: 0, column },
            Keep::Extreme { at: 0, column },
            Keep::Categories { at: 0, column },
            Keep::Distinct { at: 0, column },
        ]
        .map(|keep| Step { filter: 0, keep });
        let (mut slid, mut fresh) = (Kept::new(&shape), Kept::new(&shape));
        for step in steps {
            rows.iter().for_each(|row| slid.enter(step, row));
            slid.expire(step, &rows[0]);
            slid.expire(step, &rows[1]);
            slid.withdraw(step, &rows[5]);
            slid.enter(step, &rows[1]);
            rows[1..5].iter().for_each(|row| fresh.enter(step, row));
            slid.settle(step, || Box::new(rows[1..5].iter().map(Vec::as_slice)));
        }
        let read = |kept: &Kept| {
            let (sum, max) = (kept.sums[0], kept.extremes[0].value());
            let kinds = (kept.categories[0].entropy().to_bits(), kept.distincts[0].value().to_bits());
            (kept.counts[0], sum, kept.squares[0], max, kinds)
        };
        assert_eq!(read(&slid), read(&fresh));
        assert_eq!((slid.counts[0], slid.extremes[0].value()), (4, Some(8)));
    }
}
