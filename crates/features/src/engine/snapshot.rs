//! State as bytes: written in frames, each with its length and checksum, read back with bounds on everything.
//!
//! ```text
//! magic "AFFLFEAT" | version u32
//! frame*: length u32 | crc32c u32 | payload
//!   first payload:  caller's bytes: length u32, bytes | counters 6 x u64 | groups u32 | group*: digest 16 bytes, keys u64, lost i64
//!   others:         group u32 | key u128 | newest i64 | lost i64 | rows u32 | rows of the group's stride, i64   (repeated)
//!   last payload:   empty
//! ```
//!
//! All little-endian. A key with many rows goes over several records, one after the other. The caller's bytes are the offsets up to which events were
//! applied: they are stored with the state, so the two cannot disagree.
//!
//! Invariant: what is restored answers like what was stored; bytes that are damaged, cut off or of other definitions are an
//! error, never a state.

use super::keys::Slot;
use super::{Counters, Engine};
use crate::aggregate::instant;
use crate::event::Key;
use crate::plan::Plan;
use std::io::{Read, Write};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"AFFLFEAT";
const VERSION: u32 = 2;
/// The version before, whose groups have no `lost`, is read too.
const WITHOUT_LOST: u32 = 1;
/// Frames are begun anew beyond this, and are never longer than twice this.
const FRAME: usize = 1 << 20;
/// Bytes of a slice, but for a key that has more.
const SLICE: usize = 1 << 18;
/// The caller's bytes are at most so many.
pub const CALLER_MAX: usize = 1 << 19;
/// Bytes of a record before its rows.
const RECORD: usize = 4 + 16 + 8 + 8 + 4;

/// How far a snapshot has been written.
#[derive(Debug)]
pub struct Slices {
    /// Keys of each group when it was begun.
    counts: Vec<usize>,
    group: usize,
    /// The next key of the group.
    next: usize,
}

