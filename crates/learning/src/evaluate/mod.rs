//! How good a model is, on rows it has not learned from: ranking ([`ranking`]), cards ([`cards`]), probabilities ([`probability`]), money
//! (`decide`), each also by segment and by pattern of fraud; and how far that may be chance ([`bootstrap`]).
//!
//! Nothing is chosen here, only measured.

pub mod bootstrap;
pub mod cards;
pub mod probability;
pub mod ranking;
mod segments;
pub mod value;

pub use bootstrap::{Interval, Intervals};
pub use cards::CardScore;
pub use ranking::{Point, Ranking};
pub use segments::{JUDGED_MIN as SEGMENT_MIN, Segment};

use crate::dataset::Rows;
use crate::decide::{Costs, Decided, decide};
use probability::Bin;
use serde::{Deserialize, Serialize};

/// Cards of a day that Card Precision looks at.
pub const CARDS: usize = 100;
/// Parts of all payments at which the recall is told.
pub const ALERT_RATES: [f64; 4] = [0.001, 0.002, 0.005, 0.01];
const CURVE_POINTS: usize = 200;
const BINS: usize = 20;

/// Scores of rows, and what became of the rows.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// By which rows are ordered.
    pub scores: &'a [f64],
    pub probabilities: &'a [f64],
    /// By which the cards of a day are ordered with [`CardScore::Any`], see [`cards::any_so_far`].
    pub any: &'a [f64],
    pub rows: &'a Rows,
    /// Which rows the scores are of.
    pub places: &'a [usize],
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    pub rows: usize,
    pub positives: usize,
    pub auc_roc: f64,
    pub average_precision: f64,
    pub card_precision_at_100: f64,
    pub card_precision_by_day: Vec<f64>,
    /// The same by either order of the cards.
    pub card_precision_by: CardPrecision,
    pub recall_at_alert_rate: Vec<RecallAt>,
    pub decisions: Decided,
    pub brier: f64,
    pub log_loss: f64,
    pub reliability: Vec<Bin>,
    pub segments: Vec<Segment>,
    /// Both curves, for the report.
    pub curve: Vec<Point>,
}

/// Card Precision@100 by the highest score of a card's payments, and by the probability that any of them is fraud.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CardPrecision {
    pub max: f64,
    pub any: f64,
}

impl CardPrecision {
    /// Both, and the precision of each day by the order that is chosen.
    #[must_use]
    pub(crate) fn of(judged: Judged, order: CardScore) -> (Self, Vec<f64>) {
        let by_day = |scores: &[f64]| cards::card_precision_by_day(scores, judged.rows, judged.places, CARDS);
        let (max, any) = (by_day(judged.scores), by_day(judged.any));
        let both = CardPrecision { max: cards::mean(&max), any: cards::mean(&any) };
        match order {
            CardScore::Max => (both, max),
            CardScore::Any => (both, any),
        }
    }
}

/// Which part of the fraud is among so many of the payments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RecallAt {
    pub alert_rate: f64,
    pub recall: f64,
}

/// Measures everything.
#[must_use]
pub fn evaluate(judged: Judged, threshold: f64, costs: &Costs, order: CardScore) -> Evaluation {
    let Judged { scores, probabilities, rows, places, .. } = judged;
    let labels = rows.labels(places);
    let ranking = Ranking::new(scores);
    let (card_precision_by, by_day) = CardPrecision::of(judged, order);
    let recall = |alert_rate| RecallAt { alert_rate, recall: ranking.recall_at(&labels, alert_rate) };
    Evaluation {
        rows: places.len(),
        positives: rows.positives(places),
        auc_roc: ranking.auc_roc(&labels, None),
        average_precision: ranking.average_precision(&labels, None),
        card_precision_at_100: cards::mean(&by_day),
        card_precision_by_day: by_day,
        card_precision_by,
        recall_at_alert_rate: ALERT_RATES.into_iter().map(recall).collect(),
        decisions: decide(scores, rows, places, threshold, costs),
        brier: probability::brier(probabilities, &labels),
        log_loss: probability::log_loss(probabilities, &labels),
        reliability: probability::reliability(probabilities, &labels, BINS),
        segments: segments::segments(judged, threshold),
        curve: ranking.curve(scores, &labels, CURVE_POINTS),
    }
}
