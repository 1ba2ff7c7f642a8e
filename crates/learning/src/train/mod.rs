//! The pipeline from a dataset to a judged model: split, fit, calibrate, decide, evaluate, compare, drift, gates.
//!
//! Each fold of the prequential validation is learned and judged like the model itself, so many judged periods earlier. One of them gives calibration
//! and threshold: the last whose labels are all known before the judged period begins.
//!
//! Invariant: no choice is made on the rows by which the model is judged.

mod facts;
mod folds;

pub use folds::Fold;

use crate::DAY;
use crate::dataset::{Dataset, FeatureVersion, Manifest, Problem, Rows, Screened, check};
use crate::decide::{Costs, choose};
use crate::drift::{self, Drift, DriftOptions};
use crate::evaluate::{Evaluation, Intervals, Judged, bootstrap, evaluate};
use crate::fit::boost::BoostOptions;
use crate::fit::{Calibration, CalibrationKind, FitError, Imported, Model, ModelError};
use crate::gate::{Facts, Gate, GateOptions, gates};
use crate::split::{Period, Protocol, SplitError};
use folds::{Learned, learn_all};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// How models are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    pub boost: BoostOptions,
    pub calibration: CalibrationKind,
    pub costs: Costs,
    pub gates: GateOptions,
    pub drift: DriftOptions,
    /// How much of the log odds is the boosters'; the rest is the baseline's.
    pub boost_share: f64,
    /// Judged periods of the prequential validation, the one asked for among them.
    pub folds: usize,
    /// Draws of the bootstrap.
    pub draws: usize,
    /// Ridge of the baseline.
    pub ridge: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            boost: BoostOptions::default(),
            calibration: CalibrationKind::default(),
            costs: Costs::default(),
            gates: GateOptions::default(),
            drift: DriftOptions::default(),
            boost_share: 0.7,
            folds: 4,
            draws: 500,
            ridge: 1.0,
        }
    }
}

impl TrainOptions {
    /// # Errors
    /// What is wrong with which key.
    pub fn check(&self) -> Result<(), String> {
        self.boost.check().map_err(|problem| format!("boost.{problem}"))?;
        self.costs.check().map_err(|problem| format!("costs: {problem}"))?;
        self.drift.check().map_err(|problem| format!("drift: {problem}"))?;
        if !(1..=52).contains(&self.folds) {
            return Err(format!("folds is {}: take 1 to 52", self.folds));
        }
        if !(0.0..=1.0).contains(&self.boost_share) {
            return Err(format!("boost_share is {}: take 0 to 1", self.boost_share));
        }
        if self.ridge.is_nan() || self.ridge <= 0.0 {
            return Err(format!("ridge is {}: take a number above 0", self.ridge));
        }
        if self.draws < 20 {
            return Err(format!("draws is {}: with fewer than 20 there is no interval", self.draws));
        }
        Ok(())
    }
}

impl TrainOptions {
    /// The period that holds every row of learning and judging, all folds included.
    #[must_use]
    pub fn span(&self, protocol: Protocol) -> Period {
        let earliest = validation_fold(protocol).max(self.folds.saturating_sub(1));
        Period { from: protocol.earlier(earliest).train.from, to: protocol.test.to }
    }
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A model and all that was found of it.
#[derive(Debug)]
pub struct Trained {
    pub model: Model,
    pub report: Report,
}

/// What is told of a model, and stored with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub model: String,
    pub protocol: Protocol,
    pub train_rows: usize,
    pub train_positives: usize,
    /// Rows of the judged period whose cards were known to be compromised.
    pub known_left_out: usize,
    pub evaluation: Evaluation,
    pub baseline: Evaluation,
    pub intervals: Intervals,
    pub folds: Vec<Fold>,
    /// Means over the folds.
    pub prequential: Prequential,
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

/// Means over folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prequential {
    pub folds: usize,
    pub auc_roc: f64,
    pub average_precision: f64,
    pub card_precision_at_100: f64,
}

