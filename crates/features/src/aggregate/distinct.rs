//! How many different values a window holds: exact while it holds at most [`EXACT_MAX`] values, estimated beyond.
//!
//! The rule looks at how many values there are, not at how many differ, because that number is known either way: so which of the two
//! is told is a function of the events in the window alone.

use super::categories::Categories;
use super::sketch::Sketch;
use crate::event::NULL;

/// Up to so many values in the window the count is exact; beyond, it has the error of [`Sketch`].
pub const EXACT_MAX: u32 = 8_192;

/// Counts, a sketch, or both near the border.
#[derive(Debug, Clone)]
pub struct Distinct {
    values: u32,
    counts: Option<Categories>,
    sketch: Option<Box<Sketch>>,
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct { values: 0, counts: Some(Categories::default()), sketch: None }
    }
}

impl Distinct {
    pub fn clear(&mut self) {
        self.values = 0;
        self.counts.get_or_insert_default().clear();
        self.sketch = None;
    }

    pub fn enter(&mut self, at: (i64, u64), value: i64) {
        if value == NULL {
            return;
        }
        self.values += 1;
        if let Some(counts) = &mut self.counts {
            counts.enter(value);
            if self.values > 2 * EXACT_MAX {
                self.counts = None;
            }
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.enter(at, value);
        }
    }

    pub fn expire(&mut self, at: (i64, u64), value: i64) {
        if value == NULL {
            return;
        }
        self.values -= 1;
        if let Some(counts) = &mut self.counts {
            counts.leave(value);
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.expire(at, value);
            if self.values < EXACT_MAX / 2 {
                self.sketch = None;
            }
        }
    }

    /// An event that is not the oldest leaves.
    pub fn withdraw(&mut self, value: i64) {
        if value == NULL {
            return;
        }
        self.values -= 1;
        if let Some(counts) = &mut self.counts {
            counts.leave(value);
        }
        self.sketch = None;
    }

    /// Makes what tells the value, where it is not there, from the values of the window in order.
    pub fn settle<I: Iterator<Item = ((i64, u64), i64)>>(&mut self, values: impl Fn() -> I) {
        if self.values > EXACT_MAX {
            if self.sketch.is_none() {
                let mut sketch = Box::<Sketch>::default();
                values().for_each(|(at, value)| sketch.enter(at, value));
                self.sketch = Some(sketch);
            }
        } else if self.counts.is_none() {
            let mut counts = Categories::default();
            values().for_each(|(_, value)| counts.enter(value));
            self.counts = Some(counts);
        }
    }

    /// The number of different values, after [`Distinct::settle`].
    #[must_use]
    pub fn value(&self) -> f64 {
        match (&self.counts, &self.sketch) {
            (Some(counts), _) if self.values <= EXACT_MAX => counts.distinct() as f64,
            (_, Some(sketch)) => sketch.estimate().round(),
            (Some(counts), None) => counts.distinct() as f64,
            (None, None) => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_border_it_depends_on_the_window_alone() {
        let all: Vec<((i64, u64), i64)> = (0..40_000).map(|n| ((n, 0), n % 12_000)).collect();
        let told = |distinct: &mut Distinct, window: &[((i64, u64), i64)]| {
            distinct.settle(|| window.iter().copied());
            distinct.value()
        };
        let mut slid = Distinct::default();
        let mut first = 0;
        for (end, &(at, value)) in all.iter().enumerate() {
            slid.enter(at, value);
            let length = [100, 9_000, 20_000, 5_000][end / 10_000 % 4];
            while end + 1 - first > length {
                slid.expire(all[first].0, all[first].1);
                first += 1;
            }
            if end % 997 == 0 {
                let window = &all[first..=end];
                let mut fresh = Distinct::default();
                window.iter().for_each(|&(at, value)| fresh.enter(at, value));
                assert_eq!(told(&mut slid, window).to_bits(), told(&mut fresh, window).to_bits(), "at {end}");
            }
        }
    }
}
