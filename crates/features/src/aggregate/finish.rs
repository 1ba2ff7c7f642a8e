//! The only place where floats arise: from exact sums to a value, always by the same operations in the same order.
//!
//! A value that is not there is NaN, always the same one ([`f64::NAN`]), so that vectors can be compared by their bits.

use super::Sum;

/// Without the decimals of its column.
#[must_use]
pub fn scaled(value: f64, places: u8) -> f64 {
    if places == 0 { value } else { value / 10f64.powi(i32::from(places)) }
}

/// NaN where there is no value.
#[must_use]
pub fn mean(sum: Sum) -> f64 {
    if sum.values == 0 { f64::NAN } else { sum.total as f64 / f64::from(sum.values) }
}

/// Sample standard deviation, NaN for fewer than two values.
///
/// The squares are first taken around the whole number nearest to the mean, exactly, so that nothing cancels out. The intermediate
/// products may exceed 128 bits; arithmetic modulo 2^128 is exact for the result, which does not.
#[must_use]
pub fn deviation(sum: Sum, squares: i128) -> f64 {
    if sum.values < 2 {
        return f64::NAN;
    }
    let values = i128::from(sum.values);
    let centre = sum.total.div_euclid(values);
    let rest = sum.total - centre * values;
    let twice = sum.total.wrapping_mul(2).wrapping_mul(centre);
    let around = squares.wrapping_sub(twice).wrapping_add(centre.wrapping_mul(centre).wrapping_mul(values));
    let count = f64::from(sum.values);
    let variance = (around as f64 - rest as f64 * rest as f64 / count) / (count - 1.0);
    variance.max(0.0).sqrt()
}

/// NaN where there is nothing to divide by.
#[must_use]
pub fn ratio(of: f64, to: f64) -> f64 {
    let value = of / to;
    if value.is_finite() { value } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[i64]) -> f64 {
        let mut sum = Sum::default();
        values.iter().for_each(|&value| sum.enter(value));
        deviation(sum, values.iter().map(|&value| super::super::sum::square(value)).sum())
    }

    #[test]
    fn deviations_of_known_cases() {
        assert!(of(&[3]).is_nan());
        assert_eq!(of(&[7, 7, 7]), 0.0);
        assert_eq!(of(&[2, 4, 4, 4, 5, 5, 7, 9]), (32.0f64 / 7.0).sqrt());
        let far = crate::event::VALUE_MAX;
        assert_eq!(of(&[far, far - 2]), 2f64.sqrt());
        assert_eq!(of(&[-far, far]), 2f64.sqrt() * far as f64);
    }

    proptest! {
        #[test]
        fn deviations_agree_with_two_passes(values in prop::collection::vec(-1_000_000i64..1_000_000, 2..50)) {
            let mean = values.iter().sum::<i64>() as f64 / values.len() as f64;
            let squares: f64 = values.iter().map(|&v| (v as f64 - mean).powi(2)).sum();
            let expected = (squares / (values.len() - 1) as f64).sqrt();
            prop_assert!((of(&values) - expected).abs() <= expected * 1e-9 + 1e-9);
        }
    }
}