impl Report {
    /// The gates that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(|gate| !gate.passed)
    }
}

/// Trains and judges a model. `champion` is the one it is compared with beside the baseline; one that was `imported` is judged in place of one that is
/// learned.
///
/// # Errors
/// [`TrainError`]: nothing can be learned, or judged.
pub fn train(
    name: &str,
    dataset: &Dataset,
    manifest: Manifest,
    protocol: Protocol,
    options: &TrainOptions,
    champion: Option<&Model>,
    imported: Option<&Imported>,
) -> Result<Trained, TrainError> {
    let began = Instant::now();
    let rows = &dataset.rows;
    let split = protocol.split(rows)?;
    check::labels("the training period", &rows.labels(&split.train))?;
    check::labels("the judged period", &rows.labels(&split.test))?;
    let (names, screened) = match imported {
        Some(imported) => (imported.forest.features.clone(), Screened::default()),
        None => check::screen(dataset, &split.train)?,
    };
    let dataset = &dataset.select(&names)?;
    let mut notes = told(&screened);

    let validation = validation_fold(protocol);
    let learned = learn_all(dataset, protocol, &names, options, validation, imported, &mut notes)?;
    let mut learned = learned.into_iter();
    // The first is the model itself; without it there is an error already.
    let Some(main) = learned.next() else { return Err(FitError::Singular.into()) };
    let others: Vec<Learned> = learned.collect();
    let judge = others.iter().find(|fold| fold.number == validation);
    let chosen = Chosen::on(judge, &main, rows, options, &mut notes);

    let model = Model {
        name: name.to_owned(),
        features: features_of(dataset),
        learner: main.learner.clone(),
        calibration: chosen.calibration.clone(),
        threshold: Some(chosen.threshold),
    };
    let probabilities: Vec<f64> = main.scores.iter().map(|&score| model.probability(score)).collect();
    let judged = Judged { scores: &main.scores, probabilities: &probabilities, rows, places: &main.test };
    let evaluation = evaluate(judged, chosen.threshold, &options.costs);
    let base = &main.baseline_scores;
    let judged = Judged { scores: base, probabilities: base, rows, places: &main.test };
    let baseline = evaluate(judged, chosen.baseline_threshold, &options.costs);

    let labels = rows.labels(&main.test);
    let cards: Vec<i64> = main.test.iter().map(|&row| rows.card[row]).collect();
    let intervals = bootstrap::compare(&main.scores, base, &labels, &cards, options.draws);
    let champion_gain = champion_gain(champion, dataset, &main, &labels, &cards, options, &mut notes);
    let facts = facts::measure(&model, dataset, &split.train, &main, &options.gates)?;
    let gates = gates(
        &evaluation,
        &baseline,
        intervals.average_precision_gain,
        champion_gain,
        &facts,
        &options.gates,
    );

    let mut importance: Vec<(String, f64)> =
        names.iter().cloned().zip(model.learner.importance(names.len())).collect();
    importance.sort_by(|a, b| b.1.total_cmp(&a.1));
    let folds: Vec<Fold> = std::iter::once(&main)
        .chain(&others)
        .filter(|fold| fold.number < options.folds)
        .map(Fold::of)
        .collect();
    let report = Report {
        model: name.to_owned(),
        protocol,
        train_rows: split.train.len(),
        train_positives: rows.positives(&split.train),
        known_left_out: split.known,
        evaluation,
        baseline,
        intervals,
        prequential: Prequential::over(&folds),
        folds,
        importance,
        trees: model.learner.trees(),
        screened,
        drift: drifts(&model, dataset, &split.train, &main, &options.drift)?,
        facts,
        gates,
        notes,
        manifest,
        options: options.clone(),
        seconds: began.elapsed().as_secs_f64(),
    };
    Ok(Trained { model, report })
}

