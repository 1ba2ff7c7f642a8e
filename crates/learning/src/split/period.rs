//! Periods, as people write them: whole days (UTC) by their first and last, others by their first moment and the one behind the last.

use crate::DAY;
use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};

/// From the first microsecond to before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub from: i64,
    pub to: i64,
}

/// Why text is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error("{0:?} is no day: write it as 2018-07-25")]
    Day(String),
    #[error("{from} to {to} is no period: the last day comes before the first")]
    Order { from: String, to: String },
}

impl Period {
    /// The days from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`PeriodError`]
    pub fn days(first: &str, last: &str) -> Result<Self, PeriodError> {
        let (from, to) = (parse_day(first)?, parse_day(last)? + DAY);
        if from >= to {
            return Err(PeriodError::Order { from: first.to_owned(), to: last.to_owned() });
        }
        Ok(Period { from, to })
    }

    /// The same length of time, so many microseconds before.
    #[must_use]
    pub fn earlier(self, by: i64) -> Period {
        Period { from: self.from.saturating_sub(by), to: self.to.saturating_sub(by) }
    }

    /// How many days it has, the last perhaps not whole.
    #[must_use]
    pub fn length_days(self) -> i64 {
        (self.to - self.from + DAY - 1) / DAY
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from % DAY == 0 && self.to % DAY == 0 {
            return write!(f, "{} to {}", day_text(self.from), day_text(self.to - 1));
        }
        write!(f, "{} to {}", moment_text(self.from), moment_text(self.to))
    }
}

/// Midnight of a day, UTC, in microseconds since the epoch.
///
/// # Errors
/// [`PeriodError::Day`]
pub fn parse_day(text: &str) -> Result<i64, PeriodError> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| PeriodError::Day(text.to_owned()))?;
    Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
}

/// The day of a time, UTC.
#[must_use]
pub fn day_text(time: i64) -> String {
    DateTime::from_timestamp_micros(time)
        .map_or_else(|| time.to_string(), |time| time.format("%Y-%m-%d").to_string())
}

/// A moment, to the second.
fn moment_text(time: i64) -> String {
    DateTime::from_timestamp_micros(time)
        .map_or_else(|| time.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_hold_their_last_day() {
        let week = Period::days("2018-07-25", "2018-07-31").unwrap();
        assert_eq!((week.from, week.length_days()), (17_737 * DAY, 7));
        assert_eq!(week.to_string(), "2018-07-25 to 2018-07-31");
        assert_eq!(week.earlier(DAY).to_string(), "2018-07-24 to 2018-07-30");
        let hour = Period { from: week.from, to: week.from + DAY / 24 };
        assert_eq!(hour.to_string(), "2018-07-25T00:00:00Z to 2018-07-25T01:00:00Z");
        assert_eq!(Period::days("25.7.2018", "2018-07-31"), Err(PeriodError::Day("25.7.2018".to_owned())));
        assert!(matches!(Period::days("2018-07-25", "2018-07-24"), Err(PeriodError::Order { .. })));
        assert_eq!(parse_day("2018-02-30"), Err(PeriodError::Day("2018-02-30".to_owned())));
    }
}
