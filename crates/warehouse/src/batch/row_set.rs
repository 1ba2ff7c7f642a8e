//! Rows, or values, by their hashes of 128 bits, whatever they hold: a set of them in some thirty bytes each, and a map.
//! Two that differ are taken for one once in 2^128.

use super::digest::RowHash;
use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// Rows by their hashes.
#[derive(Debug, Default)]
pub(crate) struct RowSet(HashSet<u128, BuildHasherDefault<Hashed>>);

impl RowSet {
    pub(crate) fn insert(&mut self, hash: RowHash) {
        self.0.insert(whole(hash));
    }

    pub(crate) fn contains(&self, hash: RowHash) -> bool {
        self.0.contains(&whole(hash))
    }
}

/// What is known of rows, by their hashes.
#[derive(Debug)]
pub(crate) struct RowMap<V>(HashMap<u128, V, BuildHasherDefault<Hashed>>);

impl<V> Default for RowMap<V> {
    fn default() -> Self {
        RowMap(HashMap::default())
    }
}

impl<V> RowMap<V> {
    pub(crate) fn entry(&mut self, hash: RowHash) -> Entry<'_, u128, V> {
        self.0.entry(whole(hash))
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_values()
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
        let (mut rows, mut known) = (RowSet::default(), RowMap::default());
        rows.insert([1, 2]);
        rows.insert([1, 2]);
        for (hash, expected) in [([1, 2], true), ([2, 1], false), ([1, 3], false), ([3, 2], false)] {
            assert_eq!(rows.contains(hash), expected, "{hash:?}");
            *known.entry(hash).or_insert(0) += 1;
            *known.entry([1, 2]).or_insert(0) += 1;
        }
        let mut times: Vec<i32> = known.into_values().collect();
        times.sort_unstable();
        assert_eq!(times, [1, 1, 1, 5]);
    }
}
