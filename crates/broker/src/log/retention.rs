//! Removes what is too old or too much, always whole segments from the front.

use super::PartitionLog;
use super::recovery;
use super::segment::Segment;
use std::io;
use std::sync::Arc;

/// How many of the oldest segments to remove, from facts alone: `(bytes, largest timestamp)` of every
/// segment in order, the last being the active one, which stays.
pub(super) fn expired(
    segments: &[(u64, Option<i64>)],
    retention_ms: i64,
    retention_bytes: i64,
    now_ms: i64,
) -> usize {
    let closed = segments.len().saturating_sub(1);
    let mut excess = match u64::try_from(retention_bytes) {
        Ok(limit) => segments.iter().map(|s| s.0).sum::<u64>().saturating_sub(limit),
        Err(_) => 0,
    };
    let mut count = 0;
    for (bytes, newest) in &segments[..closed] {
        let too_old = retention_ms >= 0 && newest.is_none_or(|t| t < now_ms.saturating_sub(retention_ms));
        // Whole segments: removing one must not go below the limit.
        let too_much = excess >= *bytes && excess > 0;
        if !too_old && !too_much {
            break;
        }
        excess = excess.saturating_sub(*bytes);
        count += 1;
    }
    count
}

impl PartitionLog {
    /// Applies `retention.ms` and `retention.bytes`; returns the number of segments removed.
    ///
    /// # Errors
    /// When a segment cannot be rolled or removed.
    pub(crate) fn retain(&self, now_ms: i64) -> io::Result<usize> {
        let _alone = self.housekeeping.lock();
        let config = self.config();
        if !config.delete {
            return Ok(0);
        }
        let gone: Vec<Arc<Segment>> = {
            let mut inner = self.lock();
            let oldest_kept = now_ms.saturating_sub(config.retention_ms);
            let active = inner.active();
            let active_expired = config.retention_ms >= 0
                && active.size() > 0
                && active.next_offset() <= self.visible()
                && active.max_timestamp().is_some_and(|t| t < oldest_kept);
            if active_expired {
                self.roll(&mut inner)?;
            }
            let facts: Vec<_> = inner.segments.iter().map(|s| (s.size(), s.max_timestamp())).collect();
            let mut count = expired(&facts, config.retention_ms, config.retention_bytes, now_ms);
            while count > 0 && inner.segments[count].base() > self.visible() {
                count -= 1;
            }
            self.drop_front(&mut inner, count)
        };
        self.remove_files(&gone)
    }

    /// Makes `offset` the first readable one; `None` when it is past the high watermark.
    ///
    /// # Errors
    /// When the new start cannot be stored.
    pub(crate) fn delete_before(&self, offset: i64) -> io::Result<Option<i64>> {
        let _alone = self.housekeeping.lock();
        if offset > self.visible() {
            return Ok(None);
        }
        recovery::save_start(self.dir(), offset.max(self.start()))?;
        self.raise_start(offset);
        let gone = {
            let mut inner = self.lock();
            let count = inner.segments.iter().skip(1).take_while(|s| s.base() <= offset).count();
            self.drop_front(&mut inner, count)
        };
        self.remove_files(&gone)?;
        Ok(Some(self.start()))
    }

    fn drop_front(&self, inner: &mut super::partition::Inner, count: usize) -> Vec<Arc<Segment>> {
        let gone: Vec<_> = inner.segments.drain(..count).collect();
        inner.unsynced.retain(|s| !gone.iter().any(|g| Arc::ptr_eq(g, s)));
        self.raise_start(inner.segments[0].base());
        gone
    }

    fn remove_files(&self, gone: &[Arc<Segment>]) -> io::Result<usize> {
        for segment in gone {
            segment.remove()?;
            tracing::info!(segment = %segment.path().display(), bytes = segment.size(), "segment expired");
        }
        Ok(gone.len())
    }
}

#[cfg(test)]
mod tests {
    use super::expired;

    #[test]
    fn oldest_segments_go_first_and_the_active_one_stays() {
        let segments = [(100, Some(10)), (100, Some(20)), (100, Some(30)), (50, Some(40))];
        let check =
            |ms, bytes, expected| assert_eq!(expired(&segments, ms, bytes, 100), expected, "{ms} {bytes}");
        check(-1, -1, 0);
        check(80, -1, 1);
        check(0, -1, 3);
        check(-1, 350, 0);
        check(-1, 250, 1);
        check(-1, 251, 0);
        check(-1, 0, 3);
        check(85, 150, 2);
    }
}
