//! The same metrics for parts of the rows: bands of amounts, time of day, categories such as the country, and patterns of fraud, so that a good
//! mean hides no bad part.

use super::{Judged, Ranking};
use crate::DAY;
use crate::dataset::Category;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A part of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// By what rows were parted, and which part this is.
    pub by: String,
    pub value: String,
    pub rows: usize,
    pub positives: usize,
    /// None where there is one class only.
    pub auc_roc: Option<f64>,
    pub average_precision: Option<f64>,
    /// Part of its fraud that the threshold finds; none without fraud.
    pub recall: Option<f64>,
}

/// Edges of the bands of amounts, in minor units.
const BANDS: [i64; 5] = [2_000, 5_000, 10_000, 20_000, 50_000];
/// A segment with less fraud is too small to judge by.
pub const JUDGED_MIN: usize = 20;
/// Words of a category that are judged: those with most rows.
const WORDS: usize = 12;
const HOUR: i64 = DAY / 24;

/// All segments that have rows.
pub(super) fn segments(judged: Judged, threshold: f64) -> Vec<Segment> {
    let rows = judged.rows;
    let mut found = Vec::new();
    for band in 0..=BANDS.len() {
        let low = band.checked_sub(1).map_or(i64::MIN, |below| BANDS[below]);
        let high = BANDS.get(band).copied().unwrap_or(i64::MAX);
        let value = match (band, BANDS.get(band)) {
            (0, Some(high)) => format!("below {}", high / 100),
            (_, Some(high)) => format!("{} to {}", low / 100, high / 100),
            (_, None) => format!("{} and above", low / 100),
        };
        found.extend(part(judged, threshold, "amount", value, |row| (low..high).contains(&rows.amount[row])));
    }
    for (value, hours) in [("0 to 6", 0..6), ("6 to 12", 6..12), ("12 to 18", 12..18), ("18 to 24", 18..24)] {
        let within = |row: usize| hours.contains(&(rows.time[row].rem_euclid(DAY) / HOUR));
        found.extend(part(judged, threshold, "hour", value.to_owned(), within));
    }
    for category in &rows.categories {
        for word in largest(category, judged.places) {
            let within = |row: usize| category.of_row[row] == word;
            found.extend(part(judged, threshold, &category.name, category.words[word].clone(), within));
        }
    }
    let patterns: BTreeSet<i64> =
        judged.places.iter().filter(|&&row| rows.label[row]).map(|&row| rows.pattern[row]).collect();
    for pattern in patterns.into_iter().filter(|&pattern| pattern != 0) {
        // Fraud of the pattern among all that is no fraud.
        let within = |row: usize| !rows.label[row] || rows.pattern[row] == pattern;
        found.extend(part(judged, threshold, "pattern", pattern.to_string(), within));
    }
    found
}

/// The words that most of these rows have, the most frequent first.
pub(super) fn largest(category: &Category, places: &[usize]) -> Vec<usize> {
    let mut count = vec![0usize; category.words.len()];
    places.iter().for_each(|&row| count[category.of_row[row]] += 1);
    let mut words: Vec<usize> = (0..count.len()).filter(|&word| count[word] > 0).collect();
    words.sort_by_key(|&word| (std::cmp::Reverse(count[word]), word));
    words.truncate(WORDS);
    words
}

fn part(
    judged: Judged,
    threshold: f64,
    by: &str,
    value: String,
    within: impl Fn(usize) -> bool,
) -> Option<Segment> {
    let (scores, labels): (Vec<f64>, Vec<bool>) = judged
        .places
        .iter()
        .zip(judged.scores)
        .filter(|(row, _)| within(**row))
        .map(|(&row, &score)| (score, judged.rows.label[row]))
        .unzip();
    if scores.is_empty() {
        return None;
    }
    let positives = labels.iter().filter(|&&label| label).count();
    let ranking = Ranking::new(&scores);
    let defined = |value: f64| Some(value).filter(|value| value.is_finite());
    let found = scores.iter().zip(&labels).filter(|row| *row.1 && *row.0 >= threshold).count();
    Some(Segment {
        by: by.to_owned(),
        value,
        rows: scores.len(),
        positives,
        auc_roc: defined(ranking.auc_roc(&labels, None)),
        average_precision: defined(ranking.average_precision(&labels, None)),
        recall: (positives > 0).then(|| found as f64 / positives as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Rows;

    #[test]
    fn every_row_is_in_one_band_and_patterns_are_judged_against_all_genuine_rows() {
        let rows = Rows {
            time: (0..40).map(|n| n * HOUR).collect(),
            card: vec![1; 40],
            amount: (0..40).map(|n| n * 2_000).collect(),
            label: (0..40).map(|n| n % 4 == 0).collect(),
            pattern: (0..40).map(|n| if n % 4 == 0 { 1 + n / 20 } else { 0 }).collect(),
            categories: vec![Category::new("country", (0..40).map(|n| if n % 5 == 0 { "DE" } else { "FR" }))],
            ..Rows::default()
        };
        let places: Vec<usize> = (0..40).collect();
        let scores: Vec<f64> = (0..40).map(f64::from).collect();
        let judged =
            Judged { scores: &scores, probabilities: &scores, any: &scores, rows: &rows, places: &places };
        let found = segments(judged, 20.0);
        let sum = |by: &str| found.iter().filter(|s| s.by == by).map(|s| s.rows).sum::<usize>();
        assert_eq!((sum("amount"), sum("hour")), (40, 40));
        let countries: Vec<(&str, usize, usize)> = found
            .iter()
            .filter(|s| s.by == "country")
            .map(|s| (s.value.as_str(), s.rows, s.positives))
            .collect();
        assert_eq!(countries, [("FR", 32, 8), ("DE", 8, 2)]);
        let patterns: Vec<&Segment> = found.iter().filter(|s| s.by == "pattern").collect();
        assert_eq!(patterns.iter().map(|s| (s.rows, s.positives)).collect::<Vec<_>>(), [(35, 5), (35, 5)]);
        assert_eq!((patterns[0].recall, patterns[1].recall), (Some(0.0), Some(1.0)));
    }
}
