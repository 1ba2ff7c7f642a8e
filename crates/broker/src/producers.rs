//! Idempotent producers: what one partition remembers of each, and the broker's counter of ids.
//!
//! Invariant: a batch with a producer id is appended once. A retry of one of the last five batches is
//! answered with the offset it was given; anything else out of sequence is refused.

use crate::error::Error;
use crate::log::batch::{BatchHeader, sequence_after};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

/// Batches remembered per producer: clients keep at most this many in flight.
const REMEMBERED_BATCHES: usize = 5;
/// Producers remembered per partition; the longest silent are forgotten first.
const REMEMBERED_PRODUCERS: usize = 10_000;
/// Ids taken from the persisted counter at a time.
const ID_BLOCK: i64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Remembered>,
    /// Milliseconds since the epoch of the last batch seen.
    seen_ms: i64,
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// Stored already, at this offset.
    Duplicate(i64),
    /// The epoch is older than the newest one seen.
    Fenced,
    OutOfOrder,
}

/// The idempotence state of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producers(HashMap<i64, Producer>);

impl Producers {
    /// Decides about a batch without changing anything.
    pub(crate) fn check(&self, header: &BatchHeader) -> Verdict {
        if !header.is_idempotent() {
            return Verdict::Append;
        }
        let Some(producer) = self.0.get(&header.producer_id) else {
            // Its state may have expired here or been removed with the records: the client knows best.
            return Verdict::Append;
        };
        if header.producer_epoch < producer.epoch {
            return Verdict::Fenced;
        }
        if header.producer_epoch > producer.epoch {
            return if header.base_sequence == 0 { Verdict::Append } else { Verdict::OutOfOrder };
        }
        let same = |b: &&Remembered| {
            b.first_sequence == header.base_sequence && b.last_sequence == header.last_sequence()
        };
        if let Some(stored) = producer.batches.iter().find(same) {
            return Verdict::Duplicate(stored.base_offset);
        }
        match producer.batches.back() {
            Some(last) if sequence_after(last.last_sequence, 1) != header.base_sequence => {
                Verdict::OutOfOrder
            }
            _ => Verdict::Append,
        }
    }

    /// Takes note of a batch that was appended at `base_offset`.
    pub(crate) fn note(&mut self, header: &BatchHeader, base_offset: i64, now_ms: i64) {
        if !header.is_idempotent() {
            return;
        }
        let producer = self.0.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            batches: VecDeque::new(),
            seen_ms: now_ms,
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.seen_ms = now_ms;
        if producer.batches.len() == REMEMBERED_BATCHES {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
        });
        if self.0.len() > REMEMBERED_PRODUCERS {
            self.forget_oldest();
        }
    }

    /// Forgets producers silent since `before_ms`.
    pub(crate) fn expire(&mut self, before_ms: i64) {
        self.0.retain(|_, producer| producer.seen_ms >= before_ms);
    }

    fn forget_oldest(&mut self) {
        let mut seen: Vec<i64> = self.0.values().map(|p| p.seen_ms).collect();
        seen.sort_unstable();
        let bound = seen[seen.len() / 10];
        let newest = seen[seen.len() - 1];
        self.0.retain(|_, producer| producer.seen_ms > bound || producer.seen_ms == newest);
        if self.0.len() > 2 * REMEMBERED_PRODUCERS {
            self.0.clear();
        }
    }
}

/// Hands out producer ids, each once in the life of the data directory.
pub(crate) struct ProducerIds {
    path: PathBuf,
    /// Next id, and the end of the block that the file already covers.
    next: Mutex<(i64, i64)>,
}

impl ProducerIds {
    /// Opens the counter.
    ///
    /// # Errors
    /// When the file exists but cannot be read.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("producer-ids");
        let reserved = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|e: std::num::ParseIntError| Error::Corrupt {
                path: path.clone(),
                reason: e.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::storage("read", &path)(error)),
        };
        Ok(Self { path, next: Mutex::new((reserved, reserved)) })
    }

    /// The next id. Writes to disk once in a thousand calls.
    pub(crate) fn take(&self) -> std::io::Result<i64> {
        let mut next = self.next.lock();
        if next.0 >= next.1 {
            let reserved = next.0 + ID_BLOCK;
            crate::journal::replace_file(&self.path, reserved.to_string().as_bytes())?;
            next.1 = reserved;
        }
        next.0 += 1;
        Ok(next.0 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::tests::raw_batch;

    fn header(epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        BatchHeader::accept(&raw_batch(b"", count, 1, (1, epoch, sequence))).unwrap()
    }

    #[test]
    fn verdicts() {
        let mut producers = Producers::default();
        for (n, sequence) in [0, 10, 20, 30, 40, 50].into_iter().enumerate() {
            let h = header(3, sequence, 10);
            assert_eq!(producers.check(&h), Verdict::Append);
            producers.note(&h, n as i64 * 10, 1);
        }
        let check = |epoch, sequence, count, expected| {
            assert_eq!(
                producers.check(&header(epoch, sequence, count)),
                expected,
                "{epoch} {sequence} {count}"
            );
        };
        check(3, 60, 1, Verdict::Append);
        check(3, 50, 10, Verdict::Duplicate(50));
        check(3, 10, 10, Verdict::Duplicate(10));
        check(3, 0, 10, Verdict::OutOfOrder);
        check(3, 61, 1, Verdict::OutOfOrder);
        check(2, 60, 1, Verdict::Fenced);
        check(4, 0, 1, Verdict::Append);
        check(4, 60, 1, Verdict::OutOfOrder);
    }

    #[test]
    fn sequences_wrap_and_silent_producers_expire() {
        let mut producers = Producers::default();
        producers.note(&header(0, i32::MAX - 1, 2), 0, 100);
        assert_eq!(producers.check(&header(0, 0, 1)), Verdict::Append);
        assert_eq!(producers.check(&header(0, 1, 1)), Verdict::OutOfOrder);
        producers.expire(101);
        assert_eq!(producers, Producers::default());
    }

    #[test]
    fn ids_are_never_reused() {
        let dir = tempfile::tempdir().unwrap();
        let first = ProducerIds::open(dir.path()).unwrap();
        let a: Vec<_> = (0..1500).map(|_| first.take().unwrap()).collect();
        let b = ProducerIds::open(dir.path()).unwrap().take().unwrap();
        assert!(a.windows(2).all(|w| w[0] < w[1]) && b > *a.last().unwrap());
    }
}
