//! Distances between two samples of a number.
//!
//! Kolmogorov-Smirnov and Wasserstein are scipy's, Jensen-Shannon and the histogram's PSI are evidently's; [`psi`] itself is that of credit
//! scoring, by tenths of the reference.

/// Bins of the reference for [`psi`].
const TENTHS: usize = 10;
/// Part of rows that a bin without any is taken to hold.
const EMPTY: f64 = 1e-4;
/// Up to so many different values of the reference, each is a bin of its own (evidently's rule).
pub(super) const VALUES_MAX: usize = 20;

/// Population stability index over bins that hold a tenth of the reference each, and one for missing values. Where the reference has few values (a
/// count), bins are of whole values and hold a twentieth at least: what is rare in the reference alone says nothing. 0 for samples without rows.
#[must_use]
pub fn psi(reference: &[f64], current: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = reference.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    let mut values = sorted.clone();
    values.dedup();
    let edges = if values.len() <= VALUES_MAX {
        whole_values(&sorted, &values)
    } else {
        let mut edges: Vec<f64> =
            (1..TENTHS).filter_map(|tenth| sorted.get(sorted.len() * tenth / TENTHS).copied()).collect();
        edges.dedup();
        edges
    };
    index(reference, current, &edges)
}

/// The same with a bin for each value of the reference, as for a label.
#[must_use]
pub fn psi_of_values(reference: &[f64], current: &[f64]) -> f64 {
    let mut values: Vec<f64> = reference.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    index(reference, current, &values)
}

/// Where bins of whole values begin that hold a twentieth of the rows at least.
fn whole_values(sorted: &[f64], values: &[f64]) -> Vec<f64> {
    let least = sorted.len().div_ceil(2 * TENTHS);
    let mut edges: Vec<f64> = Vec::new();
    for &value in values {
        let from = sorted.partition_point(|&other| other < value);
        let begun = edges.last().map_or(0, |&edge| sorted.partition_point(|&other| other < edge));
        // The bin before is full, and what is left fills another one.
        if edges.is_empty() || (from - begun >= least && sorted.len() - from >= least) {
            edges.push(value);
        }
    }
    edges
}

/// The index over bins that begin at these edges, one below the first, and one for missing values.
fn index(reference: &[f64], current: &[f64], edges: &[f64]) -> f64 {
    if reference.is_empty() || current.is_empty() {
        return 0.0;
    }
    let parts = |values: &[f64]| {
        let mut counts = vec![0usize; edges.len() + 2];
        for &value in values {
            let bin = if value.is_nan() { edges.len() + 1 } else { edges.partition_point(|&e| e <= value) };
            counts[bin] += 1;
        }
        counts.into_iter().map(|count| count as f64 / values.len() as f64).collect::<Vec<f64>>()
    };
    let one = |(before, now): (f64, f64)| {
        if before == now {
            return 0.0;
        }
        let (before, now) = (before.max(EMPTY), now.max(EMPTY));
        (now - before) * (now / before).ln()
    };
    parts(reference).into_iter().zip(parts(current)).map(one).sum()
}

/// PSI over the bins of a histogram of equal widths (Sturges' rule on both samples), as evidently computes it.
#[must_use]
pub fn psi_histogram(reference: &[f64], current: &[f64]) -> f64 {
    let (mut before, mut now) = binned(reference, current);
    fill(&mut before);
    fill(&mut now);
    before.iter().zip(&now).map(|(before, now)| (before - now) * (before / now).ln()).sum()
}

/// Jensen-Shannon distance (the root of the divergence, natural logarithm) over the bins of a histogram, as evidently computes it.
#[must_use]
pub fn jensen_shannon(reference: &[f64], current: &[f64]) -> f64 {
    let (before, now) = binned(reference, current);
    let entropy = |parts: &[f64]| -> f64 {
        let terms = parts.iter().zip(before.iter().zip(&now));
        terms
            .filter(|(part, _)| **part > 0.0)
            .map(|(part, (a, b))| part * (part / f64::midpoint(*a, *b)).ln())
            .sum()
    };
    (f64::midpoint(entropy(&before), entropy(&now))).max(0.0).sqrt()
}

/// The largest distance of the two distribution functions.
#[must_use]
pub fn kolmogorov_smirnov(reference: &[f64], current: &[f64]) -> f64 {
    let mut largest = 0.0f64;
    distances(reference, current, |distance, _| largest = largest.max(distance.abs()));
    largest
}

/// The area between the two distribution functions, in standard deviations of the reference (at least a thousandth, as evidently has it).
#[must_use]
pub fn wasserstein_normalised(reference: &[f64], current: &[f64]) -> f64 {
    let count = reference.len() as f64;
    let mean = reference.iter().sum::<f64>() / count;
    let variance = reference.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let mut area = 0.0;
    distances(reference, current, |distance, width| area += distance.abs() * width);
    area / variance.sqrt().max(0.001)
}

