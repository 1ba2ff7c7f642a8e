//! Which ids a collection does not have, without asking the disk.
//!
//! Ids of events are UUIDs of version 7: they begin with the time they were made, so new ones are close
//! together. They are divided into buckets of time. Of a bucket that is held here every stored id is
//! known: it was read from disk once, and whatever was written since was noted.
//!
//! Invariant: an id that is claimed is not stored, and is not claimed again. All others have to be looked up, which is what
//! ids of any other form always are.

use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// A bucket is 2^12 milliseconds.
const BUCKET_BITS: u32 = 12;
/// Ids held together, of 8 bytes and as much again for the table.
const IDS_MAX: usize = 512 * 1024;
/// Buckets held, however few ids they have.
const BUCKETS_MAX: usize = 1_024;
/// Stored ids that are read for one bucket; one with more is always looked up.
pub(super) const LOAD_MAX: usize = 16_384;

/// The newest buckets of a collection.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// `None`: not worth loading, everything in it has to be looked up.
    buckets: BTreeMap<u64, Option<HashSet<u64>>>,
    ids: usize,
    /// Buckets before this one are not held (again).
    floor: u64,
}

/// Where an id belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    bucket: u64,
    /// The random part of the id. Two ids may share it: then both have to be looked up.
    mark: u64,
}

impl Recent {
    /// True where `id` is certainly not stored: it is noted then, as [`Recent::note`] does. `load` reads up to
    /// [`LOAD_MAX`] stored ids that begin with a prefix, `None` where there are more.
    ///
    /// # Errors
    /// Those of `load`.
    pub(super) fn claim<E>(
        &mut self,
        id: &str,
        load: impl FnOnce(&str) -> Result<Option<Vec<String>>, E>,
    ) -> Result<bool, E> {
        let Some(place) = Place::of(id) else { return Ok(false) };
        if place.bucket < self.floor {
            return Ok(false);
        }
        if !self.buckets.contains_key(&place.bucket) {
            let stored = load(&place.prefix())?;
            let marks: Option<HashSet<u64>> =
                stored.map(|ids| ids.iter().filter_map(|id| Place::of(id)).map(|place| place.mark).collect());
            self.ids += marks.as_ref().map_or(0, HashSet::len);
            self.buckets.insert(place.bucket, marks);
            self.shrink();
        }
        Ok(self.insert(place))
    }

    /// Notes that `id` is stored, or about to be.
    pub(super) fn note(&mut self, id: &str) {
        if let Some(place) = Place::of(id) {
            self.insert(place);
        }
    }

    /// True where the bucket is held and did not have the mark.
    fn insert(&mut self, place: Place) -> bool {
        let Some(Some(marks)) = self.buckets.get_mut(&place.bucket) else { return false };
        let is_new = marks.insert(place.mark);
        if is_new {
            self.ids += 1;
            self.shrink();
        }
        is_new
    }

    /// Lets the oldest buckets go while there is too much.
    fn shrink(&mut self) {
        while self.ids > IDS_MAX || self.buckets.len() > BUCKETS_MAX {
            let Some((bucket, marks)) = self.buckets.pop_first() else { break };
            self.ids -= marks.map_or(0, |marks| marks.len());
            self.floor = bucket + 1;
        }
    }
}

impl Place {
    /// The place of a UUID of version 7 in its canonical form.
    fn of(id: &str) -> Option<Self> {
        let bytes = id.as_bytes();
        if bytes.len() != 36 || bytes[14] != b'7' || bytes.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let (high, mark) = Uuid::try_parse_ascii(bytes).ok()?.as_u64_pair();
        Some(Place { bucket: high >> 16 >> BUCKET_BITS, mark: mark ^ high })
    }

    /// What all ids of the bucket begin with.
    fn prefix(self) -> String {
        let high = self.bucket << BUCKET_BITS >> 16;
        let next = self.bucket & 0xF;
        format!("{high:08x}-{next:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn id(millis: u64, random: u64) -> String {
        Uuid::from_u64_pair(millis << 16 | 0x7000, random | 1 << 63).to_string()
    }

    #[test]
    fn ids_of_a_bucket_share_its_prefix() {
        for millis in [0, 4_095, 4_096, 1_700_000_000_123, (1 << 48) - 1] {
            let id = id(millis, 5);
            let place = Place::of(&id).unwrap();
            assert!(id.starts_with(&place.prefix()), "{id} {}", place.prefix());
            assert_eq!(place.bucket, millis >> BUCKET_BITS);
        }
        for other in ["", "x", &id(0xabc, 0xdef).to_uppercase(), "01234567-89ab-4def-8123-456789abcdef"] {
            assert_eq!(Place::of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_claimed_is_not_stored() {
        let mut stored: BTreeSet<String> = (0..200).map(|n| id(n * 50, n)).collect();
        let mut recent = Recent::default();
        let mut loads = 0;
        for round in 0..2 {
            for n in (0..400).rev() {
                let id = id(n * 50, n);
                let claimed = recent.claim::<()>(&id, |prefix| {
                    loads += 1;
                    let ids: Vec<String> =
                        stored.iter().filter(|id| id.starts_with(prefix)).cloned().collect();
                    Ok((ids.len() < 60 || prefix != "00000000-1").then_some(ids))
                });
                // Too many in one bucket: never claimed.
                let looked_up = (4_096..8_192).contains(&(n * 50));
                assert_eq!(claimed, Ok(!looked_up && !stored.contains(&id)), "{round} {n}");
                assert_eq!(recent.claim::<()>(&id, |_| Err(())), Ok(false), "again");
                stored.insert(id);
            }
        }
        assert_eq!(loads, 5);
    }

    #[test]
    fn old_buckets_are_let_go() {
        let mut recent = Recent::default();
        for bucket in 0..=BUCKETS_MAX as u64 {
            assert_eq!(recent.claim::<()>(&id(bucket << 12, 1), |_| Ok(Some(Vec::new()))), Ok(true));
        }
        assert_eq!((recent.floor, recent.buckets.len()), (1, BUCKETS_MAX));
        assert_eq!(recent.claim::<()>(&id(0, 1), |_| Ok(Some(Vec::new()))), Ok(false), "let go");
        for n in 0..=IDS_MAX as u64 {
            recent.note(&id(1 << 12, n));
        }
        assert_eq!((recent.ids, recent.floor), (BUCKETS_MAX - 1, 2));
    }
}
