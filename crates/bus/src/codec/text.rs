//! Instants as ISO 8601 text, in both directions without loss.

use chrono::NaiveDateTime;

/// Microseconds of `2024-05-01T10:00:00.000001Z`, of `infinity` and `-infinity`, and of what
/// [`affluent_model::time::format_micros`] writes for years that have no such form: the number.
pub(crate) fn parse_zoned(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    if let Ok(instant) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(instant.timestamp_micros());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.fZ") {
        return Some(time.and_utc().timestamp_micros());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::time::format_micros;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn instants_round_trip(micros: i64, days in -1_000_000_i64..4_000_000, rest in 0_i64..86_400_000_000) {
            for micros in [micros, days * 86_400_000_000 + rest] {
                prop_assert_eq!(parse_zoned(&format_micros(micros, true)), Some(micros));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse_zoned(&text);
        }
    }

    #[test]
    fn offsets_and_infinities() {
        assert_eq!(parse_zoned("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse_zoned("infinity"), Some(i64::MAX));
        assert_eq!(parse_zoned("-infinity"), Some(i64::MIN));
        assert_eq!(parse_zoned("yesterday"), None);
    }
}
