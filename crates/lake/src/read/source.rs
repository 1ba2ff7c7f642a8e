//! The bytes of a data file, wherever it lies, for readers that block.
//!
//! Of a file in an object store whole blocks are fetched and the last ones kept, so that the many small reads of a Parquet reader (a
//! page's header, the page) become few requests. Such a read waits for the answer: only on threads that may block, and beside a runtime
//! that has others.

use crate::{LakeError, files};
use bytes::{Bytes, BytesMut};
use iceberg::io::{FileIO, FileRead};
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, mpsc};
use tokio::runtime::Handle;

/// What is fetched at once. A row group of ours has a few of them.
const BLOCK_BYTES: u64 = 4 << 20;
/// Blocks that are kept of one open file: a row group's columns are read side by side.
const BLOCKS_KEPT: usize = 8;

/// An open data file. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    location: Arc<str>,
    bytes: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Disk(Arc<File>),
    Store(Arc<Remote>),
}

impl Source {
    /// Opens the file at `location`, which has `size` bytes.
    ///
    /// # Errors
    /// [`LakeError::Io`]. One in an object store is first asked for when it is read.
    pub(crate) fn open(file_io: &FileIO, location: &str, size: u64) -> Result<Self, LakeError> {
        if !files::is_remote(location) {
            return Source::on_disk(Path::new(files::local(location)));
        }
        let remote = Remote {
            file_io: file_io.clone(),
            location: location.into(),
            size,
            runtime: Handle::current(),
            kept: Mutex::default(),
            failure: Mutex::default(),
        };
        Ok(Source { location: location.into(), bytes: Place::Store(Arc::new(remote)) })
    }

    /// Opens a file of this machine.
    ///
    /// # Errors
    /// [`LakeError::Io`].
    pub(crate) fn on_disk(path: &Path) -> Result<Self, LakeError> {
        let file = File::open(path).map_err(|error| files::io("open", path, error))?;
        let location = path.to_string_lossy().into();
        Ok(Source { location, bytes: Place::Disk(Arc::new(file)) })
    }

    /// Why the file could not be read: what the object store said, where it was that; else what is wrong with the file.
    pub(crate) fn unreadable(&self, error: &ParquetError) -> LakeError {
        self.failure().unwrap_or_else(|| LakeError::Malformed {
            what: format!("data file {}", self.location),
            error: error.to_string(),
        })
    }

