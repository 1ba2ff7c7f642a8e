//! Keeps the newest record of every key (`cleanup.policy=compact`).
//!
//! Two passes over the closed segments: the first notes the newest offset of every key, the second
//! writes each segment again without the records that a newer one replaces and without tombstones
//! that are old enough. The active segment is never touched, so offsets never go back; batches that
//! lose nothing are copied as they are.
//!
//! Invariant: at every moment the directory holds either the old segments or the new one that took
//! their place; a crash between leaves at worst records that the next run removes again.

use super::PartitionLog;
use super::batch::{self, BatchHeader};
use super::index::SparseIndex;
use super::records;
use super::segment::Segment;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Distinct keys that one run can keep in mind (about 48 bytes each); the rest waits for the next run.
const MOST_KEYS: usize = 1_000_000;
/// An active segment smaller than this is not closed for the sake of compaction.
const ROLL_BYTES: u64 = 64 << 10;

/// Newest offset by key. Keys are kept as 128-bit hashes under two random seeds.
struct Newest {
    seeds: (RandomState, RandomState),
    offsets: HashMap<(u64, u64), i64>,
}

impl Newest {
    fn new() -> Self {
        Self { seeds: (RandomState::new(), RandomState::new()), offsets: HashMap::new() }
    }

    fn note(&mut self, key: &[u8], offset: i64) {
        let hash = (self.seeds.0.hash_one(key), self.seeds.1.hash_one(key));
        self.offsets.insert(hash, offset);
    }

    fn is_newest(&self, key: &[u8], offset: i64) -> bool {
        let hash = (self.seeds.0.hash_one(key), self.seeds.1.hash_one(key));
        self.offsets.get(&hash).is_none_or(|newest| *newest <= offset)
    }
}

/// What is left of a batch.
enum Kept {
    All,
    Nothing,
    Some(Vec<u8>),
}

impl PartitionLog {
    /// Compacts when the topic asks for it and enough of the log is new since the last time.
    ///
    /// # Errors
    /// When segments cannot be read, written or replaced; the log is then as before.
    pub(crate) fn compact(&self, now_ms: i64, stop: &CancellationToken) -> io::Result<()> {
        let config = self.config();
        if !config.compact {
            return Ok(());
        }
        let _alone = self.housekeeping.lock();
        let Some(segments) = self.closed_if_dirty(config.min_dirty_ratio)? else { return Ok(()) };
        let before: u64 = segments.iter().map(|s| s.size()).sum();
        let mut newest = Newest::new();
        let mut seen = 0;
        for segment in &segments {
            if stop.is_cancelled() || newest.offsets.len() >= MOST_KEYS {
                break;
            }
            note_keys(segment, &mut newest)?;
            seen += 1;
        }
        let cleaned_to = segments[..seen].last().map_or(0, |s| s.next_offset());
        let tombstones_before = now_ms.saturating_sub(config.delete_retention_ms);
        let mut from = 0;
        while from < seen && !stop.is_cancelled() {
            let group = grouped(&segments[from..seen], config.segment_bytes);
            self.rewrite(&segments[from..from + group], &newest, tombstones_before)?;
            from += group;
        }
        let mut inner = self.lock();
        inner.cleaned_to = cleaned_to;
        let after: u64 = inner.segments.iter().filter(|s| s.base() < cleaned_to).map(|s| s.size()).sum();
        drop(inner);
        tracing::info!(dir = %self.dir().display(), before, after, keys = newest.offsets.len(), "log compacted");
        Ok(())
    }

    /// The closed and flushed segments, when the part of the log that was never compacted is large
    /// enough; closes the active one first when that is most of it.
    fn closed_if_dirty(&self, min_ratio: f64) -> io::Result<Option<Vec<Arc<Segment>>>> {
        let mut inner = self.lock();
        let cleaned_to = inner.cleaned_to;
        let total: u64 = inner.segments.iter().map(|s| s.size()).sum();
        let dirty: u64 =
            inner.segments.iter().filter(|s| s.next_offset() > cleaned_to).map(|s| s.size()).sum();
        if dirty == 0 || (dirty as f64) < min_ratio * total as f64 {
            return Ok(None);
        }
        let active_bytes = inner.active().size();
        if active_bytes >= ROLL_BYTES && active_bytes * 2 > dirty {
            self.roll(&mut inner)?;
        }
        let waits = |s: &Arc<Segment>| inner.unsynced.iter().any(|u| Arc::ptr_eq(u, s));
        let closed: Vec<_> =
            inner.segments[..inner.segments.len() - 1].iter().take_while(|s| !waits(s)).cloned().collect();
        let anything_new = closed.last().is_some_and(|s| s.next_offset() > cleaned_to);
        Ok(anything_new.then_some(closed))
    }

