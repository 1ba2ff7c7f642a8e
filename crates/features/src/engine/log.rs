//! The log of one key: its events as rows of whole numbers, ordered by (event time, order), in one piece of memory.
//!
//! A row is event time, order, which filters it passes, and the columns that features need ([`crate::aggregate::HEADER`]). New rows go to the end,
//! late ones to their place; old ones leave at the front. Short logs lie in pieces of the group's [`Slab`], which have no room to spare; long
//! ones have memory of their own, where the room of rows that have left is taken back when it is worth it.

use super::slab::{Piece, ROWS_MAX, Slab};
use crate::aggregate::instant;

/// A piece may have room for so many rows more than there are before a smaller one is taken.
const SLACK: usize = 3;

/// Rows of a fixed number of words, which the group's slab knows. Whatever may move them is given the slab, and the number of the
/// slot that owns them.
#[derive(Debug, Default)]
pub(crate) struct Log {
    words: Words,
    /// Rows that are there.
    rows: u32,
    /// Rows at the front that have left; none in a piece.
    gone: u32,
}

#[derive(Debug)]
enum Words {
    Own(Vec<i64>),
    Piece(Piece),
}

impl Default for Words {
    fn default() -> Self {
        Words::Own(Vec::new())
    }
}

/// The rows of a log, to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    words: &'a [i64],
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows that are in no log.
    pub(crate) fn of(words: &'a [i64], stride: usize) -> Self {
        Rows { words, stride }
    }

    /// The rows of a key that has none.
    pub(crate) fn none(stride: usize) -> Self {
        Rows { words: &[], stride }
    }

    pub(crate) fn len(self) -> usize {
        self.words.len() / self.stride
    }

    #[inline]
    pub(crate) fn row(self, index: usize) -> &'a [i64] {
        &self.words[index * self.stride..][..self.stride]
    }

    pub(crate) fn last(self) -> Option<&'a [i64]> {
        self.words.rchunks_exact(self.stride).next()
    }

    /// All rows, one after the other.
    pub(crate) fn words(self) -> &'a [i64] {
        self.words
    }

    pub(crate) fn range(self, range: std::ops::Range<usize>) -> impl DoubleEndedIterator<Item = &'a [i64]> {
        self.words[range.start * self.stride..range.end * self.stride].chunks_exact(self.stride)
    }

    /// How many rows lie before or at an instant.
    pub(crate) fn before_or_at(self, bound: (i64, u64)) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if instant(self.row(middle)) <= bound { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Where a row of this instant is, or where it belongs. Nearly all come at the end.
    pub(crate) fn find(self, at: (i64, u64)) -> Result<usize, usize> {
        if self.last().is_none_or(|last| instant(last) < at) {
            return Err(self.len());
        }
        let count = self.before_or_at(at);
        if count > 0 && instant(self.row(count - 1)) == at { Ok(count - 1) } else { Err(count) }
    }
}

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.rows as usize
    }

    pub(crate) fn rows<'a>(&'a self, slab: &'a Slab) -> Rows<'a> {
        let stride = slab.stride();
        let words = match &self.words {
            Words::Own(words) => &words[self.gone as usize * stride..],
            Words::Piece(piece) => &slab.words(*piece)[..self.len() * stride],
        };
        Rows { words, stride }
    }

    pub(crate) fn row_mut<'a>(&'a mut self, slab: &'a mut Slab, index: usize) -> &'a mut [i64] {
        let stride = slab.stride();
        let start = (index + self.gone as usize) * stride;
        match &mut self.words {
            Words::Own(words) => &mut words[start..start + stride],
            Words::Piece(piece) => &mut slab.words_mut(*piece)[start..start + stride],
        }
    }

    /// Puts a row at its place.
    pub(crate) fn insert(&mut self, slab: &mut Slab, owner: u32, index: usize, row: &[i64]) {
        self.make_room(slab, owner);
        let stride = slab.stride();
        let start = (index + self.gone as usize) * stride;
        let end = (self.gone + self.rows) as usize * stride;
        let words = match &mut self.words {
            Words::Own(words) => {
                words.extend_from_slice(row);
                words.as_mut_slice()
            }
            Words::Piece(piece) => slab.words_mut(*piece),
        };
        words.copy_within(start..end, start + stride);
        words[start..start + stride].copy_from_slice(row);
        self.rows += 1;
    }

    /// Takes a row from its place.
    pub(crate) fn remove(&mut self, slab: &mut Slab, owner: u32, index: usize) {
        let (stride, left) = (slab.stride(), self.len() - 1);
        if left == 0 {
            self.free(slab);
            return;
        }
        let start = (index + self.gone as usize) * stride;
        let is_roomy = match &mut self.words {
            Words::Own(words) => {
                words.drain(start..start + stride);
                left <= ROWS_MAX / 2
            }
            Words::Piece(piece) => {
                slab.words_mut(*piece).copy_within(start + stride..(left + 1) * stride, start);
                slab.room(*piece) > left + SLACK
            }
        };
        self.rows = number(left);
        if is_roomy {
            self.relocate(slab, owner, left);
        }
    }

    /// Takes rows off the front.
    pub(crate) fn drop_front(&mut self, slab: &mut Slab, owner: u32, rows: usize) {
        let (stride, left) = (slab.stride(), self.len() - rows);
        if left == 0 {
            self.free(slab);
            return;
        }
        let is_roomy = match &self.words {
            Words::Own(_) => {
                self.gone += number(rows);
                left <= ROWS_MAX / 2
            }
            Words::Piece(piece) => {
                slab.words_mut(*piece).copy_within(rows * stride..(rows + left) * stride, 0);
                slab.room(*piece) > left + SLACK
            }
        };
        self.rows = number(left);
        if is_roomy {
            self.relocate(slab, owner, left);
        }
    }

    /// Appends rows as they were kept.
    pub(crate) fn extend(&mut self, slab: &mut Slab, owner: u32, words: &[i64]) {
        let stride = slab.stride();
        let room = self.len() + words.len() / stride;
        let has_room = match &self.words {
            Words::Own(own) => !own.is_empty() || words.is_empty(),
            Words::Piece(piece) => room <= slab.room(*piece),
        };
        if !has_room {
            self.relocate(slab, owner, room);
        }
        match &mut self.words {
            Words::Own(own) => {
                own.reserve_exact(words.len());
                own.extend_from_slice(words);
            }
            Words::Piece(piece) => {
                let start = self.rows as usize * stride;
                slab.words_mut(*piece)[start..start + words.len()].copy_from_slice(words);
            }
        }
        self.rows = number(room);
    }

    /// Lets go of all rows.
    pub(crate) fn free(&mut self, slab: &mut Slab) {
        if let Words::Piece(piece) = std::mem::take(self).words {
            slab.give(piece);
        }
    }

    /// The slab has moved its piece.
    pub(crate) fn moved(&mut self, place: u32) {
        if let Words::Piece(piece) = &mut self.words {
            piece.place = place;
        }
    }

    /// It belongs to another slot now.
    pub(crate) fn hand_over(&self, slab: &mut Slab, owner: u32) {
        if let Words::Piece(piece) = &self.words {
            slab.hand_over(*piece, owner);
        }
    }

    /// Room for one more row: that of rows that have left, if they are an eighth of all; else the next size.
    fn make_room(&mut self, slab: &mut Slab, owner: u32) {
        let (stride, wanted) = (slab.stride(), self.len() + 1);
        let is_outgrown = match &self.words {
            Words::Own(words) => words.is_empty(),
            Words::Piece(piece) => wanted > slab.room(*piece),
        };
        if is_outgrown {
            self.relocate(slab, owner, wanted);
            return;
        }
        let Words::Own(words) = &mut self.words else { return };
        if words.capacity() - words.len() >= stride {
            return;
        }
        if self.gone as usize * 8 >= words.len() / stride && self.gone > 0 {
            words.drain(..self.gone as usize * stride);
            self.gone = 0;
            if words.capacity() / 4 > words.len() {
                words.shrink_to(size(words.len() + stride));
            }
        } else {
            words.reserve_exact(size(words.len() + stride) - words.len());
        }
    }

    /// Moves the rows to where there is room for so many.
    fn relocate(&mut self, slab: &mut Slab, owner: u32, room: usize) {
        let stride = slab.stride();
        let (front, length) = (self.gone as usize * stride, self.len() * stride);
        let old = std::mem::take(&mut self.words);
        self.gone = 0;
        if room > ROWS_MAX {
            let mut words = Vec::with_capacity(size(room * stride));
            words.extend_from_slice(match &old {
                Words::Own(old) => &old[front..],
                Words::Piece(piece) => &slab.words(*piece)[..length],
            });
            self.words = Words::Own(words);
        } else {
            let new = slab.take(owner, room);
            match &old {
                Words::Own(old) => slab.words_mut(new)[..length].copy_from_slice(&old[front..]),
                Words::Piece(piece) => slab.copy(*piece, new, length),
            }
            self.words = Words::Piece(new);
        }
        if let Words::Piece(piece) = old {
            slab.give(piece);
        }
    }
}

