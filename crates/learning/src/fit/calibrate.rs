//! From scores to probabilities, learned on scores of rows the model has not seen.
//!
//! Invariant: a higher score never gets a lower probability, so calibration does not change who is before whom but for ties.

use super::linear::Square;
use super::logistic_function;
use serde::{Deserialize, Serialize};

/// Which form the curve has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationKind {
    /// Any that rises (the pool-adjacent-violators algorithm), straight between its steps.
    #[default]
    Isotonic,
    /// Logistic in the log odds of the score (Platt 1999).
    Platt,
}

/// A fitted curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// Probabilities at scores, both rising; in between along a straight line.
    Isotonic { scores: Vec<f64>, probabilities: Vec<f64> },
    /// Of `slope` times the log odds plus `offset`.
    Platt { slope: f64, offset: f64 },
}

/// Log odds are taken of scores that are so far from nought and one.
const EDGE: f64 = 1e-9;

impl Calibration {
    /// Learns the curve. A slope that would turn scores around is levelled.
    #[must_use]
    pub fn fit(kind: CalibrationKind, scores: &[f64], labels: &[bool]) -> Self {
        match kind {
            CalibrationKind::Isotonic => isotonic(scores, labels),
            CalibrationKind::Platt => platt(scores, labels),
        }
    }

    /// The probability that belongs to a score.
    #[must_use]
    pub fn apply(&self, score: f64) -> f64 {
        match self {
            Calibration::Platt { slope, offset } => logistic_function(slope * log_odds(score) + offset),
            Calibration::Isotonic { scores, probabilities } => {
                let above = scores.partition_point(|&s| s <= score);
                match (above.checked_sub(1), probabilities.get(above)) {
                    (None, first) => first.copied().unwrap_or(f64::NAN),
                    (Some(below), None) => probabilities[below],
                    (Some(below), Some(&high)) => {
                        let part = (score - scores[below]) / (scores[above] - scores[below]);
                        probabilities[below] + part * (high - probabilities[below])
                    }
                }
            }
        }
    }
}

/// Of a score, kept off nought and one.
pub(super) fn log_odds(score: f64) -> f64 {
    let score = score.clamp(EDGE, 1.0 - EDGE);
    (score / (1.0 - score)).ln()
}

