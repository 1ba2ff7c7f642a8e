//! Microseconds since the epoch, and their text.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Microseconds since 1970-01-01T00:00:00Z, now.
#[must_use]
pub fn now_micros() -> i64 {
    Utc::now().timestamp_micros()
}

/// RFC 3339 with microseconds, `Z` where `zoned`; the infinities as PostgreSQL writes them.
#[must_use]
pub fn format_micros(micros: i64, zoned: bool) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => DateTime::<Utc>::from_timestamp_micros(micros).map_or_else(
            || micros.to_string(),
            |t| t.format(if zoned { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%S%.6f" }).to_string(),
        ),
    }
}

/// `YYYY-MM-DD` of a day counted from 1970-01-01.
#[must_use]
pub fn format_date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        _ => NaiveDate::default()
            .checked_add_signed(TimeDelta::days(i64::from(days)))
            .map_or_else(|| days.to_string(), |d| d.format("%Y-%m-%d").to_string()),
    }
}

/// `HH:MM:SS.ffffff` of microseconds since midnight (24:00:00 is what PostgreSQL allows too).
#[must_use]
pub fn format_time(micros: i64) -> String {
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).unwrap_or(u32::MAX);
    let nanos = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0) * 1_000;
    NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)
        .map_or_else(|| "24:00:00.000000".to_owned(), |t| t.format("%H:%M:%S%.6f").to_string())
}
