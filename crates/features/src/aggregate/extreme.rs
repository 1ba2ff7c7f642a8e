//! The largest or smallest value of a sliding window.
//!
//! Only values that can still become the extreme are kept: each is larger than all later ones. So an event costs constant time on
//! average, and what is kept is a function of the events in the window. Source: the monotonic queue, folklore; see D. Lemire,
//! "Streaming maximum-minimum filter using no more than three comparisons per element" (2006).

use crate::event::NULL;
use std::collections::VecDeque;

/// Candidates in the order of events, the extreme first.
#[derive(Debug, Clone)]
pub struct Extreme {
    /// (time, order) and the value, negated for a minimum: strictly falling.
    candidates: VecDeque<((i64, u64), i64)>,
    maximum: bool,
    stale: bool,
}

impl Extreme {
    #[must_use]
    pub fn new(maximum: bool) -> Self {
        Extreme { candidates: VecDeque::new(), maximum, stale: false }
    }

    pub fn clear(&mut self) {
        self.candidates.clear();
        self.stale = false;
    }

    /// Adds a value at its place.
    pub fn enter(&mut self, at: (i64, u64), value: i64) {
        if value == NULL || self.stale {
            return;
        }
        let rank = if self.maximum { value } else { -value };
        let mut place = self.candidates.len();
        while place > 0 && self.candidates[place - 1].0 > at {
            place -= 1;
        }
        if self.candidates.get(place).is_some_and(|&(_, later)| later >= rank) {
            return;
        }
        if place == self.candidates.len() {
            while self.candidates.back().is_some_and(|&(_, earlier)| earlier <= rank) {
                self.candidates.pop_back();
            }
            self.candidates.push_back((at, rank));
        } else {
            let mut first = place;
            while first > 0 && self.candidates[first - 1].1 <= rank {
                first -= 1;
            }
            self.candidates.drain(first..place);
            self.candidates.insert(first, (at, rank));
        }
    }

    /// The oldest event leaves.
    pub fn expire(&mut self, at: (i64, u64)) {
        if self.candidates.front().is_some_and(|&(first, _)| first == at) {
            self.candidates.pop_front();
        }
    }

    /// An event at another place leaves: what it hid is not known any more.
    pub fn withdraw(&mut self) {
        self.stale = true;
    }

    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The extreme, if there is any value.
    #[must_use]
    pub fn value(&self) -> Option<i64> {
        self.candidates.front().map(|&(_, rank)| if self.maximum { rank } else { -rank })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Values in any order of arrival, expired from the front: always the maximum of what is left.
        #[test]
        fn it_is_the_maximum_of_what_is_left(values in prop::collection::vec((0u64..50, -5i64..5), 1..40), left in 0usize..40) {
            let mut unique = values.clone();
            unique.sort_unstable();
            unique.dedup_by_key(|(order, _)| *order);
            let mut arrivals = unique.clone();
            arrivals.reverse();
            arrivals.rotate_left(values.len() % unique.len());
            let mut extreme = Extreme::new(true);
            arrivals.iter().for_each(|&(order, value)| extreme.enter((0, order), value));
            let left = left.min(unique.len());
            unique[..left].iter().for_each(|&(order, _)| extreme.expire((0, order)));
            prop_assert_eq!(extreme.value(), unique[left..].iter().map(|&(_, value)| value).max());
        }
    }
}
