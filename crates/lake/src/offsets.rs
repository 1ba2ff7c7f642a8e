//! How far a table has read its topics, and the rule by which a batch may advance it.
//!
//! Invariant: offsets and rows change in one commit, and only from the offset the writer believes
//! in. So a record is in the table once, whatever crashes, replays or lives on as a zombie.

use crate::LakeError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Table property and snapshot summary entry that holds the offsets.
pub const OFFSETS_PROPERTY: &str = "affluent.offsets";

/// The next offset to read of each topic partition. Text form: `{"topic":{"0":17}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(BTreeMap<String, BTreeMap<i32, i64>>);

/// A wish to move one partition from the stored offset to `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The offset that the writer believes to be stored; `None` where nothing is stored yet.
    pub expected: Option<i64>,
    /// The offset to store: one past the last record of the batch.
    pub next: i64,
}

/// The stored offset is not the one that the writer believed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{topic}/{partition} stands at {stored:?} in the table, the batch begins at {expected:?}")]
pub struct OffsetConflict {
    pub topic: String,
    pub partition: i32,
    pub stored: Option<i64>,
    pub expected: Option<i64>,
}

impl Offsets {
    /// The next offset to read, if the table has read the partition before.
    #[must_use]
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    /// Every partition with its next offset.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(&partition, &next)| (topic.as_str(), partition, next))
        })
    }

    /// True where no partition was read yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The offsets after `advances`.
    ///
    /// # Errors
    /// [`OffsetConflict`] where one of them does not start at the stored offset or goes back.
    pub fn advanced(&self, advances: &[Advance]) -> Result<Offsets, OffsetConflict> {
        let mut offsets = self.clone();
        for advance in advances {
            let stored = offsets.get(&advance.topic, advance.partition);
            if stored != advance.expected || stored.is_some_and(|stored| advance.next < stored) {
                return Err(OffsetConflict {
                    topic: advance.topic.to_string(),
                    partition: advance.partition,
                    stored,
                    expected: advance.expected,
                });
            }
            offsets.0.entry(advance.topic.to_string()).or_default().insert(advance.partition, advance.next);
        }
        Ok(offsets)
    }

    pub(crate) fn of(properties: &HashMap<String, String>) -> Result<Self, LakeError> {
        let Some(text) = properties.get(OFFSETS_PROPERTY) else { return Ok(Offsets::default()) };
        Self::parse(text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, LakeError> {
        serde_json::from_str(text).map_err(|error| LakeError::Malformed {
            what: format!("table property {OFFSETS_PROPERTY}"),
            error: error.to_string(),
        })
    }

    pub(crate) fn to_text(&self) -> Result<String, LakeError> {
        serde_json::to_string(self).map_err(|error| LakeError::Malformed {
            what: format!("table property {OFFSETS_PROPERTY}"),
            error: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(partition: i32, expected: Option<i64>, next: i64) -> Advance {
        Advance { topic: "t".into(), partition, expected, next }
    }

    #[test]
    fn only_the_stored_offset_may_be_advanced() {
        let offsets = Offsets::default().advanced(&[advance(0, None, 10), advance(1, None, 5)]).unwrap();
        assert_eq!(offsets.to_text().unwrap(), r#"{"t":{"0":10,"1":5}}"#);
        assert_eq!(Offsets::parse(&offsets.to_text().unwrap()).unwrap(), offsets);
        let cases = [
            (advance(0, Some(10), 12), Ok(Some(12))),
            (advance(0, Some(10), 10), Ok(Some(10))),
            (advance(0, Some(9), 12), Err(Some(10))),
            (advance(0, None, 12), Err(Some(10))),
            (advance(0, Some(10), 9), Err(Some(10))),
            (advance(2, Some(0), 9), Err(None)),
        ];
        for (wish, expected) in cases {
            let found = offsets
                .advanced(std::slice::from_ref(&wish))
                .map(|offsets| offsets.get("t", wish.partition))
                .map_err(|conflict| conflict.stored);
            assert_eq!(found, expected, "{wish:?}");
        }
    }
}