/// Log odds by which scores have to be moved so that they add up to `count`, of learners that were given other odds than there are.
#[must_use]
pub fn shift_to(scores: &[f64], count: usize) -> f64 {
    let wanted = count as f64;
    let odds: Vec<f64> = scores.iter().map(|&score| log_odds(score)).collect();
    let sum = |shift: f64| odds.iter().map(|odds| logistic_function(odds + shift)).sum::<f64>();
    // The sum rises with the shift; sixty halvings leave nothing of the range.
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if sum(middle) < wanted { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The scores, moved.
#[must_use]
pub fn shifted(scores: &[f64], shift: f64) -> Vec<f64> {
    scores.iter().map(|&score| logistic_function(log_odds(score) + shift)).collect()
}

/// A step of the curve: its rows, how many are labelled, its first and last score.
struct Step {
    rows: f64,
    labelled: f64,
    first: f64,
    last: f64,
}

/// Neighbours are pooled until probabilities rise.
fn isotonic(scores: &[f64], labels: &[bool]) -> Calibration {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut steps: Vec<Step> = Vec::new();
    for row in order {
        let (score, label) = (scores[row], f64::from(u8::from(labels[row])));
        let mut step = Step { rows: 1.0, labelled: label, first: score, last: score };
        while let Some(before) = steps.last() {
            let tie = before.last >= step.first;
            if !tie && before.labelled * step.rows < step.labelled * before.rows {
                break;
            }
            step.rows += before.rows;
            step.labelled += before.labelled;
            step.first = before.first;
            steps.pop();
        }
        steps.push(step);
    }
    let (mut at, mut probabilities) = (Vec::new(), Vec::new());
    for step in steps {
        let probability = step.labelled / step.rows;
        at.push(step.first);
        probabilities.push(probability);
        if step.last > step.first {
            at.push(step.last);
            probabilities.push(probability);
        }
    }
    Calibration::Isotonic { scores: at, probabilities }
}

/// Newton's method on two numbers, with Platt's targets, which keep probabilities off nought and one.
fn platt(scores: &[f64], labels: &[bool]) -> Calibration {
    let positives = labels.iter().filter(|&&label| label).count() as f64;
    let negatives = labels.len() as f64 - positives;
    let target =
        |label: bool| if label { (positives + 1.0) / (positives + 2.0) } else { 1.0 / (negatives + 2.0) };
    let rows: Vec<(f64, f64)> =
        scores.iter().zip(labels).map(|(&s, &label)| (log_odds(s), target(label))).collect();
    let (mut slope, mut offset) = (1.0, 0.0);
    for _ in 0..100 {
        let (mut gradient, mut curvature) = ([0.0, 0.0], Square::zero(2));
        for &(x, target) in &rows {
            let p = logistic_function(slope * x + offset);
            gradient[0] += (p - target) * x;
            gradient[1] += p - target;
            curvature.add_outer(&[x, 1.0], (p * (1.0 - p)).max(1e-12));
        }
        (0..2).for_each(|at| curvature.add_diagonal(at, 1e-9));
        let Some(step) = curvature.solve(&gradient) else { break };
        slope -= step[0].clamp(-2.0, 2.0);
        offset -= step[1].clamp(-5.0, 5.0);
        if step.iter().all(|step| step.abs() < 1e-10) {
            break;
        }
    }
    Calibration::Platt { slope: slope.max(0.0), offset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brier(calibration: &Calibration, rows: &[(f64, bool)]) -> f64 {
        rows.iter().map(|&(s, y)| (calibration.apply(s) - f64::from(u8::from(y))).powi(2)).sum()
    }

    proptest! {
        #[test]
        fn probabilities_rise_and_lie_between_nought_and_one(rows in prop::collection::vec((0.0..1.0f64, any::<bool>()), 2..200), kind in prop_oneof![Just(CalibrationKind::Isotonic), Just(CalibrationKind::Platt)]) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let calibration = Calibration::fit(kind, &scores, &labels);
            let curve: Vec<f64> = (0..=100).map(|n| calibration.apply(f64::from(n) / 100.0)).collect();
            prop_assert!(curve.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!(curve.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            let text = serde_json::to_string(&calibration).unwrap();
            prop_assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), calibration);
        }

        #[test]
        fn no_rising_curve_of_two_steps_fits_better_than_the_isotonic_one(rows in prop::collection::vec((0.0..1.0f64, any::<bool>()), 2..60), at in 0.0..1.0f64, low in 0.0..1.0f64, rise in 0.0..1.0f64) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let calibration = Calibration::fit(CalibrationKind::Isotonic, &scores, &labels);
            let high = low + (1.0 - low) * rise;
            let step = |s: f64| if s < at { low } else { high };
            let other: f64 = rows.iter().map(|&(s, y)| (step(s) - f64::from(u8::from(y))).powi(2)).sum();
            prop_assert!(brier(&calibration, &rows) <= other + 1e-9);
        }
    }

    #[test]
    fn moved_scores_add_up_and_keep_their_order() {
        let scores: Vec<f64> = (0..500).map(|n| f64::from(n) / 500.0).collect();
        let moved = shifted(&scores, shift_to(&scores, 20));
        assert!((moved.iter().sum::<f64>() - 20.0).abs() < 1e-6);
        assert!(moved.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn calibrated_probabilities_add_up_to_the_labels() {
        let scores: Vec<f64> = (0..500).map(|n| f64::from(n) / 500.0).collect();
        let labels: Vec<bool> = (0..500).map(|n| (n * 7919 % 500) * 3 < n).collect();
        let count = labels.iter().filter(|&&label| label).count() as f64;
        for (kind, within) in [(CalibrationKind::Isotonic, 1e-9), (CalibrationKind::Platt, 1.0)] {
            let calibration = Calibration::fit(kind, &scores, &labels);
            let sum: f64 = scores.iter().map(|&score| calibration.apply(score)).sum();
            assert!((sum - count).abs() < within, "{kind:?}: {sum}, not {count}");
        }
    }
}
