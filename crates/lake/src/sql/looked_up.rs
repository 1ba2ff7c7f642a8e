//! What look-ups of keys found, kept for whoever looks for the same keys in the same state of the table next: an increment
//! computes a table, checks it and balances it by the same units.
//!
//! Invariant: what is kept is of one snapshot, one column and exactly these keys, which are compared one by one. The oldest
//! goes first.

use super::sought::Chosen;
use crate::read::sought::Sought;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Look-ups that are kept at the most, and keys of all of them together, some eighty bytes each with their places.
const KEPT_MAX: usize = 32;
const KEYS_MAX: usize = 400_000;

/// What was looked for where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// `namespace.name`.
    pub(crate) table: String,
    pub(crate) snapshot: Option<i64>,
    /// The column's field id.
    pub(crate) column: i32,
    pub(crate) sought: Arc<Sought>,
}

/// What was found.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The rows with a key.
    Part(Chosen),
    /// It takes most of the table to tell.
    Most,
}

/// The last look-ups with what they found.
#[derive(Debug, Default)]
pub(crate) struct LookedUp(Mutex<VecDeque<(Asked, Answer)>>);

impl LookedUp {
    pub(crate) fn get(&self, asked: &Asked) -> Option<Answer> {
        let kept = self.0.lock();
        kept.iter().find(|known| known.0 == *asked).map(|known| known.1.clone())
    }

    pub(crate) fn put(&self, asked: Asked, found: Answer) {
        let mut kept = self.0.lock();
        kept.push_back((asked, found));
        let keys = |kept: &VecDeque<(Asked, Answer)>| -> usize {
            kept.iter().map(|known| known.0.sought.len()).sum()
        };
        while kept.len() > KEPT_MAX || keys(&kept) > KEYS_MAX {
            kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Int64Array;

    fn asked(snapshot: i64, column: i32, keys: &[i64]) -> Asked {
        let sought = Arc::new(Sought::of(&[&Int64Array::from(keys.to_vec())]).unwrap());
        Asked { table: "a.b".to_owned(), snapshot: Some(snapshot), column, sought }
    }

    #[test]
    fn only_the_same_question_has_the_same_answer() {
        let known = LookedUp::default();
        known.put(asked(1, 2, &[3, 4]), Answer::Part(Chosen::from([("file".to_owned(), None)])));
        known.put(asked(1, 3, &[3, 4]), Answer::Most);
        let part = known.get(&asked(1, 2, &[4, 3]));
        assert!(matches!(part, Some(Answer::Part(part)) if part.len() == 1), "keys have no order");
        assert!(matches!(known.get(&asked(1, 3, &[3, 4])), Some(Answer::Most)));
        for other in [asked(2, 2, &[3, 4]), asked(1, 2, &[3]), asked(1, 2, &[3, 5]), asked(1, 2, &[3, 4, 5])]
        {
            assert!(known.get(&other).is_none(), "{other:?}");
        }
        assert!(known.get(&Asked { table: "a.c".to_owned(), ..asked(1, 2, &[3, 4]) }).is_none());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let known = LookedUp::default();
        let most: Vec<i64> = (0..250_000).collect();
        known.put(asked(1, 1, &most), Answer::Most);
        known.put(asked(2, 1, &most), Answer::Most);
        assert!(known.get(&asked(1, 1, &most)).is_none() && known.get(&asked(2, 1, &most)).is_some());
        for snapshot in 10..50 {
            known.put(asked(snapshot, 1, &[1]), Answer::Most);
        }
        let kept = (0..50).filter(|&snapshot| known.get(&asked(snapshot, 1, &[1])).is_some());
        assert_eq!(kept.collect::<Vec<_>>(), (18..50).collect::<Vec<_>>());
    }
}
