//! The sparse index of one segment: every 32 KiB or so, where a batch begins and the largest
//! timestamp so far. It answers "where to start reading" for an offset or a time; the exact batch is
//! found by walking headers from there.
//!
//! Invariant: an index is derived from its segment and can be rebuilt at any time; the sealed file
//! exists only for closed segments that were flushed, and says the length it was made for.

use std::io::Write;
use std::path::Path;

/// Distance in bytes between two entries, at least.
const INTERVAL_BYTES: u64 = 32 << 10;
const MAGIC: &[u8; 8] = b"AFLIDX01";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: i64,
    position: u64,
    /// Largest timestamp of this batch and all before it in the segment.
    max_timestamp: i64,
}

/// Sparse offsets, positions and times of one segment, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    entries: Vec<Entry>,
    max_timestamp: Option<i64>,
}

/// What the sealed file says of its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub log_bytes: u64,
    pub next_offset: i64,
    pub index: SparseIndex,
}

impl SparseIndex {
    /// Takes note of the batch at `position`.
    pub(crate) fn push(&mut self, offset: i64, position: u64, max_timestamp: i64) {
        let max_timestamp = self.max_timestamp.map_or(max_timestamp, |seen| seen.max(max_timestamp));
        self.max_timestamp = Some(max_timestamp);
        if self.entries.last().is_none_or(|last| position >= last.position + INTERVAL_BYTES) {
            self.entries.push(Entry { offset, position, max_timestamp });
        }
    }

    /// Where to begin walking for `offset`: the position of a batch that begins at or before it.
    pub(crate) fn position_for_offset(&self, offset: i64) -> u64 {
        let after = self.entries.partition_point(|e| e.offset <= offset);
        if after == 0 { 0 } else { self.entries[after - 1].position }
    }

    /// Where to begin walking for the first batch whose largest timestamp is at least `timestamp`.
    pub(crate) fn position_for_time(&self, timestamp: i64) -> u64 {
        let after = self.entries.partition_point(|e| e.max_timestamp < timestamp);
        if after == 0 { 0 } else { self.entries[after - 1].position }
    }

    /// Largest timestamp in the segment; `None` when it is empty.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        self.max_timestamp
    }

    /// Writes the sealed file, durably.
    pub(crate) fn seal(&self, path: &Path, log_bytes: u64, next_offset: i64) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(40 + self.entries.len() * 24);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&log_bytes.to_be_bytes());
        bytes.extend_from_slice(&next_offset.to_be_bytes());
        bytes.extend_from_slice(&self.max_timestamp.unwrap_or(i64::MIN).to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
            bytes.extend_from_slice(&entry.max_timestamp.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        let temporary = path.with_extension("index.tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)
    }

    /// Reads a sealed file; `None` when it is absent or damaged.
    pub(crate) fn unseal(path: &Path) -> Option<Sealed> {
        let bytes = std::fs::read(path).ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (log_bytes, rest) = rest.split_first_chunk::<8>()?;
        let (next_offset, rest) = rest.split_first_chunk::<8>()?;
        let (max_timestamp, rest) = rest.split_first_chunk::<8>()?;
        let entries = rest
            .chunks_exact(24)
            .map(|chunk| {
                let word =
                    |at: usize| chunk[at..at + 8].try_into().map(i64::from_be_bytes).unwrap_or_default();
                Entry { offset: word(0), position: word(8) as u64, max_timestamp: word(16) }
            })
            .collect();
        let max_timestamp = Some(i64::from_be_bytes(*max_timestamp)).filter(|t| *t != i64::MIN);
        Some(Sealed {
            log_bytes: u64::from_be_bytes(*log_bytes),
            next_offset: i64::from_be_bytes(*next_offset),
            index: Self { entries, max_timestamp },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_lookup_never_starts_past_its_target(
            batches in prop::collection::vec((1i64..500, 61u64..40_000, 0i64..1000), 1..80), probe in 0i64..20_000, time in 0i64..1000,
        ) {
            let mut index = SparseIndex::default();
            let (mut offset, mut position) = (0, 0);
            let mut laid = Vec::new();
            for (count, size, timestamp) in batches {
                index.push(offset, position, timestamp);
                laid.push((offset, offset + count, position, timestamp));
                offset += count;
                position += size;
            }
            if let Some((.., at, _)) = laid.iter().find(|(_, next, ..)| *next > probe) {
                prop_assert!(index.position_for_offset(probe) <= *at);
            }
            if let Some((.., at, _)) = laid.iter().find(|(.., t)| *t >= time) {
                prop_assert!(index.position_for_time(time) <= *at);
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.index");
            index.seal(&path, position, offset).unwrap();
            let sealed = SparseIndex::unseal(&path).unwrap();
            prop_assert_eq!(sealed, Sealed { log_bytes: position, next_offset: offset, index });
        }
    }
}
