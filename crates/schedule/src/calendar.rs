//! When intervals begin and end: a cron line read in a time zone. Pure; knows no clock and no ledger.
//!
//! The ticks of a calendar are a set of instants, and an interval lies between two neighbours, as with
//! Airflow's `CronDataIntervalTimetable`. Invariant: the intervals tile time; each begins where the one
//! before it ends, also where the clocks of the zone change.
//!
//! Where clocks change, it is as in Airflow: a line with `*` for the hour has its ticks in every hour
//! that passes, twice in an hour that comes twice; any other line ticks once for each time it names, at the second of
//! two, and in a gap by as much later as the gap is long.

use crate::interval::{Interval, IntervalError};
use affluent_model::time::format_micros;
use chrono::{DateTime, Days, LocalResult, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use std::cmp::{max, min};

/// Offsets are looked at so far before and after a wall-clock time: further than the largest offset from UTC (14 h)
/// and the largest change of one (24 h, at the date line).
const AROUND: TimeDelta = TimeDelta::hours(50);

/// A cron line in a time zone.
#[derive(Debug, Clone)]
pub struct Calendar {
    cron: Cron,
    zone: Tz,
    every_hour: bool,
}

/// Why there is no such calendar, or no such intervals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error(
        "`{line}` is not a cron line: {message}; it has minute, hour, day, month and weekday, as in 30 2 * * *"
    )]
    Line { line: String, message: String },
    #[error("the cron line `{line}` names no time that comes")]
    Never { line: String },
    #[error("there is no time zone `{zone}`; use a name of the IANA database, such as Europe/Berlin or UTC")]
    Zone { zone: String },
    #[error("from {from} to {to} there is no whole interval; the first one is from {first}")]
    NoneWhole { from: String, to: String, first: String },
    #[error("there are more than {max} intervals from {from} to {to}; take a shorter range")]
    TooMany { from: String, to: String, max: usize },
    #[error(transparent)]
    Interval(#[from] IntervalError),
}

