//! Which records a commit takes in: pure.
//!
//! A table keeps, per topic partition, the next record to take in. A window leads from there towards an
//! end, so many records at a time.

use super::sql::text;
use affluent_lake::{Advance, Offsets};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

/// Topic, partition, first offset, one past the last.
pub(crate) type Records = (Arc<str>, i32, i64, i64);

/// The records of one topic partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The offset that the table has stored; `None` where it has none.
    pub stored: Option<i64>,
    /// One past the last record.
    pub to: i64,
}

/// What one commit takes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Every partition that the end knows, also where nothing is new: so that a commit of another process,
    /// whatever it took in, is noticed.
    pub spans: Vec<Span>,
    /// Nothing is left after it.
    pub last: bool,
}

impl Span {
    fn from(&self) -> i64 {
        self.stored.unwrap_or(0)
    }
}

impl Window {
    /// The next window from `done` towards `end`, of at most `rows_max` records (at least one). `None` where
    /// nothing is left.
    #[must_use]
    pub fn next(done: &Offsets, end: &Offsets, rows_max: u64) -> Option<Self> {
        let mut budget = i64::try_from(rows_max.max(1)).unwrap_or(i64::MAX);
        let mut last = true;
        let mut moves = false;
        let mut spans = Vec::new();
        for (topic, partition, end) in end.iter() {
            let stored = done.get(topic, partition);
            let from = stored.unwrap_or(0);
            let left = (end - from).max(0);
            let taken = left.min(budget);
            budget -= taken;
            last &= taken == left;
            moves |= taken > 0;
            spans.push(Span { topic: topic.into(), partition, stored, to: from + taken });
        }
        moves.then_some(Window { spans, last })
    }

    /// Records in the window.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.spans.iter().map(|span| span.to.saturating_sub(span.from()).max(0).unsigned_abs()).sum()
    }

    /// The condition that a row with its place in Kafka is in the window.
    #[must_use]
    pub fn condition(&self) -> String {
        condition(self.spans.iter().map(|span| (&*span.topic, span.partition, span.from(), span.to)))
    }

    /// The same for a table that holds these topics alone.
    #[must_use]
    pub fn condition_of(&self, topics: &BTreeSet<String>) -> String {
        let own = self.spans.iter().filter(|span| topics.contains(&*span.topic));
        condition(own.map(|span| (&*span.topic, span.partition, span.from(), span.to)))
    }

    /// The records of these topics that are in the window.
    pub(crate) fn records_of(&self, topics: &BTreeSet<String>) -> Vec<Records> {
        let own = self.spans.iter().filter(|span| span.from() < span.to && topics.contains(&*span.topic));
        own.map(|span| (Arc::clone(&span.topic), span.partition, span.from(), span.to)).collect()
    }

    /// What the commit says of its offsets.
    #[must_use]
    pub fn advances(&self) -> Vec<Advance> {
        let advance = |span: &Span| Advance {
            topic: Arc::clone(&span.topic),
            partition: span.partition,
            expected: span.stored,
            next: span.to,
        };
        self.spans.iter().map(advance).collect()
    }
}

/// The condition that a row with its place in Kafka lies before `end`.
#[must_use]
pub fn before(end: &Offsets) -> String {
    condition(end.iter().map(|(topic, partition, to)| (topic, partition, 0, to)))
}

/// The offsets of these topics alone.
#[must_use]
pub fn of_topics(offsets: &Offsets, topics: &BTreeSet<String>) -> Offsets {
    collected(offsets.iter().filter(|(topic, _, _)| topics.contains(*topic)))
}

/// Per partition the lower of two offsets, where both have one; else the one that there is.
#[must_use]
pub fn lower(a: &Offsets, b: &Offsets) -> Offsets {
    let both = a.iter().map(|(topic, partition, next)| {
        (topic, partition, b.get(topic, partition).map_or(next, |other| other.min(next)))
    });
    let only_b = b.iter().filter(|(topic, partition, _)| a.get(topic, *partition).is_none());
    collected(both.chain(only_b))
}

/// Whether `offsets` have reached `end` everywhere.
#[must_use]
pub fn reached(offsets: &Offsets, end: &Offsets) -> bool {
    end.iter().all(|(topic, partition, to)| to <= offsets.get(topic, partition).unwrap_or(0))
}

