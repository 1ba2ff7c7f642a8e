//! One segment file and its index in memory. Appending is done under the partition's lock; reading
//! needs no lock, because bytes below `size` never change.

use super::batch::{BatchHeader, HEADER_BYTES, patched_head};
use super::index::SparseIndex;
use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// The furthest a batch can begin after the index entry that leads to it.
const WALK_BYTES: u64 = 32 << 10;
/// Bytes read at once when walking headers.
const WINDOW_BYTES: u64 = 64 << 10;

/// One file of batches, named by the offset it begins at.
#[derive(Debug)]
pub(crate) struct Segment {
    base: i64,
    path: PathBuf,
    file: File,
    size: AtomicU64,
    next_offset: AtomicI64,
    index: RwLock<SparseIndex>,
    /// When the first batch was appended in this process, for `segment.ms`.
    born: std::time::Instant,
    gone: AtomicBool,
}

impl Segment {
    /// The path of the segment of `dir` that begins at `base`.
    pub(crate) fn path_in(dir: &Path, base: i64) -> PathBuf {
        dir.join(format!("{base:020}.log"))
    }

    /// Creates an empty segment.
    pub(crate) fn create(dir: &Path, base: i64) -> io::Result<Self> {
        let path = Self::path_in(dir, base);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        File::open(dir)?.sync_all()?;
        Ok(Self::over(path, base, file, 0, base, SparseIndex::default()))
    }

