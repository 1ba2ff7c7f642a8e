//! Memory for the logs of many keys: pieces of a few sizes, those of one size side by side and without holes.
//!
//! A million logs grow a row at a time through all sizes. An allocator keeps pieces of one size together and cannot move them: when
//! nearly all logs have outgrown a size, its memory stays for the few that have not, and that was a third of the whole. Here the
//! last piece of a size takes the place of one that is given back, and its owner is told.
//!
//! Invariant: what is held is what the pieces have room for, and a chunk a size at most.

/// Rows by which sizes differ.
const STEP: usize = 2;
/// Rows of the largest piece; longer logs have memory of their own.
pub(crate) const ROWS_MAX: usize = 32;
/// Words of a chunk: 256 KiB. Of the widest rows (256 columns) it holds three of the largest pieces.
const CHUNK: usize = 1 << 15;
/// Chunks that are kept for the next size that needs one.
const SPARE_MAX: usize = 16;

/// Where a log's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    size: u32,
    pub(crate) place: u32,
}

/// All pieces of one group.
#[derive(Debug)]
pub(crate) struct Slab {
    stride: usize,
    sizes: Vec<Size>,
    spare: Vec<Box<[i64]>>,
    /// Owners whose pieces were moved, each with the new place, in order.
    pub(crate) moved: Vec<(u32, u32)>,
}

/// The pieces of one size.
#[derive(Debug)]
struct Size {
    /// Words of a piece.
    words: usize,
    /// By place.
    owners: Vec<u32>,
    chunks: Vec<Box<[i64]>>,
}

impl Slab {
    /// No pieces yet, for rows of so many words.
    pub(crate) fn new(stride: usize) -> Self {
        let size = |nth: usize| Size { words: nth * STEP * stride, owners: Vec::new(), chunks: Vec::new() };
        let sizes = (1..=ROWS_MAX / STEP).map(size).collect();
        Slab { stride, sizes, spare: Vec::new(), moved: Vec::new() }
    }

    /// Words a row.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Rows that a piece has room for.
    pub(crate) fn room(&self, piece: Piece) -> usize {
        (piece.size as usize + 1) * STEP
    }

    /// A piece with room for so many rows, at most [`ROWS_MAX`]. What is in it is not said.
    pub(crate) fn take(&mut self, owner: u32, rows: usize) -> Piece {
        let size = rows.max(1).div_ceil(STEP) - 1;
        let Size { words, owners, chunks } = &mut self.sizes[size];
        if owners.len() == chunks.len() * (CHUNK / *words) {
            chunks.push(self.spare.pop().unwrap_or_else(|| vec![0; CHUNK].into()));
        }
        let place = number(owners.len());
        owners.push(owner);
        Piece { size: number(size), place }
    }

    /// Gives a piece back.
    pub(crate) fn give(&mut self, piece: Piece) {
        let size = &mut self.sizes[piece.size as usize];
        let last = number(size.owners.len() - 1);
        if piece.place != last {
            size.copy(last, piece.place);
            self.moved.push((size.owners[last as usize], piece.place));
        }
        size.owners.swap_remove(piece.place as usize);
        if size.owners.len() == (size.chunks.len() - 1) * (CHUNK / size.words)
            && let Some(chunk) = size.chunks.pop()
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(chunk);
        }
    }

    /// The piece belongs to another slot now.
    pub(crate) fn hand_over(&mut self, piece: Piece, owner: u32) {
        self.sizes[piece.size as usize].owners[piece.place as usize] = owner;
    }

    pub(crate) fn words(&self, piece: Piece) -> &[i64] {
        self.sizes[piece.size as usize].words(piece.place)
    }

    pub(crate) fn words_mut(&mut self, piece: Piece) -> &mut [i64] {
        self.sizes[piece.size as usize].words_mut(piece.place)
    }

    /// Copies the first words of a piece to one of another size.
    pub(crate) fn copy(&mut self, from: Piece, to: Piece, words: usize) {
        let sizes = [from.size as usize, to.size as usize];
        if let Ok([of_from, of_to]) = self.sizes.get_disjoint_mut(sizes) {
            of_to.words_mut(to.place)[..words].copy_from_slice(&of_from.words(from.place)[..words]);
        } else {
            self.sizes[from.size as usize].copy(from.place, to.place);
        }
    }
}

impl Size {
    /// Chunk of a piece, and where it begins there.
    fn start(&self, place: u32) -> (usize, usize) {
        let in_chunk = number(CHUNK / self.words);
        ((place / in_chunk) as usize, (place % in_chunk) as usize * self.words)
    }

    fn words(&self, place: u32) -> &[i64] {
        let (chunk, start) = self.start(place);
        &self.chunks[chunk][start..start + self.words]
    }

    fn words_mut(&mut self, place: u32) -> &mut [i64] {
        let (chunk, start) = self.start(place);
        &mut self.chunks[chunk][start..start + self.words]
    }

    fn copy(&mut self, from: u32, to: u32) {
        let ((from_chunk, from), (to_chunk, to)) = (self.start(from), self.start(to));
        if let Ok([of_from, of_to]) = self.chunks.get_disjoint_mut([from_chunk, to_chunk]) {
            of_to[to..to + self.words].copy_from_slice(&of_from[from..from + self.words]);
        } else {
            self.chunks[from_chunk].copy_within(from..from + self.words, to);
        }
    }
}

/// Places, sizes and owners are fewer than 2^32: a key has one piece, and keys are counted so.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_without_holes_and_chunks_go() {
        let mut slab = Slab::new(8);
        let in_chunk = CHUNK / (4 * 8);
        let mut pieces: Vec<Piece> = (0..number(in_chunk + 2)).map(|owner| slab.take(owner, 3)).collect();
        for (owner, piece) in (0..).zip(&pieces) {
            slab.words_mut(*piece)[0] = owner;
        }
        assert_eq!((slab.room(pieces[0]), slab.sizes[1].chunks.len()), (4, 2));
        // The last one comes to the place of the first, and tells whose it is.
        slab.give(pieces[0]);
        let last = pieces.len() - 1;
        assert_eq!(slab.moved.drain(..).collect::<Vec<_>>(), [(number(last), 0)]);
        pieces[last].place = 0;
        assert_eq!(slab.words(pieces[last])[0], i64::try_from(last).unwrap());
        slab.give(pieces[1]);
        assert_eq!((slab.sizes[1].chunks.len(), slab.spare.len()), (1, 1));
        // Another size takes the chunk that has become free.
        let other = slab.take(7, 9);
        assert_eq!((slab.room(other), slab.spare.len()), (10, 0));
        slab.copy(pieces[2], other, 32);
        assert_eq!(slab.words(other)[0], 2);
    }
}
