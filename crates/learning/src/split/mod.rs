//! Who of a dataset is for learning and who for judging: by time, with a gap as long as labels take to come.
//!
//! Cards that were already known to be compromised on a day are no longer judged on it. This is the protocol of the Fraud Detection
//! Handbook (Le Borgne, Siblini, Lebichot, Bontempi 2022, chapter 3, `get_train_test_set`): known is who had fraud among the rows for learning,
//! and who had it on a day whose labels had come, `delay` before the judged day.
//!
//! Invariant: every row for learning had its label before the first judged row happened; no card is judged after its fraud was known.

mod choose;
mod period;

pub use choose::{Lengths, TooShort, choose};
pub use period::{Period, PeriodError, day_text, parse_day};

use crate::DAY;
use crate::dataset::{Problem, Rows};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Which rows are for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    pub train: Period,
    pub test: Period,
    /// How long after a row its label is known, in microseconds.
    pub delay: i64,
}

/// Rows by their places in the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    pub train: Vec<usize>,
    pub test: Vec<usize>,
    /// Rows of the judged period whose cards were known already.
    pub known: usize,
}

/// Why rows cannot be split.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SplitError {
    #[error(
        "the judged period begins on {test}, but the labels of {train_last} are known only on {known}: let it begin then or later"
    )]
    Overlap { test: String, train_last: String, known: String },
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl Protocol {
    /// # Errors
    /// [`SplitError::Overlap`]: a label of the rows for learning comes only after the first judged row.
    pub fn check(&self) -> Result<(), SplitError> {
        if self.test.from >= self.train.to + self.delay {
            return Ok(());
        }
        Err(SplitError::Overlap {
            test: day_text(self.test.from),
            train_last: day_text(self.train.to - 1),
            known: day_text(self.train.to + self.delay),
        })
    }

    /// The same protocol so many judged periods earlier: the folds of a prequential validation (the Handbook's chapter 5).
    #[must_use]
    pub fn earlier(&self, folds: usize) -> Protocol {
        let by = (self.test.to - self.test.from).saturating_mul(i64::try_from(folds).unwrap_or(i64::MAX));
        Protocol { train: self.train.earlier(by), test: self.test.earlier(by), delay: self.delay }
    }

    /// How many judged periods before this one the last one lies whose labels are known when it begins: the fold of which calibration and
    /// threshold are taken.
    #[must_use]
    pub fn validation_fold(&self) -> usize {
        let length = (self.test.to - self.test.from).max(1);
        usize::try_from((length + self.delay + length - 1) / length).unwrap_or(1)
    }

    /// Which rows are for learning, which for judging. With `leave_known`, cards that are known already are not judged: right where a
    /// labelled card is blocked, wrong where it is a customer who may leave and come back.
    ///
    /// # Errors
    /// [`SplitError`]: periods that overlap, or without rows.
    pub fn split(&self, rows: &Rows, leave_known: bool) -> Result<Split, SplitError> {
        self.check()?;
        let train = rows_in(rows, self.train, "the training period")?;
        let judged = rows_in(rows, self.test, "the judged period")?;
        if !leave_known {
            return Ok(Split { train: train.collect(), test: judged.collect(), known: 0 });
        }
        let mut known: HashSet<i64> =
            train.clone().filter(|&row| rows.label[row]).map(|row| rows.card[row]).collect();
        // Fraud between learning and judging becomes known day by day.
        let mut next = train.end;
        let mut test = Vec::new();
        for row in judged.clone() {
            let day = rows.day(row) * DAY;
            // The Handbook's day: what happened on the day before the delay began, and before.
            while next < rows.len() && rows.time[next] < day - self.delay {
                if rows.label[next] {
                    known.insert(rows.card[next]);
                }
                next += 1;
            }
            if !known.contains(&rows.card[row]) {
                test.push(row);
            }
        }
        let known = judged.len() - test.len();
        Ok(Split { train: train.collect(), test, known })
    }
}

