//! Windows: which events before an instant count.
//!
//! A sliding window of length `w` at `t` holds the events of `(t - w, t]`; with a delay `d`, of `(t - d - w, t - d]`.
//! A calendar window holds those since midnight UTC of `t - d`. A session holds the events up to `t` of which each
//! came less than the gap after the one before, and is empty once the gap has passed; it reaches back [`SESSION_MAX`] at most.

use crate::event::{DAY, HOUR, SECOND};

/// A session does not reach back further, so that what is kept has a bound.
pub const SESSION_MAX: i64 = DAY;

/// The longest window, and the longest delay: four years.
const WINDOW_MAX: i64 = 1_461 * DAY;

/// The shape of a window. Lengths in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Sliding(i64),
    /// Since midnight, UTC.
    CalendarDay,
    /// Events less than this apart.
    Session(i64),
}

/// A span, and how long ago it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub span: Span,
    /// Microseconds; 0 for sessions.
    pub delay: i64,
    /// Whether the event that asks is in its own window.
    pub current: bool,
}

impl Window {
    /// How far back the window reaches, in microseconds.
    #[must_use]
    pub fn reach(&self) -> i64 {
        self.delay
            + match self.span {
                Span::Sliding(length) => length,
                Span::CalendarDay => DAY,
                Span::Session(_) => SESSION_MAX,
            }
    }

    /// The length by which rates are divided, in hours; none for windows whose length changes.
    #[must_use]
    pub fn hours(&self) -> Option<f64> {
        match self.span {
            Span::Sliding(length) => Some(length as f64 / HOUR as f64),
            Span::CalendarDay | Span::Session(_) => None,
        }
    }
}

impl Span {
    /// `1h`, `7d`, `day`, `session 30m`.
    ///
    /// # Errors
    /// A message that shows the forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "day" {
            return Ok(Span::CalendarDay);
        }
        let (session, length) = match text.strip_prefix("session ") {
            Some(gap) => (true, parse_duration(gap)?),
            None => (false, parse_duration(text)?),
        };
        if length == 0 {
            return Err(format!("window {text:?} has no length"));
        }
        if session && length > SESSION_MAX {
            return Err(format!("{text:?}: a session reaches back one day at most, so its gap is shorter"));
        }
        Ok(if session { Span::Session(length) } else { Span::Sliding(length) })
    }
}

/// A length of time, in microseconds: a whole number and `s`, `m`, `h` or `d`.
///
/// # Errors
/// A message that shows the form.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a length of time: write 30s, 15m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let micros = match unit {
        's' => SECOND,
        'm' => 60 * SECOND,
        'h' => HOUR,
        'd' => DAY,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let length = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(micros)).ok_or_else(wrong)?;
    if length > WINDOW_MAX {
        return Err(format!("{text:?} is longer than four years"));
    }
    Ok(length)
}

/// A length of time as [`parse_duration`] reads it, in the largest unit in which it is whole: microseconds, of which
/// those below a second are not shown.
#[must_use]
pub fn duration_text(micros: i64) -> String {
    let units = [(DAY, 'd'), (HOUR, 'h'), (60 * SECOND, 'm')];
    let fits = units.into_iter().find(|(unit, _)| micros != 0 && micros % unit == 0);
    let (unit, letter) = fits.unwrap_or((SECOND, 's'));
    format!("{}{letter}", micros / unit)
}

impl std::fmt::Display for Span {
    /// As [`Span::parse`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Span::Sliding(length) => f.write_str(&duration_text(*length)),
            Span::CalendarDay => f.write_str("day"),
            Span::Session(gap) => write!(f, "session {}", duration_text(*gap)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["1h", "90m", "7d", "45s", "36h", "day", "session 30m", "session 1d"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Span::parse("24h").unwrap().to_string(), "1d");
        assert_eq!(duration_text(0), "0s");
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(Span::parse("1h"), Ok(Span::Sliding(HOUR)));
        assert_eq!(Span::parse("day"), Ok(Span::CalendarDay));
        assert_eq!(Span::parse("session 30m"), Ok(Span::Session(HOUR / 2)));
        for wrong in ["", "h", "1w", "-1h", "1.5h", "0h", "session", "session 2d", "9999d", "1é"] {
            Span::parse(wrong).unwrap_err();
        }
    }
}
