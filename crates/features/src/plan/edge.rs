//! Edges: instants relative to the one that asks, at which events enter or leave windows.

use crate::aggregate::Step;
use crate::event::{At, day_start};

/// Where an edge lies. Its order is the order in which edges are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Up to and including the event that asks.
    Current,
    /// Before the event that asks.
    Before,
    /// So many microseconds ago, inclusive.
    Ago(i64),
    /// Before midnight (UTC) of so many microseconds ago.
    Day(i64),
}

/// Whether rows that pass an edge enter a window or leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Upper,
    Lower,
}

/// An edge, and what has to be done when a row passes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub place: Place,
    pub steps: Vec<(Side, Step)>,
}

impl Place {
    /// The last (time, order) that has passed the edge at an instant. It never falls when the instant rises.
    #[must_use]
    pub fn bound(self, at: At) -> (i64, u64) {
        match self {
            Place::Current => (at.time, at.order),
            Place::Before => match at.order {
                // Nobody asks: every event up to the time is before.
                u64::MAX => (at.time, u64::MAX),
                0 => (at.time.saturating_sub(1), u64::MAX),
                order => (at.time, order - 1),
            },
            Place::Ago(length) => (at.time.saturating_sub(length), u64::MAX),
            Place::Day(length) => (day_start(at.time.saturating_sub(length)).saturating_sub(1), u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DAY;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bounds_never_fall(a in -3 * DAY..3 * DAY, b in -3 * DAY..3 * DAY, o in 0u64..3, p in 0u64..3, length in 0..2 * DAY) {
            let (one, two) = (At { time: a, order: o }, At { time: b, order: p });
            let (one, two) = (one.min(two), one.max(two));
            for place in [Place::Current, Place::Before, Place::Ago(length), Place::Day(length)] {
                prop_assert!(place.bound(one) <= place.bound(two));
            }
        }
    }
}
