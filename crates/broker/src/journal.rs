//! Small durable state: a file replaced as a whole, and an append-only journal of JSON entries that
//! is rewritten when it has grown past what it says.
//!
//! Invariant: after a crash a journal yields a prefix of what was appended, and all of it that was
//! synced; a replaced file is the old one or the new one.

use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A journal is rewritten when it is larger than this and than four times its live content.
const REWRITE_BYTES: u64 = 4 << 20;

/// Replaces `path` by `bytes`, durably and atomically.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// An append-only file of entries, each with its length and checksum.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// Size right after the last rewrite.
    compact: u64,
}

impl Journal {
    /// Opens or creates the journal, gives every whole entry to `replay`, and cuts a torn tail.
    ///
    /// # Errors
    /// When the file cannot be read or cut.
    pub(crate) fn open<T: DeserializeOwned>(path: &Path, mut replay: impl FnMut(T)) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(Error::storage("open", path))?;
        let bytes = std::fs::read(path).map_err(Error::storage("read", path))?;
        let mut rest = bytes.as_slice();
        while let Some((entry, after)) = split_entry(rest) {
            let Ok(entry) = serde_json::from_slice(entry) else { break };
            replay(entry);
            rest = after;
        }
        let size = (bytes.len() - rest.len()) as u64;
        if !rest.is_empty() {
            tracing::warn!(path = %path.display(), torn_bytes = rest.len(), "journal had a torn tail");
            file.set_len(size).map_err(Error::storage("truncate", path))?;
        }
        Ok(Self { path: path.to_owned(), file, size, compact: 0 })
    }

    /// Appends entries; on an error none of them is kept.
    pub(crate) fn append<T: Serialize>(&mut self, entries: &[T]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(entries.len() * 128);
        for entry in entries {
            put_entry(&mut bytes, entry)?;
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.size) {
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn wants_rewrite(&self) -> bool {
        self.size > REWRITE_BYTES && self.size > 4 * self.compact
    }

    /// Replaces everything by `entries`, durably.
    pub(crate) fn rewrite<T: Serialize>(&mut self, entries: impl Iterator<Item = T>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for entry in entries {
            put_entry(&mut bytes, &entry)?;
        }
        replace_file(&self.path, &bytes)?;
        self.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        self.size = bytes.len() as u64;
        self.compact = self.size;
        Ok(())
    }

    /// A second handle on the file, to sync it without holding the journal.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

fn put_entry<T: Serialize>(bytes: &mut Vec<u8>, entry: &T) -> io::Result<()> {
    let json = serde_json::to_vec(entry)?;
    let length = u32::try_from(json.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&json).to_be_bytes());
    bytes.extend_from_slice(&json);
    Ok(())
}

fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (entry, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    (crc32c::crc32c(entry) == u32::from_be_bytes(*crc)).then_some((entry, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_torn_journal_yields_a_prefix(entries in prop::collection::vec(0u64..1000, 1..20), cut in 0usize..400, noise in prop::collection::vec(any::<u8>(), 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            Journal::open(&path, |_: u64| {}).unwrap().append(&entries).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(cut);
            let whole = bytes.len();
            bytes.extend_from_slice(&noise);
            std::fs::write(&path, &bytes).unwrap();
            let mut seen = Vec::new();
            let mut journal = Journal::open(&path, |n: u64| seen.push(n)).unwrap();
            prop_assert!(entries.starts_with(&seen));
            if whole == std::fs::metadata(&path).unwrap().len() as usize && noise.is_empty() && cut >= 400 {
                prop_assert_eq!(&seen, &entries);
            }
            journal.append(&[7u64]).unwrap();
            let mut again = Vec::new();
            Journal::open(&path, |n: u64| again.push(n)).unwrap();
            seen.push(7);
            prop_assert_eq!(again, seen);
        }
    }
}
