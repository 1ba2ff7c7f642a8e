//! Periods of learning and judging for data of which nobody has said which: the newest rows whose labels are known are judged, what lies a
//! delay before them is learned from, and if the data reach back so far, the fold that gives calibration and threshold fits in too.

use super::{Period, Protocol};

/// How long periods are at most, and what their ends are multiples of; microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    pub train_max: i64,
    pub test_max: i64,
    /// A day, or the time from one row of a customer to the next.
    pub step: i64,
}

/// There is not enough to learn from and to judge by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are labelled rows {span} alone, and labels are known {delay_s} s later: too short a time to learn from and to judge by"
)]
pub struct TooShort {
    span: String,
    delay_s: i64,
}

/// Periods inside `span`, which holds the rows whose labels are known.
///
/// A sixth of the span, at most `test_max`, is judged.
///
/// # Errors
/// [`TooShort`]
pub fn choose(span: Period, delay: i64, lengths: Lengths) -> Result<Protocol, TooShort> {
    let step = lengths.step.max(1);
    let whole = |length: i64| length.div_euclid(step) * step;
    let all = span.to.saturating_sub(span.from);
    let test = whole((all / 6).min(lengths.test_max)).max(step);
    // A gap of whole steps is at least as long as the delay.
    let gap = whole(delay + step - 1);
    let left = all - test - gap;
    let from = span.to - test;
    let judged = Protocol {
        train: Period { from: from - gap, to: from - gap },
        test: Period { from, to: span.to },
        delay,
    };
    let fold = from - judged.earlier(judged.validation_fold()).test.from;
    let with_fold = whole((left - fold).min(lengths.train_max));
    let train = if with_fold >= step { with_fold } else { whole(left.min(lengths.train_max)) };
    if train < step {
        return Err(TooShort { span: span.to_string(), delay_s: delay / 1_000_000 });
    }
    Ok(Protocol { train: Period { from: judged.train.to - train, to: judged.train.to }, ..judged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DAY;
    use proptest::prelude::*;

    const WEEKS: Lengths = Lengths { train_max: 28 * DAY, test_max: 7 * DAY, step: DAY };

    fn days(from: i64, to: i64) -> Period {
        Period { from: from * DAY, to: to * DAY }
    }

    #[test]
    fn the_newest_rows_are_judged_and_folds_fit_where_they_can() {
        let protocol = choose(days(0, 120), 7 * DAY, WEEKS).unwrap();
        assert_eq!(protocol, Protocol { train: days(78, 106), test: days(113, 120), delay: 7 * DAY });
        // Twenty days: three are judged; learned from is what a fold of twelve days before leaves, or else all that is there.
        let protocol = choose(days(0, 20), 7 * DAY, WEEKS).unwrap();
        assert_eq!(protocol, Protocol { train: days(0, 10), test: days(17, 20), delay: 7 * DAY });
        let error = choose(days(0, 8), 7 * DAY, WEEKS).unwrap_err().to_string();
        assert!(error.contains("too short a time"), "{error}");
    }

    proptest! {
        #[test]
        fn periods_lie_inside_and_do_not_overlap(from in 0..1_000i64, length in 1..400i64, delay in 0..60i64, step in 1..10i64) {
            let lengths = Lengths { step: step * DAY, ..WEEKS };
            let span = days(from, from + length);
            if let Ok(protocol) = choose(span, delay * DAY, lengths) {
                prop_assert!(protocol.check().is_ok());
                prop_assert!(protocol.train.from >= span.from && protocol.test.to == span.to);
                prop_assert!(protocol.train.from < protocol.train.to && protocol.test.from < protocol.test.to);
            }
        }
    }
}
