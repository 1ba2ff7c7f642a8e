//! Which events were staged before: pure.
//!
//! Two records are the same event where they carry the same event id and were received within the
//! window. A retry of a client, a beacon that was sent twice, a producer without idempotence: the event
//! received first stays.

use std::collections::HashMap;

/// One record, as far as this looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// When it was received, microseconds UTC.
    pub received_at: i64,
    pub partition: i64,
    pub offset: i64,
}

/// For each of `fresh` (event id and record) whether it is new: neither among the `staged` (event id and
/// time of receipt) nor after another of `fresh`, both within `window` microseconds.
#[must_use]
pub fn new_ones(fresh: &[(&str, Seen)], staged: &[(String, i64)], window: i64) -> Vec<bool> {
    let mut known: HashMap<&str, Vec<i64>> = HashMap::new();
    for (id, received_at) in staged {
        known.entry(id).or_default().push(*received_at);
    }
    let mut order: Vec<usize> = (0..fresh.len()).collect();
    order.sort_by_key(|&index| fresh[index].1);
    let mut new = vec![false; fresh.len()];
    for index in order {
        let (id, seen) = fresh[index];
        let times = known.entry(id).or_default();
        if times.iter().all(|time| seen.received_at.abs_diff(*time) >= window.unsigned_abs()) {
            times.push(seen.received_at);
            new[index] = true;
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: i64 = 100;

    fn seen(received_at: i64, partition: i64, offset: i64) -> Seen {
        Seen { received_at, partition, offset }
    }

    #[test]
    fn the_first_received_stays_and_the_window_ends() {
        let fresh = [
            ("a", seen(50, 0, 1)),
            ("a", seen(10, 1, 9)),
            ("b", seen(10, 0, 2)),
            ("a", seen(110, 0, 3)),
            ("a", seen(109, 0, 4)),
            ("c", seen(10, 2, 7)),
            ("c", seen(10, 2, 6)),
        ];
        assert_eq!(new_ones(&fresh, &[], WINDOW), [false, true, true, true, false, false, true]);
        let staged = [("a".to_owned(), 0), ("b".to_owned(), -90)];
        assert_eq!(new_ones(&fresh, &staged, WINDOW), [false, false, true, false, true, false, true]);
        assert_eq!(new_ones(&[], &staged, WINDOW), [] as [bool; 0]);
    }
}
