//! A data interval: the stretch of time whose records one run is about, from its first moment to the
//! first one that is no longer part of it.
//!
//! Invariant: an interval has a length. A run over nothing would succeed and hide that nothing was done.

use affluent_model::time::format_micros;
use chrono::DateTime;
use serde::Serialize;
use std::fmt;

/// `[from, to)` in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Interval {
    from_us: i64,
    to_us: i64,
}

/// Why there is no such interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    #[error(
        "the interval from {at} to {at} has no length; give the end that follows the start (a scheduler that \
         gives both alike needs data intervals, in Airflow CronDataIntervalTimetable)"
    )]
    Empty { at: String },
    #[error("the interval from {from} to {to} ends before it begins; exchange the two")]
    Backwards { from: String, to: String },
    #[error("`{text}` is not a time; write it as 2026-11-22T02:30:00Z, or with an offset as +01:00")]
    Time { text: String },
}

impl Interval {
    /// `[from_us, to_us)`, both in microseconds since the epoch.
    ///
    /// # Errors
    /// An interval without length, or one that ends before it begins.
    pub fn new(from_us: i64, to_us: i64) -> Result<Self, IntervalError> {
        let text = |us| format_micros(us, true);
        match from_us.cmp(&to_us) {
            std::cmp::Ordering::Less => Ok(Interval { from_us, to_us }),
            std::cmp::Ordering::Equal => Err(IntervalError::Empty { at: text(from_us) }),
            std::cmp::Ordering::Greater => {
                Err(IntervalError::Backwards { from: text(from_us), to: text(to_us) })
            }
        }
    }

    /// From two times in RFC 3339, as a person or Airflow writes them.
    ///
    /// # Errors
    /// A text that is no time, and as [`Interval::new`].
    pub fn parse(from: &str, to: &str) -> Result<Self, IntervalError> {
        Self::new(parse_time(from)?, parse_time(to)?)
    }

    /// The first moment, in microseconds since the epoch.
    #[must_use]
    pub fn from_us(&self) -> i64 {
        self.from_us
    }

    /// The first moment that is no longer part of it, in microseconds since the epoch.
    #[must_use]
    pub fn to_us(&self) -> i64 {
        self.to_us
    }

    /// The two have a moment in common.
    #[must_use]
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.from_us < other.to_us && other.from_us < self.to_us
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", format_micros(self.from_us, true), format_micros(self.to_us, true))
    }
}

/// Microseconds since the epoch of a time in RFC 3339.
///
/// # Errors
/// [`IntervalError::Time`].
pub fn parse_time(text: &str) -> Result<i64, IntervalError> {
    let time = DateTime::parse_from_rfc3339(text.trim());
    time.map(|time| time.timestamp_micros()).map_err(|_| IntervalError::Time { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_intervals_with_a_length_exist() {
        for (from, to, said) in [
            ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00+00:00", "has no length"),
            ("2026-11-22T01:00:00+01:00", "2026-11-22T00:00:00Z", "has no length"),
            ("2026-11-22T00:15:00Z", "2026-11-22T00:00:00Z", "ends before it begins"),
            ("2026-11-22", "2026-11-23T00:00:00Z", "is not a time"),
        ] {
            let error = Interval::parse(from, to).unwrap_err().to_string();
            assert!(error.contains(said), "{from} {to}: {error}");
        }
        let interval = Interval::parse("2026-11-22T00:00:00+00:00", "2026-11-22T01:15:00+01:00").unwrap();
        assert_eq!(interval.to_us() - interval.from_us(), 15 * 60 * 1_000_000);
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let interval = |from, to| Interval::new(from, to).unwrap();
        assert!(!interval(0, 10).overlaps(&interval(10, 20)));
        assert!(interval(0, 11).overlaps(&interval(10, 20)));
        assert!(interval(0, 100).overlaps(&interval(10, 20)));
    }
}
