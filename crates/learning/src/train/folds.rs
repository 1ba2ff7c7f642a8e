//! Learning and judging fold by fold, several at a time.

use super::{TrainError, TrainOptions};
use crate::dataset::{Dataset, Problem, check};
use crate::evaluate::{CARDS, Ranking, cards};
use crate::fit::boost::{BoostOptions, Ensemble, Target};
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
    pub(super) train: Vec<usize>,
    pub(super) test: Vec<usize>,
    pub(super) scores: Vec<f64>,
    pub(super) baseline_scores: Vec<f64>,
    /// Of the rows for learning.
    pub(super) train_scores: Vec<f64>,
    pub(super) train_baseline_scores: Vec<f64>,
    metrics: [f64; 4],
    positives: usize,
}

impl Fold {
    pub(super) fn of(learned: &Learned) -> Self {
        let [auc_roc, average_precision, card_precision_at_100, baseline_average_precision] = learned.metrics;
        Fold {
            train: learned.protocol.train.to_string(),
            test: learned.protocol.test.to_string(),
            rows: learned.test.len(),
            positives: learned.positives,
            auc_roc,
            average_precision,
            card_precision_at_100,
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
    let boost = BoostOptions {
        threads: if options.boost.threads == 0 { (cores / workers).max(1) } else { options.boost.threads },
        ..options.boost.clone()
    };
    let open = Mutex::new(numbers.clone().into_iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(number) = locked(&open).next() {
                    let learned = learn(
                        dataset,
                        protocol.earlier(number),
                        number,
                        names,
                        &boost,
                        (options.ridge, options.boost_share),
                        imported,
                    );
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
fn short(problem: &Problem) -> String {
    let text = problem.to_string();
    text.split("; choose").next().unwrap_or(&text).to_owned()
}

fn learn(
    dataset: &Dataset,
    protocol: Protocol,
    number: usize,
    names: &[String],
    boost: &BoostOptions,
    (ridge, share): (f64, f64),
    imported: Option<&Imported>,
) -> Result<Learned, TrainError> {
    let rows = &dataset.rows;
    let split = protocol.split(rows)?;
    let labels = rows.labels(&split.train);
    let test_labels = rows.labels(&split.test);
    check::labels("the training period", &labels)?;
    check::labels("the judged period", &test_labels)?;
    let (matrix, test) = (dataset.gather(&split.train), dataset.gather(&split.test));
    let target: Vec<f64> = labels.iter().map(|&label| f64::from(u8::from(label))).collect();
    let baseline = Logistic::fit(&matrix, &labels, ridge)?;
    let baseline_scores = baseline.predict(&test);
    let train_baseline_scores = baseline.predict(&matrix);
    let learner = match imported {
        Some(imported) => Learner::Imported(imported.clone()),
        None => {
            let ensemble = Ensemble::fit(names, &matrix, &target, Target::Class, boost)?;
            Learner::Boosted { ensemble, linear: baseline, boost_share: share }
        }
    };
    let (scores, train_scores) = (learner.predict(&test), learner.predict(&matrix));
    let (ranking, base) = (Ranking::new(&scores), Ranking::new(&baseline_scores));
    let by_day = cards::card_precision_by_day(&scores, rows, &split.test, CARDS);
    Ok(Learned {
        number,
        protocol,
        train_scores,
        train_baseline_scores,
        metrics: [
            ranking.auc_roc(&test_labels, None),
            ranking.average_precision(&test_labels, None),
            cards::mean(&by_day),
            base.average_precision(&test_labels, None),
        ],
        positives: rows.positives(&split.test),
        learner,
        train: split.train,
        test: split.test,
        scores,
        baseline_scores,
    })
}
