//! How old the oldest record is that a reader has not read, from when the end of its partition stood where.
//!
//! Asking for the record itself would cost a read of every partition each time. The end of a partition is known anyway, and between
//! two looks at it records are taken to have come evenly; so an age is right to the time between two looks (the method of
//! <https://github.com/seglo/kafka-lag-exporter#estimate-consumer-group-time-lag>). Pure.

use std::collections::VecDeque;

/// Looks that are kept of one partition. Once there are more, one is dropped where that costs least for its age: a minute ago they are
/// seconds apart, a day ago hours.
const LOOKS_MAX: usize = 128;

/// Where the end of one partition stood, the oldest look first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ends(VecDeque<Look>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    /// Microseconds.
    at_us: i64,
    /// The offset of the next record to be written.
    end: i64,
}

impl Ends {
    /// The end stands at `end` now. A clock or a topic that went back begins anew.
    pub fn look(&mut self, at_us: i64, end: i64) {
        if self.0.back().is_some_and(|last| at_us < last.at_us || end < last.end) {
            self.0.clear();
        }
        // While nothing comes, the newest of the same looks says all, and the oldest when that began.
        let count = self.0.len();
        if count >= 2 && self.0.iter().skip(count - 2).all(|look| look.end == end) {
            self.0.pop_back();
        }
        self.0.push_back(Look { at_us, end });
        if self.0.len() > LOOKS_MAX {
            self.thin(at_us);
        }
    }

    /// Drops the look, neither the first nor the last, that leaves the smallest pause for its age.
    fn thin(&mut self, now_us: i64) {
        let pause = |number: usize| {
            let (before, after) = (self.0[number - 1].at_us, self.0[number + 1].at_us);
            (after - before) as f64 / (now_us - before).max(1) as f64
        };
        let inner = 1..self.0.len().saturating_sub(1);
        if let Some(number) = inner.min_by(|a, b| pause(*a).total_cmp(&pause(*b))) {
            self.0.remove(number);
        }
    }

    /// Seconds since the record at offset `next` was written; 0 where there is none. Where it was there at the first look, since then.
    #[must_use]
    pub fn age_s(&self, next: i64, now_us: i64) -> f64 {
        let Some(after) = self.0.iter().position(|look| look.end > next) else { return 0.0 };
        let later = self.0[after];
        let written_us = match after.checked_sub(1).map(|before| self.0[before]) {
            None => later.at_us as f64,
            Some(earlier) => {
                // The records from earlier.end to later.end came one after the other, the last of them at the later look.
                let part = (next + 1 - earlier.end) as f64 / (later.end - earlier.end) as f64;
                earlier.at_us as f64 + part.clamp(0.0, 1.0) * (later.at_us - earlier.at_us) as f64
            }
        };
        ((now_us as f64 - written_us) / 1e6).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn an_age_is_of_the_oldest_record_that_waits() {
        let mut ends = Ends::default();
        assert_eq!(ends.age_s(0, 5 * SECOND), 0.0, "nothing is known");
        for (at, end) in [(10, 100), (20, 100), (30, 100), (40, 200), (50, 200)] {
            ends.look(at * SECOND, end);
        }
        for (next, now, expected) in [
            (200, 60, 0.0),
            // Written evenly from second 30 to 40.
            (199, 60, 20.0),
            (149, 60, 25.0),
            (100, 60, 29.9),
            // It was there at the first look.
            (50, 60, 50.0),
            (300, 60, 0.0),
        ] {
            let found = ends.age_s(next, now * SECOND);
            assert!((found - expected).abs() < 0.01, "{next}: {found} for {expected}");
        }
        ends.look(60 * SECOND, 5);
        assert_eq!(ends.age_s(0, 61 * SECOND), 1.0, "the topic was made anew");
    }

    /// Three days of looks, with a hundred times as many records in every second hour; then nothing is read for an hour.
    #[test]
    fn an_age_of_an_hour_is_known_after_days() {
        let (mut ends, mut end, mut next) = (Ends::default(), 0, 0);
        let (stalled, now) = (72 * 3600, 73 * 3600);
        for second in (0..=now).step_by(3) {
            end += if second / 3600 % 2 == 0 { 300 } else { 3 };
            ends.look(second * SECOND, end);
            if second <= stalled {
                next = end;
            }
        }
        let found = ends.age_s(next, now * SECOND);
        assert!((found / 3600.0 - 1.0).abs() < 0.2, "{found}");
    }

    proptest! {
        /// Whatever comes, few looks are kept, and an age is off by no more than the pauses between those that are kept.
        #[test]
        fn ages_are_bounded_and_near(steps in prop::collection::vec((1i64..20, 0i64..50), 1..600), read in 0.0f64..1.0) {
            let (mut ends, mut at, mut end, mut written) = (Ends::default(), 0, 0, Vec::new());
            for (pause, records) in steps {
                at += pause * SECOND;
                written.extend((0..records).map(|_| at));
                end += records;
                ends.look(at, end);
            }
            prop_assert!(ends.0.len() <= LOOKS_MAX);
            let next = (end as f64 * read) as i64;
            let found = ends.age_s(next, at);
            let pause = ends.0.iter().zip(ends.0.iter().skip(1)).map(|(a, b)| b.at_us - a.at_us).max().unwrap_or(0);
            if let Some(written) = usize::try_from(next).ok().and_then(|next| written.get(next)) {
                let real = (at - written) as f64 / 1e6;
                prop_assert!((found - real).abs() <= pause as f64 / 1e6 + 0.001, "{} for {}", found, real);
            } else {
                prop_assert_eq!(found, 0.0);
            }
        }
    }
}
