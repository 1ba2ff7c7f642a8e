//! What the scheduler does next for one pipeline: decided from the calendar's intervals and what the ledger
//! knows of them. Pure.

use crate::interval::Interval;
use crate::ledger::Known;
use std::collections::HashSet;

/// What the decision rests on. Times in microseconds.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Intervals that have ended and may be run, the oldest first.
    pub(crate) intervals: &'a [Interval],
    pub(crate) known: &'a Known,
    /// Intervals that this process has under way.
    pub(crate) own: &'a HashSet<Interval>,
    pub(crate) now_us: i64,
    pub(crate) run_attempts: u32,
    pub(crate) rerun_us: i64,
    pub(crate) deadline_us: Option<i64>,
}

/// What is to be done; the oldest interval first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// May be started now.
    pub(crate) start: Vec<Interval>,
    /// Not done within the deadline.
    pub(crate) missed: Vec<Interval>,
    /// Failed as often as they may, with how often that was.
    pub(crate) given_up: Vec<(Interval, u32)>,
}

/// Decides. An interval that failed does not hold up those after it.
pub(crate) fn plan(facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    for &interval in facts.intervals {
        if is_covered(interval, &facts.known.done) {
            continue;
        }
        let seen = facts.known.runs.get(&interval).copied().unwrap_or_default();
        if facts.deadline_us.is_some_and(|deadline| facts.now_us > interval.to_us().saturating_add(deadline))
        {
            plan.missed.push(interval);
        }
        if seen.running || facts.own.contains(&interval) {
            continue;
        }
        let rested = seen.failed_us.is_none_or(|ended| facts.now_us >= ended.saturating_add(facts.rerun_us));
        if seen.failed >= facts.run_attempts {
            plan.given_up.push((interval, seen.failed));
        } else if rested {
            plan.start.push(interval);
        }
    }
    plan
}

/// What is done (the oldest first) leaves nothing of the interval open. Done intervals are of another length where the
/// cron line was changed since.
fn is_covered(interval: Interval, done: &[Interval]) -> bool {
    let mut open_us = interval.from_us();
    for done in done.iter().filter(|done| done.overlaps(&interval)) {
        if done.from_us() > open_us {
            return false;
        }
        open_us = open_us.max(done.to_us());
    }
    open_us >= interval.to_us()
}

/// The stretch that will not be run: what lies between where the schedule stands (`stands_us`: its first interval, or
/// the end of the newest that is done) and the oldest interval that may still be run.
pub(crate) fn left_out(stands_us: i64, intervals: &[Interval]) -> Option<Interval> {
    Interval::new(stands_us, intervals.first()?.from_us()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Seen;
    use std::collections::HashMap;

    fn interval(quarter: i64) -> Interval {
        Interval::new(quarter * 15, quarter * 15 + 15).unwrap()
    }

    #[test]
    fn what_is_open_is_started_oldest_first() {
        let intervals: Vec<Interval> = (0..7).map(interval).collect();
        let open = Seen::default();
        let runs = HashMap::from([
            (interval(1), Seen { failed: 2, failed_us: Some(50), ..open }),
            (interval(2), Seen { running: true, ..open }),
            (interval(3), Seen { failed: 3, failed_us: Some(20), ..open }),
            (interval(4), Seen { failed: 1, failed_us: Some(101), ..open }),
        ]);
        let (known, own) = (Known { done: vec![interval(0)], runs }, HashSet::from([interval(5)]));
        let facts = Facts {
            intervals: &intervals,
            known: &known,
            own: &own,
            now_us: 110,
            run_attempts: 3,
            rerun_us: 10,
            deadline_us: Some(40),
        };
        let expected = Plan {
            start: vec![interval(1), interval(6)],
            missed: vec![interval(1), interval(2), interval(3)],
            given_up: vec![(interval(3), 3)],
        };
        assert_eq!(plan(&facts), expected);
        let patient = Facts { deadline_us: None, run_attempts: 4, now_us: 111, ..facts };
        let plan = plan(&patient);
        assert_eq!(plan.start, [interval(1), interval(3), interval(4), interval(6)]);
        assert!(plan.missed.is_empty() && plan.given_up.is_empty());
    }

    #[test]
    fn a_changed_cron_line_does_not_do_again_what_is_done() {
        let done: Vec<Interval> = [0, 1, 2, 4].map(interval).into();
        for (from, to, covered) in [
            (0, 10, true),
            (10, 20, true),
            (0, 45, true),
            (30, 60, false),
            (40, 50, false),
            (60, 75, true),
            (60, 76, false),
        ] {
            assert_eq!(is_covered(Interval::new(from, to).unwrap(), &done), covered, "{from} to {to}");
        }
    }

    #[test]
    fn what_is_too_old_is_told_once() {
        let intervals: Vec<Interval> = (4..7).map(interval).collect();
        assert_eq!(left_out(60, &intervals), None);
        assert_eq!(left_out(75, &intervals), None);
        assert_eq!(left_out(30, &intervals), Some(Interval::new(30, 60).unwrap()));
        assert_eq!(left_out(0, &[]), None);
    }
}