impl Calendar {
    /// The calendar of `line` (five fields, or `@daily` and its like) in `zone` (an IANA name).
    ///
    /// # Errors
    /// A line or zone that does not exist, and a line that never comes, such as the 30th of February.
    pub fn new(line: &str, zone: &str) -> Result<Self, CalendarError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser
            .parse(line)
            .map_err(|error| CalendarError::Line { line: line.to_owned(), message: error.to_string() })?;
        let zone: Tz = zone.parse().map_err(|_| CalendarError::Zone { zone: zone.to_owned() })?;
        let hour = line.split_whitespace().nth(1);
        let every_hour = hour == Some("*") || line.trim().eq_ignore_ascii_case("@hourly");
        let calendar = Calendar { cron, zone, every_hour };
        match calendar.next_tick(0) {
            Some(_) => Ok(calendar),
            None => Err(CalendarError::Never { line: line.to_owned() }),
        }
    }

    /// The first tick after `after_us`, in microseconds since the epoch; `None` beyond the year 5000.
    #[must_use]
    pub fn next_tick(&self, after_us: i64) -> Option<i64> {
        let after = DateTime::from_timestamp_micros(after_us)?.naive_utc();
        let local = self.wall_clock(after);
        let mut wall = local - self.shift(local);
        let mut best: Option<NaiveDateTime> = None;
        while let Some(named) = self.named_after(wall) {
            if let Some(best) = best {
                let local = self.wall_clock(best);
                // What is named later than this comes later, however the clocks change.
                if named > local + self.shift(local) {
                    break;
                }
            }
            for instant in self.instants(named).into_iter().flatten() {
                if instant > after {
                    best = Some(best.map_or(instant, |best| min(best, instant)));
                }
            }
            wall = named;
        }
        best.map(|best| best.and_utc().timestamp_micros())
    }

    /// The last tick before `before_us`, in microseconds since the epoch; `None` before the year 1.
    #[must_use]
    pub fn previous_tick(&self, before_us: i64) -> Option<i64> {
        let before = DateTime::from_timestamp_micros(before_us)?.naive_utc();
        let local = self.wall_clock(before);
        let mut wall = local + self.shift(local);
        let mut best: Option<NaiveDateTime> = None;
        while let Some(named) = self.named_before(wall) {
            if let Some(best) = best {
                let local = self.wall_clock(best);
                if named < local - self.shift(local) {
                    break;
                }
            }
            for instant in self.instants(named).into_iter().flatten() {
                if instant < before {
                    best = Some(best.map_or(instant, |best| max(best, instant)));
                }
            }
            wall = named;
        }
        best.map(|best| best.and_utc().timestamp_micros())
    }

    /// The newest interval that has ended at `now_us`.
    #[must_use]
    pub fn last_ended(&self, now_us: i64) -> Option<Interval> {
        let to = self.previous_tick(now_us.checked_add(1)?)?;
        Interval::new(self.previous_tick(to)?, to).ok()
    }

    /// The interval after `interval`.
    #[must_use]
    pub fn following(&self, interval: Interval) -> Option<Interval> {
        let next = self.next_tick(interval.to_us())?;
        Interval::new(interval.to_us(), next).ok()
    }

    /// The newest intervals, at most `max`, that begin at `since_us` or later and have ended at `now_us`;
    /// the oldest first.
    #[must_use]
    pub fn ended(&self, since_us: i64, now_us: i64, max: usize) -> Vec<Interval> {
        let mut found = Vec::new();
        let mut last = self.last_ended(now_us);
        while let Some(interval) = last {
            if found.len() == max || interval.from_us() < since_us {
                break;
            }
            found.push(interval);
            let before = self.previous_tick(interval.from_us());
            last = before.and_then(|from| Interval::new(from, interval.from_us()).ok());
        }
        found.reverse();
        found
    }

    /// The whole intervals within `range`, the oldest first, to do them again.
    ///
    /// # Errors
    /// Where there is none, or more than `max`.
    pub fn cut(&self, range: Interval, max: usize) -> Result<Vec<Interval>, CalendarError> {
        let (from, to) = (range.from_us(), range.to_us());
        let text = |us| format_micros(us, true);
        let mut begin = from.checked_sub(1).and_then(|before| self.next_tick(before));
        let first = begin.map_or_else(|| "nowhere".to_owned(), text);
        let mut found = Vec::new();
        while let Some(start) = begin {
            let Some(end) = self.next_tick(start).filter(|end| *end <= to) else { break };
            if found.len() == max {
                return Err(CalendarError::TooMany { from: text(from), to: text(to), max });
            }
            found.push(Interval::new(start, end)?);
            begin = Some(end);
        }
        if found.is_empty() {
            return Err(CalendarError::NoneWhole { from: text(from), to: text(to), first });
        }
        Ok(found)
    }

    /// The instants (UTC) of a wall-clock time that the line names.
    fn instants(&self, named: NaiveDateTime) -> [Option<NaiveDateTime>; 2] {
        match self.zone.from_local_datetime(&named) {
            LocalResult::Single(time) => [Some(time.naive_utc()), None],
            LocalResult::Ambiguous(first, second) if self.every_hour => {
                [Some(first.naive_utc()), Some(second.naive_utc())]
            }
            LocalResult::Ambiguous(_, second) => [Some(second.naive_utc()), None],
            LocalResult::None if self.every_hour => [None, None],
            // By the clock as it was before the gap.
            LocalResult::None => [named.checked_sub_signed(self.offset(named - AROUND)), None],
        }
    }

    /// What the clocks of the zone show at an instant (UTC).
    fn wall_clock(&self, utc: NaiveDateTime) -> NaiveDateTime {
        utc + self.offset(utc)
    }

    fn offset(&self, utc: NaiveDateTime) -> TimeDelta {
        let seconds = self.zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
        TimeDelta::seconds(i64::from(seconds))
    }

    /// By how much the clocks change around a wall-clock time; nearly always zero.
    fn shift(&self, wall: NaiveDateTime) -> TimeDelta {
        let offsets = [self.offset(wall - AROUND), self.offset(wall), self.offset(wall + AROUND)];
        let [first, second, third] = offsets;
        max(first, max(second, third)) - min(first, min(second, third))
    }

    /// The first wall-clock time after `wall` that the line names. For the search, wall clocks are UTC.
    fn named_after(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&whole(wall, 0)?, false).ok().map(|time| time.naive_utc())
    }

    fn named_before(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        self.cron.find_previous_occurrence(&whole(wall, 999_999)?, false).ok().map(|time| time.naive_utc())
    }
}

/// The whole second of a time, after `add_us` were added to it; `None` at the ends of the calendar.
fn whole(time: NaiveDateTime, add_us: i64) -> Option<DateTime<Utc>> {
    let time = time.checked_add_signed(TimeDelta::microseconds(add_us))?;
    time.checked_add_days(Days::new(2))?.checked_sub_days(Days::new(4))?;
    DateTime::from_timestamp(time.and_utc().timestamp(), 0)
}