/// Rows of a key are at most [`crate::event::EVENTS_MAX`].
fn number(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// Words of the memory that so many are put into, of long logs: there are four sizes between a power of two and the next, as allocators
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

    /// What is done to one of the logs.
    #[derive(Debug, Clone)]
    enum Step {
        Insert(i64, u64),
        Drop(usize),
        Remove(usize),
        Extend(usize),
        Free,
    }

    fn step() -> impl Strategy<Value = (usize, Step)> {
        let step = prop_oneof![
            12 => (0i64..200, 0u64..3).prop_map(|(time, order)| Step::Insert(time, order)),
            2 => (1usize..12).prop_map(Step::Drop),
            3 => (0usize..60).prop_map(Step::Remove),
            1 => (1usize..50).prop_map(Step::Extend),
            1 => Just(Step::Free),
        ];
        (0usize..4, step)
    }

    proptest! {
        /// Logs that share a slab, short and long, hold what lists of their rows hold, in order.
        #[test]
        fn rows_stay_in_order_and_with_their_log(steps in prop::collection::vec(step(), 1..300)) {
            let mut slab = Slab::new(4);
            let mut logs: Vec<Log> = (0..4).map(|_| Log::default()).collect();
            let mut expected: Vec<Vec<[i64; 4]>> = vec![Vec::new(); 4];
            for (nth, (place, step)) in steps.into_iter().enumerate() {
                let (log, rows, owner) = (&mut logs[place], &mut expected[place], number(place));
                let mark = i64::try_from(nth).unwrap();
                match step {
                    Step::Insert(time, order) => match log.rows(&slab).find((time, order)) {
                        Ok(index) => {
                            prop_assert_eq!(instant(&rows[index]), (time, order));
                            log.row_mut(&mut slab, index)[3] = mark;
                            rows[index][3] = mark;
                        }
                        Err(index) => {
                            let row = [time, order.cast_signed(), 1, mark];
                            log.insert(&mut slab, owner, index, &row);
                            rows.insert(index, row);
                        }
                    },
                    Step::Drop(count) => {
                        let count = count.min(rows.len());
                        if count > 0 {
                            log.drop_front(&mut slab, owner, count);
                            rows.drain(..count);
                        }
                    }
                    Step::Remove(index) if index < rows.len() => {
                        log.remove(&mut slab, owner, index);
                        rows.remove(index);
                    }
                    Step::Remove(_) => {}
                    Step::Extend(count) => {
                        let from = rows.last().map_or(0, |row| row[0] + 1);
                        let more: Vec<[i64; 4]> = (from..).take(count).map(|time| [time, 0, 1, mark]).collect();
                        log.extend(&mut slab, owner, &more.concat());
                        rows.extend(more);
                    }
                    Step::Free => {
                        log.free(&mut slab);
                        rows.clear();
                    }
                }
                for (owner, place) in slab.moved.drain(..) {
                    logs[owner as usize].moved(place);
                }
                for (log, rows) in logs.iter().zip(&expected) {
                    let found = log.rows(&slab);
                    prop_assert_eq!(log.len(), rows.len());
                    prop_assert_eq!(found.len(), rows.len());
                    prop_assert_eq!(found.words(), rows.concat());
                    prop_assert!(rows.is_sorted_by_key(|row| instant(row)));
                    prop_assert_eq!(found.range(0..rows.len()).next_back(), rows.last().map(|row| row.as_slice()));
                }
            }
        }
    }
}
