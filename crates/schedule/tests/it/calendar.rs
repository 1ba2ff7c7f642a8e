//! The calendar as tables of cases and as laws that hold at any time in any zone.

use affluent_model::time::format_micros;
use affluent_schedule::{Calendar, CalendarError, Interval, parse_time};
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;

const MINUTE_US: i64 = 60_000_000;

/// Cron line, zone, a start, and the ticks after it that Airflow 3.3.2 gives (`CronDataIntervalTimetable`,
/// `_get_next` again and again).
type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const AIRFLOW: &[Case] = &[
    ("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", &[
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-30T00:30:00Z",
        "2026-03-31T00:30:00Z",
    ]),
    ("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", &[
        "2026-10-24T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-26T01:30:00Z",
        "2026-10-27T01:30:00Z",
    ]),
    ("30 1 * * *", "America/New_York", "2026-10-30T12:00:00Z", &[
        "2026-10-31T05:30:00Z",
        "2026-11-01T06:30:00Z",
        "2026-11-02T06:30:00Z",
        "2026-11-03T06:30:00Z",
    ]),
    ("30 2 * * *", "America/New_York", "2026-03-06T12:00:00Z", &[
        "2026-03-07T07:30:00Z",
        "2026-03-08T07:30:00Z",
        "2026-03-09T06:30:00Z",
        "2026-03-10T06:30:00Z",
    ]),
    ("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:20:00Z", &[
        "2026-03-29T00:30:00Z",
        "2026-03-29T00:45:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T01:15:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-29T01:45:00Z",
    ]),
    ("*/15 * * * *", "Europe/Berlin", "2026-10-25T00:20:00Z", &[
        "2026-10-25T00:30:00Z",
        "2026-10-25T00:45:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T01:15:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T01:45:00Z",
        "2026-10-25T02:00:00Z",
        "2026-10-25T02:15:00Z",
        "2026-10-25T02:30:00Z",
        "2026-10-25T02:45:00Z",
    ]),
    ("0 */2 * * *", "Europe/Berlin", "2026-03-28T22:20:00Z", &[
        "2026-03-28T23:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T02:00:00Z",
        "2026-03-29T04:00:00Z",
        "2026-03-29T06:00:00Z",
    ]),
    ("0 */2 * * *", "Europe/Berlin", "2026-10-24T22:20:00Z", &[
        "2026-10-25T01:00:00Z",
        "2026-10-25T03:00:00Z",
        "2026-10-25T05:00:00Z",
        "2026-10-25T07:00:00Z",
        "2026-10-25T09:00:00Z",
    ]),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T00:30:00Z", &[
        "2026-10-02T15:45:00Z",
        "2026-10-03T15:45:00Z",
        "2026-10-04T15:15:00Z",
        "2026-10-05T15:15:00Z",
    ]),
    ("0 0 * * *", "Africa/Cairo", "2026-04-21T12:30:00Z", &[
        "2026-04-21T22:00:00Z",
        "2026-04-22T22:00:00Z",
        "2026-04-23T22:00:00Z",
        "2026-04-24T21:00:00Z",
        "2026-04-25T21:00:00Z",
    ]),
    ("0 0 * * *", "America/Santiago", "2026-09-04T12:30:00Z", &[
        "2026-09-05T04:00:00Z",
        "2026-09-06T04:00:00Z",
        "2026-09-07T03:00:00Z",
        "2026-09-08T03:00:00Z",
        "2026-09-09T03:00:00Z",
    ]),
    ("0 12 * * *", "Pacific/Apia", "2011-12-27T22:30:00Z", &[
        "2011-12-28T22:00:00Z",
        "2011-12-29T22:00:00Z",
        "2011-12-30T22:00:00Z",
        "2011-12-31T22:00:00Z",
        "2012-01-01T22:00:00Z",
    ]),
    ("30 2 * * 1-5", "America/New_York", "2026-11-19T12:00:00Z", &[
        "2026-11-20T07:30:00Z",
        "2026-11-23T07:30:00Z",
        "2026-11-24T07:30:00Z",
        "2026-11-25T07:30:00Z",
        "2026-11-26T07:30:00Z",
    ]),
    ("0 6 1 * *", "Asia/Kathmandu", "2026-01-19T12:00:00Z", &[
        "2026-02-01T00:15:00Z",
        "2026-03-01T00:15:00Z",
        "2026-04-01T00:15:00Z",
        "2026-05-01T00:15:00Z",
        "2026-06-01T00:15:00Z",
    ]),
];

fn time(text: &str) -> i64 {
    parse_time(text).unwrap()
}

fn text(micros: i64) -> String {
    format_micros(micros, true).replace(".000000Z", "Z")
}

#[test]
fn ticks_are_airflows_where_clocks_change_and_elsewhere() {
    for (line, zone, start, expected) in AIRFLOW {
        let calendar = Calendar::new(line, zone).unwrap();
        let mut now = time(start);
        let mut ticks = Vec::new();
        for _ in *expected {
            now = calendar.next_tick(now).unwrap();
            ticks.push(text(now));
        }
        assert_eq!(ticks, *expected, "{line} in {zone} after {start}");
        let back: Vec<String> = std::iter::successors(Some(now), |now| calendar.previous_tick(*now))
            .take(expected.len())
            .map(text)
            .collect();
        assert!(back.iter().rev().eq(ticks.iter()), "{line} in {zone} backwards: {back:?}");
    }
}