fn collected<'a>(offsets: impl Iterator<Item = (&'a str, i32, i64)>) -> Offsets {
    let advance = |(topic, partition, next): (&str, i32, i64)| Advance {
        topic: topic.into(),
        partition,
        expected: None,
        next,
    };
    let advances: Vec<Advance> = offsets.map(advance).collect();
    // Each partition comes once, so none of them can conflict.
    Offsets::default().advanced(&advances).unwrap_or_default()
}

/// Of (topic, partition, first, end); the bounds over all lead, for files to be left out by.
fn condition<'a>(spans: impl Iterator<Item = (&'a str, i32, i64, i64)>) -> String {
    let spans: Vec<_> = spans.filter(|(_, _, from, to)| from < to).collect();
    let bounds = spans.iter().map(|span| span.2).min().zip(spans.iter().map(|span| span.3).max());
    let Some((low, high)) = bounds else { return "false".to_owned() };
    let mut sql = format!("_kafka_offset >= {low} and _kafka_offset < {high} and (");
    for (index, (topic, partition, from, to)) in spans.iter().enumerate() {
        let or = if index == 0 { "" } else { " or " };
        let topic = text(topic);
        let _ = write!(
            sql,
            "{or}_kafka_topic = {topic} and _kafka_partition = {partition} and _kafka_offset >= {from} and _kafka_offset < {to}"
        );
    }
    sql + ")"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offsets(ends: &[(&str, i32, i64)]) -> Offsets {
        collected(ends.iter().copied())
    }

    #[test]
    fn conditions_name_what_moves() {
        let window =
            Window::next(&offsets(&[("a", 0, 5)]), &offsets(&[("a", 0, 9), ("a", 1, 0), ("b", 0, 2)]), 5);
        let window = window.unwrap();
        assert_eq!((window.rows(), window.last, window.advances().len()), (5, false, 3));
        assert_eq!(
            window.condition(),
            "_kafka_offset >= 0 and _kafka_offset < 9 and (_kafka_topic = 'a' and _kafka_partition = 0 and \
             _kafka_offset >= 5 and _kafka_offset < 9 or _kafka_topic = 'b' and _kafka_partition = 0 and \
             _kafka_offset >= 0 and _kafka_offset < 1)"
        );
        let of_b = window.records_of(&BTreeSet::from(["b".to_owned()]));
        assert_eq!(of_b, [("b".into(), 0, 0, 1)]);
        assert_eq!(window.records_of(&BTreeSet::from(["a".to_owned()])), [("a".into(), 0, 5, 9)]);
        assert_eq!(before(&Offsets::default()), "false");
        assert_eq!(Window::next(&offsets(&[("a", 0, 9)]), &offsets(&[("a", 0, 9)]), 5), None);
        let low = lower(&offsets(&[("a", 0, 3), ("a", 1, 4)]), &offsets(&[("a", 0, 2), ("b", 0, 1)]));
        assert_eq!(low, offsets(&[("a", 0, 2), ("a", 1, 4), ("b", 0, 1)]));
        assert!(reached(&offsets(&[("a", 0, 3)]), &offsets(&[("a", 0, 3), ("a", 1, 0)])));
    }

    proptest! {
        #[test]
        fn windows_reach_the_end_and_take_each_record_once(
            ends in proptest::collection::vec(0i64..300, 1..5), rows_max in 1u64..100,
        ) {
            let named: Vec<(&str, i32, i64)> =
                ends.iter().zip(0..).map(|(&end, partition)| ("t", partition, end)).collect();
            let end = offsets(&named);
            let mut done = Offsets::default();
            let mut taken = 0;
            while let Some(window) = Window::next(&done, &end, rows_max) {
                prop_assert!(window.rows() <= rows_max && window.rows() > 0);
                taken += window.rows();
                done = done.advanced(&window.advances()).unwrap();
                prop_assert_eq!(window.last, reached(&done, &end));
            }
            prop_assert_eq!(taken, ends.iter().sum::<i64>().unsigned_abs());
            prop_assert!(reached(&done, &end));
        }
    }
}
