//! The log against a model: what was promised stays, what is torn is never served.

use super::batch::BatchHeader;
use super::batch::tests::{batch_of, raw_batch};
use super::*;
use crate::flush::Durable;
use crate::options::Flush;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

const CONFIG: LogConfig = LogConfig {
    segment_bytes: 4096,
    segment_ms: 3_600_000,
    retention_ms: -1,
    retention_bytes: -1,
    delete: true,
    compact: false,
    delete_retention_ms: 0,
    min_dirty_ratio: 0.0,
    max_message_bytes: 1 << 20,
};

fn open(dir: &Path) -> PartitionLog {
    PartitionLog::open(dir, Flush::Group, CONFIG).unwrap()
}

fn append(log: &PartitionLog, batch: &[u8]) -> Appended {
    log.append(batch, &BatchHeader::accept(batch).unwrap(), 0).unwrap()
}

/// Every batch from the start: its offset and the bytes after the offset and epoch.
fn read_all(log: &PartitionLog, max_bytes: usize) -> Vec<(i64, Vec<u8>)> {
    let (mut offset, mut found) = (log.start(), Vec::new());
    loop {
        let bytes = log.read(offset, max_bytes, true).unwrap();
        if bytes.is_empty() {
            return found;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = BatchHeader::accept(rest).unwrap();
            found.push((header.base_offset, rest[16..header.size].to_vec()));
            offset = header.next_offset();
            rest = &rest[header.size..];
        }
    }
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.extension().is_some_and(|e| e == "log"));
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A crash leaves everything that was synced, and of the rest any prefix with any damage after it.
    #[test]
    fn promised_batches_survive_any_torn_tail(
        promised in prop::collection::vec((1i32..20, 0usize..900), 1..15),
        more in prop::collection::vec((1i32..20, 0usize..900), 0..8),
        lost in 0usize..5000, damage in prop::collection::vec(any::<u8>(), 0..100), flip in prop::option::of(0usize..5000),
    ) {
        let (live, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = open(live.path());
        let batch = |(count, size): &(i32, usize)| raw_batch(&vec![7u8; *size], *count, 100, (-1, -1, -1));
        let mut expected = Vec::new();
        for one in &promised {
            let bytes = batch(one);
            expected.push((append(&log, &bytes).base_offset, bytes[16..].to_vec()));
        }
        log.sync();
        prop_assert_eq!(log.visible(), log.end());
        let synced_files = logs(live.path());
        let synced_bytes = synced_files.last().unwrap().metadata().unwrap().len() as usize;
        let mut all = expected.clone();
        for one in &more {
            let bytes = batch(one);
            all.push((append(&log, &bytes).base_offset, bytes[16..].to_vec()));
        }
        prop_assert_eq!(&read_all(&log, 2000), &expected, "nothing is visible before it is durable");
        copy(live.path(), crashed.path());
        // Damage whatever lies after the synced bytes.
        let files = logs(crashed.path());
        let last_synced = crashed.path().join(synced_files.last().unwrap().file_name().unwrap());
        let from = files.iter().position(|f| *f == last_synced).unwrap();
        let target = files.last().unwrap();
        let safe = if *target == last_synced { synced_bytes } else { 0 };
        let mut bytes = std::fs::read(target).unwrap();
        bytes.truncate(bytes.len().saturating_sub(lost).max(safe));
        if let Some(at) = flip.filter(|at| safe + at < bytes.len()) {
            bytes[safe + at] ^= 0x10;
        }
        bytes.extend_from_slice(&damage);
        std::fs::write(target, &bytes).unwrap();
        prop_assert!(from < files.len());
        let log = open(crashed.path());
        let found = read_all(&log, 3000);
        prop_assert!(found.starts_with(&expected), "promised batches are there: {} of {}", found.len(), expected.len());
        // A flipped bit in the offset or epoch lies outside the checksum; everything else is caught.
        let whole = found.iter().zip(&all).filter(|(f, a)| f.1 == a.1).count();
        prop_assert_eq!(whole, found.len(), "nothing torn is served");
        // Appending goes on where it stopped.
        let next = raw_batch(b"next", 1, 100, (-1, -1, -1));
        let at = append(&log, &next).base_offset;
        prop_assert_eq!(at, log.visible());
        log.sync();
        let last = read_all(&log, 3000).pop().unwrap();
        prop_assert_eq!(last, (at, next[16..].to_vec()));
        drop(log);
        prop_assert_eq!(read_all(&open(crashed.path()), 700).len(), found.len() + 1);
    }

    /// Reading from any offset gives the batch that holds it, whatever the limit.
    #[test]
    fn any_offset_is_found(batches in prop::collection::vec((1i32..30, 0usize..3000), 1..40), max_bytes in 1usize..20_000) {
        let dir = tempfile::tempdir().unwrap();
        let log = PartitionLog::open(dir.path(), Flush::Relaxed, LogConfig { segment_bytes: 50_000, ..CONFIG }).unwrap();
        let mut bounds = Vec::new();
        for (count, size) in batches {
            let appended = append(&log, &raw_batch(&vec![1u8; size], count, 100, (-1, -1, -1)));
            bounds.push((appended.base_offset, appended.next_offset));
        }
        for offset in 0..log.end() {
            let bytes = log.read(offset, max_bytes, true).unwrap();
            let header = BatchHeader::accept(&bytes).unwrap();
            let expected = bounds.iter().find(|(_, next)| *next > offset).unwrap();
            prop_assert_eq!((header.base_offset, header.next_offset()), *expected);
            prop_assert!(bytes.len() <= max_bytes.max(header.size));
        }
        prop_assert_eq!(log.read(log.end(), max_bytes, true), Ok(bytes::Bytes::new()));
        prop_assert_eq!(log.read(log.end() + 1, max_bytes, true), Err(ReadError::OutOfRange));
    }

    /// After compaction the newest record of every key is there, at its offset, and tombstones end.
    #[test]
    fn compaction_keeps_the_newest(
        history in prop::collection::vec(prop::collection::vec((0u8..12, any::<Option<bool>>()), 1..10), 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_bytes: 400, compact: true, delete: false, ..CONFIG };
        let log = PartitionLog::open(dir.path(), Flush::Group, config).unwrap();
        let mut newest = std::collections::BTreeMap::new();
        for records in &history {
            let keys: Vec<[u8; 1]> = records.iter().map(|(key, _)| [*key]).collect();
            let rows: Vec<_> =
                records.iter().zip(&keys).map(|((_, value), key)| (Some(&key[..]), value.map(|_| &b"value"[..]))).collect();
            let base = append(&log, &batch_of(&rows, 1000)).base_offset;
            for (n, (key, value)) in records.iter().enumerate() {
                newest.insert(*key, (base + n as i64, value.is_none()));
            }
            log.sync();
        }
        let end = log.end();
        log.compact(i64::MAX, &CancellationToken::new()).unwrap();
        let active_from = log.lock().active().base();
        for log in [log, PartitionLog::open(dir.path(), Flush::Group, config).unwrap()] {
            let mut seen = std::collections::BTreeMap::new();
            let mut offset = 0;
            loop {
                let bytes = log.read(offset, 1000, true).unwrap();
                let Ok(header) = BatchHeader::verify(&bytes) else { break };
                let records = records::decompress(&bytes, &header).unwrap();
                for record in records::iterate(&records) {
                    let record = record.unwrap();
                    let at = header.base_offset + record.offset_delta;
                    if at < active_from {
                        prop_assert!(!record.value_is_null, "old tombstones are gone");
                        prop_assert!(!seen.contains_key(&record.key.unwrap()[0]), "one record a key");
                    }
                    seen.insert(record.key.unwrap()[0], (at, record.value_is_null));
                }
                offset = header.next_offset();
            }
            prop_assert_eq!(log.end(), end);
            for (key, (at, is_tombstone)) in &newest {
                let found = seen.get(key);
                if *is_tombstone && *at < active_from {
                    prop_assert!(found.is_none());
                } else {
                    prop_assert_eq!(found, Some(&(*at, *is_tombstone)));
                }
            }
        }
    }
}

