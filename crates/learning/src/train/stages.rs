//! The stages of training a model that tells labelled rows from others: [`fit`], and on what it found [`Judge`], which evaluates, validates,
//! compares and looks for drift.
//!
//! What one stage needs of those before is the dataset, [`Fitted`] and the report as far as it is: all three can be stored, so that each
//! stage may run in a process of its own. Called again, a stage puts the same into the report.

use super::facts::{Probe, shuffled};
use super::folds::{Learned, Task, chosen, learn_all};
use super::{
    Choice, Fold, Prequential, Report, TrainError, TrainOptions, constrained, drifts, screened, told,
};
use crate::dataset::{Dataset, Manifest, Rows, Screened, check};
use crate::decide::choose;
use crate::evaluate::cards::any_so_far;
use crate::evaluate::{Evaluation, Judged, Ranking, bootstrap, evaluate};
use crate::fit::calibrate::{shift_to, shifted};
use crate::fit::{Calibration, FitError, Imported, Logistic, Model};
use crate::gate::{Facts, against_champion, gates, is_of_champion, not_comparable};
use crate::split::{Protocol, Split};
use serde::{Deserialize, Serialize};

/// A model that was learned, and what was found on the way.
#[derive(Debug)]
pub struct Fitted {
    pub model: Model,
    pub found: Found,
}

/// What is known of a fit beside the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The regression by which the model is measured, and from which of its scores on a row is looked at.
    baseline: Logistic,
    baseline_threshold: f64,
    /// Log odds by which scores of the model, and of the baseline, add up to as many labelled rows as there were.
    shift: f64,
    baseline_shift: f64,
    pub folds: Vec<Fold>,
    #[serde(default)]
    pub choice: Option<Choice>,
    pub screened: Screened,
    /// What could not be done as asked, and what was done instead.
    pub notes: Vec<String>,
}

/// Learns the model and the earlier folds, calibrates, and chooses the threshold; nothing of it on the judged rows.
///
/// # Errors
/// [`TrainError`]: nothing can be learned.
pub fn fit(
    name: &str,
    dataset: &Dataset,
    protocol: Protocol,
    options: &TrainOptions,
    imported: Option<&Imported>,
) -> Result<Fitted, TrainError> {
    let rows = &dataset.rows;
    let split = protocol.split(rows, options.leave_known)?;
    check::labels("the training period", &rows.labels(&split.train))?;
    check::labels("the judged period", &rows.labels(&split.test))?;
    let (names, screened) = screened(dataset, &split.train, imported)?;
    let options = &constrained(options, dataset, &names);
    let dataset = &dataset.select(&names)?;
    let mut notes = told(&screened);

    let task = Task { dataset, protocol, names: &names, imported };
    let settled = chosen(task, options, &mut notes)?;
    let validation = protocol.validation_fold();
    let learned = learn_all(task, &settled, validation, &mut notes)?;
    let mut learned = learned.into_iter();
    // The first is the model itself; without it there is an error already.
    let Some(main) = learned.next() else { return Err(FitError::Singular.into()) };
    let others: Vec<Learned> = learned.collect();
    let judge = others.iter().find(|fold| fold.number == validation);
    let chosen = Chosen::on(judge, &main, rows, options, &mut notes);
    let folds = std::iter::once(&main).chain(&others).filter(|fold| fold.number < options.folds);
    let positives = rows.positives(&split.train);
    let found = Found {
        baseline: main.baseline.clone(),
        baseline_threshold: chosen.baseline_threshold,
        shift: shift_to(&main.train_scores, positives),
        baseline_shift: shift_to(&main.train_baseline_scores, positives),
        folds: folds.map(|fold| Fold::of(fold, options.card_score)).collect(),
        choice: settled.choice,
        screened,
        notes,
    };
    let model = Model {
        name: name.to_owned(),
        features: dataset.features.clone(),
        transforms: main.transforms,
        learner: main.learner,
        calibration: chosen.calibration,
        threshold: Some(chosen.threshold),
    };
    Ok(Fitted { model, found })
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

/// A model before the rows by which it is judged.
#[derive(Debug)]
pub struct Judge<'a> {
    fitted: &'a Fitted,
    /// All features, which a champion may read, and those of the model.
    whole: &'a Dataset,
    dataset: Dataset,
    options: &'a TrainOptions,
    protocol: Protocol,
    split: Split,
    /// Of the judged rows.
    scores: Vec<f64>,
    baseline_scores: Vec<f64>,
}

impl<'a> Judge<'a> {
    /// Scores the judged rows.
    ///
    /// # Errors
    /// A dataset without rows, or without the model's features.
    pub fn new(
        fitted: &'a Fitted,
        whole: &'a Dataset,
        protocol: Protocol,
        options: &'a TrainOptions,
    ) -> Result<Self, TrainError> {
        let split = protocol.split(&whole.rows, options.leave_known)?;
        let names: Vec<String> = fitted.model.features.iter().map(|feature| feature.name.clone()).collect();
        let dataset = whole.select(&names)?;
        let scores = fitted.model.score(&dataset, &split.test)?;
        let judged = fitted.model.transforms.apply(dataset.gather(&split.test));
        let baseline_scores = fitted.found.baseline.predict(&judged);
        Ok(Judge { fitted, whole, dataset, options, protocol, split, scores, baseline_scores })
    }