fn features_of(dataset: &Dataset) -> Vec<FeatureVersion> {
    dataset.features.clone()
}

/// What was left out, for people.
fn told(screened: &Screened) -> Vec<String> {
    let note = |names: &[String], why: &str| {
        (!names.is_empty()).then(|| format!("left out, {why} in the training period: {}", names.join(", ")))
    };
    [note(&screened.empty, "without a value"), note(&screened.constant, "with one value only")]
        .into_iter()
        .flatten()
        .collect()
}

/// How many judged periods before this one the last one lies whose labels are known when it begins.
fn validation_fold(protocol: Protocol) -> usize {
    let length = (protocol.test.to - protocol.test.from).max(DAY);
    usize::try_from((length + protocol.delay + length - 1) / length).unwrap_or(1)
}

/// What was chosen on the validation fold.
struct Chosen {
    calibration: Option<Calibration>,
    threshold: f64,
    baseline_threshold: f64,
}

impl Chosen {
    /// Where there is no such fold, scores are not calibrated and the threshold is the one of the training rows: told in a note.
    fn on(
        judge: Option<&Learned>,
        main: &Learned,
        rows: &Rows,
        options: &TrainOptions,
        notes: &mut Vec<String>,
    ) -> Self {
        let (scores, base, places) = match judge {
            Some(fold) => (&fold.scores, &fold.baseline_scores, &fold.test),
            None => (&main.train_scores, &main.train_baseline_scores, &main.train),
        };
        let labels = rows.labels(places);
        let calibration = judge.map(|_| Calibration::fit(options.calibration, scores, &labels));
        if calibration.is_none() {
            notes.push(
                "there are no earlier rows to validate on: probabilities are not calibrated, and the threshold was chosen on \
                 the training rows"
                    .to_owned(),
            );
        }
        Chosen {
            calibration,
            threshold: choose(scores, rows, places, &options.costs),
            baseline_threshold: choose(base, rows, places, &options.costs),
        }
    }
}

/// How much better the model is than the champion, which may read features that this dataset lacks.
fn champion_gain(
    champion: Option<&Model>,
    dataset: &Dataset,
    main: &Learned,
    labels: &[bool],
    cards: &[i64],
    options: &TrainOptions,
    notes: &mut Vec<String>,
) -> Option<crate::evaluate::Interval> {
    match champion?.score(dataset, &main.test) {
        Ok(scores) => {
            let compared = bootstrap::compare(&main.scores, &scores, labels, cards, options.draws);
            Some(compared.average_precision_gain)
        }
        Err(error) => {
            notes.push(format!("not compared with the champion: {error}"));
            None
        }
    }
}

/// Features and score, the rows of learning against the judged ones; the most changed first.
fn drifts(
    model: &Model,
    dataset: &Dataset,
    train: &[usize],
    main: &Learned,
    options: &DriftOptions,
) -> Result<Vec<Drift>, TrainError> {
    let mut found: Vec<Drift> = dataset
        .features
        .iter()
        .zip(&dataset.columns)
        .map(|(feature, column)| {
            let of = |rows: &[usize]| rows.iter().map(|&row| column[row]).collect::<Vec<f64>>();
            drift::compare(&feature.name, &of(train), &of(&main.test), options)
        })
        .collect();
    let reference = model.score(dataset, train)?;
    found.push(drift::compare("score", &reference, &main.scores, options));
    found.sort_by(|a, b| b.psi.total_cmp(&a.psi));
    Ok(found)
}

impl Prequential {
    fn over(folds: &[Fold]) -> Self {
        let mean = |of: fn(&Fold) -> f64| folds.iter().map(of).sum::<f64>() / folds.len() as f64;
        Prequential {
            folds: folds.len(),
            auc_roc: mean(|fold| fold.auc_roc),
            average_precision: mean(|fold| fold.average_precision),
            card_precision_at_100: mean(|fold| fold.card_precision_at_100),
        }
    }
}
