//! The log of one partition: append, read, look up, make durable.
//!
//! Invariants: offsets grow without reuse as far as anybody could have read them; `visible` never
//! passes what the flush policy promises; a failed write leaves the log as it was before it.

use super::batch::BatchHeader;
use super::segment::Segment;
use super::{records, recovery};
use crate::flush::Durable;
use crate::options::Flush;
use crate::producers::{Producers, Verdict};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Sleeping fetches a partition remembers before it looks for dead ones.
const WATCHERS_BEFORE_PRUNING: usize = 64;

/// The topic configuration as far as a log honours it. Times in milliseconds, sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LogConfig {
    pub segment_bytes: u64,
    pub segment_ms: u64,
    /// Negative: unlimited.
    pub retention_ms: i64,
    /// Negative: unlimited.
    pub retention_bytes: i64,
    pub delete: bool,
    pub compact: bool,
    pub delete_retention_ms: i64,
    pub min_dirty_ratio: f64,
    pub max_message_bytes: u64,
}

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub base_offset: i64,
    pub next_offset: i64,
    /// The log should be flushed soon, whatever the policy.
    pub wants_sync: bool,
    cuts: u64,
}

/// Why a batch is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendError {
    TooLarge,
    Fenced,
    OutOfOrder,
    Storage,
}

/// Why nothing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    OutOfRange,
    Storage,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// By base offset; the last one is appended to.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) producers: Producers,
    /// Closed, not yet flushed and sealed.
    pub(super) unsynced: Vec<Arc<Segment>>,
    /// End of the part that compaction has seen.
    pub(super) cleaned_to: i64,
    /// The active file holds bytes of a failed write that could not be removed yet.
    scarred: bool,
}

impl Inner {
    pub(super) fn active(&self) -> &Arc<Segment> {
        // There is always one: recovery creates it, nothing removes the last.
        &self.segments[self.segments.len() - 1]
    }
}

/// One partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    dir: PathBuf,
    flush: Flush,
    config: RwLock<LogConfig>,
    inner: Mutex<Inner>,
    start: AtomicI64,
    visible: AtomicI64,
    end: AtomicI64,
    /// How often unflushed batches had to be thrown away.
    cuts: AtomicU64,
    offline: AtomicBool,
    watchers: Mutex<Vec<Weak<Notify>>>,
    /// Held by the one compaction or retention run at a time.
    pub(super) housekeeping: Mutex<()>,
}

