//! Settings that are chosen: the few of a grid that rank best, or predict best, on folds whose labels are all known when the judged period begins.
//!
//! A share of the boosters costs nothing to try, as both parts of a score are there already; a budget costs a fit of boosters a fold, a ridge one of the
//! regression. What was fitted to be tried is not fitted again.
//!
//! Invariant: no fold that is chosen on holds a label which is not known when the judged period begins.

use super::{TrainError, TrainOptions};
use crate::dataset::Matrix;
use crate::fit::{BoostOptions, Ensemble};
use crate::split::{Protocol, SplitError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is tried beside the settings as they are; every combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChoiceOptions {
    pub boost_share: Vec<f64>,
    /// Of [`BoostOptions`].
    pub budget: Vec<f32>,
    pub ridge: Vec<f64>,
}

/// At most so many values of a setting.
const VALUES_MAX: usize = 9;

impl Default for ChoiceOptions {
    fn default() -> Self {
        ChoiceOptions { boost_share: vec![0.5, 0.6, 0.7, 0.8, 0.9], budget: Vec::new(), ridge: Vec::new() }
    }
}

impl ChoiceOptions {
    /// # Errors
    /// What is wrong with which key.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, values) in [
            ("boost_share", self.boost_share.len()),
            ("budget", self.budget.len()),
            ("ridge", self.ridge.len()),
        ] {
            if values > VALUES_MAX {
                return Err(format!("{key} has {values} values: take up to {VALUES_MAX}"));
            }
        }
        if let Some(share) = self.boost_share.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return Err(format!("boost_share has {share}: take 0 to 1"));
        }
        if let Some(ridge) = self.ridge.iter().find(|ridge| ridge.is_nan() || **ridge <= 0.0) {
            return Err(format!("ridge has {ridge}: take numbers above 0"));
        }
        let budget = |&budget: &f32| BoostOptions { budget, ..BoostOptions::default() }.check();
        self.budget.iter().try_for_each(budget)
    }
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub boost_share: f64,
    pub budget: f32,
    pub ridge: f64,
}

/// How good one is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    pub setting: Setting,
    /// Mean of the metric over the folds.
    pub metric: f64,
}

/// What was chosen, of what, and on which rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub chosen: Setting,
    pub metric: String,
    /// The judged periods of the folds.
    pub folds: Vec<String>,
    /// In the order of trial, the settings of the configuration first.
    pub tried: Vec<Tried>,
}

/// The values of each setting, those of the configuration first.
#[derive(Debug)]
pub(super) struct Grid {
    budgets: Vec<f32>,
    ridges: Vec<f64>,
    shares: Vec<f64>,
}

impl Grid {
    pub(super) fn of(options: &TrainOptions) -> Self {
        let choice = &options.choice;
        Grid {
            budgets: with_first(options.boost.budget, &choice.budget),
            ridges: with_first(options.ridge, &choice.ridge),
            shares: with_first(options.boost_share, &choice.boost_share),
        }
    }

    /// Whether there is more than one.
    pub(super) fn is_choice(&self) -> bool {
        self.budgets.len() * self.ridges.len() * self.shares.len() > 1
    }

    /// Places of budgets and ridges, and shares: every combination.
    fn all(&self) -> Vec<(usize, usize, f64)> {
        let mut all = Vec::new();
        for budget in 0..self.budgets.len() {
            for ridge in 0..self.ridges.len() {
                all.extend(self.shares.iter().map(|&share| (budget, ridge, share)));
            }
        }
        all
    }
}

fn with_first<T: Copy + PartialEq>(first: T, others: &[T]) -> Vec<T> {
    let mut values = vec![first];
    for other in others {
        if !values.contains(other) {
            values.push(*other);
        }
    }
    values
}

/// The folds, by how many judged periods they are earlier, of which all is known when the judged period begins.
pub(super) fn known_folds(protocol: Protocol, folds: usize) -> Vec<usize> {
    let first = protocol.validation_fold();
    (first..folds.max(first + 1)).collect()
}

/// How good two sets of scores of the judged rows are together, the first with this share.
type Metric<'a> = &'a dyn Fn(&[f64], &[f64], f64) -> f64;

/// What learns beside the boosters, and how good both are together.
pub(super) struct Beside<'a, L> {
    pub(super) fit: &'a dyn Fn(f64) -> Result<L, TrainError>,
    /// Its scores of the judged rows.
    pub(super) predict: &'a dyn Fn(&L) -> Vec<f64>,
    /// Of the boosters' scores, its own, and the boosters' share.
    pub(super) metric: Metric<'a>,
}

/// What was fitted on a fold to be tried, and how good each combination is.
#[derive(Debug)]
pub(super) struct Trial<L> {
    number: usize,
    judged: String,
    ensembles: Vec<Ensemble>,
    beside: Vec<L>,
    metrics: Vec<f64>,
}

impl<L> Trial<L> {
    /// Tries every combination on a fold: `test` are its judged rows, `boost` fits boosters with a budget.
    pub(super) fn new(
        grid: &Grid,
        (number, protocol): (usize, Protocol),
        test: &Matrix,
        boost: &dyn Fn(f32) -> Result<Ensemble, TrainError>,
        of: &Beside<L>,
    ) -> Result<Self, TrainError> {
        let ensembles = grid.budgets.iter().map(|&budget| boost(budget)).collect::<Result<Vec<_>, _>>()?;
        let beside = grid.ridges.iter().map(|&ridge| (of.fit)(ridge)).collect::<Result<Vec<_>, _>>()?;
        let boosted: Vec<Vec<f64>> = ensembles.iter().map(|ensemble| ensemble.predict(test)).collect();
        let linear: Vec<Vec<f64>> = beside.iter().map(of.predict).collect();
        let one = |(budget, ridge, share): (usize, usize, f64)| {
            let (boosted, linear): (&Vec<f64>, &Vec<f64>) = (&boosted[budget], &linear[ridge]);
            (of.metric)(boosted, linear, share)
        };
        let metrics = grid.all().into_iter().map(one).collect();
        Ok(Trial { number, judged: protocol.test.to_string(), ensembles, beside, metrics })
    }
}