#[test]
fn what_never_comes_is_refused() {
    for (line, zone, said) in [
        ("30 2 * *", "UTC", "is not a cron line"),
        ("0 30 2 * * *", "UTC", "is not a cron line"),
        ("61 * * * *", "UTC", "is not a cron line"),
        ("", "UTC", "is not a cron line"),
        ("0 0 30 2 *", "UTC", "names no time that comes"),
        ("30 2 * * *", "Europe/Atlantis", "no time zone `Europe/Atlantis`"),
    ] {
        let error = Calendar::new(line, zone).unwrap_err().to_string();
        assert!(error.contains(said), "{line} {zone}: {error}");
    }
}

#[test]
fn what_has_ended_is_bounded_and_in_order() {
    let calendar = Calendar::new("*/15 * * * *", "UTC").unwrap();
    let now = time("2026-11-22T10:07:30Z");
    let ended = |since: &str, max| {
        let found = calendar.ended(time(since), now, max);
        found.iter().map(|interval| text(interval.to_us())).collect::<Vec<_>>()
    };
    assert_eq!(ended("2026-11-22T09:30:00Z", 10), ["2026-11-22T09:45:00Z", "2026-11-22T10:00:00Z"]);
    assert_eq!(ended("2026-11-01T00:00:00Z", 1), ["2026-11-22T10:00:00Z"]);
    assert!(ended("2026-11-22T10:00:00Z", 10).is_empty());
    // At the very tick its interval has ended.
    let last = calendar.last_ended(time("2026-11-22T10:15:00Z")).unwrap();
    assert_eq!(text(last.to_us()), "2026-11-22T10:15:00Z");
    assert_eq!(calendar.following(last).unwrap().from_us(), last.to_us());
}

#[test]
fn a_range_is_cut_in_whole_intervals() {
    let calendar = Calendar::new("30 2 * * *", "Europe/Berlin").unwrap();
    let cut = |from, to, max| calendar.cut(Interval::parse(from, to).unwrap(), max);
    let found = cut("2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z", 10).unwrap();
    let shown: Vec<String> = found.iter().map(|interval| text(interval.from_us())).collect();
    // The day on which 02:30 does not exist begins at 03:30.
    assert_eq!(shown, ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]);
    let error = cut("2026-03-27T12:00:00Z", "2026-03-28T12:00:00Z", 10).unwrap_err();
    assert!(matches!(error, CalendarError::NoneWhole { .. }), "{error}");
    let error = cut("2026-03-27T12:00:00Z", "2026-06-28T12:00:00Z", 10).unwrap_err();
    assert!(matches!(error, CalendarError::TooMany { .. }), "{error}");
}

/// Cron lines of every kind, also such as meet the hours at which clocks change.
fn lines() -> impl Strategy<Value = String> {
    let minute =
        prop_oneof![Just("*/15".to_owned()), (0..60u8).prop_map(|m| m.to_string()), Just("5,50".to_owned())];
    let hour = prop_oneof![
        Just("*".to_owned()),
        Just("*/2".to_owned()),
        (0..24u8).prop_map(|h| h.to_string()),
        Just("0-3".to_owned()),
        Just("2,3".to_owned()),
    ];
    let day = prop_oneof![3 => Just("* * *"), 1 => Just("1 * *"), 1 => Just("* * 1-5"), 1 => Just("* * SUN")];
    (minute, hour, day).prop_map(|(minute, hour, day)| format!("{minute} {hour} {day}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No gap, no overlap: from any instant the next tick and the one before enclose it, and each is the
    /// other's neighbour.
    #[test]
    fn intervals_tile_time_in_any_zone(
        line in lines(),
        zone in 0..TZ_VARIANTS.len(),
        minutes in time("1990-01-01T00:00:00Z") / MINUTE_US..time("2037-01-01T00:00:00Z") / MINUTE_US,
        micros in 0..MINUTE_US,
    ) {
        check_tiles(&line, TZ_VARIANTS[zone].name(), minutes * MINUTE_US + micros)?;
    }

    /// The same within two days of a change of clocks, where it is hard.
    #[test]
    fn intervals_tile_time_where_clocks_change(
        line in lines(),
        (zone, change) in prop_oneof![
            Just(("Europe/Berlin", "2026-03-29T01:00:00Z")),
            Just(("Europe/Berlin", "2026-10-25T01:00:00Z")),
            Just(("America/New_York", "2026-11-01T06:00:00Z")),
            Just(("Australia/Lord_Howe", "2026-04-04T15:00:00Z")),
            Just(("Australia/Lord_Howe", "2026-10-03T15:30:00Z")),
            Just(("Pacific/Apia", "2011-12-30T10:00:00Z")),
            Just(("Africa/Cairo", "2026-04-23T22:00:00Z")),
        ],
        minutes in -2_880..2_880i64,
    ) {
        check_tiles(&line, zone, time(change) + minutes * MINUTE_US)?;
    }
}

fn check_tiles(line: &str, zone: &str, now: i64) -> Result<(), TestCaseError> {
    let calendar = Calendar::new(line, zone).unwrap();
    let end = calendar.next_tick(now).unwrap();
    let begin = calendar.previous_tick(end).unwrap();
    prop_assert!(begin <= now && now < end, "{line} in {zone}: {} is not around {}", text(begin), text(now));
    prop_assert_eq!(calendar.next_tick(begin), Some(end), "{} in {}", line, zone);
    let last = calendar.last_ended(now).unwrap();
    prop_assert_eq!(last.to_us(), begin, "{} in {}", line, zone);
    prop_assert_eq!(calendar.following(last).unwrap().to_us(), end, "{} in {}", line, zone);
    let mut ended = calendar.ended(i64::MIN, now, 5);
    ended.push(Interval::new(begin, end).unwrap());
    prop_assert!(ended.windows(2).all(|pair| pair[0].to_us() == pair[1].from_us()));
    prop_assert_eq!(ended.len(), 6);
    Ok(())
}