    /// What the object store said when it last failed, once.
    pub(crate) fn failure(&self) -> Option<LakeError> {
        match &self.bytes {
            Place::Disk(_) => None,
            Place::Store(remote) => remote.failure.lock().take(),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match &self.bytes {
            Place::Disk(file) => Length::len(&**file),
            Place::Store(remote) => remote.size,
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let read: Box<dyn Read> = match &self.bytes {
            Place::Disk(file) => Box::new(file.get_read(start)?),
            Place::Store(remote) => Box::new(RemoteRead { remote: Arc::clone(remote), at: start }),
        };
        Ok(read)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match &self.bytes {
            Place::Disk(file) => file.get_bytes(start, length),
            Place::Store(remote) => remote.bytes(start, length),
        }
    }
}

/// A file of an object store.
struct Remote {
    file_io: FileIO,
    location: Arc<str>,
    size: u64,
    runtime: Handle,
    /// The blocks that were read last, by their numbers, the latest behind.
    kept: Mutex<VecDeque<(u64, Bytes)>>,
    /// Parquet's readers pass an error on as text.
    failure: Mutex<Option<LakeError>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Remote {
    fn bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let first = self.behind(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        while all.len() < length {
            let next = self.behind(start + all.len() as u64)?;
            if next.is_empty() {
                return Err(ParquetError::EOF(format!(
                    "{length} bytes from {start} on are more than there are in {}",
                    self.location
                )));
            }
            all.extend_from_slice(&next[..next.len().min(length - all.len())]);
        }
        Ok(all.freeze())
    }

    /// What the block with this byte has from it on; nothing behind the end of the file.
    fn behind(&self, at: u64) -> parquet::errors::Result<Bytes> {
        if at >= self.size {
            return Ok(Bytes::new());
        }
        let block = self.block(at / BLOCK_BYTES)?;
        let inside = usize::try_from(at % BLOCK_BYTES).unwrap_or(usize::MAX);
        if inside >= block.len() {
            let error = format!("{} is shorter than its table says", self.location);
            return Err(ParquetError::EOF(error));
        }
        Ok(block.slice(inside..))
    }

    fn block(&self, number: u64) -> parquet::errors::Result<Bytes> {
        let mut kept = self.kept.lock();
        if let Some(at) = kept.iter().position(|(other, _)| *other == number)
            && let Some((_, block)) = kept.remove(at)
        {
            kept.push_back((number, block.clone()));
            return Ok(block);
        }
        // Who else reads this file waits: most likely for the same block.
        let block = self.fetch(number).map_err(|error| {
            let told = ParquetError::External(error.to_string().into());
            *self.failure.lock() = Some(error);
            told
        })?;
        kept.push_back((number, block.clone()));
        if kept.len() > BLOCKS_KEPT {
            kept.pop_front();
        }
        Ok(block)
    }

    fn fetch(&self, number: u64) -> Result<Bytes, LakeError> {
        let start = number * BLOCK_BYTES;
        let range = start..self.size.min(start + BLOCK_BYTES);
        let (file_io, location) = (self.file_io.clone(), Arc::clone(&self.location));
        let (tell, told) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            let read = async {
                let reader = file_io.new_input(&*location)?.reader().await?;
                FileRead::read(&*reader, range).await
            };
            // Where nobody waits any more, there is nobody to tell.
            let _ = tell.send(read.await);
        });
        match told.recv() {
            Ok(read) => Ok(read?),
            Err(_) => Err(LakeError::Io {
                action: "read",
                path: self.location.to_string(),
                source: std::io::Error::other("the process is ending"),
            }),
        }
    }
}

/// A file of an object store from some byte on.
struct RemoteRead {
    remote: Arc<Remote>,
    at: u64,
}

impl Read for RemoteRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let found = self.remote.behind(self.at).map_err(std::io::Error::other)?;
        let count = found.len().min(buffer.len());
        buffer[..count].copy_from_slice(&found[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreProblem};
    use crate::table::off_worker;
    use object_store::memory::InMemory;

    const LOCATION: &str = "s3://b/t/x.parquet";

    /// A file of so many bytes in a store.
    async fn stored(size: u64) -> (FileIO, Vec<u8>) {
        let file_io = Store::over("b", Arc::new(InMemory::new()), 1 << 30).file_io();
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        file_io.new_output(LOCATION).unwrap().write(bytes.clone().into()).await.unwrap();
        (file_io, bytes)
    }

    #[tokio::test]
    async fn any_part_of_a_file_is_read_across_blocks() {
        let size = 2 * BLOCK_BYTES + 1_000;
        let (file_io, bytes) = stored(size).await;
        off_worker(move || async move {
            let source = Source::open(&file_io, LOCATION, size)?;
            assert_eq!(Length::len(&source), size);
            for (start, length) in [
                (0, 4),
                (BLOCK_BYTES - 2, 4),
                (BLOCK_BYTES, 1),
                (BLOCK_BYTES - 1, usize::try_from(BLOCK_BYTES).unwrap() + 2),
                (size - 8, 8),
                (0, usize::try_from(size).unwrap()),
            ] {
                let from = usize::try_from(start).unwrap();
                let read = source.get_bytes(start, length).unwrap();
                assert!(read == bytes[from..from + length], "{start} {length}");
                let mut rest = vec![0; length];
                source.get_read(start).unwrap().read_exact(&mut rest).unwrap();
                assert!(rest == bytes[from..from + length], "{start} {length}");
            }
            assert!(source.get_bytes(size - 4, 5).is_err());
            assert!(source.failure().is_none(), "it was not the store");
            Ok(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_the_store_says_is_told_and_no_file_is_taken_for_broken() {
        let (file_io, _) = stored(1).await;
        let error = off_worker(move || async move {
            let source = Source::open(&file_io, "s3://b/t/gone.parquet", 100)?;
            let error = source.get_bytes(0, 4).unwrap_err();
            Ok(source.unreadable(&error))
        })
        .await
        .unwrap();
        assert!(error.is_passing(), "{error}");
        assert!(
            matches!(&error, LakeError::Store(error) if error.problem() == StoreProblem::NoObject),
            "{error}"
        );
    }
}
