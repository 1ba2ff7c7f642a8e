//! Large transactions that are still open at the source, kept on local disk until they commit.
//!
//! PostgreSQL sends what exceeds `logical_decoding_work_mem` before it knows the outcome. Each
//! top-level transaction has a file; memory holds a write buffer and the ids of rolled-back
//! subtransactions. The files are scratch: after a restart the source sends everything again.
//!
//! Invariant: nothing of a transaction is handed on before its commit, and nothing of a
//! rolled-back subtransaction ever.

use super::CdcError;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// One message of a spilled transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spilled {
    pub(crate) wal_start: u64,
    pub(crate) data: Bytes,
    /// Its subtransaction was rolled back: only relations in it still count.
    pub(crate) aborted: bool,
}

struct Open {
    path: PathBuf,
    file: BufWriter<File>,
    aborted: HashSet<u32>,
}

/// The open transactions.
pub(crate) struct Spill {
    directory: PathBuf,
    open: HashMap<u32, Open>,
}

/// Larger than any message the connection lets through.
const MAX_RECORD: usize = 2 << 30;

impl Spill {
    /// An empty spill in `directory`, which is emptied of what another run left.
    pub(crate) fn new(directory: PathBuf) -> Result<Self, CdcError> {
        let failed = |error| CdcError::Spill { path: directory.display().to_string(), error };
        fs::create_dir_all(&directory).map_err(failed)?;
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "spill") {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(Spill { directory, open: HashMap::new() })
    }

    /// Keeps a message of the (sub)transaction `subxid` of `xid`.
    pub(crate) fn append(
        &mut self,
        xid: u32,
        subxid: u32,
        wal_start: u64,
        data: &[u8],
    ) -> Result<(), CdcError> {
        let open = match self.open.entry(xid) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let path = self.directory.join(format!("{xid}.spill"));
                let options = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
                let file = options.map_err(|error| spill_error(&path, error))?;
                tracing::info!(xid, "a large transaction is kept on disk until it commits");
                entry.insert(Open {
                    path,
                    file: BufWriter::with_capacity(128 << 10, file),
                    aborted: HashSet::new(),
                })
            }
        };
        let mut write = || -> io::Result<()> {
            let length =
                u32::try_from(data.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            open.file.write_all(&length.to_be_bytes())?;
            open.file.write_all(&subxid.to_be_bytes())?;
            open.file.write_all(&wal_start.to_be_bytes())?;
            open.file.write_all(data)
        };
        write().map_err(|error| spill_error(&open.path, error))
    }

    /// Rolls back `subxid`; the whole transaction where it is `xid` itself.
    pub(crate) fn abort(&mut self, xid: u32, subxid: u32) {
        if xid == subxid {
            if let Some(open) = self.open.remove(&xid) {
                let _ = fs::remove_file(&open.path);
            }
        } else if let Some(open) = self.open.get_mut(&xid) {
            open.aborted.insert(subxid);
        }
    }

    /// Ends the transaction; its messages can be read once, then the file is gone.
    pub(crate) fn commit(&mut self, xid: u32) -> Result<Option<Replay>, CdcError> {
        let Some(open) = self.open.remove(&xid) else { return Ok(None) };
        let failed = |error| spill_error(&open.path, error);
        open.file.into_inner().map_err(|e| failed(e.into_error()))?;
        let file = File::open(&open.path).map_err(failed)?;
        fs::remove_file(&open.path).map_err(failed)?;
        let file = BufReader::with_capacity(256 << 10, file);
        Ok(Some(Replay { path: open.path, file, aborted: open.aborted }))
    }

    /// Whether any transaction is open.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// The messages of a committed transaction, in order.
pub(crate) struct Replay {
    path: PathBuf,
    file: BufReader<File>,
    aborted: HashSet<u32>,
}

impl Replay {
    /// The next message; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Spilled>, CdcError> {
        let mut head = [0; 16];
        match self.file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(spill_error(&self.path, error)),
        }
        let [l0, l1, l2, l3, s0, s1, s2, s3, wal_start @ ..] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let mut data = vec![0; length.min(MAX_RECORD)];
        self.file.read_exact(&mut data).map_err(|error| spill_error(&self.path, error))?;
        Ok(Some(Spilled {
            wal_start: u64::from_be_bytes(wal_start),
            data: data.into(),
            aborted: self.aborted.contains(&u32::from_be_bytes([s0, s1, s2, s3])),
        }))
    }
}

fn spill_error(path: &Path, error: io::Error) -> CdcError {
    CdcError::Spill { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replayed(spill: &mut Spill, xid: u32) -> Vec<(u64, Vec<u8>, bool)> {
        let mut replay = spill.commit(xid).unwrap().unwrap();
        std::iter::from_fn(|| replay.next().unwrap())
            .map(|s| (s.wal_start, s.data.to_vec(), s.aborted))
            .collect()
    }

    #[test]
    fn rolled_back_parts_are_marked_and_files_disappear() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("7.spill"), "left over").unwrap();
        let mut spill = Spill::new(directory.path().to_owned()).unwrap();
        spill.append(1, 1, 10, b"a").unwrap();
        spill.append(1, 2, 11, b"b").unwrap();
        spill.append(3, 3, 12, b"c").unwrap();
        spill.abort(1, 2);
        spill.abort(3, 3);
        assert_eq!(replayed(&mut spill, 1), [(10, b"a".to_vec(), false), (11, b"b".to_vec(), true)]);
        assert!(spill.commit(3).unwrap().is_none());
        assert!(spill.is_empty());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn interleaved_transactions_come_back_in_order(
            messages in prop::collection::vec((0_u32..3, prop::collection::vec(any::<u8>(), 0..300)), 0..60)
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut spill = Spill::new(directory.path().to_owned()).unwrap();
            for (i, (xid, data)) in messages.iter().enumerate() {
                spill.append(*xid, *xid, i as u64, data).unwrap();
            }
            for xid in 0..3 {
                let expected: Vec<_> = messages.iter().enumerate().filter(|(_, (x, _))| *x == xid)
                    .map(|(i, (_, data))| (i as u64, data.clone(), false)).collect();
                if !expected.is_empty() {
                    prop_assert_eq!(replayed(&mut spill, xid), expected);
                }
            }
        }
    }
}
