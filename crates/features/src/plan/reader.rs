//! Readers: how a value comes out of what is kept. Which windows there are and what is kept of them, [`super::build`] decides.

/// A value of the vector: its place, what stands where there is none, and how it is read.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) place: usize,
    pub(crate) default: f64,
    pub(crate) read: Read,
}

/// How a value is read: positions in [`crate::aggregate::Kept`], windows by number, columns by their place in a row, decimals of the
/// column as `places`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Read {
    Count { at: usize },
    Rate { at: usize, hours: f64 },
    Sum { at: usize, places: u8 },
    Mean { at: usize, places: u8 },
    Deviation { sum: usize, squares: usize, places: u8 },
    Extreme { at: usize, places: u8 },
    Distinct { at: usize },
    Entropy { at: usize },
    Share { of: usize, all: usize },
    ShareSame { at: usize, column: usize },
    Last { window: usize, filter: u8, column: usize, nth: usize, places: u8 },
    First { window: usize, filter: u8, column: usize, nth: usize, places: u8 },
    SinceLast { window: usize, filter: u8 },
    Duration { window: usize, filter: u8 },
    IsNew { at: usize, column: usize },
    ToMean { at: usize, column: usize },
    ZScore { sum: usize, squares: usize, column: usize },
    Speed { window: usize, filter: u8, latitude: usize, longitude: usize },
}
