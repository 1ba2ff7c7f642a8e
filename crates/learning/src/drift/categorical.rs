//! Distance between two samples of a category: Pearson's chi-square test, as `scipy.stats.chisquare` computes it of the counts now
//! and those of the reference, scaled to as many rows.

use super::numeric::VALUES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// The statistic, and how probable so large a one is by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquare {
    pub statistic: f64,
    pub p_value: f64,
}

/// Compares the counts of categories. A category that the reference never had makes the statistic infinite.
#[must_use]
pub fn chi_square<T: Ord>(reference: &[T], current: &[T]) -> ChiSquare {
    let mut counts: BTreeMap<&T, (f64, f64)> = BTreeMap::new();
    reference.iter().for_each(|value| counts.entry(value).or_default().0 += 1.0);
    current.iter().for_each(|value| counts.entry(value).or_default().1 += 1.0);
    let scale = current.len() as f64 / reference.len() as f64;
    let statistic: f64 = counts
        .values()
        .map(|&(before, now)| {
            let expected = before * scale;
            if expected > 0.0 { (now - expected).powi(2) / expected } else { f64::INFINITY }
        })
        .sum();
    let freedom = counts.len().saturating_sub(1) as f64;
    let p_value = if freedom == 0.0 { 1.0 } else { upper_gamma(freedom / 2.0, statistic / 2.0) };
    ChiSquare { statistic, p_value }
}

/// The chance that two samples of numbers that are names differ so much; none where the reference has so many values that it is no category (evidently's
/// rule), or a sample is empty.
#[must_use]
pub fn chance_of_values(reference: &[f64], current: &[f64]) -> Option<f64> {
    if reference.is_empty() || current.is_empty() {
        return None;
    }
    let mut values = BTreeSet::new();
    let is_one_of_few = |value: &f64| {
        values.insert(value.to_bits());
        values.len() <= VALUES_MAX
    };
    if !reference.iter().all(is_one_of_few) {
        return None;
    }
    let bits = |sample: &[f64]| sample.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    Some(chi_square(&bits(reference), &bits(current)).p_value)
}

/// The regularised upper incomplete gamma function: by its series where that converges fast, else by its continued fraction
/// (Abramowitz and Stegun 6.5.29, 6.5.31; evaluated after Lentz).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x.is_infinite() {
        return 0.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - front * sum;
    }
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / tiny, 1.0 / b);
    let mut value = d;
    for n in 1..10_000 {
        let n = f64::from(n);
        let an = n * (a - n);
        b += 2.0;
        d = 1.0 / guarded(an * d + b, tiny);
        c = guarded(b + an / c, tiny);
        value *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * value
}

fn guarded(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// The logarithm of the gamma function for positive numbers: Stirling's series above 10, its recurrence below.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let square = x * x;
    let series = (1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_by_their_closed_forms() {
        // With two degrees of freedom, exp(-x / 2); with four, exp(-x / 2) (1 + x / 2).
        for x in [0.1, 1.0, 3.0, 10.0, 60.0] {
            let half: f64 = x / 2.0;
            assert!((upper_gamma(1.0, half) - (-half).exp()).abs() < 1e-12);
            assert!((upper_gamma(2.0, half) - (-half).exp() * (1.0 + half)).abs() < 1e-12);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-13);
        assert!((ln_gamma(6.0) - 120f64.ln()).abs() < 1e-13);
    }

    #[test]
    fn counts_by_hand() {
        let found = chi_square(&["a", "a", "b", "b"], &["a", "a", "a", "b"]);
        assert_eq!(found.statistic, 1.0);
        assert!((found.p_value - 0.317_310_507_862_914).abs() < 1e-12);
        let of_values = chance_of_values(&[5.0, 5.0, 7.0, 7.0], &[5.0, 5.0, 5.0, 7.0]);
        assert_eq!(of_values, Some(found.p_value));
        let many: Vec<f64> = (0..21).map(f64::from).collect();
        assert_eq!((chance_of_values(&many, &many), chance_of_values(&[], &many)), (None, None));
        assert_eq!(chance_of_values(&many[1..], &many[1..]), Some(1.0));
        assert_eq!(chi_square(&["a"], &["b"]).p_value, 0.0);
        assert_eq!(chi_square(&["a"], &["a", "a"]).p_value, 1.0);
    }
}
