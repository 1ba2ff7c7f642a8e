//! Learning and judging fold by fold, several at a time.

use super::choice::{Beside, Grid, Settled, Trial, known_folds, settle};
use super::{TrainError, TrainOptions};
use crate::dataset::{Dataset, Matrix, Problem, check};
use crate::evaluate::cards::any_so_far;
use crate::evaluate::{CardPrecision, CardScore, Judged, Ranking};
use crate::fit::boost::{BoostOptions, Ensemble, Target};
use crate::fit::calibrate::{shift_to, shifted};
use crate::fit::transform::Past;
use crate::fit::{Imported, Learner, Logistic, TransformOptions, Transforms, blended, both};
use crate::split::{Period, Protocol, Split, SplitError};
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
    pub(super) transforms: Transforms,
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

/// Works on folds, several at a time as far as memory allows; each is told how many threads it may take. What came of them, in their order.
///
/// `cells`: how many numbers a fold learns from and is judged by, see [`cells`].
pub(super) fn each<T: Send>(
    numbers: &[usize],
    cells: usize,
    options: &TrainOptions,
    work: impl Fn(usize, &TrainOptions) -> T + Sync,
) -> Vec<(usize, T)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.min(numbers.len()).min(at_a_time(cells, &options.boost)).max(1);
    let threads = if options.boost.threads == 0 { (cores / workers).max(1) } else { options.boost.threads };
    let boost = BoostOptions { threads, ..options.boost.clone() };
    let of_fold = TrainOptions { boost, ..options.clone() };
    let open = Mutex::new(numbers.iter().copied());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = locked(&open).next();
                    let Some(number) = next else { break };
                    let found = work(number, &of_fold);
                    locked(&done).push((number, found));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done
}

/// Bytes that all folds under way may take beside the dataset.
const MEMORY: f64 = 2e9;
/// Bytes of a fold by number of its rows: as it is, the part that a booster sees or the regression's standardised copy, and the bins of its histogram.
const BYTES: f64 = 20.0;

/// How many folds of so many numbers are worked on at the same time: those for which there is memory, trees included; at least one.
fn at_a_time(cells: usize, boost: &BoostOptions) -> usize {
    let one = cells as f64 * BYTES + f64::from(boost.memory_gb) * 1e9;
    ((MEMORY / one) as usize).max(1)
}

/// How many numbers learners take of the rows for learning and the judged ones: those of one fold, of which earlier ones are about as large.
pub(super) fn cells(dataset: &Dataset, protocol: Protocol, transforms: &[TransformOptions]) -> usize {
    let before = |time: i64| dataset.rows.time.partition_point(|&row| row < time);
    let rows = |period: Period| before(period.to).saturating_sub(before(period.from));
    let more: usize = transforms.iter().map(|transform| transform.width_max() - 1).sum();
    (rows(protocol.train) + rows(protocol.test)) * (dataset.columns.len() + more)
}

/// What is learned from, and judged.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) protocol: Protocol,
    /// The features.
    pub(super) names: &'a [String],
    /// A model that is not learned, only judged.
    pub(super) imported: Option<&'a Imported>,
}

/// Tries settings on the folds whose labels are all known when the judged period begins, and chooses. There is nothing to choose of an imported model.
pub(super) fn chosen(
    task: Task,
    options: &TrainOptions,
    notes: &mut Vec<String>,
) -> Result<Settled<Logistic>, TrainError> {
    let grid = Grid::of(options);
    let numbers = match task.imported {
        None if grid.is_choice() => known_folds(task.protocol, options.folds),
        None | Some(_) => Vec::new(),
    };
    let cells = cells(task.dataset, task.protocol, &options.transforms);
    let trials = each(&numbers, cells, options, |number, options| try_on(task, number, options, &grid));
    settle(options, &grid, "average_precision", trials.into_iter().map(|(_, trial)| trial).collect(), notes)
}

fn try_on(
    task: Task,
    number: usize,
    options: &TrainOptions,
    grid: &Grid,
) -> Result<Trial<Logistic>, TrainError> {
    let protocol = task.protocol.earlier(number);
    let taken = Taken::of(task, protocol, options)?;
    let metric = |boosted: &[f64], linear: &[f64], share: f64| {
        Ranking::new(&both(boosted, linear, share, blended)).average_precision(&taken.test_labels, None)
    };
    let boost = |budget: f32| taken.boost(&BoostOptions { budget, ..options.boost.clone() });
    let beside = Beside {
        fit: &|ridge| Ok(Logistic::fit(&taken.train, &taken.labels, ridge)?),
        predict: &|linear: &Logistic| linear.predict(&taken.test),
        metric: &metric,
    };
    Trial::new(grid, (number, protocol), &taken.test, &boost, &beside)
}