#[test]
fn idempotence_is_remembered_through_a_restart_and_a_roll() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let batch = |sequence: i32| raw_batch(&[0; 500], 1, 100, (9, 0, sequence));
    for sequence in 0..20 {
        append(&log, &batch(sequence));
    }
    log.sync();
    assert!(logs(dir.path()).len() > 1, "the log has rolled");
    for log in [log, open(dir.path())] {
        let retry = append(&log, &batch(18));
        assert_eq!((retry.base_offset, log.end()), (18, 20));
        let gap = batch(22);
        let header = BatchHeader::accept(&gap).unwrap();
        assert_eq!(log.append(&gap, &header, 0), Err(AppendError::OutOfOrder));
    }
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for _ in 0..30 {
        append(&log, &raw_batch(&[0; 500], 1, 100, (-1, -1, -1)));
    }
    log.sync();
    assert_eq!(log.delete_before(12).unwrap(), Some(12));
    assert_eq!(log.delete_before(31).unwrap(), None);
    for log in [log, open(dir.path())] {
        assert_eq!((log.start(), log.end()), (12, 30));
        assert_eq!(log.read(11, 100, true), Err(ReadError::OutOfRange));
        assert_eq!(read_all(&log, 5000)[0].0, 12);
    }
}

#[test]
fn offsets_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..40 {
        append(&log, &batch_of(&[(None, Some(b"a")), (None, Some(b"b"))], n * 100));
    }
    log.sync();
    let check = |timestamp, expected| assert_eq!(log.offset_at(timestamp).unwrap(), expected, "{timestamp}");
    check(0, Some((0, 0)));
    check(1, Some((1, 1)));
    check(2, Some((2, 100)));
    check(3900, Some((78, 3900)));
    check(3901, Some((79, 3901)));
    check(3902, None);
    assert_eq!(log.offset_of_max_timestamp().unwrap(), Some((79, 3901)));
}
