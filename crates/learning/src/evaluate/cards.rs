//! Card Precision@k: of the k cards that a day's payments make most suspicious, which part was compromised on it; the mean over days.
//!
//! As the Fraud Detection Handbook defines it (chapter 4, `card_precision_top_k`): a card counts by its highest score of the day, and once
//! found it is not looked at again.

use crate::dataset::Rows;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// By what the cards of a day are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardScore {
    /// The highest score of its payments.
    #[default]
    Max,
    /// The probability that any of its payments is fraud, see [`any_so_far`].
    Any,
}

/// Of each row the probability that it or an earlier payment of its card on its day is fraud: one less the product of the probabilities that
/// they are not. `places` stand in the order of time.
///
/// A card's highest value of a day is that of its last payment. Where nothing stands out, a card with eight payments is eight times as likely to
/// be compromised on that day as one with a single payment, which the highest score of its payments does not tell. Only payments that have
/// happened are counted, so that it can be computed as they come.
#[must_use]
pub fn any_so_far(probabilities: &[f64], rows: &Rows, places: &[usize]) -> Vec<f64> {
    let mut genuine: HashMap<(i64, i64), f64> = HashMap::new();
    let mut one = |(p, &row): (&f64, &usize)| {
        let sum = genuine.entry((rows.day(row), rows.card[row])).or_insert(0.0);
        // As a sum of logarithms, so that small probabilities do not vanish beside one.
        *sum += (-p.clamp(0.0, 1.0 - 1e-12)).ln_1p();
        -sum.exp_m1()
    };
    probabilities.iter().zip(places).map(&mut one).collect()
}

/// The precision of each day, in the order of days.
#[must_use]
pub fn card_precision_by_day(scores: &[f64], rows: &Rows, places: &[usize], k: usize) -> Vec<f64> {
    let mut days: BTreeMap<i64, HashMap<i64, (f64, bool)>> = BTreeMap::new();
    for (&score, &row) in scores.iter().zip(places) {
        let cards = days.entry(rows.day(row)).or_default();
        let card = cards.entry(rows.card[row]).or_insert((score, false));
        *card = (card.0.max(score), card.1 || rows.label[row]);
    }
    let mut found = HashSet::new();
    let precision = |cards: HashMap<i64, (f64, bool)>| {
        let mut open: Vec<(f64, i64, bool)> = cards
            .into_iter()
            .filter(|(card, _)| !found.contains(card))
            .map(|(card, (score, label))| (score, card, label))
            .collect();
        open.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let before = found.len();
        found.extend(open.iter().take(k).filter(|card| card.2).map(|card| card.1));
        (found.len() - before) as f64 / k as f64
    };
    days.into_values().map(precision).collect()
}

/// The mean over days; NaN without any.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DAY;

    #[test]
    fn small_chances_of_a_day_add_up() {
        let rows = Rows { time: vec![0, 1, 2, DAY, DAY + 1], card: vec![1, 2, 1, 1, 1], ..Rows::default() };
        let found = any_so_far(&[0.5, 0.1, 0.5, 0.1, 1e-9], &rows, &[0, 1, 2, 3, 4]);
        let expected = [0.5, 0.1, 0.75, 0.1, 0.1 + 0.9e-9];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn cards_by_hand() {
        // Day, card, score, fraud.
        let table = [
            (0, 1, 0.9, false),
            (0, 1, 0.1, true),
            (0, 2, 0.8, false),
            (0, 3, 0.7, true),
            // Card 1 was found on day 0 and is not looked at again.
            (1, 1, 0.9, true),
            (1, 2, 0.5, false),
            (1, 3, 0.4, true),
            (1, 4, 0.3, true),
        ];
        let rows = Rows {
            time: table.iter().map(|row| row.0 * DAY + 5).collect(),
            card: table.iter().map(|row| row.1).collect(),
            amount: vec![1; table.len()],
            label: table.iter().map(|row| row.3).collect(),
            pattern: vec![0; table.len()],
            ..Rows::default()
        };
        let scores: Vec<f64> = table.iter().map(|row| row.2).collect();
        let places: Vec<usize> = (0..table.len()).collect();
        assert_eq!(card_precision_by_day(&scores, &rows, &places, 2), [0.5, 0.5]);
        assert_eq!(card_precision_by_day(&scores, &rows, &places, 4), [0.5, 0.25]);
        assert_eq!(card_precision_by_day(&scores, &rows, &places[4..], 1), [1.0]);
        assert_eq!(mean(&[0.5, 0.25]), 0.375);
    }
}