/// The model asked for, then the earlier folds and the one for validation. Earlier ones that have no rows, or too few labels, are
/// left out and noted.
pub(super) fn learn_all(
    task: Task,
    settled: &Settled<Logistic>,
    validation: usize,
    notes: &mut Vec<String>,
) -> Result<Vec<Learned>, TrainError> {
    let options = &settled.options;
    let mut numbers: Vec<usize> = (0..options.folds).collect();
    if !numbers.contains(&validation) {
        numbers.push(validation);
    }
    let cells = cells(task.dataset, task.protocol, &options.transforms);
    let learned = each(&numbers, cells, options, |number, options| {
        learn(task, number, options, settled.fitted.get(&number))
    });
    let mut all = Vec::new();
    for (number, learned) in learned {
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

/// The rows of a fold, as its learners take them.
struct Taken {
    split: Split,
    transforms: Transforms,
    columns: Vec<String>,
    train: Matrix,
    test: Matrix,
    labels: Vec<bool>,
    test_labels: Vec<bool>,
}

impl Taken {
    fn of(task: Task, protocol: Protocol, options: &TrainOptions) -> Result<Self, TrainError> {
        let (dataset, rows) = (task.dataset, &task.dataset.rows);
        let split = protocol.split(rows, options.leave_known)?;
        let labels = rows.labels(&split.train);
        let test_labels = rows.labels(&split.test);
        check::labels("the training period", &labels)?;
        check::labels("the judged period", &test_labels)?;
        // A model that was learned elsewhere takes features as they are.
        let wanted: &[TransformOptions] =
            if task.imported.is_some() { &[] } else { options.transforms.as_slice() };
        let times: Vec<i64> = split.train.iter().map(|&row| rows.time[row]).collect();
        let past = Past { times: &times, labels: &labels, delay: protocol.delay };
        let (transforms, train) =
            Transforms::fit(wanted, task.names, dataset.gather(&split.train), Some(past))?;
        let test = transforms.apply(dataset.gather(&split.test));
        let columns = transforms.names(task.names);
        Ok(Taken { split, transforms, columns, train, test, labels, test_labels })
    }

    fn boost(&self, options: &BoostOptions) -> Result<Ensemble, TrainError> {
        let target: Vec<f64> = self.labels.iter().map(|&label| f64::from(u8::from(label))).collect();
        Ok(Ensemble::fit(&self.columns, &self.train, &target, Target::Class, options)?)
    }
}

/// Learns and judges a fold; `fitted` is what was fitted of it to be tried.
fn learn(
    task: Task,
    number: usize,
    options: &TrainOptions,
    fitted: Option<&(Ensemble, Logistic)>,
) -> Result<Learned, TrainError> {
    let protocol = task.protocol.earlier(number);
    let taken = Taken::of(task, protocol, options)?;
    let rows = &task.dataset.rows;
    let baseline = match fitted {
        Some((_, linear)) => linear.clone(),
        None => Logistic::fit(&taken.train, &taken.labels, options.ridge)?,
    };
    let learner = match (task.imported, fitted) {
        (Some(imported), _) => Learner::Imported(imported.clone()),
        (None, fitted) => {
            let ensemble = match fitted {
                Some((ensemble, _)) => ensemble.clone(),
                None => taken.boost(&options.boost)?,
            };
            Learner::Boosted { ensemble, linear: baseline.clone(), boost_share: options.boost_share }
        }
    };
    let Taken { split, transforms, train, test, test_labels, .. } = taken;
    let (baseline_scores, train_baseline_scores) = (baseline.predict(&test), baseline.predict(&train));
    let (scores, train_scores) = (learner.predict(&test), learner.predict(&train));
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
        transforms,
        learner,
        baseline,
        train: split.train,
        test: split.test,
        scores,
        baseline_scores,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Rows;
    use crate::fit::transform::TransformFit;

    #[test]
    fn folds_are_worked_on_together_as_far_as_memory_allows() {
        let boost = BoostOptions::default();
        assert_eq!(at_a_time(0, &boost), 2);
        // A million rows of twelve features, of sixty, and of many more.
        assert_eq!(at_a_time(1_200_000 * 12, &boost), 2);
        assert_eq!(at_a_time(1_200_000 * 60, &boost), 1);
        assert_eq!(at_a_time(usize::MAX, &boost), 1);
        assert_eq!(at_a_time(1_000, &BoostOptions { memory_gb: 0.25, ..boost }), 7);
    }

    #[test]
    fn what_a_fold_learns_from_is_counted_with_what_features_become() {
        let rows = Rows { time: (0..100).collect(), ..Rows::default() };
        let dataset = Dataset { rows, columns: vec![vec![0.0; 100]; 3], ..Dataset::default() };
        let period = |from, to| Period { from, to };
        let protocol = Protocol { train: period(10, 30), test: period(40, 50), delay: 10 };
        assert_eq!(cells(&dataset, protocol, &[]), 30 * 3);
        let by = |by| TransformOptions { feature: "a".to_owned(), by };
        let transforms = [
            by(TransformFit::Log1p),
            by(TransformFit::OneHot { texts_max: 4 }),
            by(TransformFit::Hashing { places: 8 }),
        ];
        assert_eq!(cells(&dataset, protocol, &transforms), 30 * (3 + 4 + 7));
    }
}