/// The rows of a period.
fn rows_in(rows: &Rows, period: Period, what: &'static str) -> Result<std::ops::Range<usize>, Problem> {
    let place = |time: i64| rows.time.partition_point(|&t| t < time);
    let range = place(period.from)..place(period.to);
    if !range.is_empty() {
        return Ok(range);
    }
    let text = |time: Option<&i64>| time.map_or_else(|| "nowhere".to_owned(), |&time| day_text(time));
    Err(Problem::Empty {
        what,
        from: day_text(period.from),
        to: day_text(period.to - 1),
        first: text(rows.time.first()),
        last: text(rows.time.last()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(of: &[(i64, i64, bool)]) -> Rows {
        Rows {
            time: of.iter().map(|row| row.0).collect(),
            card: of.iter().map(|row| row.1).collect(),
            amount: vec![100; of.len()],
            label: of.iter().map(|row| row.2).collect(),
            pattern: vec![0; of.len()],
            ..Rows::default()
        }
    }

    fn days(from: i64, to: i64) -> Period {
        Period { from: from * DAY, to: to * DAY }
    }

    /// The Handbook's function, word by word: sets of cards, day by day.
    fn handbook(rows: &Rows, start: i64, train_days: i64, delay_days: i64, test_days: i64) -> Split {
        let of_day = |day: i64| (0..rows.len()).filter(move |&row| rows.day(row) == day);
        let train: Vec<usize> = (start..start + train_days).flat_map(of_day).collect();
        let mut known: HashSet<i64> =
            train.iter().filter(|&&row| rows.label[row]).map(|&row| rows.card[row]).collect();
        let (mut test, mut all) = (Vec::new(), 0);
        for day in 0..test_days {
            let new = of_day(start + train_days + day - 1).filter(|&row| rows.label[row]);
            known.extend(new.map(|row| rows.card[row]));
            let judged: Vec<usize> = of_day(start + train_days + delay_days + day).collect();
            all += judged.len();
            test.extend(judged.into_iter().filter(|&row| !known.contains(&rows.card[row])));
        }
        Split { known: all - test.len(), train, test }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_handbook(mut of in prop::collection::vec((0..30 * DAY, 0..40i64, prop::bool::weighted(0.2)), 200..400), delay in 0..6i64) {
            of.sort();
            let rows = rows(&of);
            let protocol = Protocol { train: days(3, 9), test: days(9 + delay, 16 + delay), delay: delay * DAY };
            prop_assert_eq!(protocol.split(&rows, true).unwrap(), handbook(&rows, 3, 6, delay, 7));
        }

        #[test]
        fn nothing_is_learned_too_late_and_no_card_judged_once_known(mut of in prop::collection::vec((0..60 * DAY, 0..30i64, any::<bool>()), 300..500), fold in 0..3usize, gap in 0..4i64) {
            of.sort();
            let rows = rows(&of);
            let protocol = Protocol { train: days(30, 37), test: days(44 + gap, 51 + gap), delay: 7 * DAY }.earlier(fold);
            let split = protocol.split(&rows, true).unwrap();
            let learned = split.train.iter().map(|&row| rows.time[row] + protocol.delay).max().unwrap();
            prop_assert!(split.test.iter().all(|&row| rows.time[row] > learned));
            for &row in &split.test {
                let known = |&other: &usize| {
                    rows.card[other] == rows.card[row]
                        && rows.label[other]
                        && rows.time[other] >= protocol.train.from
                        && rows.day(other) < rows.day(row) - 7
                };
                prop_assert!(!(0..rows.len()).any(|other| known(&other)));
            }
        }
    }

    #[test]
    fn who_may_come_back_is_judged_again() {
        let rows = rows(&[(0, 1, true), (10 * DAY, 1, false), (10 * DAY, 2, true)]);
        let protocol = Protocol { train: days(0, 1), test: days(10, 11), delay: 2 * DAY };
        let split = |leave_known| protocol.split(&rows, leave_known).unwrap();
        assert_eq!((split(true).test, split(true).known), (vec![2], 1));
        assert_eq!((split(false).test, split(false).known), (vec![1, 2], 0));
    }

    #[test]
    fn folds_move_by_the_judged_period() {
        let protocol = Protocol { train: days(30, 37), test: days(44, 51), delay: 7 * DAY };
        assert_eq!(protocol.earlier(0), protocol);
        assert_eq!(protocol.earlier(2), Protocol { train: days(16, 23), test: days(30, 37), delay: 7 * DAY });
    }

    #[test]
    fn labels_that_are_not_known_yet_are_refused() {
        let protocol = Protocol { train: days(17_737, 17_744), test: days(17_750, 17_757), delay: 7 * DAY };
        let message = protocol.check().unwrap_err().to_string();
        assert_eq!(
            message,
            "the judged period begins on 2018-08-07, but the labels of 2018-07-31 are known only on 2018-08-08: \
             let it begin then or later"
        );
        let protocol = Protocol { test: days(17_751, 17_757), ..protocol };
        let message = protocol.split(&rows(&[(17_740 * DAY, 1, false)]), true).unwrap_err().to_string();
        assert_eq!(
            message,
            "no rows in the judged period (2018-08-08 to 2018-08-13): there are rows from 2018-07-28 to 2018-07-28; \
             choose a range inside"
        );
    }
}
