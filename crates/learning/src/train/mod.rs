//! The pipeline from a dataset to a judged model: split, fit, calibrate, decide, evaluate, compare, drift, gates.
//!
//! Each fold of the prequential validation is learned and judged like the model itself, so many judged periods earlier. One of them gives calibration
//! and threshold: the last whose labels are all known before the judged period begins.
//!
//! The few settings that are chosen ([`choice`]) are chosen on that fold and those before it.
//!
//! Invariant: no choice is made on the rows by which the model is judged.

pub mod choice;
mod facts;
mod folds;
mod stages;
mod value;

pub use choice::{Choice, ChoiceOptions};
pub use folds::Fold;
pub use stages::{Fitted, Found, Judge, fit};
pub use value::{
    FittedValue, FoundValue, JudgeValue, TrainedValue, ValueFold, ValueReport, fit_value, train_value,
};

use crate::dataset::{Dataset, Manifest, Problem, Screened, check};
use crate::decide::Costs;
use crate::drift::{self, Drift, DriftOptions};
use crate::evaluate::{CardScore, Evaluation, Intervals};
use crate::fit::boost::BoostOptions;
use crate::fit::{CalibrationKind, FitError, Imported, Model, ModelError, TransformOptions};
use crate::gate::{Facts, Gate, GateOptions};
use crate::split::{Period, Protocol, Split, SplitError};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// How models are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    pub boost: BoostOptions,
    pub choice: ChoiceOptions,
    /// What becomes of features before anything learns from them.
    pub transforms: Vec<TransformOptions>,
    pub calibration: CalibrationKind,
    pub costs: Costs,
    pub gates: GateOptions,
    pub drift: DriftOptions,
    /// How much of the log odds is the boosters'; the rest is the baseline's.
    pub boost_share: f64,
    /// Judged periods of the prequential validation, the one asked for among them.
    pub folds: usize,
    /// Whether cards that are known to be labelled are no longer judged.
    pub leave_known: bool,
    /// By what the cards of a day are ordered.
    pub card_score: CardScore,
    /// Draws of the bootstrap.
    pub draws: usize,
    /// Ridge of the baseline.
    pub ridge: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            boost: BoostOptions::default(),
            choice: ChoiceOptions::default(),
            transforms: Vec::new(),
            calibration: CalibrationKind::default(),
            costs: Costs::default(),
            gates: GateOptions::default(),
            drift: DriftOptions::default(),
            boost_share: 0.7,
            folds: 4,
            leave_known: true,
            card_score: CardScore::default(),
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
        self.choice.check().map_err(|problem| format!("choice.{problem}"))?;
        for (nth, transform) in self.transforms.iter().enumerate() {
            transform.check().map_err(|problem| format!("transforms: {problem}"))?;
            if self.transforms[..nth].iter().any(|other| other.feature == transform.feature) {
                return Err(format!("transforms: {} is there twice", transform.feature));
            }
        }
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
        let earliest = protocol.validation_fold().max(self.folds.saturating_sub(1));
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
    /// None where nothing was to be chosen, or nothing could be.
    #[serde(default)]
    pub choice: Option<Choice>,
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

/// Trains and judges a model: every stage, one after the other. `champion` is the one it is compared with beside the baseline; one that was
/// `imported` is judged in place of one that is learned.
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
    let fitted = fit(name, dataset, protocol, options, imported)?;
    let judge = Judge::new(&fitted, dataset, protocol, options)?;
    let mut report = judge.evaluate(manifest);
    judge.validate(&mut report)?;
    judge.compare(champion, &mut report);
    judge.drift(&mut report)?;
    report.seconds = began.elapsed().as_secs_f64();
    drop(judge);
    Ok(Trained { model: fitted.model, report })
}

/// The names of the features to learn from, and those left out.
fn screened(
    dataset: &Dataset,
    train: &[usize],
    imported: Option<&Imported>,
) -> Result<(Vec<String>, Screened), Problem> {
    match imported {
        Some(imported) => Ok((imported.forest.features.clone(), Screened::default())),
        None => check::screen(dataset, train),
    }
}

/// The options without constraints on, and transformations of, features that the dataset has but that say nothing here; those on features that there are not stay, to be refused.
fn constrained(options: &TrainOptions, dataset: &Dataset, names: &[String]) -> TrainOptions {
    let mut options = options.clone();
    let stays =
        |name: &String| names.contains(name) || !dataset.features.iter().any(|feature| feature.name == *name);
    options.boost.rising.retain(stays);
    options.boost.falling.retain(stays);
    options.transforms.retain(|transform| stays(&transform.feature));
    options
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

/// Features and score, the rows for learning against the judged ones; the most changed first.
fn drifts(
    model: &Model,
    dataset: &Dataset,
    split: &Split,
    scores: &[f64],
    options: &DriftOptions,
) -> Result<Vec<Drift>, TrainError> {
    let mut found: Vec<Drift> = dataset
        .features
        .iter()
        .zip(&dataset.columns)
        .map(|(feature, column)| {
            let of = |rows: &[usize]| rows.iter().map(|&row| column[row]).collect::<Vec<f64>>();
            drift::compare(&feature.name, &of(&split.train), &of(&split.test), options)
        })
        .collect();
    let reference = model.score(dataset, &split.train)?;
    found.push(drift::compare("score", &reference, scores, options));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::FeatureVersion;

    #[test]
    fn a_constraint_on_a_feature_that_says_nothing_is_let_go_and_one_on_none_stays() {
        let feature = |name: &str| FeatureVersion { name: name.to_owned(), version: 1 };
        let dataset =
            Dataset { features: ["amount", "constant"].map(feature).to_vec(), ..Dataset::default() };
        let names = |of: &[&str]| of.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
        let boost = BoostOptions {
            rising: names(&["amount", "constant", "no_such"]),
            falling: names(&["constant"]),
            ..BoostOptions::default()
        };
        let options = TrainOptions { boost, ..TrainOptions::default() };
        let found = constrained(&options, &dataset, &names(&["amount"])).boost;
        assert_eq!((found.rising, found.falling), (names(&["amount", "no_such"]), Vec::new()));
    }
}
