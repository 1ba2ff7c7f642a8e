//! Training of a model that says a number, such as the money that a customer will bring: the same stages over the same splits, with a ridge
//! regression as the baseline. A score is the number itself, so there is nothing to calibrate and no threshold.

use super::choice::{Beside, Grid, Settled, Trial, known_folds, settle};
use super::facts::{Probe, shuffled};
use super::folds::{cells, each};
use super::{Choice, TrainError, TrainOptions, constrained, drifts, screened, told};
use crate::dataset::{Dataset, Manifest, Matrix, Screened, check};
use crate::drift::Drift;
use crate::evaluate::value::{
    ValueEvaluation, ValueIntervals, ValueSegment, evaluate, intervals, rank_correlation, segments,
};
use crate::fit::boost::{BoostOptions, Ensemble, Target};
use crate::fit::{Learner, Model, Ridge, Transforms, both, mixed};
use crate::gate::{Facts, Gate, against_champion, is_of_champion, not_comparable, value_gates};
use crate::split::{Protocol, Split, SplitError};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// A model of a number and all that was found of it.
#[derive(Debug)]
pub struct TrainedValue {
    pub model: Model,
    pub report: ValueReport,
}

/// How one fold was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueFold {
    pub train: String,
    pub test: String,
    pub rows: usize,
    pub r2: f64,
    pub mae: f64,
    pub rank_correlation: f64,
    /// The baseline's, on the same rows.
    pub baseline_r2: f64,
}

/// What is told of a model of a number, and stored with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueReport {
    pub model: String,
    pub protocol: Protocol,
    pub train_rows: usize,
    pub evaluation: ValueEvaluation,
    pub baseline: ValueEvaluation,
    pub intervals: ValueIntervals,
    /// Parts of the judged rows, by the model and by the baseline.
    pub segments: Vec<ValueSegment>,
    pub baseline_segments: Vec<ValueSegment>,
    pub folds: Vec<ValueFold>,
    /// None where nothing was to be chosen, or nothing could be.
    #[serde(default)]
    pub choice: Option<Choice>,
    /// Parts of the gain of all splits, largest first.
    pub importance: Vec<(String, f64)>,
    pub trees: usize,
    pub screened: Screened,
    pub drift: Vec<Drift>,
    pub facts: Facts,
    pub gates: Vec<Gate>,
    /// What could not be done as asked, and what was done instead.
    pub notes: Vec<String>,
    pub manifest: Manifest,
    pub options: TrainOptions,
    pub seconds: f64,
}

impl ValueReport {
    /// The gates that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(|gate| !gate.passed)
    }
}

/// A model that was learned, and what was found on the way.
#[derive(Debug)]
pub struct FittedValue {
    pub model: Model,
    pub found: FoundValue,
}

/// What is known of a fit beside the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundValue {
    baseline: Ridge,
    pub folds: Vec<ValueFold>,
    #[serde(default)]
    pub choice: Option<Choice>,
    pub screened: Screened,
    pub notes: Vec<String>,
}

/// Trains and judges a model of a number: every stage, one after the other.
///
/// # Errors
/// [`TrainError`]: nothing can be learned, or judged.
pub fn train_value(
    name: &str,
    dataset: &Dataset,
    manifest: Manifest,
    protocol: Protocol,
    options: &TrainOptions,
    champion: Option<&Model>,
) -> Result<TrainedValue, TrainError> {
    let began = Instant::now();
    let fitted = fit_value(name, dataset, protocol, options)?;
    let judge = JudgeValue::new(&fitted, dataset, protocol, options)?;
    let mut report = judge.evaluate(manifest);
    judge.validate(&mut report)?;
    judge.compare(champion, &mut report);
    judge.drift(&mut report)?;
    report.seconds = began.elapsed().as_secs_f64();
    drop(judge);
    Ok(TrainedValue { model: fitted.model, report })
}

/// Learns the model and the earlier folds.
///
/// # Errors
/// [`TrainError`]: nothing can be learned.
pub fn fit_value(
    name: &str,
    dataset: &Dataset,
    protocol: Protocol,
    options: &TrainOptions,
) -> Result<FittedValue, TrainError> {
    let rows = &dataset.rows;
    let split = protocol.split(rows, false)?;
    check::values("the training period", &rows.values(&split.train))?;
    check::values("the judged period", &rows.values(&split.test))?;
    let (names, screened) = screened(dataset, &split.train, None)?;
    let options = &constrained(options, dataset, &names);
    let dataset = &dataset.select(&names)?;
    let mut notes = told(&screened);
    let settled = chosen(dataset, protocol, &names, options, &mut notes)?;
    let options = &settled.options;
    let mut folds = Vec::new();
    let Learned { transforms, learner, baseline, fold } = learn(dataset, protocol, &names, options, None)?;
    folds.push(fold);
    for number in 1..options.folds {
        match learn(dataset, protocol.earlier(number), &names, options, settled.fitted.get(&number)) {
            Ok(learned) => folds.push(learned.fold),
            Err(TrainError::Split(SplitError::Problem(problem)) | TrainError::Problem(problem)) => {
                notes.push(format!("fold {number} is left out: {}", super::folds::short(&problem)));
            }
            Err(error) => return Err(error),
        }
    }
    let model = Model {
        name: name.to_owned(),
        features: dataset.features.clone(),
        transforms,
        learner,
        calibration: None,
        threshold: None,
    };
    Ok(FittedValue { model, found: FoundValue { baseline, folds, choice: settled.choice, screened, notes } })
}

