//! The log of one key: its events as rows of whole numbers, ordered by (event time, order), in one piece of memory.
//!
//! A row is event time, order, which filters it passes, and the columns that features need ([`crate::aggregate::HEADER`]). New rows go to the end,
//! late ones to their place; old ones leave at the front, whose room is taken back when it is worth it.

use crate::aggregate::instant;

/// Rows of a fixed number of words. All methods are told that number (`stride`): it is the same for all keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    words: Vec<i64>,
    /// Rows that are there.
    rows: u32,
    /// Rows at the front that have left.
    gone: u32,
}

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.rows as usize
    }

    #[inline]
    pub(crate) fn row(&self, stride: usize, index: usize) -> &[i64] {
        let start = (index + self.gone as usize) * stride;
        &self.words[start..start + stride]
    }

    pub(crate) fn row_mut(&mut self, stride: usize, index: usize) -> &mut [i64] {
        let start = (index + self.gone as usize) * stride;
        &mut self.words[start..start + stride]
    }

    /// All rows, one after the other.
    pub(crate) fn words(&self, stride: usize) -> &[i64] {
        &self.words[self.gone as usize * stride..]
    }

    pub(crate) fn rows(
        &self,
        stride: usize,
        range: std::ops::Range<usize>,
    ) -> impl DoubleEndedIterator<Item = &[i64]> {
        self.words(stride)[range.start * stride..range.end * stride].chunks_exact(stride)
    }

    /// How many rows lie before or at an instant.
    pub(crate) fn before_or_at(&self, stride: usize, bound: (i64, u64)) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if instant(self.row(stride, middle)) <= bound { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Where a row of this instant is, or where it belongs. Nearly all come at the end.
    pub(crate) fn find(&self, stride: usize, at: (i64, u64)) -> Result<usize, usize> {
        let length = self.len();
        if length == 0 || instant(self.row(stride, length - 1)) < at {
            return Err(length);
        }
        let count = self.before_or_at(stride, at);
        if count > 0 && instant(self.row(stride, count - 1)) == at { Ok(count - 1) } else { Err(count) }
    }

    /// Puts a row at its place.
    pub(crate) fn insert(&mut self, stride: usize, index: usize, row: &[i64]) {
        self.make_room(stride);
        self.rows += 1;
        if index + 1 == self.len() {
            self.words.extend_from_slice(row);
            return;
        }
        let start = (index + self.gone as usize) * stride;
        let end = self.words.len();
        self.words.extend_from_slice(row);
        self.words.copy_within(start..end, start + stride);
        self.words[start..start + stride].copy_from_slice(row);
    }

    /// Takes a row from its place.
    pub(crate) fn remove(&mut self, stride: usize, index: usize) {
        let start = (index + self.gone as usize) * stride;
        self.words.drain(start..start + stride);
        self.rows -= 1;
        if self.len() == 0 {
            self.words = Vec::new();
            self.gone = 0;
        }
    }

    /// Takes rows off the front.
    pub(crate) fn drop_front(&mut self, rows: usize) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.gone += rows;
        self.rows -= rows;
        if self.len() == 0 {
            self.words = Vec::new();
            self.gone = 0;
        }
    }

    /// Appends rows as they were kept.
    pub(crate) fn extend(&mut self, stride: usize, words: &[i64]) {
        self.rows += u32::try_from(words.len() / stride).unwrap_or(u32::MAX);
        self.words.reserve_exact(words.len());
        self.words.extend_from_slice(words);
    }

    /// Room for one more row: that of rows that have left, if they are an eighth of all; else the next size.
    fn make_room(&mut self, stride: usize) {
        if self.words.capacity() - self.words.len() >= stride {
            return;
        }
        let rows = (self.gone + self.rows) as usize;
        if self.gone as usize * 8 >= rows && self.gone > 0 {
            self.words.drain(..self.gone as usize * stride);
            self.gone = 0;
            let spare = self.words.capacity() / stride / 4;
            if spare > self.words.len() / stride {
                self.words.shrink_to(size(self.words.len() + stride));
            }
        } else {
            let wanted = size(self.words.len() + stride).max(size(3 * stride));
            self.words.reserve_exact(wanted - self.words.len());
        }
    }
}

/// Words of the piece of memory that so many are put into: there are four sizes between a power of two and the next, as allocators
/// that keep pieces of one size together (mimalloc, jemalloc) have them. What they would round up to is used, and a log that
/// grows takes at most a quarter more than it needs.
fn size(words: usize) -> usize {
    let step = 1 << (words.max(9) - 1).ilog2().saturating_sub(2);
    words.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_those_of_allocators() {
        for (words, expected) in
            [(1, 2), (9, 10), (21, 24), (64, 64), (65, 80), (98, 112), (133, 160), (225, 256)]
        {
            assert_eq!(size(words), expected, "{words}");
        }
    }

    proptest! {
        #[test]
        fn rows_stay_in_order(instants in prop::collection::vec((0i64..20, 0u64..3), 1..60), leave in 0usize..6) {
            let (mut log, mut expected) = (Log::default(), Vec::new());
            for (nth, &at) in instants.iter().enumerate() {
                let row = [at.0, at.1.cast_signed(), 1, i64::try_from(nth).unwrap()];
                match log.find(4, at) {
                    Ok(index) => prop_assert_eq!(instant(log.row(4, index)), at),
                    Err(index) => {
                        log.insert(4, index, &row);
                        expected.push(row);
                    }
                }
                if nth % 7 == 6 {
                    let rows = leave.min(log.len());
                    log.drop_front(rows);
                    expected.sort_unstable();
                    expected.drain(..rows);
                }
            }
            expected.sort_unstable();
            prop_assert_eq!(log.rows(4, 0..log.len()).map(<[i64]>::to_vec).collect::<Vec<_>>(),
                expected.iter().map(|row| row.to_vec()).collect::<Vec<_>>());
        }
    }
}