/// Why a state cannot be stored or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot: {0}")]
    Io(#[from] std::io::Error),
    #[error("snapshot is damaged: {0}")]
    Damaged(&'static str),
    #[error("snapshot has format {0}, this program reads {VERSION}")]
    Version(u32),
    #[error("snapshot was made with other definitions of {0}: build the state anew from history")]
    Definitions(String),
    #[error("snapshot has {keys} keys of {entity}, more than keys_max = {keys_max}")]
    Keys { entity: String, keys: u64, keys_max: usize },
    #[error("snapshot: the caller's {0} bytes are more than {CALLER_MAX}")]
    Caller(usize),
}

impl Engine {
    /// Writes the state, with some bytes of the caller's.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], [`SnapshotError::Caller`].
    pub fn snapshot(&self, caller: &[u8], into: &mut impl Write) -> Result<(), SnapshotError> {
        let mut slices = self.snapshot_begin(caller, into)?;
        while self.snapshot_next(&mut slices, into)? {}
        Ok(())
    }

    /// Begins a snapshot that is written slice by slice, while events are applied in between.
    ///
    /// What is restored from it has applied every event that had been applied now, and some later ones at some of their keys. So the later ones are
    /// applied again, in any order ([`super::Options::any_order`]): each key knows those it has. No key may be let go ([`Engine::evict`]) before the
    /// last slice; if one is, the snapshot cannot be restored.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], [`SnapshotError::Caller`].
    pub fn snapshot_begin(&self, caller: &[u8], into: &mut impl Write) -> Result<Slices, SnapshotError> {
        if caller.len() > CALLER_MAX {
            return Err(SnapshotError::Caller(caller.len()));
        }
        into.write_all(MAGIC)?;
        into.write_all(&VERSION.to_le_bytes())?;
        let mut frame = Vec::with_capacity(FRAME + RECORD);
        put_length(&mut frame, caller.len());
        frame.extend_from_slice(caller);
        for count in self.counters.numbers() {
            frame.extend(count.to_le_bytes());
        }
        put_length(&mut frame, self.keys.len());
        for (group, keys) in self.plan.groups.iter().zip(&self.keys) {
            frame.extend(group.digest);
            frame.extend((keys.slots.len() as u64).to_le_bytes());
            frame.extend(keys.lost.to_le_bytes());
        }
        flush(&mut frame, into)?;
        let counts = self.keys.iter().map(|keys| keys.slots.len()).collect();
        Ok(Slices { counts, group: 0, next: 0 })
    }

    /// Writes the next slice of a snapshot that was begun; false where it was the last one.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn snapshot_next(&self, slices: &mut Slices, into: &mut impl Write) -> Result<bool, SnapshotError> {
        let mut frame = Vec::with_capacity(SLICE + RECORD);
        while let (Some(group), Some(&count)) =
            (self.plan.groups.get(slices.group), slices.counts.get(slices.group))
        {
            let keys = &self.keys[slices.group];
            // Keys that came since are of records that are read again.
            while slices.next < count.min(keys.slots.len()) {
                if frame.len() >= SLICE {
                    flush(&mut frame, into)?;
                    return Ok(true);
                }
                let (slot, words) = (&keys.slots[slices.next], keys.rows(slices.next).words());
                put_key(&mut frame, into, slices.group, group.stride, slot, words)?;
                slices.next += 1;
            }
            (slices.group, slices.next) = (slices.group + 1, 0);
        }
        if !frame.is_empty() {
            flush(&mut frame, into)?;
        }
        flush(&mut frame, into)?;
        Ok(false)
    }

    /// Reads a state that [`Engine::snapshot`] wrote, and the caller's bytes.
    ///
    /// # Errors
    /// [`SnapshotError`]: nothing of the snapshot can be used.
    pub fn restore(
        plan: Arc<Plan>,
        options: super::Options,
        from: &mut impl Read,
    ) -> Result<(Self, Vec<u8>), SnapshotError> {
        let mut head = [0; 12];
        from.read_exact(&mut head)?;
        if &head[..8] != MAGIC {
            return Err(SnapshotError::Damaged("it does not begin like a snapshot"));
        }
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if ![WITHOUT_LOST, VERSION].contains(&version) {
            return Err(SnapshotError::Version(version));
        }
        let mut engine = Engine::new(plan, options);
        let mut frame = Vec::new();
        next_frame(from, &mut frame)?;
        let (caller, expected) = engine.read_head(&mut Bytes(&frame), version)?;
        loop {
            next_frame(from, &mut frame)?;
            if frame.is_empty() {
                break;
            }
            let mut bytes = Bytes(&frame);
            while !bytes.0.is_empty() {
                engine.read_record(&mut bytes)?;
            }
        }
        if engine.keys.iter().map(|keys| keys.slots.len() as u64).ne(expected) {
            return Err(SnapshotError::Damaged("keys are missing"));
        }
        Ok((engine, caller))
    }

    fn read_head(&mut self, bytes: &mut Bytes, version: u32) -> Result<(Vec<u8>, Vec<u64>), SnapshotError> {
        let length = bytes.length()?;
        let caller = bytes.take(length)?.to_vec();
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = bytes.u64()?;
        }
        self.counters = Counters::of(counts);
        if bytes.length()? != self.keys.len() {
            return Err(SnapshotError::Definitions("some entity".to_owned()));
        }
        let mut expected = Vec::new();
        for (group, keys) in self.plan.groups.iter().zip(&mut self.keys) {
            if bytes.take(16)? != group.digest {
                return Err(SnapshotError::Definitions(self.plan.entity_shape(group.entity).name.clone()));
            }
            let count = bytes.u64()?;
            keys.lost = if version == WITHOUT_LOST { i64::MIN } else { bytes.u64()?.cast_signed() };
            let keys_max = self.options.keys_max;
            let Some(room) = usize::try_from(count).ok().filter(|&count| count <= keys_max) else {
                let entity = self.plan.entity_shape(group.entity).name.clone();
                return Err(SnapshotError::Keys { entity, keys: count, keys_max });
            };
            // The number is not trusted with more than a few megabytes before the keys have come.
            keys.reserve(room.min(1 << 21));
            expected.push(count);
        }
        if bytes.0.is_empty() {
            Ok((caller, expected))
        } else {
            Err(SnapshotError::Damaged("its head is too long"))
        }
    }

    fn read_record(&mut self, bytes: &mut Bytes) -> Result<(), SnapshotError> {
        let number = bytes.length()?;
        let (Some(group), Some(keys)) = (self.plan.groups.get(number), self.keys.get_mut(number)) else {
            return Err(SnapshotError::Damaged("a group that is not there"));
        };
        let key = Key(bytes.u128()?);
        let (newest, lost) = (bytes.u64()?.cast_signed(), bytes.u64()?.cast_signed());
        let rows = bytes.length()?;
        let words =
            bytes.take(rows.checked_mul(group.stride * 8).ok_or(SnapshotError::Damaged("too long"))?)?;
        let words: Vec<i64> = words.as_chunks::<8>().0.iter().map(|word| i64::from_le_bytes(*word)).collect();
        let slot = keys.slot(key, self.options.keys_max).ok_or(SnapshotError::Damaged("too many keys"))?;
        (keys.slots[slot].newest, keys.slots[slot].lost) = (newest, lost);
        let known = keys.rows(slot).len();
        let mut last = keys.rows(slot).last().map(instant);
        for row in words.chunks_exact(group.stride) {
            let at = instant(row);
            let is_time = (-super::TIME_MAX..=super::TIME_MAX).contains(&at.0);
            // Of the rows of one moment some may have been let go, where there were too many.
            if last.is_some_and(|last| last >= at) || at.0 > newest || at.0 < lost || !is_time {
                return Err(SnapshotError::Damaged("rows are not in order"));
            }
            last = Some(at);
        }
        if known + rows > crate::event::EVENTS_MAX {
            return Err(SnapshotError::Damaged("a key has too many rows"));
        }
        keys.extend(slot, &words);
        Ok(())
    }
}

