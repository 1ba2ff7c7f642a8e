//! What was measured over the last day, kept in the process: a few seconds apart for the last minute, then a point a minute.
//!
//! Fed with [`Reading`]s of ever-growing counters; rates and quantiles are of what came between two of them. Pure: the caller has the
//! clock. Invariant: bounded, by [`MINUTES`] points of [`LINES_MAX`] lines.

use std::collections::{BTreeMap, VecDeque};

/// Points of a line: a day of minutes.
pub const MINUTES: usize = 24 * 60;
/// Lines that are kept; a further one is not.
pub const LINES_MAX: usize = 64;
const MINUTE_US: i64 = 60_000_000;

/// A stop of a pipeline, as the latency metric names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stop {
    pub pipeline: String,
    pub stop: String,
}

impl Stop {
    #[must_use]
    pub fn new(pipeline: &str, stop: &str) -> Self {
        Stop { pipeline: pipeline.to_owned(), stop: stop.to_owned() }
    }
}

/// A cumulative histogram: upper bounds in seconds, ascending, the last of them infinite, and how many were at most that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets(pub Vec<(f64, f64)>);

impl Buckets {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// What came since `earlier`; all of it where the counters began anew.
    #[must_use]
    pub fn since(&self, earlier: &Buckets) -> Buckets {
        if earlier.0.len() != self.0.len() || earlier.count() > self.count() {
            return self.clone();
        }
        let differ =
            self.0.iter().zip(&earlier.0).map(|((bound, now), (_, then))| (*bound, (now - then).max(0.0)));
        Buckets(differ.collect())
    }

    /// The quantile `q` (0 to 1) in seconds, linear within its bucket as Prometheus' `histogram_quantile`; the highest finite bound
    /// where it lies beyond. None of nothing.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let (total, mut below, mut from) = (self.count(), 0.0, 0.0);
        if total <= 0.0 {
            return None;
        }
        let rank = q * total;
        for &(bound, count) in &self.0 {
            if count >= rank {
                if !bound.is_finite() {
                    return Some(from);
                }
                let inside = count - below;
                let part = if inside > 0.0 { (rank - below) / inside } else { 1.0 };
                return Some(from + (bound - from) * part);
            }
            (below, from) = (count, if bound.is_finite() { bound } else { from });
        }
        Some(from)
    }
}

/// The counters of the process at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Microseconds UTC.
    pub at_us: i64,
    pub latencies: BTreeMap<Stop, Buckets>,
    /// Records refused, by pipeline.
    pub refused: BTreeMap<String, f64>,
    /// Records that consumer groups have not read, by group.
    pub lag: BTreeMap<String, f64>,
}

/// What happened at a stop between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flow {
    pub per_second: f64,
    /// Seconds; none where nothing passed.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

/// A point of a line: when (microseconds UTC), and what.
pub type Points<T> = VecDeque<(i64, T)>;

/// The last day.
#[derive(Debug, Default)]
pub struct History {
    /// The readings of the last minute, the oldest first.
    recent: VecDeque<Reading>,
    /// The reading at the last point.
    minute: Option<Reading>,
    flows: BTreeMap<Stop, Points<Flow>>,
    refused: BTreeMap<String, Points<f64>>,
    lag: BTreeMap<String, Points<f64>>,
}

impl History {
    /// Takes a reading in. One that is not later than the last is none, unless the clock was set back: then it begins anew.
    pub fn take(&mut self, reading: Reading) {
        if let Some(last) = self.recent.back().map(|last| last.at_us) {
            if last.saturating_sub(reading.at_us) > MINUTE_US {
                self.recent.clear();
                self.minute = None;
            } else if last >= reading.at_us {
                return;
            }
        }
        let since = reading.at_us - MINUTE_US;
        // One that is older than a minute stays, so that a minute can be looked back.
        while self.recent.get(1).is_some_and(|second| second.at_us <= since) {
            self.recent.pop_front();
        }
        match self.minute.take() {
            Some(minute) if minute.at_us > since => self.minute = Some(minute),
            Some(minute) => {
                self.point(&minute, &reading);
                self.minute = Some(reading.clone());
            }
            None => self.minute = Some(reading.clone()),
        }
        self.recent.push_back(reading);
    }

    fn point(&mut self, earlier: &Reading, later: &Reading) {
        let at = later.at_us;
        for (stop, flow) in flows(earlier, later) {
            add(&mut self.flows, stop, (at, flow));
        }
        for (pipeline, count) in &later.refused {
            let before = earlier.refused.get(pipeline).copied().unwrap_or_default();
            add(&mut self.refused, pipeline.clone(), (at, (count - before).max(0.0)));
        }
        for (group, records) in &later.lag {
            add(&mut self.lag, group.clone(), (at, *records));
        }
    }

    /// What happened in the last minute, by stop.
    #[must_use]
    pub fn now(&self) -> BTreeMap<Stop, Flow> {
        match (self.recent.front(), self.recent.back()) {
            (Some(first), Some(last)) if first.at_us < last.at_us => flows(first, last).collect(),
            (Some(_) | None, _) => BTreeMap::new(),
        }
    }

    /// Records that consumer groups have not read, by group.
    #[must_use]
    pub fn lag_now(&self) -> BTreeMap<String, f64> {
        self.recent.back().map(|reading| reading.lag.clone()).unwrap_or_default()
    }

