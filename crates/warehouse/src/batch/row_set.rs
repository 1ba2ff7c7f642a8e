//! A set of rows, or of values, by their hashes of 128 bits: some thirty bytes each, whatever they hold.

use super::digest::RowHash;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Rows by their hashes. Two that differ are taken for one once in 2^128.
#[derive(Debug, Default)]
pub(crate) struct RowSet(HashSet<u128, BuildHasherDefault<Hashed>>);

impl RowSet {
    pub(crate) fn insert(&mut self, hash: RowHash) {
        self.0.insert(whole(hash));
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, hash: RowHash) -> bool {
        self.0.remove(&whole(hash))
    }

    pub(crate) fn contains(&self, hash: RowHash) -> bool {
        self.0.contains(&whole(hash))
    }
}

fn whole(hash: RowHash) -> u128 {
    u128::from(hash[1]) << 64 | u128::from(hash[0])
}

/// What is a hash already is not hashed again.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let folded = |hash: u64, byte: &u8| hash.rotate_left(8) ^ u64::from(*byte);
        self.0 = bytes.iter().fold(self.0, folded);
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_both_halves() {
        let mut rows = RowSet::default();
        rows.insert([1, 2]);
        rows.insert([1, 2]);
        for (hash, expected) in [([1, 2], true), ([2, 1], false), ([1, 3], false), ([3, 2], false)] {
            assert_eq!(rows.contains(hash), expected, "{hash:?}");
        }
        assert!(rows.remove([1, 2]) && !rows.remove([1, 2]) && !rows.contains([1, 2]));
    }
}
