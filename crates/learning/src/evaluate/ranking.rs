//! How well scores put labelled rows before others: area under the ROC curve and average precision, as scikit-learn defines them,
//! with weights for resampling.
//!
//! Invariant: rows of one score count together, so the order in which they stand changes nothing.

use serde::{Deserialize, Serialize};

/// Rows from the highest score down, equal scores in groups.
#[derive(Debug, Clone)]
pub struct Ranking {
    order: Vec<u32>,
    /// Where each group of equal scores ends.
    ends: Vec<u32>,
}

/// A point of both curves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub score: f64,
    /// Part of the labelled rows at or above the score.
    pub recall: f64,
    /// Part of the rows at or above the score that is labelled.
    pub precision: f64,
    /// Part of the other rows at or above the score.
    pub false_alarms: f64,
}

impl Ranking {
    #[must_use]
    pub fn new(scores: &[f64]) -> Self {
        let mut order: Vec<u32> = (0..u32::try_from(scores.len()).unwrap_or(u32::MAX)).collect();
        let score = |row: u32| scores[row as usize];
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        let mut ends = Vec::new();
        for nth in 0..order.len() {
            if nth + 1 == order.len() || score(order[nth + 1]) < score(order[nth]) {
                ends.push(u32::try_from(nth + 1).unwrap_or(u32::MAX));
            }
        }
        Ranking { order, ends }
    }

    /// Calls `group` with the weight of labelled and of other rows of each score, from the highest down.
    fn groups(&self, labels: &[bool], weights: Option<&[f64]>, mut group: impl FnMut(f64, f64)) {
        let mut begin = 0;
        for &end in &self.ends {
            let (mut labelled, mut others) = (0.0, 0.0);
            for &row in &self.order[begin..end as usize] {
                let weight = weights.map_or(1.0, |weights| weights[row as usize]);
                if labels[row as usize] {
                    labelled += weight;
                } else {
                    others += weight;
                }
            }
            group(labelled, others);
            begin = end as usize;
        }
    }

    /// The probability that a labelled row has a higher score than another one, ties counted half. NaN with one class.
    #[must_use]
    pub fn auc_roc(&self, labels: &[bool], weights: Option<&[f64]>) -> f64 {
        let (mut before, mut others_all, mut area) = (0.0, 0.0, 0.0);
        self.groups(labels, weights, |labelled, others| {
            area += others * (before + labelled / 2.0);
            before += labelled;
            others_all += others;
        });
        area / (before * others_all)
    }

    /// Precision at each score, averaged by how much recall it adds (no interpolation). NaN without labels.
    #[must_use]
    pub fn average_precision(&self, labels: &[bool], weights: Option<&[f64]>) -> f64 {
        let (mut labelled_all, mut all, mut sum) = (0.0, 0.0, 0.0);
        self.groups(labels, weights, |labelled, others| {
            labelled_all += labelled;
            all += labelled + others;
            if labelled > 0.0 {
                sum += labelled * labelled_all / all;
            }
        });
        sum / labelled_all
    }

    /// Part of the labelled rows among the `rate` highest scores; of a group that is cut, the same part.
    #[must_use]
    pub fn recall_at(&self, labels: &[bool], rate: f64) -> f64 {
        let room = rate * labels.len() as f64;
        let (mut all, mut found, mut labelled_all) = (0.0, 0.0, 0.0);
        self.groups(labels, None, |labelled, others| {
            let size = labelled + others;
            let part = ((room - all) / size).clamp(0.0, 1.0);
            found += part * labelled;
            labelled_all += labelled;
            all += size;
        });
        found / labelled_all
    }