    /// The report with all metrics; gates and drift are still empty.
    #[must_use]
    pub fn evaluate(&self, manifest: Manifest) -> Report {
        let Fitted { model, found } = self.fitted;
        let rows = &self.dataset.rows;
        let probabilities: Vec<f64> = self.scores.iter().map(|&score| model.probability(score)).collect();
        let threshold = model.threshold.unwrap_or(f64::MAX);
        let evaluation = self.evaluated(&self.scores, &probabilities, found.shift, threshold);
        let base = &self.baseline_scores;
        let baseline = self.evaluated(base, base, found.baseline_shift, found.baseline_threshold);
        let names = &model.features;
        let of_features = names.iter().map(|feature| feature.name.clone());
        let mut importance: Vec<(String, f64)> = of_features.zip(model.importance()).collect();
        importance.sort_by(|a, b| b.1.total_cmp(&a.1));
        Report {
            model: model.name.clone(),
            protocol: self.protocol,
            train_rows: self.split.train.len(),
            train_positives: rows.positives(&self.split.train),
            known_left_out: self.split.known,
            evaluation,
            baseline,
            intervals: self.compared(base),
            prequential: Prequential::over(&found.folds),
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

    fn evaluated(&self, scores: &[f64], probabilities: &[f64], shift: f64, threshold: f64) -> Evaluation {
        let (rows, places) = (&self.dataset.rows, self.split.test.as_slice());
        let any = any_so_far(&shifted(scores, shift), rows, places);
        let judged = Judged { scores, probabilities, any: &any, rows, places };
        evaluate(judged, threshold, &self.options.costs, self.options.card_score)
    }

    fn compared(&self, other: &[f64]) -> bootstrap::Intervals {
        let (rows, places) = (&self.dataset.rows, self.split.test.as_slice());
        let (labels, cards) = (rows.labels(places), rows.cards(places));
        bootstrap::compare(&self.scores, other, &labels, &cards, self.options.draws)
    }

    /// Measures what the gates ask, and lets them judge.
    ///
    /// # Errors
    /// [`TrainError`]: the baseline cannot be learned once more.
    pub fn validate(&self, report: &mut Report) -> Result<(), TrainError> {
        let rows = &self.dataset.rows;
        let (train, test) = (rows.labels(&self.split.train), rows.labels(&self.split.test));
        let taken = |rows: &[usize]| self.fitted.model.transforms.apply(self.dataset.gather(rows));
        let matrix = taken(&self.split.train);
        let relearned = Logistic::fit(&matrix, &shuffled(&train), self.options.ridge)?;
        let positives = test.iter().filter(|&&label| label).count() as f64;
        let negatives = test.len() as f64 - positives;
        let probe = Probe {
            model: &self.fitted.model,
            dataset: &self.dataset,
            train: &self.split.train,
            test: &self.split.test,
            scores: &self.scores,
            shuffled_area: Ranking::new(&relearned.predict(&taken(&self.split.test)))
                .auc_roc(&shuffled(&test), None),
            train_area: &|scores| Ranking::new(scores).auc_roc(&train, None),
            area: &|scores| Ranking::new(scores).auc_roc(&test, None),
            // Of the statistic of Mann and Whitney where both classes are alike.
            chance_error: ((positives + negatives + 1.0) / (12.0 * positives * negatives)).sqrt(),
        };
        report.facts = probe.measure(&self.options.gates)?;
        let gain = report.intervals.average_precision_gain;
        let of_champion: Vec<_> = report.gates.drain(..).filter(is_of_champion).collect();
        report.gates = gates(&report.evaluation, &report.baseline, gain, &report.facts, &self.options.gates);
        report.gates.extend(of_champion);
        Ok(())
    }

    /// Compares with the model that serves. One that reads features which this dataset lacks fails the gate [`crate::gate::COMPARABLE`].
    pub fn compare(&self, champion: Option<&Model>, report: &mut Report) {
        report.gates.retain(|gate| !is_of_champion(gate));
        let Some(champion) = champion else { return };
        match champion.score(self.whole, &self.split.test) {
            Ok(scores) => {
                let gain = self.compared(&scores).average_precision_gain;
                report.gates.push(against_champion("average precision", gain));
            }
            Err(error) => report.gates.push(not_comparable(&error.to_string())),
        }
    }

    /// Features and score, the rows for learning against the judged ones; the most changed first.
    ///
    /// # Errors
    /// [`TrainError`]
    pub fn drift(&self, report: &mut Report) -> Result<(), TrainError> {
        let options = &self.options.drift;
        report.drift = drifts(&self.fitted.model, &self.dataset, &self.split, &self.scores, options)?;
        Ok(())
    }
}
