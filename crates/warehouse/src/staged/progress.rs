//! Which raw records to stage next: pure.

use affluent_lake::{Advance, Offsets};
use std::sync::Arc;

/// The records of one partition that a commit stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub partition: i32,
    /// The offset that the staged table has stored; `None` where it has none.
    pub stored: Option<i64>,
    /// One past the last record to stage.
    pub to: i64,
}

/// What one commit stages of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Every partition that the raw table knows, also where nothing is new: so that a commit of another
    /// process, whatever it staged, is noticed.
    pub spans: Vec<Span>,
    /// Nothing of what the raw table has is left after this step.
    pub last: bool,
}

impl Span {
    /// The first offset to stage.
    #[must_use]
    pub fn from(&self) -> i64 {
        self.stored.unwrap_or(0)
    }
}

impl Step {
    /// The next step from `done` (of the staged table) towards `ends` (of the raw table), of about
    /// `rows_max` records. `None` where there is nothing to do.
    #[must_use]
    pub fn next(topic: &str, done: &Offsets, ends: &Offsets, rows_max: u64) -> Option<Self> {
        let known: Vec<(i32, Option<i64>, i64)> = ends
            .iter()
            .filter(|(name, _, _)| *name == topic)
            .map(|(_, partition, end)| (partition, done.get(topic, partition), end))
            .collect();
        let left = |stored: Option<i64>, end: i64| (end - stored.unwrap_or(0)).max(0);
        let total: i128 = known.iter().map(|&(_, stored, end)| i128::from(left(stored, end))).sum();
        if total == 0 {
            return None;
        }
        let share = |left: i64| {
            let share = i128::from(left) * i128::from(rows_max) / total;
            // At least one, so that every partition moves.
            i64::try_from(share).unwrap_or(i64::MAX).clamp(1, left.max(1)).min(left)
        };
        let spans: Vec<Span> = known
            .iter()
            .map(|&(partition, stored, end)| Span {
                partition,
                stored,
                to: stored.unwrap_or(0) + share(left(stored, end)),
            })
            .collect();
        let last = spans.iter().zip(&known).all(|(span, known)| span.to >= known.2);
        Some(Step { spans, last })
    }

    /// Whether the step stages this record.
    #[must_use]
    pub fn holds(&self, partition: i64, offset: i64) -> bool {
        let span = self.spans.iter().find(|span| i64::from(span.partition) == partition);
        span.is_some_and(|span| (span.from()..span.to).contains(&offset))
    }

    /// Lowest and highest offset of the records to stage.
    #[must_use]
    pub fn offsets(&self) -> (i64, i64) {
        let moving = || self.spans.iter().filter(|span| span.from() < span.to);
        let from = moving().map(Span::from).min().unwrap_or(0);
        let to = moving().map(|span| span.to).max().unwrap_or(0);
        (from, to - 1)
    }

    /// What the commit says of its offsets.
    #[must_use]
    pub fn advances(&self, topic: &Arc<str>) -> Vec<Advance> {
        let advance = |span: &Span| Advance {
            topic: Arc::clone(topic),
            partition: span.partition,
            expected: span.stored,
            next: span.to,
        };
        self.spans.iter().map(advance).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offsets(ends: &[i64]) -> Offsets {
        let advances: Vec<Advance> = ends
            .iter()
            .zip(0..)
            .map(|(&next, partition)| Advance { topic: "t".into(), partition, expected: None, next })
            .collect();
        Offsets::default().advanced(&advances).unwrap()
    }

    #[test]
    fn steps_name_every_partition_and_nothing_is_no_step() {
        assert_eq!(Step::next("t", &offsets(&[]), &offsets(&[]), 10), None);
        assert_eq!(Step::next("t", &offsets(&[5, 0]), &offsets(&[5, 0]), 10), None);
        assert_eq!(Step::next("other", &offsets(&[]), &offsets(&[5]), 10), None);
        let step = Step::next("t", &offsets(&[5]), &offsets(&[5, 7]), 10).unwrap();
        let spans: Vec<_> = step.spans.iter().map(|s| (s.partition, s.stored, s.to)).collect();
        assert_eq!(spans, [(0, Some(5), 5), (1, None, 7)]);
        assert!(step.last && step.holds(1, 0) && step.holds(1, 6));
        assert!(!step.holds(1, 7) && !step.holds(0, 4) && !step.holds(0, 5) && !step.holds(2, 0));
        assert_eq!(step.offsets(), (0, 6));
        assert_eq!(step.advances(&"t".into()).len(), 2);
    }

    proptest! {
        #[test]
        fn steps_reach_the_end_and_stage_each_record_once(
            ends in proptest::collection::vec(0i64..2_000, 1..5),
            rows_max in 1u64..500,
        ) {
            let ends_known = offsets(&ends);
            let mut done = Offsets::default();
            let mut staged = vec![0; ends.len()];
            for _ in 0..20_000 {
                let Some(step) = Step::next("t", &done, &ends_known, rows_max) else { break };
                for span in &step.spans {
                    let place = usize::try_from(span.partition).unwrap();
                    prop_assert_eq!(span.from(), staged[place]);
                    staged[place] = span.to;
                }
                done = done.advanced(&step.advances(&"t".into())).unwrap();
                prop_assert_eq!(step.last, staged == ends);
            }
            prop_assert_eq!(staged, ends);
        }
    }
}
