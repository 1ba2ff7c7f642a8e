//! Rows of a part of a set in a temporary file, in the order in which they came. The file has no name: it goes with the process.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};

/// Words before the values: where the row stands, and whether it is exact.
const HEAD: usize = 4;

/// Where a row stands in the order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) arrived: i64,
    pub(super) time: i64,
    pub(super) order: u64,
}

/// A file that is being written.
pub(super) struct Writing {
    out: BufWriter<File>,
    width: usize,
    rows: u64,
    /// What kept a row from being written.
    failed: Option<io::Error>,
}

impl Writing {
    /// A file of rows of so many values.
    pub(super) fn new(width: usize) -> io::Result<Self> {
        Ok(Writing { out: BufWriter::new(tempfile::tempfile()?), width, rows: 0, failed: None })
    }

    /// Adds a row; whether that failed, [`Writing::finish`] tells.
    pub(super) fn push(&mut self, at: At, is_exact: bool, values: impl Iterator<Item = f64>) {
        if self.failed.is_some() {
            return;
        }
        let head = [at.arrived, at.time, at.order.cast_signed(), i64::from(is_exact)].map(i64::to_le_bytes);
        for word in head.into_iter().chain(values.map(f64::to_le_bytes)) {
            if let Err(error) = self.out.write_all(&word) {
                self.failed = Some(error);
                return;
            }
        }
        self.rows += 1;
    }

    /// The file, to be read.
    pub(super) fn finish(self) -> io::Result<Spilled> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Spilled {
            file: BufReader::new(file),
            rows_left: self.rows,
            bytes: vec![0; (HEAD + self.width) * size_of::<i64>()],
            at: None,
            is_exact: false,
            values: Vec::with_capacity(self.width),
        })
    }
}

/// A file that is read, row by row.
pub(super) struct Spilled {
    file: BufReader<File>,
    rows_left: u64,
    bytes: Vec<u8>,
    /// The row that was read last.
    at: Option<At>,
    is_exact: bool,
    values: Vec<f64>,
}

impl Spilled {
    /// The row that stands there: whether it is exact, its values. None where none does. Rows are asked for in their order.
    pub(super) fn find(&mut self, at: At) -> io::Result<Option<(bool, &[f64])>> {
        while self.at < Some(at) {
            if self.rows_left == 0 {
                return Ok(None);
            }
            self.rows_left -= 1;
            self.file.read_exact(&mut self.bytes)?;
            let (words, _) = self.bytes.as_chunks::<8>();
            let number = |nth: usize| i64::from_le_bytes(words[nth]);
            self.at = Some(At { arrived: number(0), time: number(1), order: number(2).cast_unsigned() });
            self.is_exact = number(3) == 1;
            self.values.clear();
            self.values.extend(words[HEAD..].iter().map(|word| f64::from_le_bytes(*word)));
        }
        Ok((self.at == Some(at)).then_some((self.is_exact, self.values.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_their_order() {
        let at = |arrived, order| At { arrived, time: -1, order };
        let mut writing = Writing::new(2).unwrap();
        writing.push(at(1, 7), true, [0.5, f64::NAN].into_iter());
        // The same event again, as a later version of it comes.
        writing.push(at(1, 7), true, [0.25, 1.0].into_iter());
        writing.push(at(2, u64::MAX), false, [-0.0, 3.0].into_iter());
        let mut spilled = writing.finish().unwrap();
        let (is_exact, values) = spilled.find(at(1, 7)).unwrap().unwrap();
        assert!(is_exact && values[0] == 0.5 && values[1].is_nan());
        assert!(spilled.find(at(1, 8)).unwrap().is_none());
        let (is_exact, values) = spilled.find(at(2, u64::MAX)).unwrap().unwrap();
        assert_eq!((is_exact, values[0].to_bits(), values[1]), (false, (-0.0_f64).to_bits(), 3.0));
        assert!(spilled.find(at(3, 0)).unwrap().is_none());
    }
}
