//! ADWIN: a window over a stream that is as long as its mean does not change (Bifet and Gavaldà 2007), kept in buckets of powers of two.
//!
//! Where two parts of the window have means that differ by more than chance allows, the older bucket is let go. The bound is the one for
//! streams of any range, with the variance of the window; parameters, and thereby the places of detection, are those of river.
//!
//! Invariant: memory grows with the logarithm of the window.

use std::collections::VecDeque;

/// Buckets of one size; one more are two of the next.
const BUCKETS_MAX: usize = 5;
/// The window is searched each so many values, once it has more than `GRACE`, for parts of at least `PART_MIN`.
const CLOCK: u64 = 32;
const GRACE: f64 = 10.0;
const PART_MIN: f64 = 5.0;

/// Values in a row: their sum, and the sum of their squared distances from their mean.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    count: f64,
    total: f64,
    spread: f64,
}

impl Part {
    fn mean(self) -> f64 {
        self.total / self.count
    }

    /// What two parts' means add to the spread of both together.
    fn between(self, other: Part) -> f64 {
        if self.count == 0.0 || other.count == 0.0 {
            return 0.0;
        }
        self.count * other.count * (self.mean() - other.mean()).powi(2) / (self.count + other.count)
    }

    fn with(self, other: Part) -> Part {
        Part {
            count: self.count + other.count,
            total: self.total + other.total,
            spread: self.spread + other.spread + self.between(other),
        }
    }

    fn without(self, other: Part) -> Part {
        let rest = Part { count: self.count - other.count, total: self.total - other.total, spread: 0.0 };
        Part { spread: self.spread - other.spread - rest.between(other), ..rest }
    }
}

/// A detector of changes of the mean.
#[derive(Debug, Clone)]
pub struct Adwin {
    delta: f64,
    /// By size, the smallest first; of each size the oldest first.
    rows: Vec<VecDeque<Part>>,
    window: Part,
    seen: u64,
    changes: u64,
}

impl Adwin {
    /// With a confidence of 1 - `delta`.
    #[must_use]
    pub fn new(delta: f64) -> Self {
        Adwin { delta, rows: vec![VecDeque::new()], window: Part::default(), seen: 0, changes: 0 }
    }

    /// Takes a value. True where the mean was found to have changed.
    pub fn update(&mut self, value: f64) -> bool {
        let one = Part { count: 1.0, total: value, spread: 0.0 };
        self.window = self.window.with(one);
        self.rows[0].push_back(one);
        self.merge();
        self.seen += 1;
        if !self.seen.is_multiple_of(CLOCK) || self.window.count <= GRACE {
            return false;
        }
        let mut changed = false;
        while self.window.count > GRACE && self.has_cut() {
            changed = true;
            self.drop_oldest();
        }
        self.changes += u64::from(changed);
        changed
    }

    /// The mean since the last change; nought without values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.window.count > 0.0 { self.window.mean() } else { 0.0 }
    }

    /// How many values are in the window.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.window.count
    }

    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn merge(&mut self) {
        let mut size = 0;
        while self.rows[size].len() > BUCKETS_MAX {
            let oldest = self.rows[size].pop_front().unwrap_or_default();
            let next = self.rows[size].pop_front().unwrap_or_default();
            if size + 1 == self.rows.len() {
                self.rows.push(VecDeque::new());
            }
            self.rows[size + 1].push_back(oldest.with(next));
            size += 1;
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.rows.last_mut().and_then(VecDeque::pop_front).unwrap_or_default();
        self.window = self.window.without(oldest);
        while self.rows.len() > 1 && self.rows.last().is_some_and(VecDeque::is_empty) {
            self.rows.pop();
        }
    }

    /// Whether some cut parts the window in two whose means differ by more than chance.
    fn has_cut(&self) -> bool {
        let (mut old, mut new) = (Part::default(), self.window);
        for row in self.rows.iter().rev() {
            for &bucket in row {
                new = new.without(bucket);
                old = old.with(bucket);
                if old.count >= PART_MIN && new.count >= PART_MIN && self.differ(old, new) {
                    return true;
                }
            }
        }
        false
    }

    fn differ(&self, old: Part, new: Part) -> bool {
        let confidence = (2.0 * self.window.count.ln() / self.delta).ln();
        let scale = 1.0 / (old.count - PART_MIN + 1.0) + 1.0 / (new.count - PART_MIN + 1.0);
        let variance = self.window.spread / self.window.count;
        let bound = (2.0 * scale * variance * confidence).sqrt() + 2.0 / 3.0 * confidence * scale;
        (old.mean() - new.mean()).abs() > bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn a_change_is_found_and_none_is_where_there_is_none() {
        let mut rng = SmallRng::seed_from_u64(11);
        let mut adwin = Adwin::new(0.002);
        let mut at = Vec::new();
        for n in 0..4_000 {
            let value = rng.random::<f64>() + if n >= 2_000 { 0.5 } else { 0.0 };
            if adwin.update(value) {
                at.push(n);
            }
        }
        assert!(!at.is_empty() && at.iter().all(|n| (2_000..2_300).contains(n)), "{at:?}");
        assert!((adwin.mean() - 1.0).abs() < 0.05);
        assert!(adwin.width() <= 2_100.0);
    }

    #[test]
    fn memory_stays_small() {
        let mut adwin = Adwin::new(0.002);
        (0..100_000).for_each(|n| {
            adwin.update(f64::from(n % 7));
        });
        assert_eq!(adwin.width(), 100_000.0);
        assert!(adwin.rows.iter().map(VecDeque::len).sum::<usize>() < 100);
    }
}
