//! How often each value occurs in a window, and the entropy of that.
//!
//! Invariant: the entropy is the same bits in whatever order events came and went: the terms c * log2(c) are rounded to
//! 2^-32 each and summed as whole numbers.

use crate::event::NULL;
use hashbrown::HashMap;
use std::sync::LazyLock;

/// Counts by value.
#[derive(Debug, Clone, Default)]
pub struct Categories {
    counts: HashMap<i64, u32, ahash::RandomState>,
    values: u32,
    /// Sum of `term(count)` over the values.
    terms: i128,
}

const ONE: f64 = 4_294_967_296.0;

static TERMS: LazyLock<Vec<i64>> = LazyLock::new(|| (0..1_024).map(computed_term).collect());

/// c * log2(c), in units of 2^-32.
fn computed_term(count: u32) -> i64 {
    let count = f64::from(count);
    if count < 2.0 { 0 } else { (count * count.log2() * ONE).round() as i64 }
}

fn term(count: u32) -> i128 {
    i128::from(TERMS.get(count as usize).copied().unwrap_or_else(|| computed_term(count)))
}

impl Categories {
    pub fn clear(&mut self) {
        self.counts.clear();
        (self.values, self.terms) = (0, 0);
    }

    pub fn enter(&mut self, value: i64) {
        if value != NULL {
            let count = self.counts.entry(value).or_insert(0);
            self.terms += term(*count + 1) - term(*count);
            *count += 1;
            self.values += 1;
        }
    }

    pub fn leave(&mut self, value: i64) {
        if value == NULL {
            return;
        }
        if let Some(count) = self.counts.get_mut(&value) {
            self.terms += term(*count - 1) - term(*count);
            *count -= 1;
            self.values -= 1;
            if *count == 0 {
                self.counts.remove(&value);
            }
        }
    }

    /// How often a value occurs.
    #[must_use]
    pub fn count(&self, value: i64) -> u32 {
        self.counts.get(&value).copied().unwrap_or(0)
    }

    /// How many values there are, not counting nulls.
    #[must_use]
    pub fn values(&self) -> u32 {
        self.values
    }

    /// How many different ones.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// Shannon entropy in bits, NaN without values: log2(n) - sum(c * log2(c)) / n.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        if self.values == 0 {
            return f64::NAN;
        }
        let values = f64::from(self.values);
        (values.log2() - self.terms as f64 / ONE / values).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_cases() {
        let entropy = |values: &[i64]| {
            let mut categories = Categories::default();
            values.iter().for_each(|&value| categories.enter(value));
            categories.entropy()
        };
        assert!(entropy(&[NULL]).is_nan());
        assert_eq!(entropy(&[7, 7, 7]), 0.0);
        assert_eq!(entropy(&[1, 2, 3, 4]), 2.0);
        assert!((entropy(&[1, 1, 2]) - 0.918_295_834_054_489_5).abs() < 1e-9);
    }
}
