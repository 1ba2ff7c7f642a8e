//! How the values of a feature lie: a few figures, and how many of them are where.

use crate::chart::{Unit, bars};
use crate::lang::{Lang, Text, text};
use crate::units::short;
use maud::{Markup, html};

/// Bins of a drawing.
const BINS: usize = 16;

/// A sample of numbers in short.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Numbers, and rows without one.
    pub values: usize,
    pub missing: usize,
    pub mean: f64,
    /// The least, a twentieth from below, the middle, a twentieth from above, the greatest.
    pub quantiles: [f64; 5],
    /// Where a bin begins and ends, and how many values are in it. The outer ones hold also what lies beyond a hundredth of the values.
    pub bins: Vec<(f64, f64, usize)>,
}

impl Distribution {
    /// Of these values; none where there is no number among them.
    #[must_use]
    pub fn of(sample: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let (mut values, mut missing) = (Vec::new(), 0);
        for value in sample {
            match value.filter(|value| value.is_finite()) {
                Some(value) => values.push(value),
                None => missing += 1,
            }
        }
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values.get((part * (values.len() - 1) as f64).round() as usize).copied();
        if values.is_empty() {
            return None;
        }
        let (low, high) = (at(0.01)?, at(0.99)?);
        let count = values.len();
        Some(Distribution {
            missing,
            mean: values.iter().map(|value| value / count as f64).sum(),
            quantiles: [at(0.0)?, at(0.05)?, at(0.5)?, at(0.95)?, at(1.0)?],
            bins: bins(&values, low, high),
            values: count,
        })
    }
}

/// Counts of sorted values between two of them.
fn bins(values: &[f64], low: f64, high: f64) -> Vec<(f64, f64, usize)> {
    if low >= high {
        return vec![(low, high, values.len())];
    }
    let width = (high - low) / BINS as f64;
    let mut counts = [0; BINS];
    for value in values {
        let place = ((value - low) / width).floor().clamp(0.0, (BINS - 1) as f64);
        counts[place as usize] += 1;
    }
    let edge = |nth: usize| low + width * nth as f64;
    counts.iter().enumerate().map(|(nth, count)| (edge(nth), edge(nth + 1), *count)).collect()
}

const NUMBERS: Text = text("numbers", "nombres");
const MISSING: Text = text("without value", "sans valeur");
const MEAN: Text = text("mean", "moyenne");
const QUANTILES: [Text; 5] = [
    text("least", "minimum"),
    text("5%", "5 %"),
    text("median", "médiane"),
    text("95%", "95 %"),
    text("greatest", "maximum"),
];

/// The figures and the drawing.
#[must_use]
pub fn show(lang: Lang, title: &str, found: &Distribution) -> Markup {
    let bar = |(from, to, count): &(f64, f64, usize)| {
        (format!("{} … {}", short(lang, *from), short(lang, *to)), *count as f64)
    };
    let drawn: Vec<(String, f64)> = found.bins.iter().map(bar).collect();
    html! {
        (bars(lang, title, Unit::Count, &drawn))
        ul.facts {
            li { (lang.say(NUMBERS)) " " (found.values) }
            li { (lang.say(MISSING)) " " (found.missing) }
            li { (lang.say(MEAN)) " " (short(lang, found.mean)) }
            @for (name, value) in QUANTILES.iter().zip(found.quantiles) {
                li { (lang.say(*name)) " " (short(lang, value)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_one_bin() {
        let sample = (0..1_000).map(|n| Some(f64::from(n))).chain([None, Some(f64::NAN), Some(1e9)]);
        let found = Distribution::of(sample).unwrap();
        assert_eq!((found.values, found.missing), (1_001, 2));
        assert_eq!(found.bins.iter().map(|(_, _, count)| count).sum::<usize>(), 1_001);
        assert_eq!((found.quantiles[0], found.quantiles[2], found.quantiles[4]), (0.0, 500.0, 1e9));
        // One that is far out does not push the others together.
        assert!(found.bins.iter().filter(|(_, _, count)| *count > 40).count() == BINS, "{:?}", found.bins);
    }

    #[test]
    fn one_value_and_none_are_told_too() {
        assert_eq!(Distribution::of([None, Some(f64::INFINITY)]), None);
        let one = Distribution::of([Some(3.0), Some(3.0)]).unwrap();
        assert_eq!((one.bins.as_slice(), one.mean), (&[(3.0, 3.0, 2)][..], 3.0));
        let shown = show(Lang::Fr, "t", &one).into_string();
        assert!(shown.contains("médiane 3") && !shown.contains("NaN"), "{shown}");
    }
}