    /// A segment over an existing file whose first `size` bytes are whole batches described by `index`.
    pub(crate) fn over(
        path: PathBuf,
        base: i64,
        file: File,
        size: u64,
        next: i64,
        index: SparseIndex,
    ) -> Self {
        Self {
            base,
            path,
            file,
            size: AtomicU64::new(size),
            next_offset: AtomicI64::new(next),
            index: RwLock::new(index),
            born: std::time::Instant::now(),
            gone: AtomicBool::new(false),
        }
    }

    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    /// Bytes of whole batches.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The offset after the last batch.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Acquire)
    }

    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        self.index.read().max_timestamp()
    }

    pub(crate) fn age(&self) -> std::time::Duration {
        self.born.elapsed()
    }

    /// Appends one batch at `base_offset`. On an error nothing of it remains, or the segment must be
    /// cut back to [`Self::size`] before the next append.
    pub(crate) fn append(&self, batch: &[u8], header: &BatchHeader, base_offset: i64) -> io::Result<()> {
        let position = self.size();
        let Some(head) = patched_head(batch, base_offset, 0) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "batch without a header"));
        };
        self.file.write_all_at(&head, position)?;
        self.file.write_all_at(&batch[HEADER_BYTES..header.size], position + HEADER_BYTES as u64)?;
        self.index.write().push(base_offset, position, header.max_timestamp);
        self.next_offset.store(base_offset + i64::from(header.last_offset_delta) + 1, Ordering::Release);
        self.size.store(position + header.size as u64, Ordering::Release);
        Ok(())
    }

    /// Drops everything after the first `size` bytes from the file.
    pub(crate) fn cut_file(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Replaces what is known of the file, after it was cut back.
    pub(crate) fn reset(&self, size: u64, next_offset: i64, index: SparseIndex) {
        *self.index.write() = index;
        self.next_offset.store(next_offset, Ordering::Release);
        self.size.store(size, Ordering::Release);
    }

    /// Makes every appended byte durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.gone.load(Ordering::Acquire) { Ok(()) } else { self.file.sync_data() }
    }

    /// Writes the sealed index; the segment is closed and flushed.
    pub(crate) fn seal(&self) -> io::Result<()> {
        let index = self.index.read().clone();
        index.seal(&self.index_path(), self.size(), self.next_offset())
    }

    /// Removes the files; readers that hold the segment can still read it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.gone.store(true, Ordering::Release);
        for path in [self.index_path(), self.path.with_extension("producers"), self.path.clone()] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whole batches from the one that holds `offset` (or the first after it), at most `max_bytes`
    /// but at least one batch when `at_least_one`, none that begins at `limit` or later.
    /// `None` when the segment has no such batch.
    pub(crate) fn read(
        &self,
        offset: i64,
        limit: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> io::Result<Option<Bytes>> {
        let size = self.size();
        let from = self.index.read().position_for_offset(offset);
        let window = (size - from.min(size)).min(WALK_BYTES + max_bytes as u64);
        let chunk = self.read_range(from, window as usize)?;
        let mut begin = 0;
        let first = loop {
            match BatchHeader::parse(&chunk[begin..]) {
                Ok(header) if header.base_offset >= limit => return Ok(None),
                Ok(header) if header.next_offset() > offset => break header,
                Ok(header) if begin + header.size <= chunk.len() => begin += header.size,
                // The batch that ends past the window is the last before `offset`: look behind it.
                Ok(header) => {
                    return self.read_from(
                        from + (begin + header.size) as u64,
                        limit,
                        max_bytes,
                        at_least_one,
                    );
                }
                Err(_)
                    if from + (begin + HEADER_BYTES) as u64 <= size && begin + HEADER_BYTES > chunk.len() =>
                {
                    return self.read_from(from + begin as u64, limit, max_bytes, at_least_one);
                }
                Err(_) if from + begin as u64 >= size => return Ok(None),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        };
        self.trim(from, chunk, begin, first, limit, max_bytes, at_least_one)
    }

    fn read_from(
        &self,
        from: u64,
        limit: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> io::Result<Option<Bytes>> {
        let size = self.size();
        if from + HEADER_BYTES as u64 > size {
            return Ok(None);
        }
        let chunk =
            self.read_range(from, (size - from).min((max_bytes.max(HEADER_BYTES)) as u64) as usize)?;
        let first =
            BatchHeader::parse(&chunk).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if first.base_offset >= limit {
            return Ok(None);
        }
        self.trim(from, chunk, 0, first, limit, max_bytes, at_least_one)
    }

    #[expect(clippy::too_many_arguments, reason = "the second half of one read, split for its length")]
    fn trim(
        &self,
        from: u64,
        chunk: Bytes,
        begin: usize,
        first: BatchHeader,
        limit: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> io::Result<Option<Bytes>> {
        if first.size > max_bytes || begin + first.size > chunk.len() {
            if !at_least_one {
                return Ok(Some(Bytes::new()));
            }
            return self.read_range(from + begin as u64, first.size).map(Some);
        }
        let mut end = begin;
        while let Ok(header) = BatchHeader::parse(&chunk[end..]) {
            let next = end + header.size;
            if header.base_offset >= limit || next > chunk.len() || next - begin > max_bytes {
                break;
            }
            end = next;
        }
        Ok(Some(chunk.slice(begin..end)))
    }

    /// Calls `visit` with position and header of every batch from the index entry for `timestamp` on,
    /// until it returns false.
    pub(crate) fn walk_from_time(
        &self,
        timestamp: i64,
        visit: impl FnMut(u64, &BatchHeader) -> bool,
    ) -> io::Result<()> {
        let from = self.index.read().position_for_time(timestamp);
        self.walk(from, visit)
    }

    /// Calls `visit` with position and header of every batch from `from` on, until it returns false.
    pub(crate) fn walk(&self, from: u64, mut visit: impl FnMut(u64, &BatchHeader) -> bool) -> io::Result<()> {
        let size = self.size();
        let mut position = from;
        let mut window = Bytes::new();
        let mut window_at = from;
        while position + (HEADER_BYTES as u64) <= size {
            let within = (position - window_at) as usize;
            if within + HEADER_BYTES > window.len() {
                window = self.read_range(position, (size - position).min(WINDOW_BYTES) as usize)?;
                window_at = position;
            }
            let header = BatchHeader::parse(&window[(position - window_at) as usize..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if !visit(position, &header) {
                return Ok(());
            }
            position += header.size as u64;
        }
        Ok(())
    }

    /// Exactly `len` bytes at `position`.
    pub(crate) fn read_range(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = BytesMut::zeroed(len);
        self.file.read_exact_at(&mut buffer, position)?;
        Ok(buffer.freeze())
    }
}