/// Hands on, from each value to the next of both samples, how far the distribution functions are apart and how far it is.
fn distances(reference: &[f64], current: &[f64], mut step: impl FnMut(f64, f64)) {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (before, now) = (sorted(reference), sorted(current));
    let (mut i, mut j) = (0, 0);
    while let Some(value) = lower(before.get(i), now.get(j)) {
        i += before[i..].iter().take_while(|&&other| other <= value).count();
        j += now[j..].iter().take_while(|&&other| other <= value).count();
        let distance = i as f64 / before.len() as f64 - j as f64 / now.len() as f64;
        let next = lower(before.get(i), now.get(j)).unwrap_or(value);
        step(distance, next - value);
    }
}

fn lower(a: Option<&f64>, b: Option<&f64>) -> Option<f64> {
    match (a, b) {
        (Some(&a), Some(&b)) => Some(a.min(b)),
        (Some(&one), None) | (None, Some(&one)) => Some(one),
        (None, None) => None,
    }
}

/// The parts of both samples in each bin: a bin a value, where the reference has few; else of equal widths over both, by Sturges' rule.
fn binned(reference: &[f64], current: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let distinct = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.dedup();
    };
    let mut values = reference.to_vec();
    distinct(&mut values);
    let parts = |counts: Vec<usize>, all: usize| counts.into_iter().map(|c| c as f64 / all as f64).collect();
    if values.len() <= VALUES_MAX {
        values.extend_from_slice(current);
        distinct(&mut values);
        let count = |sample: &[f64]| {
            let mut counts = vec![0usize; values.len()];
            sample.iter().for_each(|&v| counts[values.partition_point(|&other| other < v)] += 1);
            parts(counts, sample.len())
        };
        return (count(reference), count(current));
    }
    let all = || reference.iter().chain(current).copied();
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let size = (reference.len() + current.len()) as f64;
    let width = (high - low) / (size.log2() + 1.0);
    let bins = ((high - low) / width).ceil() as usize;
    let step = (high - low) / bins as f64;
    let edges: Vec<f64> = (1..bins).map(|edge| edge as f64 * step + low).collect();
    let count = |sample: &[f64]| {
        let mut counts = vec![0usize; bins];
        sample.iter().for_each(|&value| counts[edges.partition_point(|&edge| edge <= value)] += 1);
        parts(counts, sample.len())
    };
    (count(reference), count(current))
}

/// What evidently puts where a bin is empty.
fn fill(parts: &mut [f64]) {
    let least = parts.iter().copied().filter(|&part| part > 0.0).fold(f64::INFINITY, f64::min);
    let instead = if least <= EMPTY { least / 1e6 } else { EMPTY };
    parts.iter_mut().filter(|part| **part == 0.0).for_each(|part| *part = instead);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sample_has_no_distance_from_itself_and_distances_are_symmetric(a in prop::collection::vec(-50.0..50.0f64, 1..60), b in prop::collection::vec(-50.0..50.0f64, 1..60)) {
            for distance in [psi, psi_histogram, jensen_shannon, kolmogorov_smirnov, wasserstein_normalised] {
                prop_assert!(distance(&a, &a).abs() < 1e-12);
                prop_assert!(distance(&a, &b) >= 0.0);
            }
            prop_assert!((kolmogorov_smirnov(&a, &b) - kolmogorov_smirnov(&b, &a)).abs() < 1e-12);
            prop_assert!(kolmogorov_smirnov(&a, &b) <= 1.0);
        }

        #[test]
        fn a_shift_is_as_far_as_it_is(a in prop::collection::vec(-50.0..50.0f64, 2..60), by in 0.0..9.0f64) {
            let mean = a.iter().sum::<f64>() / a.len() as f64;
            let deviation = (a.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / a.len() as f64).sqrt().max(0.001);
            let moved: Vec<f64> = a.iter().map(|value| value + by).collect();
            prop_assert!((wasserstein_normalised(&a, &moved) - by / deviation).abs() < 1e-6 * (1.0 + by / deviation));
        }
    }

    #[test]
    fn by_hand() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(kolmogorov_smirnov(&a, &b), 0.5);
        assert!((wasserstein_normalised(&a, &b) - 2.0 / 1.25f64.sqrt()).abs() < 1e-12);
        // Half of the reference went over to the missing ones.
        let (before, now) = ([1.0, 1.0, f64::NAN, f64::NAN], [1.0, f64::NAN, f64::NAN, f64::NAN]);
        assert!((psi(&before, &now) - 0.25 * (2.0f64.ln() + 1.5f64.ln())).abs() < 1e-12);
        // A rate of labels of a quarter becomes a half.
        let (before, now) = ([0.0, 0.0, 0.0, 1.0], [0.0, 1.0]);
        assert!((psi(&before, &now) - 0.25 * 3.0f64.ln()).abs() < 1e-12);
        assert_eq!(psi_of_values(&before, &now), psi(&before, &now));
        // Counts of which the higher ones are rare are one bin, labels are not.
        let rare: Vec<f64> = (0..100).map(|n| if n < 94 { 0.0 } else { f64::from(n - 93) }).collect();
        assert_eq!(whole_values(&rare, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [0.0, 1.0]);
    }
}
