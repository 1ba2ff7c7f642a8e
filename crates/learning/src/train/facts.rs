//! What the gates want to know beside the evaluation: measured on the model, decided in [`crate::gate`].

use super::TrainError;
use super::folds::Learned;
use crate::dataset::Dataset;
use crate::evaluate::Ranking;
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

/// Measures.
pub(super) fn measure(
    model: &Model,
    dataset: &Dataset,
    train: &[usize],
    main: &Learned,
    options: &GateOptions,
) -> Result<Facts, TrainError> {
    let (best_feature, best_feature_auc) = best_feature(dataset, train);
    let sample = &main.test[..main.test.len().min(SAMPLE)];
    let reversed: Vec<usize> = sample.iter().rev().copied().collect();
    let backwards = model.score(dataset, &reversed)?;
    let pairs = backwards.iter().rev().zip(&main.scores);
    let order_difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);

    let mut times = Vec::new();
    for row in sample.iter().take(TIMED) {
        let began = Instant::now();
        std::hint::black_box(model.score(dataset, &[*row])?);
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let latency_us_p99 = times.get(times.len() * 99 / 100).copied().unwrap_or(0.0);

    let mut rising = Vec::new();
    for name in &options.rising {
        let Some(place) = dataset.features.iter().position(|feature| feature.name == *name) else { continue };
        let mut raised = Dataset {
            features: dataset.features.clone(),
            columns: dataset.columns.iter().map(|c| sample.iter().map(|&row| c[row]).collect()).collect(),
            rows: crate::dataset::Rows::default(),
        };
        let all: Vec<usize> = (0..sample.len()).collect();
        let mut means = [0.0; 3];
        for mean in &mut means {
            *mean = model.score(&raised, &all)?.iter().sum::<f64>() / all.len() as f64;
            raised.columns[place].iter_mut().for_each(|value| *value *= 2.0);
        }
        rising.push((name.clone(), means));
    }
    Ok(Facts {
        best_feature,
        best_feature_auc,
        shuffled_auc: shuffled(&main.scores, &dataset.rows.labels(&main.test)),
        order_difference,
        latency_us_p99,
        rising,
    })
}

/// The feature that alone ranks best, up or down; a missing value comes last either way.
fn best_feature(dataset: &Dataset, rows: &[usize]) -> (String, f64) {
    let labels = dataset.rows.labels(rows);
    let alone = |column: &Vec<f64>| {
        let values: Vec<f64> = rows.iter().map(|&row| column[row]).collect();
        let filled = |sign: f64| {
            let value = |v: &f64| if v.is_nan() { f64::NEG_INFINITY } else { sign * v };
            Ranking::new(&values.iter().map(value).collect::<Vec<f64>>()).auc_roc(&labels, None)
        };
        filled(1.0).max(filled(-1.0))
    };
    let areas =
        dataset.features.iter().zip(&dataset.columns).map(|(f, column)| (f.name.clone(), alone(column)));
    areas.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
}

/// The area once scores are dealt to other rows.
fn shuffled(scores: &[f64], labels: &[bool]) -> f64 {
    let mut scores = scores.to_vec();
    scores.shuffle(&mut SmallRng::seed_from_u64(3));
    Ranking::new(&scores).auc_roc(labels, None)
}
