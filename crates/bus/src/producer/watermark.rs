//! From deliveries in any order to one number: everything up to it is delivered.
//!
//! Invariant: the watermark never passes a sequence number that was not delivered.

use std::collections::VecDeque;

/// Deliveries above the watermark, one bit each.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    acked: u64,
    /// `ahead[i]` says whether `acked + 1 + i` is delivered. Bounded by the messages in flight.
    ahead: VecDeque<bool>,
}

impl Watermark {
    /// Notes the delivery of `sequence`; returns the new watermark if it moved.
    pub(crate) fn deliver(&mut self, sequence: u64) -> Option<u64> {
        let index = usize::try_from(sequence.checked_sub(self.acked + 1)?).ok()?;
        if index >= self.ahead.len() {
            self.ahead.resize(index + 1, false);
        }
        self.ahead[index] = true;
        let before = self.acked;
        while self.ahead.front() == Some(&true) {
            self.ahead.pop_front();
            self.acked += 1;
        }
        (self.acked > before).then_some(self.acked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_longest_delivered_prefix(order in Just((1_u64..=60).collect::<Vec<_>>()).prop_shuffle()) {
            let mut watermark = Watermark::default();
            let mut delivered = std::collections::BTreeSet::new();
            let mut last = 0;
            for sequence in order {
                delivered.insert(sequence);
                if let Some(moved) = watermark.deliver(sequence) {
                    prop_assert!(moved > last);
                    last = moved;
                }
                let prefix = (1..).take_while(|s| delivered.contains(s)).count() as u64;
                prop_assert_eq!(last, prefix);
            }
        }
    }

    #[test]
    fn a_repeated_delivery_changes_nothing() {
        let mut watermark = Watermark::default();
        assert_eq!(watermark.deliver(1), Some(1));
        assert_eq!(watermark.deliver(1), None);
        assert_eq!(watermark.deliver(3), None);
        assert_eq!(watermark.deliver(3), None);
        assert_eq!(watermark.deliver(2), Some(3));
    }
}
