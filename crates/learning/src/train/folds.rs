//! Learning and judging fold by fold, several at a time.

use super::{TrainError, TrainOptions};
use crate::dataset::{Dataset, Problem, check};
use crate::evaluate::cards::any_so_far;
use crate::evaluate::{CardPrecision, CardScore, Judged, Ranking};
use crate::fit::boost::{BoostOptions, Ensemble, Target};
use crate::fit::calibrate::{shift_to, shifted};
use crate::fit::{Imported, Learner, Logistic};
use crate::split::{Protocol, SplitError};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// How one fold was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    pub train: String,
    pub test: String,
    pub rows: usize,
    pub positives: usize,
    pub auc_roc: f64,
    pub average_precision: f64,
    pub card_precision_at_100: f64,
    /// By either order of the cards.
    pub card_precision_by: CardPrecision,
    /// The baseline's, on the same rows.
    pub baseline_average_precision: f64,
}

/// What a fold learned, and its scores of the judged rows.
#[derive(Debug)]
pub(super) struct Learned {
    /// How many judged periods earlier.
    pub(super) number: usize,
    protocol: Protocol,
    pub(super) learner: Learner,
    pub(super) baseline: Logistic,
    pub(super) train: Vec<usize>,
    pub(super) test: Vec<usize>,
    pub(super) scores: Vec<f64>,
    pub(super) baseline_scores: Vec<f64>,
    /// Of the rows for learning.
    pub(super) train_scores: Vec<f64>,
    pub(super) train_baseline_scores: Vec<f64>,
    metrics: [f64; 3],
    card_precision_by: CardPrecision,
    positives: usize,
}

impl Fold {
    pub(super) fn of(learned: &Learned, order: CardScore) -> Self {
        let [auc_roc, average_precision, baseline_average_precision] = learned.metrics;
        let card_precision_by = learned.card_precision_by;
        let card_precision_at_100 = match order {
            CardScore::Max => card_precision_by.max,
            CardScore::Any => card_precision_by.any,
        };
        Fold {
            train: learned.protocol.train.to_string(),
            test: learned.protocol.test.to_string(),
            rows: learned.test.len(),
            positives: learned.positives,
            auc_roc,
            average_precision,
            card_precision_at_100,
            card_precision_by,
            baseline_average_precision,
        }
    }
}

/// The model asked for (an imported one is not learned, only judged), then the earlier folds and the one for validation. Earlier ones that have no rows, or too few labels, are
/// left out and noted.
pub(super) fn learn_all(
    dataset: &Dataset,
    protocol: Protocol,
    names: &[String],
    options: &TrainOptions,
    validation: usize,
    imported: Option<&Imported>,
    notes: &mut Vec<String>,
) -> Result<Vec<Learned>, TrainError> {
    let mut numbers: Vec<usize> = (0..options.folds).collect();
    if !numbers.contains(&validation) {
        numbers.push(validation);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(numbers.len());
    let threads = if options.boost.threads == 0 { (cores / workers).max(1) } else { options.boost.threads };
    let boost = BoostOptions { threads, ..options.boost.clone() };
    let of_fold = TrainOptions { boost, ..options.clone() };
    let open = Mutex::new(numbers.clone().into_iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(number) = locked(&open).next() {
                    let earlier = protocol.earlier(number);
                    let learned = learn(dataset, earlier, number, names, &of_fold, imported);
                    locked(&done).push((number, learned));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    let mut all = Vec::new();
    for (number, learned) in done {
        match learned {
            Ok(learned) => all.push(learned),
            Err(TrainError::Split(SplitError::Problem(problem)) | TrainError::Problem(problem))
                if number > 0 =>
            {
                notes.push(format!("fold {number} is left out: {}", short(&problem)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is wrong with a fold; the advice to choose another range is not for folds.
pub(super) fn short(problem: &Problem) -> String {
    let text = problem.to_string();
    text.split("; choose").next().unwrap_or(&text).to_owned()
}

fn learn(
    dataset: &Dataset,
    protocol: Protocol,
    number: usize,
    names: &[String],
    options: &TrainOptions,
    imported: Option<&Imported>,
) -> Result<Learned, TrainError> {
    let rows = &dataset.rows;
    let split = protocol.split(rows, options.leave_known)?;
    let labels = rows.labels(&split.train);
    let test_labels = rows.labels(&split.test);
    check::labels("the training period", &labels)?;
    check::labels("the judged period", &test_labels)?;
    let (matrix, test) = (dataset.gather(&split.train), dataset.gather(&split.test));
    let target: Vec<f64> = labels.iter().map(|&label| f64::from(u8::from(label))).collect();
    let baseline = Logistic::fit(&matrix, &labels, options.ridge)?;
    let baseline_scores = baseline.predict(&test);
    let train_baseline_scores = baseline.predict(&matrix);
    let learner = match imported {
        Some(imported) => Learner::Imported(imported.clone()),
        None => {
            let ensemble = Ensemble::fit(names, &matrix, &target, Target::Class, &options.boost)?;
            Learner::Boosted { ensemble, linear: baseline.clone(), boost_share: options.boost_share }
        }
    };
    let (scores, train_scores) = (learner.predict(&test), learner.predict(&matrix));
    let (ranking, base) = (Ranking::new(&scores), Ranking::new(&baseline_scores));
    let shift = shift_to(&train_scores, rows.positives(&split.train));
    let any = any_so_far(&shifted(&scores, shift), rows, &split.test);
    let judged = Judged { scores: &scores, probabilities: &scores, any: &any, rows, places: &split.test };
    let (card_precision_by, _) = CardPrecision::of(judged, options.card_score);
    Ok(Learned {
        number,
        protocol,
        train_scores,
        train_baseline_scores,
        metrics: [
            ranking.auc_roc(&test_labels, None),
            ranking.average_precision(&test_labels, None),
            base.average_precision(&test_labels, None),
        ],
        card_precision_by,
        positives: rows.positives(&split.test),
        learner,
        baseline,
        train: split.train,
        test: split.test,
        scores,
        baseline_scores,
    })
}
