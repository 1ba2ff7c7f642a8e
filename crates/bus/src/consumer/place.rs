//! Where the reading of a partition stands, and what a record is that comes then: pure.
//!
//! librdkafka hands out the records of a partition in the order of their offsets, with two exceptions.
//!
//! It **repeats** one record where it pauses the partition on a thread of its own (a rebalance does that) after
//! our thread took the record from its queue and before that was noted (`rd_kafka_fetch_op_app_prepare`): it
//! goes on from the old position. One record only, because our thread takes one at a time.
//!
//! It **goes back** where the broker has no such offset (`OFFSET_OUT_OF_RANGE`): the topic was deleted and made
//! again, or has lost its end. It then reads from the beginning, and says nothing of it to us.
//!
//! A record that was fetched before a seek or an assignment never comes after it: each carries the version of
//! its partition (`rko_version`); seek, assign and unassign raise the version before they return, and the queue
//! drops what has an older one as it is taken (`rd_kafka_op_version_outdated`). We poll, seek and assign on one
//! thread. So a record from below a start is one of a partition that went back, too.

use crate::Incoming;

/// How far an assigned partition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The offset that comes next, or a greater one.
    next: i64,
    /// The timestamp of the record before it, milliseconds; none where that was not taken.
    last_ms: Option<i64>,
}

/// What a record is to those that were taken before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Next,
    /// The last one, once more.
    Repeat,
    /// The partition went back, where `expected` or a greater offset was to come.
    Back {
        expected: i64,
    },
}

impl Place {
    /// Reading begins at this offset.
    pub(super) fn at(next: i64) -> Self {
        Place { next, last_ms: None }
    }

    /// Says what the record is, and goes on behind it.
    pub(super) fn take(&mut self, record: &Incoming) -> Arrival {
        let Place { next: expected, last_ms } = *self;
        let after = record.offset + 1;
        if after == expected && last_ms == Some(record.timestamp_ms) {
            return Arrival::Repeat;
        }
        *self = Place { next: after, last_ms: Some(record.timestamp_ms) };
        if record.offset < expected { Arrival::Back { expected } } else { Arrival::Next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::{Back, Next, Repeat};

    /// Records by offset and timestamp, read from `start`, are `expected`.
    fn check(start: i64, records: &[(i64, i64)], expected: &[Arrival]) {
        let mut place = Place::at(start);
        let take = |&(offset, timestamp_ms): &(i64, i64)| {
            let (key, value, headers) = (None, None, Vec::new());
            place.take(&Incoming {
                topic: "t".into(),
                partition: 0,
                offset,
                timestamp_ms,
                key,
                value,
                headers,
            })
        };
        let found: Vec<Arrival> = records.iter().map(take).collect();
        assert_eq!(found, expected, "{records:?} from {start}");
    }

    #[test]
    fn the_last_record_may_be_repeated() {
        check(0, &[(0, 1), (1, 1), (1, 1), (2, 1)], &[Next, Next, Repeat, Next]);
        // More than once, and beside a gap in the offsets (transactions, compaction).
        check(5, &[(7, 1), (7, 1), (7, 1), (9, 2)], &[Next, Repeat, Repeat, Next]);
    }

    #[test]
    fn a_partition_that_goes_back_is_read_from_there() {
        let back = Back { expected: 3 };
        check(0, &[(0, 1), (1, 2), (2, 3), (0, 7), (1, 8)], &[Next, Next, Next, back, Next]);
        check(0, &[(0, 1), (1, 2), (2, 3), (1, 2), (2, 3)], &[Next, Next, Next, back, Next]);
        // The same offset, and not the same record.
        check(0, &[(0, 1), (0, 7), (1, 8)], &[Next, Back { expected: 1 }, Next]);
        check(0, &[(1, 5), (2, 6), (2, 7), (2, 7)], &[Next, Next, back, Repeat]);
    }

    #[test]
    fn a_partition_that_ends_before_the_start_is_read_from_its_beginning() {
        check(5, &[(0, 7), (1, 8)], &[Back { expected: 5 }, Next]);
        check(5, &[(4, 0), (5, 0)], &[Back { expected: 5 }, Next]);
    }
}