/// Tries settings on the folds whose outcomes are all known when the judged period begins, and chooses.
fn chosen(
    dataset: &Dataset,
    protocol: Protocol,
    names: &[String],
    options: &TrainOptions,
    notes: &mut Vec<String>,
) -> Result<Settled<Ridge>, TrainError> {
    let grid = Grid::of(options);
    let numbers = if grid.is_choice() { known_folds(protocol, options.folds) } else { Vec::new() };
    let cells = cells(dataset, protocol, &options.transforms);
    let trials = each(&numbers, cells, options, |number, options| {
        let earlier = protocol.earlier(number);
        let taken = Taken::of(dataset, earlier, names, options)?;
        let metric = |boosted: &[f64], linear: &[f64], share: f64| {
            evaluate(&both(boosted, linear, share, mixed), &taken.truth).r2
        };
        let boost = |budget: f32| taken.boost(&BoostOptions { budget, ..options.boost.clone() });
        let beside = Beside {
            fit: &|ridge| Ok(Ridge::fit(&taken.train, &taken.target, ridge)?),
            predict: &|linear: &Ridge| linear.predict(&taken.test),
            metric: &metric,
        };
        Trial::new(&grid, (number, earlier), &taken.test, &boost, &beside)
    });
    settle(options, &grid, "r2", trials.into_iter().map(|(_, trial)| trial).collect(), notes)
}

/// The rows of a fold, as its learners take them.
struct Taken {
    transforms: Transforms,
    columns: Vec<String>,
    train: Matrix,
    test: Matrix,
    target: Vec<f64>,
    truth: Vec<f64>,
}

impl Taken {
    fn of(
        dataset: &Dataset,
        protocol: Protocol,
        names: &[String],
        options: &TrainOptions,
    ) -> Result<Self, TrainError> {
        let rows = &dataset.rows;
        let split = protocol.split(rows, false)?;
        let (target, truth) = (rows.values(&split.train), rows.values(&split.test));
        check::values("the training period", &target)?;
        check::values("the judged period", &truth)?;
        let train = dataset.gather(&split.train);
        let (transforms, train) = Transforms::fit(&options.transforms, names, train, None)?;
        let test = transforms.apply(dataset.gather(&split.test));
        let columns = transforms.names(names);
        Ok(Taken { transforms, columns, train, test, target, truth })
    }

    fn boost(&self, options: &BoostOptions) -> Result<Ensemble, TrainError> {
        Ok(Ensemble::fit(&self.columns, &self.train, &self.target, Target::Value, options)?)
    }
}

/// What one fold came to.
struct Learned {
    transforms: Transforms,
    learner: Learner,
    baseline: Ridge,
    fold: ValueFold,
}

/// Learns and judges one fold; `fitted` is what was fitted of it to be tried.
fn learn(
    dataset: &Dataset,
    protocol: Protocol,
    names: &[String],
    options: &TrainOptions,
    fitted: Option<&(Ensemble, Ridge)>,
) -> Result<Learned, TrainError> {
    let taken = Taken::of(dataset, protocol, names, options)?;
    let (ensemble, baseline) = match fitted {
        Some(fitted) => fitted.clone(),
        None => (taken.boost(&options.boost)?, Ridge::fit(&taken.train, &taken.target, options.ridge)?),
    };
    let Taken { transforms, test, truth, .. } = taken;
    let learner = Learner::Regressed { ensemble, linear: baseline.clone(), boost_share: options.boost_share };
    let of_model = evaluate(&learner.predict(&test), &truth);
    let fold = ValueFold {
        train: protocol.train.to_string(),
        test: protocol.test.to_string(),
        rows: truth.len(),
        r2: of_model.r2,
        mae: of_model.mae,
        rank_correlation: of_model.rank_correlation,
        baseline_r2: evaluate(&baseline.predict(&test), &truth).r2,
    };
    Ok(Learned { transforms, learner, baseline, fold })
}

/// A model before the rows by which it is judged.
#[derive(Debug)]
pub struct JudgeValue<'a> {
    fitted: &'a FittedValue,
    /// All features, which a champion may read, and those of the model.
    whole: &'a Dataset,
    dataset: Dataset,
    options: &'a TrainOptions,
    protocol: Protocol,
    split: Split,
    /// Of the judged rows.
    predicted: Vec<f64>,
    baseline: Vec<f64>,
    truth: Vec<f64>,
}