impl PartitionLog {
    /// Opens or creates the log in `dir`, recovering from whatever a crash left.
    ///
    /// # Errors
    /// When files cannot be read, cut or created.
    pub(crate) fn open(dir: &Path, flush: Flush, config: LogConfig) -> io::Result<Self> {
        let recovered = recovery::open(dir)?;
        let end = recovered.segments.last().map_or(recovered.start, |s| s.next_offset());
        Ok(Self {
            dir: dir.to_owned(),
            flush,
            config: RwLock::new(config),
            inner: Mutex::new(Inner {
                segments: recovered.segments,
                producers: recovered.producers,
                unsynced: Vec::new(),
                cleaned_to: 0,
                scarred: false,
            }),
            start: AtomicI64::new(recovered.start),
            visible: AtomicI64::new(end),
            end: AtomicI64::new(end),
            cuts: AtomicU64::new(0),
            offline: AtomicBool::new(false),
            watchers: Mutex::new(Vec::new()),
            housekeeping: Mutex::new(()),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The first offset that can be read.
    pub(crate) fn start(&self) -> i64 {
        self.start.load(Ordering::Acquire)
    }

    /// The high watermark: the offset after the last record that consumers may see.
    pub(crate) fn visible(&self) -> i64 {
        self.visible.load(Ordering::Acquire)
    }

    /// The offset that the next record gets.
    pub(crate) fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> LogConfig {
        *self.config.read()
    }

    pub(crate) fn set_config(&self, config: LogConfig) {
        *self.config.write() = config;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Appends a verified batch. Blocks on the page cache.
    ///
    /// # Errors
    /// When the batch may not or cannot be stored; the log is then as before.
    pub(crate) fn append(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        if header.size as u64 > config.max_message_bytes {
            return Err(AppendError::TooLarge);
        }
        let mut inner = self.inner.lock();
        if self.offline.load(Ordering::Acquire) {
            return Err(AppendError::Storage);
        }
        match inner.producers.check(header) {
            Verdict::Append => {}
            Verdict::Fenced => return Err(AppendError::Fenced),
            Verdict::OutOfOrder => return Err(AppendError::OutOfOrder),
            Verdict::Duplicate(base_offset) => {
                let next_offset = base_offset + i64::from(header.last_offset_delta) + 1;
                return Ok(self.appended(base_offset, next_offset, self.flush == Flush::Group));
            }
        }
        let rolled = self.write(&mut inner, batch, header, &config).map_err(|error| {
            tracing::error!(dir = %self.dir.display(), %error, "append failed");
            AppendError::Storage
        })?;
        let base_offset = self.end();
        let next_offset = base_offset + i64::from(header.last_offset_delta) + 1;
        inner.producers.note(header, base_offset, now_ms);
        self.end.store(next_offset, Ordering::Release);
        drop(inner);
        if self.flush == Flush::Relaxed {
            self.raise_visible(next_offset);
        }
        Ok(self.appended(base_offset, next_offset, rolled || self.flush == Flush::Group))
    }

    fn appended(&self, base_offset: i64, next_offset: i64, wants_sync: bool) -> Appended {
        Appended { base_offset, next_offset, wants_sync, cuts: self.cuts.load(Ordering::Acquire) }
    }

    /// Whether the flush policy's promise for `appended` is kept.
    pub(crate) fn is_promised(&self, appended: &Appended) -> bool {
        self.cuts.load(Ordering::Acquire) == appended.cuts && self.visible() >= appended.next_offset
    }

    fn write(
        &self,
        inner: &mut Inner,
        batch: &[u8],
        header: &BatchHeader,
        config: &LogConfig,
    ) -> io::Result<bool> {
        if inner.scarred {
            let active = inner.active();
            active.cut_file(active.size())?;
            inner.scarred = false;
        }
        let active = inner.active();
        let full = active.size() + header.size as u64 > config.segment_bytes;
        let old = active.age() > Duration::from_millis(config.segment_ms);
        let rolled = active.size() > 0 && (full || old);
        if rolled {
            self.roll(inner)?;
        }
        let active = Arc::clone(inner.active());
        active.append(batch, header, self.end()).inspect_err(|_| {
            inner.scarred = active.cut_file(active.size()).is_err();
        })?;
        Ok(rolled)
    }

    /// Closes the active segment and begins the next.
    pub(super) fn roll(&self, inner: &mut Inner) -> io::Result<()> {
        let base = inner.active().next_offset();
        recovery::save_producers(&self.dir, base, &inner.producers)?;
        let next = Segment::create(&self.dir, base)?;
        let closed = Arc::clone(inner.active());
        inner.unsynced.push(closed);
        inner.segments.push(Arc::new(next));
        Ok(())
    }

    /// Whole batches from `offset` on: at most `max_bytes`, but one batch at least when
    /// `at_least_one`. Empty when there is nothing visible yet. Blocks on the page cache.
    ///
    /// # Errors
    /// When the offset was never there or is gone, or the file cannot be read.
    pub(crate) fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> Result<Bytes, ReadError> {
        if offset < self.start() || offset > self.end() {
            return Err(ReadError::OutOfRange);
        }
        let limit = self.visible();
        if offset >= limit {
            return Ok(Bytes::new());
        }
        let segments: Vec<Arc<Segment>> = {
            let inner = self.inner.lock();
            let first = inner.segments.partition_point(|s| s.base() <= offset).saturating_sub(1);
            inner.segments[first..].iter().filter(|s| s.size() > 0).take(8).cloned().collect()
        };
        for segment in segments {
            match segment.read(offset, limit, max_bytes, at_least_one) {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(segment = %segment.path().display(), %error, "read failed");
                    return Err(ReadError::Storage);
                }
            }
        }
        Ok(Bytes::new())
    }

    /// Offset and timestamp of the first visible record at or after `timestamp`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn offset_at(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let (start, limit) = (self.start(), self.visible());
        let segments = self.inner.lock().segments.clone();
        for segment in segments.iter().filter(|s| s.max_timestamp().is_some_and(|t| t >= timestamp)) {
            let mut found = None;
            segment.walk_from_time(timestamp, |position, header| {
                let wanted = header.max_timestamp >= timestamp && header.last_offset() >= start;
                if wanted && header.base_offset < limit {
                    found = Some((position, *header));
                }
                found.is_none() && header.base_offset < limit
            })?;
            if let Some((position, header)) = found {
                let batch = segment.read_range(position, header.size)?;
                let exact = records::first_at(&batch, &header, timestamp, start);
                return Ok(Some(exact.unwrap_or((header.base_offset.max(start), header.base_timestamp))));
            }
        }
        Ok(None)
    }

    /// Offset and timestamp of a record with the largest timestamp.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn offset_of_max_timestamp(&self) -> io::Result<Option<(i64, i64)>> {
        let newest = self.inner.lock().segments.iter().filter_map(|s| s.max_timestamp()).max();
        match newest {
            Some(timestamp) => self.offset_at(timestamp),
            None => Ok(None),
        }
    }

    /// Has `sleeper` woken when more becomes visible.
    pub(crate) fn watch(&self, sleeper: &Arc<Notify>) {
        let mut watchers = self.watchers.lock();
        if watchers.len() >= WATCHERS_BEFORE_PRUNING {
            watchers.retain(|w| w.strong_count() > 0);
        }
        watchers.push(Arc::downgrade(sleeper));
    }

    pub(crate) fn expire_producers(&self, before_ms: i64) {
        self.inner.lock().producers.expire(before_ms);
    }

    /// Whether closed segments wait to be flushed and sealed.
    pub(crate) fn has_unsynced(&self) -> bool {
        !self.inner.lock().unsynced.is_empty()
    }

    pub(super) fn raise_start(&self, start: i64) {
        self.start.fetch_max(start, Ordering::AcqRel);
    }

    fn raise_visible(&self, offset: i64) {
        self.visible.fetch_max(offset, Ordering::AcqRel);
        let watchers = std::mem::take(&mut *self.watchers.lock());
        for sleeper in watchers.iter().filter_map(Weak::upgrade) {
            sleeper.notify_one();
        }
    }

    /// After a failed fsync nobody knows what is on disk: throws away what was not yet durable, so
    /// that it can be produced again, or takes the partition offline when even that fails.
    fn cut_back(&self, cause: &io::Error) {
        let mut inner = self.inner.lock();
        self.cuts.fetch_add(1, Ordering::AcqRel);
        let keep = self.visible();
        tracing::error!(dir = %self.dir.display(), %cause, keep, end = self.end(), "fsync failed, unflushed records dropped");
        inner.unsynced.clear();
        match recovery::cut(&self.dir, &mut inner.segments, keep) {
            Ok(producers) if self.flush == Flush::Group => {
                inner.producers = producers;
                self.end.store(keep, Ordering::Release);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "partition is offline until the broker is restarted");
                self.offline.store(true, Ordering::Release);
            }
        }
    }
}

impl Durable for PartitionLog {
    fn sync(&self) {
        let (closed, active, end) = {
            let mut inner = self.inner.lock();
            if self.offline.load(Ordering::Acquire) {
                return;
            }
            (std::mem::take(&mut inner.unsynced), Arc::clone(inner.active()), self.end())
        };
        for segment in closed.iter().chain([&active]) {
            if let Err(error) = segment.sync() {
                return self.cut_back(&error);
            }
        }
        self.raise_visible(end);
        for segment in closed {
            if let Err(error) = segment.seal() {
                tracing::warn!(segment = %segment.path().display(), %error, "segment index was not sealed");
            }
        }
    }
}