    /// Both curves at up to `count` scores, evenly spread over the recall and over the false alarms.
    #[must_use]
    pub fn curve(&self, scores: &[f64], labels: &[bool], count: usize) -> Vec<Point> {
        let positives = labels.iter().filter(|&&label| label).count() as f64;
        let negatives = labels.len() as f64 - positives;
        let (mut labelled_all, mut others_all, mut nth) = (0.0, 0.0, 0);
        let (mut points, mut last) = (Vec::new(), None);
        self.groups(labels, None, |labelled, others| {
            labelled_all += labelled;
            others_all += others;
            let end = self.ends[nth] as usize;
            nth += 1;
            let (recall, false_alarms) = (labelled_all / positives, others_all / negatives);
            let place =
                ((recall * count as f64 / 2.0) as usize, (false_alarms * count as f64 / 2.0) as usize);
            if last != Some(place) || end == labels.len() {
                last = Some(place);
                let score = scores[self.order[end - 1] as usize];
                let precision = labelled_all / (labelled_all + others_all);
                points.push(Point { score, recall, precision, false_alarms });
            }
        });
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By its definition: all pairs.
    fn pairs(scores: &[f64], labels: &[bool]) -> f64 {
        let (mut won, mut all) = (0.0, 0.0);
        for (a, _) in scores.iter().zip(labels).filter(|row| *row.1) {
            for (b, _) in scores.iter().zip(labels).filter(|row| !*row.1) {
                all += 1.0;
                won += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
            }
        }
        won / all
    }

    /// By its definition: the precision at each threshold times the recall it adds.
    fn steps(scores: &[f64], labels: &[bool]) -> f64 {
        let mut thresholds = scores.to_vec();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let positives = labels.iter().filter(|&&label| label).count() as f64;
        let (mut sum, mut before) = (0.0, 0.0);
        for threshold in thresholds {
            let at = |label: bool| {
                scores.iter().zip(labels).filter(|row| *row.0 >= threshold && *row.1 == label).count() as f64
            };
            let recall = at(true) / positives;
            sum += (recall - before) * at(true) / (at(true) + at(false));
            before = recall;
        }
        sum
    }

    proptest! {
        #[test]
        fn metrics_are_their_definitions(rows in prop::collection::vec((0..12u8, any::<bool>(), 0..4u8), 2..80)) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
            prop_assume!(labels.contains(&true) && labels.contains(&false));
            let ranking = Ranking::new(&scores);
            prop_assert!((ranking.auc_roc(&labels, None) - pairs(&scores, &labels)).abs() < 1e-12);
            prop_assert!((ranking.average_precision(&labels, None) - steps(&scores, &labels)).abs() < 1e-12);
            // A row of weight n is n rows.
            let weights: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
            let repeated: Vec<(f64, bool)> = rows.iter().flat_map(|row| vec![(f64::from(row.0), row.1); usize::from(row.2)]).collect();
            let (more, more_labels): (Vec<f64>, Vec<bool>) = repeated.into_iter().unzip();
            prop_assume!(more_labels.contains(&true) && more_labels.contains(&false));
            let again = Ranking::new(&more);
            prop_assert!((ranking.auc_roc(&labels, Some(&weights)) - again.auc_roc(&more_labels, None)).abs() < 1e-12);
            prop_assert!((ranking.average_precision(&labels, Some(&weights)) - again.average_precision(&more_labels, None)).abs() < 1e-12);
            prop_assert!((ranking.recall_at(&labels, 1.0) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_curve_ends_where_everything_is_looked_at() {
        let scores: Vec<f64> = (0..1_000).map(|n| f64::from(n % 97)).collect();
        let labels: Vec<bool> = (0..1_000).map(|n| n % 13 == 0).collect();
        let curve = Ranking::new(&scores).curve(&scores, &labels, 50);
        assert!(curve.len() <= 101 && curve.windows(2).all(|pair| pair[0].recall <= pair[1].recall));
        let last = curve.last().unwrap();
        assert_eq!((last.recall, last.false_alarms, last.score), (1.0, 1.0, 0.0));
        assert_eq!(Ranking::new(&[3.0, 2.0, 2.0, 1.0]).recall_at(&[true, true, false, false], 0.5), 0.75);
    }
}