/// The options with what was chosen, and what of it is fitted already.
#[derive(Debug)]
pub(super) struct Settled<L> {
    pub(super) options: TrainOptions,
    /// None where nothing was to be chosen, or there were no rows to choose on.
    pub(super) choice: Option<Choice>,
    /// By the numbers of the folds.
    pub(super) fitted: BTreeMap<usize, (Ensemble, L)>,
}

/// Chooses by trials. A fold on which nothing can be learned is passed over; the setting of the configuration stays unless another is better.
///
/// # Errors
/// A trial that failed otherwise.
pub(super) fn settle<L>(
    options: &TrainOptions,
    grid: &Grid,
    metric: &str,
    trials: Vec<Result<Trial<L>, TrainError>>,
    notes: &mut Vec<String>,
) -> Result<Settled<L>, TrainError> {
    let (mut usable, wanted) = (Vec::new(), !trials.is_empty());
    for trial in trials {
        match trial {
            Ok(trial) => usable.push(trial),
            Err(TrainError::Problem(_) | TrainError::Split(SplitError::Problem(_))) => {}
            Err(error) => return Err(error),
        }
    }
    let mut settled = Settled { options: options.clone(), choice: None, fitted: BTreeMap::new() };
    if usable.is_empty() {
        if wanted {
            notes.push(
                "there are no earlier rows to choose settings on: those of the configuration stay".to_owned(),
            );
        }
        return Ok(settled);
    }
    let all = grid.all();
    let mean = |nth: usize| usable.iter().map(|trial| trial.metrics[nth]).sum::<f64>() / usable.len() as f64;
    let means: Vec<f64> = (0..all.len()).map(mean).collect();
    let best = best(&means);
    let setting = |&(budget, ridge, boost_share): &(usize, usize, f64)| Setting {
        boost_share,
        budget: grid.budgets[budget],
        ridge: grid.ridges[ridge],
    };
    let tried = all.iter().zip(&means).map(|(one, &metric)| Tried { setting: setting(one), metric });
    let chosen = setting(&all[best]);
    settled.choice = Some(Choice {
        chosen,
        metric: metric.to_owned(),
        folds: usable.iter().map(|trial| trial.judged.clone()).collect(),
        tried: tried.collect(),
    });
    settled.options.boost_share = chosen.boost_share;
    settled.options.boost.budget = chosen.budget;
    settled.options.ridge = chosen.ridge;
    let (budget, ridge, _) = all[best];
    for mut trial in usable {
        let both = (trial.ensembles.swap_remove(budget), trial.beside.swap_remove(ridge));
        settled.fitted.insert(trial.number, both);
    }
    Ok(settled)
}

/// The first of the largest; the first of all where none is a number.
fn best(means: &[f64]) -> usize {
    let mut best = 0;
    for (nth, mean) in means.iter().enumerate() {
        if *mean > means[best] || (means[best].is_nan() && !mean.is_nan()) {
            best = nth;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DAY;
    use crate::split::Period;

    #[test]
    fn folds_to_choose_on_end_a_delay_before_the_judged_period() {
        let days = |from: i64, to: i64| Period { from: from * DAY, to: to * DAY };
        let protocol = Protocol { train: days(25, 32), test: days(39, 46), delay: 7 * DAY };
        assert_eq!(known_folds(protocol, 4), [2, 3]);
        assert_eq!(known_folds(protocol, 1), [2], "there is always one");
        for number in known_folds(protocol, 9) {
            assert!(protocol.earlier(number).test.to + protocol.delay <= protocol.test.from);
        }
    }

    #[test]
    fn the_configured_setting_stays_unless_another_is_better() {
        assert_eq!(best(&[0.5, 0.5, 0.4]), 0);
        assert_eq!(best(&[0.5, 0.6, 0.6]), 1);
        assert_eq!(best(&[f64::NAN, 0.1, f64::NAN]), 1);
        assert_eq!(best(&[f64::NAN, f64::NAN]), 0);
    }

    #[test]
    fn a_grid_holds_each_value_once_and_what_is_wrong_is_named() {
        let options = TrainOptions { boost_share: 0.6, ..TrainOptions::default() };
        let grid = Grid::of(&options);
        assert_eq!(grid.shares, [0.6, 0.5, 0.7, 0.8, 0.9]);
        assert_eq!((grid.all().len(), grid.is_choice()), (5, true));
        let none = ChoiceOptions { boost_share: Vec::new(), ..ChoiceOptions::default() };
        assert!(!Grid::of(&TrainOptions { choice: none.clone(), ..options }).is_choice());
        let wrong = |options: ChoiceOptions| options.check().unwrap_err();
        assert!(wrong(ChoiceOptions { budget: vec![9.0], ..none.clone() }).contains("budget"));
        assert!(wrong(ChoiceOptions { ridge: vec![0.0], ..none.clone() }).contains("ridge"));
        assert!(wrong(ChoiceOptions { boost_share: vec![0.1; 10], ..none }).contains("10 values"));
    }
}