impl Counters {
    fn numbers(&self) -> [u64; 6] {
        [self.new, self.corrected, self.duplicates, self.late, self.refused, self.shortened]
    }

    fn of([new, corrected, duplicates, late, refused, shortened]: [u64; 6]) -> Self {
        Counters { new, corrected, duplicates, late, refused, shortened }
    }
}

/// Appends all records of a key.
fn put_key(
    frame: &mut Vec<u8>,
    into: &mut impl Write,
    group: usize,
    stride: usize,
    slot: &Slot,
    words: &[i64],
) -> Result<(), SnapshotError> {
    let rows_max = (FRAME / 8 / stride).max(1);
    // A key without rows has one record too: it knows what is late.
    let mut parts = words.chunks(rows_max * stride);
    let mut part = parts.next().unwrap_or(&[]);
    loop {
        if frame.len() + RECORD + part.len() * 8 > FRAME + RECORD && !frame.is_empty() {
            flush(frame, into)?;
        }
        put_length(frame, group);
        frame.extend(slot.key.0.to_le_bytes());
        frame.extend(slot.newest.to_le_bytes());
        frame.extend(slot.lost.to_le_bytes());
        put_length(frame, part.len() / stride);
        frame.extend(part.iter().flat_map(|word| word.to_le_bytes()));
        match parts.next() {
            Some(next) => part = next,
            None => return Ok(()),
        }
    }
}

fn put_length(frame: &mut Vec<u8>, length: usize) {
    // Everything written here is bounded far below: groups, rows of a part, the caller's bytes.
    frame.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn flush(frame: &mut Vec<u8>, into: &mut impl Write) -> Result<(), SnapshotError> {
    let mut head = Vec::with_capacity(8);
    put_length(&mut head, frame.len());
    head.extend(crc32c::crc32c(frame).to_le_bytes());
    into.write_all(&head)?;
    into.write_all(frame)?;
    frame.clear();
    Ok(())
}

fn next_frame(from: &mut impl Read, frame: &mut Vec<u8>) -> Result<(), SnapshotError> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let mut head = Bytes(&head);
    let (length, checksum) = (head.length()?, head.length()?);
    if length > 2 * FRAME {
        return Err(SnapshotError::Damaged("a frame is too long"));
    }
    frame.resize(length, 0);
    from.read_exact(frame)?;
    if crc32c::crc32c(frame) as usize != checksum {
        return Err(SnapshotError::Damaged("a checksum is wrong"));
    }
    Ok(())
}

/// Bytes of a frame that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SnapshotError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SnapshotError::Damaged("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn length(&mut self) -> Result<usize, SnapshotError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn u128(&mut self) -> Result<u128, SnapshotError> {
        Ok(u128::from_le_bytes(self.array()?))
    }
}
