//! Number and sum of the values of a window; squares beside them where a deviation is asked for.
//!
//! Values are at most [`crate::event::VALUE_MAX`] and events [`crate::event::EVENTS_MAX`], so 128 bits hold every sum of squares.

use crate::event::NULL;

/// How many values there are, and what they sum to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub values: u32,
    pub total: i128,
}

impl Sum {
    #[inline]
    pub fn enter(&mut self, value: i64) {
        if value != NULL {
            self.values += 1;
            self.total += i128::from(value);
        }
    }

    #[inline]
    pub fn leave(&mut self, value: i64) {
        if value != NULL {
            self.values -= 1;
            self.total -= i128::from(value);
        }
    }
}

/// The square of a value, 0 where there is none.
#[must_use]
#[inline]
pub fn square(value: i64) -> i128 {
    if value == NULL { 0 } else { i128::from(value) * i128::from(value) }
}
