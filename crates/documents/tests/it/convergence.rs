//! Any interleaving and duplication of a history leaves the same documents: on the pure rules.

use crate::history::{Event, Visible, arrival};
use affluent_documents::convergence::{Fill, State};
use affluent_model::Position;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The rules with the smallest store that can hold them.
#[derive(Default)]
struct Memory {
    states: BTreeMap<String, State>,
    truncated_at: Position,
}

impl Memory {
    fn take(&mut self, event: Event) {
        match event {
            Event::Write(write) if write.version < self.truncated_at => {}
            Event::Write(write) => {
                let mut fills: Vec<Fill> =
                    self.states.entry(write.id.clone()).or_default().advance(write).fills;
                while let Some(fill) = fills.pop() {
                    fills.extend(self.states.entry(fill.to.clone()).or_default().fill(&fill).fills);
                }
            }
            Event::Truncate(position) => {
                self.truncated_at = self.truncated_at.max(position);
                self.states.retain(|_, state| state.truncate(self.truncated_at));
            }
        }
    }

    fn visible(&self) -> Visible {
        let live = self.states.iter().filter(|(_, state)| state.live);
        live.map(|(id, state)| (id.clone(), state.fields.iter().cloned().collect())).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_order_and_duplication_leaves_the_same((history, order) in arrival()) {
        let mut memory = Memory::default();
        for event in order {
            memory.take(event);
        }
        prop_assert_eq!(memory.visible(), history.expected);
    }
}