    /// Replaces `old`, which follow each other, by one segment with what is kept of them.
    fn rewrite(&self, old: &[Arc<Segment>], newest: &Newest, tombstones_before: i64) -> io::Result<()> {
        let (base, next) = (old[0].base(), old[old.len() - 1].next_offset());
        let path = Segment::path_in(self.dir(), base);
        let scratch = path.with_extension("cleaned");
        let mut writer = BufWriter::with_capacity(1 << 20, File::create(&scratch)?);
        let mut index = SparseIndex::default();
        let mut size = 0u64;
        let written = old.iter().try_for_each(|segment| {
            each_batch(segment, |batch, header| {
                let mut kept = keep(batch, header, newest, tombstones_before);
                if matches!(kept, Kept::Nothing) && header.next_offset() == next {
                    // Without records, but consumers see how far the log goes.
                    kept = batch::rebuilt(batch, &[], 0, 0).map_or(Kept::All, Kept::Some);
                }
                let bytes: &[u8] = match &kept {
                    Kept::All => batch,
                    Kept::Nothing => return Ok(()),
                    Kept::Some(bytes) => bytes,
                };
                index.push(header.base_offset, size, header.max_timestamp);
                size += bytes.len() as u64;
                writer.write_all(bytes)
            })
        });
        let flushed = written
            .and_then(|()| writer.into_inner().map_err(|e| e.into_error()))
            .and_then(|f| f.sync_data());
        if let Err(error) = flushed {
            let _ = std::fs::remove_file(&scratch);
            return Err(error);
        }
        let before: u64 = old.iter().map(|s| s.size()).sum();
        if old.len() == 1 && size == before {
            return std::fs::remove_file(&scratch);
        }
        let mut inner = self.lock();
        let Some(at) = inner.segments.iter().position(|s| Arc::ptr_eq(s, &old[0])) else {
            return std::fs::remove_file(&scratch);
        };
        // The sealed index goes first: without it the new file is read through after a crash.
        match std::fs::remove_file(old[0].index_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::rename(&scratch, &path)?;
        File::open(self.dir())?.sync_all()?;
        for swallowed in &old[1..] {
            swallowed.remove()?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let segment = Arc::new(Segment::over(path, base, file, size, next, index));
        inner.segments.splice(at..at + old.len(), [Arc::clone(&segment)]);
        drop(inner);
        segment.seal()
    }
}

/// How many of `segments` fit into one of `segment_bytes`, at least one.
fn grouped(segments: &[Arc<Segment>], segment_bytes: u64) -> usize {
    let mut bytes = 0;
    segments
        .iter()
        .take_while(|segment| {
            bytes += segment.size();
            bytes <= segment_bytes
        })
        .count()
        .max(1)
}

fn each_batch(
    segment: &Segment,
    mut visit: impl FnMut(&[u8], &BatchHeader) -> io::Result<()>,
) -> io::Result<()> {
    let mut outcome = Ok(());
    segment.walk(0, |position, header| {
        outcome = segment.read_range(position, header.size).and_then(|batch| visit(&batch, header));
        outcome.is_ok()
    })?;
    outcome
}

fn note_keys(segment: &Segment, newest: &mut Newest) -> io::Result<()> {
    each_batch(segment, |batch, header| {
        let Ok(records) = records::decompress(batch, header) else { return Ok(()) };
        for record in records::iterate(&records).flatten() {
            if let Some(key) = record.key {
                newest.note(key, header.base_offset + record.offset_delta);
            }
        }
        Ok(())
    })
}

/// Records without a key are kept: a compacted topic should not have any, but nothing is dropped in
/// silence. So is a batch that cannot be read.
fn keep(batch: &[u8], header: &BatchHeader, newest: &Newest, tombstones_before: i64) -> Kept {
    let Ok(unpacked) = records::decompress(batch, header) else { return Kept::All };
    let mut kept = Vec::with_capacity(unpacked.len());
    let (mut count, mut dropped) = (0, 0);
    for record in records::iterate(&unpacked) {
        let Some(record) = record else { return Kept::All };
        let stays = record.key.is_none_or(|key| {
            let too_old =
                record.value_is_null && header.base_timestamp + record.timestamp_delta < tombstones_before;
            newest.is_newest(key, header.base_offset + record.offset_delta) && !too_old
        });
        if stays {
            kept.extend_from_slice(record.raw);
            count += 1;
        } else {
            dropped += 1;
        }
    }
    match (count, dropped) {
        (_, 0) => Kept::All,
        (0, _) => Kept::Nothing,
        _ => {
            let packed = records::compress(kept, header.codec()).ok();
            let rebuilt = packed.and_then(|packed| batch::rebuilt(batch, &packed, count, header.codec()));
            rebuilt.map_or(Kept::All, Kept::Some)
        }
    }
}