    /// A point a minute, by stop.
    #[must_use]
    pub fn flows(&self) -> &BTreeMap<Stop, Points<Flow>> {
        &self.flows
    }

    /// Records refused within each minute, by pipeline.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<String, Points<f64>> {
        &self.refused
    }

    /// Records not read at each minute, by consumer group.
    #[must_use]
    pub fn lag(&self) -> &BTreeMap<String, Points<f64>> {
        &self.lag
    }
}

fn flows<'a>(earlier: &'a Reading, later: &'a Reading) -> impl Iterator<Item = (Stop, Flow)> + 'a {
    let seconds = (later.at_us - earlier.at_us) as f64 / 1e6;
    later.latencies.iter().map(move |(stop, buckets)| {
        let between = earlier.latencies.get(stop).map_or_else(|| buckets.clone(), |then| buckets.since(then));
        let flow = Flow {
            per_second: between.count() / seconds,
            p50: between.quantile(0.5),
            p99: between.quantile(0.99),
        };
        (stop.clone(), flow)
    })
}

fn add<K: Ord, T>(lines: &mut BTreeMap<K, Points<T>>, line: K, point: (i64, T)) {
    if lines.len() >= LINES_MAX && !lines.contains_key(&line) {
        return;
    }
    let points = lines.entry(line).or_default();
    // Of a clock that was set back since.
    while points.back().is_some_and(|(at, _)| *at >= point.0) {
        points.pop_back();
    }
    if points.len() >= MINUTES {
        points.pop_front();
    }
    points.push_back(point);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: [f64; 3]) -> Buckets {
        Buckets(vec![(0.1, counts[0]), (1.0, counts[1]), (f64::INFINITY, counts[2])])
    }

    fn reading(at_s: i64, counts: [f64; 3]) -> Reading {
        Reading {
            at_us: at_s * 1_000_000,
            latencies: [(Stop::new("cdc", "bus"), buckets(counts))].into(),
            refused: [("cdc".to_owned(), counts[2])].into(),
            lag: [("g".to_owned(), 7.0)].into(),
        }
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        // 50 at most 0.1 s, 50 between 0.1 and 1 s: the 75th lies in the middle of the second bucket.
        let half = buckets([50.0, 100.0, 100.0]);
        for (q, expected) in [(0.25, 0.05), (0.5, 0.1), (0.75, 0.55), (1.0, 1.0)] {
            let found = half.quantile(q).unwrap();
            assert!((found - expected).abs() < 1e-9, "{q}: {found}");
        }
        assert_eq!(buckets([0.0, 0.0, 10.0]).quantile(0.99), Some(1.0), "beyond the last bound");
        assert_eq!(buckets([0.0; 3]).quantile(0.99), None);
        assert_eq!(Buckets::default().quantile(0.5), None);
    }

    #[test]
    fn the_last_minute_is_what_came_in_it() {
        let mut history = History::default();
        assert!(history.now().is_empty());
        history.take(reading(0, [1000.0, 1000.0, 1000.0]));
        assert!(history.now().is_empty(), "nothing is known between one reading");
        for second in 1..=100 {
            let more = 1000.0 + f64::from(i32::try_from(second).unwrap());
            history.take(reading(second, [1000.0, more, more]));
        }
        let flow = history.now()[&Stop::new("cdc", "bus")];
        assert!((flow.per_second - 1.0).abs() < 1e-9, "{flow:?}");
        // What was quick before is not counted any more.
        assert!(flow.p50.unwrap() > 0.1, "{flow:?}");
        assert_eq!(history.lag_now()["g"], 7.0);
        assert!(history.recent.len() <= 62);
    }

    #[test]
    fn there_is_a_point_a_minute_for_a_day() {
        let mut history = History::default();
        let points = i64::try_from(MINUTES).unwrap() + 10;
        for minute in 0..=points {
            let count = minute as f64;
            history.take(reading(minute * 60, [count, count, count]));
        }
        let line = &history.flows()[&Stop::new("cdc", "bus")];
        assert_eq!((line.len(), line.back().unwrap().0), (MINUTES, points * MINUTE_US));
        assert_eq!(history.refused()["cdc"].back().unwrap().1, 1.0);
        assert_eq!(history.lag()["g"].len(), MINUTES);
    }

    #[test]
    fn a_restart_of_the_counters_and_of_the_clock_is_survived() {
        let mut history = History::default();
        history.take(reading(0, [5.0, 5.0, 5.0]));
        history.take(reading(60, [2.0, 2.0, 2.0]));
        let flow = history.flows()[&Stop::new("cdc", "bus")].back().unwrap().1;
        assert!(flow.per_second > 0.0 && history.refused()["cdc"].back().unwrap().1 == 0.0);
        history.take(reading(30, [9.0, 9.0, 9.0]));
        assert_eq!(history.recent.len(), 2, "a reading of the past is none");
        for second in [-600, -598, -538, -478] {
            history.take(reading(second, [9.0, 9.0, 9.0]));
        }
        let line = &history.flows()[&Stop::new("cdc", "bus")];
        assert!(
            line.iter().map(|(at, _)| *at).is_sorted() && line.back().unwrap().0 == -478_000_000,
            "{line:?}"
        );
    }

    #[test]
    fn lines_are_bounded() {
        let mut lines = BTreeMap::new();
        for line in 0..2 * LINES_MAX {
            add(&mut lines, line, (0, ()));
        }
        assert_eq!(lines.len(), LINES_MAX);
    }
}
