//! What the gates want to know beside the evaluation: measured on the model, decided in [`crate::gate`].

use super::TrainError;
use crate::dataset::{Dataset, FeatureVersion, Rows};
use crate::fit::Model;
use crate::gate::{Facts, GateOptions};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use std::time::Instant;

/// Rows whose scores are compared in another order, and whose features are raised.
const SAMPLE: usize = 2_000;
/// Rows that are scored one by one.
const TIMED: usize = 500;

/// What is measured on.
pub(super) struct Probe<'a> {
    pub(super) model: &'a Model,
    pub(super) dataset: &'a Dataset,
    pub(super) train: &'a [usize],
    pub(super) test: &'a [usize],
    /// The model's, of the judged rows.
    pub(super) scores: &'a [f64],
    /// The area of a baseline that has learned from shuffled outcomes, on judged rows whose outcomes are shuffled as well.
    pub(super) shuffled_area: f64,
    /// The area of a ranking of the rows for learning, and of the judged ones.
    pub(super) train_area: &'a dyn Fn(&[f64]) -> f64,
    pub(super) area: &'a dyn Fn(&[f64]) -> f64,
    /// Of an area at chance.
    pub(super) chance_error: f64,
}

impl Probe<'_> {
    /// Measures.
    pub(super) fn measure(&self, options: &GateOptions) -> Result<Facts, TrainError> {
        let (best_feature, best_feature_auc) = self.best_feature();
        let sample = &self.test[..self.test.len().min(SAMPLE)];
        Ok(Facts {
            best_feature,
            best_feature_auc,
            shuffled_auc: self.shuffled_area,
            future_auc: (self.area)(&self.of_others()),
            chance_error: self.chance_error,
            order_difference: self.backwards(sample)?,
            irrelevant_difference: self.disguised(sample)?,
            latency_us_p99: self.latency_us_p99(sample)?,
            rising: self.rising(sample, options)?,
        })
    }

    /// The feature that alone ranks best, up or down; a missing value comes last either way.
    fn best_feature(&self) -> (String, f64) {
        let alone = |column: &Vec<f64>| {
            let filled = |sign: f64| {
                let value = |&row: &usize| {
                    let value = column[row];
                    if value.is_nan() { f64::NEG_INFINITY } else { sign * value }
                };
                (self.train_area)(&self.train.iter().map(value).collect::<Vec<f64>>())
            };
            filled(1.0).max(filled(-1.0))
        };
        let areas = self.dataset.features.iter().zip(&self.dataset.columns);
        let areas = areas.map(|(feature, column)| (feature.name.clone(), alone(column)));
        areas.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    }

    /// The score of each judged row from the features of the row that is half of them later: of another card, of another time.
    fn of_others(&self) -> Vec<f64> {
        let mut scores = self.scores.to_vec();
        let half = scores.len() / 2;
        scores.rotate_left(half);
        scores
    }

    /// The largest difference when rows come backwards.
    fn backwards(&self, sample: &[usize]) -> Result<f64, TrainError> {
        let reversed: Vec<usize> = sample.iter().rev().copied().collect();
        let backwards = self.model.score(self.dataset, &reversed)?;
        Ok(largest(backwards.iter().rev().zip(self.scores)))
    }

    /// The largest difference when whose the rows are, what they are about and when they happened is another, and the dataset has a feature
    /// more, which stands first.
    fn disguised(&self, sample: &[usize]) -> Result<f64, TrainError> {
        let mut other = self.taken(sample);
        let count = sample.len();
        let numbers = || (0..count).rev().map(|n| i64::try_from(n).unwrap_or(0)).collect::<Vec<i64>>();
        other.rows = Rows {
            time: numbers(),
            card: numbers(),
            amount: numbers(),
            label: vec![true; count],
            pattern: numbers(),
            ..Rows::default()
        };
        other.features.insert(0, FeatureVersion { name: "of no interest".to_owned(), version: 1 });
        other.columns.insert(0, (0..count).map(|n| n as f64).collect());
        let all: Vec<usize> = (0..count).collect();
        Ok(largest(self.model.score(&other, &all)?.iter().zip(self.scores)))
    }

    fn latency_us_p99(&self, sample: &[usize]) -> Result<f64, TrainError> {
        let mut times = Vec::new();
        for row in sample.iter().take(TIMED) {
            let began = Instant::now();
            std::hint::black_box(self.model.score(self.dataset, &[*row])?);
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        Ok(times.get(times.len() * 99 / 100).copied().unwrap_or(0.0))
    }

    fn rising(&self, sample: &[usize], options: &GateOptions) -> Result<Vec<(String, [f64; 3])>, TrainError> {
        let mut rising = Vec::new();
        for name in &options.rising {
            let place = self.dataset.features.iter().position(|feature| feature.name == *name);
            let Some(place) = place else { continue };
            let mut raised = self.taken(sample);
            let all: Vec<usize> = (0..sample.len()).collect();
            let mut means = [0.0; 3];
            for mean in &mut means {
                *mean = self.model.score(&raised, &all)?.iter().sum::<f64>() / all.len() as f64;
                raised.columns[place].iter_mut().for_each(|value| *value *= 2.0);
            }
            rising.push((name.clone(), means));
        }
        Ok(rising)
    }

    /// The features of these rows alone.
    fn taken(&self, sample: &[usize]) -> Dataset {
        let of = |column: &Vec<f64>| sample.iter().map(|&row| column[row]).collect();
        Dataset {
            features: self.dataset.features.clone(),
            columns: self.dataset.columns.iter().map(of).collect(),
            rows: Rows::default(),
        }
    }
}

/// The same outcomes, dealt to other rows: what was true at another time. An area that is not at chance then means that outcomes of judged rows
/// have come to where something is learned.
pub(super) fn shuffled<T: Clone>(outcomes: &[T]) -> Vec<T> {
    let mut outcomes = outcomes.to_vec();
    outcomes.shuffle(&mut SmallRng::seed_from_u64(3));
    outcomes
}

fn largest<'a>(pairs: impl Iterator<Item = (&'a f64, &'a f64)>) -> f64 {
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