impl<'a> JudgeValue<'a> {
    /// Predicts the judged rows.
    ///
    /// # Errors
    /// A dataset without rows, or without the model's features.
    pub fn new(
        fitted: &'a FittedValue,
        whole: &'a Dataset,
        protocol: Protocol,
        options: &'a TrainOptions,
    ) -> Result<Self, TrainError> {
        let split = protocol.split(&whole.rows, false)?;
        let names: Vec<String> = fitted.model.features.iter().map(|feature| feature.name.clone()).collect();
        let dataset = whole.select(&names)?;
        let predicted = fitted.model.score(&dataset, &split.test)?;
        let judged = fitted.model.transforms.apply(dataset.gather(&split.test));
        let baseline = fitted.found.baseline.predict(&judged);
        let truth = whole.rows.values(&split.test);
        Ok(JudgeValue { fitted, whole, dataset, options, protocol, split, predicted, baseline, truth })
    }

    /// The report with all metrics; gates and drift are still empty.
    #[must_use]
    pub fn evaluate(&self, manifest: Manifest) -> ValueReport {
        let FittedValue { model, found } = self.fitted;
        let (rows, places) = (&self.dataset.rows, self.split.test.as_slice());
        let of_features = model.features.iter().map(|feature| feature.name.clone());
        let mut importance: Vec<(String, f64)> = of_features.zip(model.importance()).collect();
        importance.sort_by(|a, b| b.1.total_cmp(&a.1));
        ValueReport {
            model: model.name.clone(),
            protocol: self.protocol,
            train_rows: self.split.train.len(),
            evaluation: evaluate(&self.predicted, &self.truth),
            baseline: evaluate(&self.baseline, &self.truth),
            intervals: self.compared(&self.baseline),
            segments: segments(&self.predicted, rows, places),
            baseline_segments: segments(&self.baseline, rows, places),
            folds: found.folds.clone(),
            choice: found.choice.clone(),
            importance,
            trees: model.learner.trees(),
            screened: found.screened.clone(),
            drift: Vec::new(),
            facts: Facts::default(),
            gates: Vec::new(),
            notes: found.notes.clone(),
            manifest,
            options: self.options.clone(),
            seconds: 0.0,
        }
    }

    fn compared(&self, other: &[f64]) -> ValueIntervals {
        let owners = self.dataset.rows.cards(&self.split.test);
        intervals(&self.predicted, other, &self.truth, &owners, self.options.draws)
    }

    /// Measures what the gates ask, and lets them judge.
    ///
    /// # Errors
    /// [`TrainError`]: the baseline cannot be learned once more.
    pub fn validate(&self, report: &mut ValueReport) -> Result<(), TrainError> {
        let target = self.dataset.rows.values(&self.split.train);
        let taken = |rows: &[usize]| self.fitted.model.transforms.apply(self.dataset.gather(rows));
        let matrix = taken(&self.split.train);
        let relearned = Ridge::fit(&matrix, &shuffled(&target), self.options.ridge)?;
        let area = |scores: &[f64], truth: &[f64]| f64::midpoint(1.0, rank_correlation(scores, truth));
        let probe = Probe {
            model: &self.fitted.model,
            dataset: &self.dataset,
            train: &self.split.train,
            test: &self.split.test,
            scores: &self.predicted,
            shuffled_area: area(&relearned.predict(&taken(&self.split.test)), &shuffled(&self.truth)),
            train_area: &|scores| area(scores, &target),
            area: &|scores| area(scores, &self.truth),
            // Half of that of a rank correlation of independent rows.
            chance_error: 0.5 / ((self.truth.len().max(2) - 1) as f64).sqrt(),
        };
        report.facts = probe.measure(&self.options.gates)?;
        let of_champion: Vec<Gate> = report.gates.drain(..).filter(is_of_champion).collect();
        report.gates = value_gates(
            &report.segments,
            &report.baseline_segments,
            report.intervals.r2_gain,
            &report.facts,
            &self.options.gates,
        );
        report.gates.extend(of_champion);
        Ok(())
    }

    /// Compares with the model that serves. One that reads features which this dataset lacks fails the gate [`crate::gate::COMPARABLE`].
    pub fn compare(&self, champion: Option<&Model>, report: &mut ValueReport) {
        report.gates.retain(|gate| !is_of_champion(gate));
        let Some(champion) = champion else { return };
        match champion.score(self.whole, &self.split.test) {
            Ok(predicted) => {
                report.gates.push(against_champion("R²", self.compared(&predicted).r2_gain));
            }
            Err(error) => report.gates.push(not_comparable(&error.to_string())),
        }
    }

    /// Features and prediction, the rows for learning against the judged ones; the most changed first.
    ///
    /// # Errors
    /// [`TrainError`]
    pub fn drift(&self, report: &mut ValueReport) -> Result<(), TrainError> {
        let options = &self.options.drift;
        report.drift = drifts(&self.fitted.model, &self.dataset, &self.split, &self.predicted, options)?;
        Ok(())
    }
}
