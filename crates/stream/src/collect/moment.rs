//! Times as senders write them: RFC 3339, or a number since the epoch whose size tells its unit.

use super::reason::{Reject, RejectReason};
use chrono::DateTime;

/// Microseconds of an RFC 3339 text.
pub(crate) fn from_text(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}

/// Microseconds of a number since the epoch: seconds below 10^11 (the year 5138), milliseconds below
/// 10^14, microseconds below 10^17, nanoseconds above. Before 1970 nothing was clicked.
pub(crate) fn from_number(number: f64) -> Option<i64> {
    if !(0.0..1e19).contains(&number) {
        return None;
    }
    let micros = if number < 1e11 {
        number * 1e6
    } else if number < 1e14 {
        number * 1e3
    } else if number < 1e17 {
        number
    } else {
        number / 1e3
    };
    Some(micros.round() as i64)
}

/// As [`from_number`], exact for integers.
pub(crate) fn from_integer(number: i64) -> Option<i64> {
    match number {
        ..0 => None,
        0..100_000_000_000 => Some(number * 1_000_000),
        100_000_000_000..100_000_000_000_000 => Some(number * 1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Some(number),
        _ => Some(number / 1_000),
    }
}

/// How far from the clock here an item may have occurred, microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) ahead_max: i64,
    pub(crate) late_after: i64,
}

impl Clock {
    /// Whether an item that occurred at `occurred_at` is late.
    ///
    /// # Errors
    /// [`RejectReason::ClockAhead`].
    pub(crate) fn judge(self, occurred_at: i64, received_at: i64) -> Result<bool, Reject> {
        if occurred_at > received_at.saturating_add(self.ahead_max) {
            let error = "occurred further in the future than allowed: set the sender's clock";
            return Err(Reject::new(RejectReason::ClockAhead, error));
        }
        Ok(occurred_at < received_at.saturating_sub(self.late_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        let expected = Some(1_763_800_000_123_000);
        for number in [1_763_800_000_123, 1_763_800_000_123_000, 1_763_800_000_123_000_999] {
            assert_eq!(from_integer(number), expected, "{number}");
        }
        assert_eq!(from_number(1_763_800_000.123), expected);
        assert_eq!(from_number(1_763_800_000_123.0), expected);
        assert_eq!(from_integer(1_763_800_000), Some(1_763_800_000_000_000));
        assert_eq!(from_integer(-1), None);
        for number in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
            assert_eq!(from_number(number), None);
        }
        assert_eq!(from_integer(i64::MAX), Some(i64::MAX / 1_000));
    }

    #[test]
    fn texts_need_an_offset() {
        assert_eq!(from_text("2025-11-22T08:26:40.123Z"), Some(1_763_800_000_123_000));
        assert_eq!(from_text("2025-11-22T09:26:40.123+01:00"), Some(1_763_800_000_123_000));
        for text in ["2025-11-22T08:26:40", "22.11.2025", ""] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn late_is_flagged_and_ahead_refused() {
        let clock = Clock { ahead_max: 10, late_after: 100 };
        assert_eq!(clock.judge(1_010, 1_000), Ok(false));
        assert_eq!(clock.judge(900, 1_000), Ok(false));
        assert_eq!(clock.judge(899, 1_000), Ok(true));
        assert_eq!(clock.judge(1_011, 1_000).unwrap_err().reason, RejectReason::ClockAhead);
    }
}
