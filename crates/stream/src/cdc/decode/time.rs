//! Dates and times in PostgreSQL's ISO text form, to days and microseconds.

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Days since 1970-01-01; `infinity` is `i32::MAX`, `-infinity` is `i32::MIN`.
pub(crate) fn date(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (date, bc) = strip_bc(text);
    i32::try_from(days(date, bc)?).ok()
}

/// Microseconds since midnight of `HH:MM:SS[.ffffff]`; 24:00:00 is allowed.
pub(crate) fn time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let two = |at: usize| -> Option<i64> {
        let (high, low) = (*bytes.get(at)?, *bytes.get(at + 1)?);
        (high.is_ascii_digit() && low.is_ascii_digit())
            .then(|| i64::from(high - b'0') * 10 + i64::from(low - b'0'))
    };
    if bytes.get(2) != Some(&b':') || bytes.get(5) != Some(&b':') {
        return None;
    }
    let (hours, minutes, seconds) = (two(0)?, two(3)?, two(6)?);
    if hours > 24 || minutes > 59 || seconds > 60 {
        return None;
    }
    let mut micros = 0;
    if let Some((point, digits)) = bytes.get(8..).and_then(<[u8]>::split_first) {
        if *point != b'.' || digits.is_empty() || digits.len() > 6 {
            return None;
        }
        for i in 0..6 {
            let digit = digits.get(i).copied().unwrap_or(b'0');
            micros = micros * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
    }
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// Microseconds since 1970-01-01T00:00:00 of `YYYY-MM-DD HH:MM:SS[.f][+ZZ[:MM[:SS]]][ BC]`; the zone is
/// required where `zoned`. The infinities are `i64::MAX` and `i64::MIN`; none where 64 bits do not hold it.
pub(crate) fn timestamp(text: &str, zoned: bool) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, bc) = strip_bc(text);
    let (date, rest) = text.split_once(' ')?;
    let (clock, offset) = if zoned {
        let at = rest.find(['+', '-'])?;
        (&rest[..at], zone(&rest[at..])?)
    } else {
        (rest, 0)
    };
    let micros = days(date, bc)?.checked_mul(DAY)?.checked_add(time(clock)?)?.checked_sub(offset)?;
    // The two ends mean the infinities.
    (micros != i64::MAX && micros != i64::MIN).then_some(micros)
}

fn zone(text: &str) -> Option<i64> {
    let (sign, rest) = text.split_at_checked(1)?;
    let mut seconds = 0;
    for (part, unit) in rest.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    Some(if sign == "-" { -seconds } else { seconds } * 1_000_000)
}

fn strip_bc(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

fn days(text: &str, bc: bool) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let mut part = || -> Option<i64> {
        let text = parts.next()?;
        (!text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let (year, month, day) = (part()?, part()?, part()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_from_civil(if bc { 1 - year } else { year }, month, day))
}

/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::time::{format_date, format_micros};
    use proptest::prelude::*;

    #[test]
    fn edges() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2000-02-29"), Some(11_016));
        assert_eq!(date("4714-11-24 BC"), Some(-2_440_588));
        assert_eq!(date("5874897-12-31"), Some(2_145_042_905));
        assert_eq!(date("infinity"), Some(i32::MAX));
        assert_eq!(date("2024-13-01"), None);
        assert_eq!(time("24:00:00"), Some(DAY));
        assert_eq!(time("00:00:00.000001"), Some(1));
        assert_eq!(time("1:00:00"), None);
        assert_eq!(timestamp("1970-01-01 00:00:00.5", false), Some(500_000));
        assert_eq!(timestamp("1970-01-01 02:00:00+02", true), Some(0));
        assert_eq!(timestamp("1969-12-31 18:30:00-05:30", true), Some(0));
        assert_eq!(timestamp("-infinity", true), Some(i64::MIN));
        assert_eq!(timestamp("0001-01-01 00:00:00 BC", false).map(|t| t / DAY), Some(-719_528));
        // PostgreSQL's last microseconds lie beyond 64 bits counted from 1970.
        assert_eq!(timestamp("294276-12-31 23:59:59.999999+00", true), None);
    }

    proptest! {
        #[test]
        fn dates_agree_with_chrono(days in -719_162_i32..2_932_896) {
            prop_assert_eq!(date(&format_date(days)), Some(days));
        }

        #[test]
        fn timestamps_agree_with_chrono(micros in -62_135_596_800_000_000_i64..253_402_300_799_999_999) {
            let text = format_micros(micros, false).replace('T', " ");
            prop_assert_eq!(timestamp(&text, false), Some(micros));
            prop_assert_eq!(timestamp(&format!("{text}+00"), true), Some(micros));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9: .BCa-z]{0,30}") {
            let _ = (date(&text), time(&text), timestamp(&text, true), timestamp(&text, false));
        }
    }
}
