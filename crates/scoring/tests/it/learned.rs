//! Small models, learned in a moment.

use affluent_learning::dataset::{Dataset, FeatureVersion, Rows};
use affluent_learning::fit::boost::Target;
use affluent_learning::fit::{
    BoostOptions, Calibration, CalibrationKind, Ensemble, Learner, Logistic, Model, Transforms,
};
use affluent_scoring::{Row, Vocabulary};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::sync::Arc;

/// The model's name.
pub(crate) const FRAUD: &str = "fraud";
const FEATURES: [&str; 4] = ["amount_to_mean", "payments_1h", "seconds_since", "noise"];
const ROWS: usize = 1_500;

/// Payments of which the first two features tell whether they are fraud.
pub(crate) fn dataset(seed: u64) -> Dataset {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut columns = vec![Vec::new(); FEATURES.len()];
    let mut rows = Rows::default();
    for _ in 0..ROWS {
        let mut values: [f64; 4] = std::array::from_fn(|_| rng.random_range(0.0..10.0));
        rows.label.push(values[0] > 8.0 || (values[1] > 7.0 && values[0] > 5.0));
        if rng.random_bool(0.1) {
            values[2] = f64::NAN;
        }
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let features = FEATURES.map(|name| FeatureVersion { name: name.to_owned(), version: 1 });
    Dataset { features: features.to_vec(), columns, rows }
}

/// Learned of a dataset; four tenths of its rows are above the threshold.
pub(crate) fn model(dataset: &Dataset) -> Model {
    let rows: Vec<usize> = (0..ROWS).collect();
    let (matrix, labels) = (dataset.gather(&rows), dataset.rows.labels(&rows));
    let target: Vec<f64> = labels.iter().map(|&label| f64::from(u8::from(label))).collect();
    let names: Vec<String> = dataset.features.iter().map(|feature| feature.name.clone()).collect();
    let options =
        BoostOptions { budget: 0.3, max_bin: 255, boosters: 2, threads: 1, ..BoostOptions::default() };
    let mut model = Model {
        name: FRAUD.to_owned(),
        features: dataset.features.clone(),
        transforms: Transforms::default(),
        learner: Learner::Boosted {
            ensemble: Ensemble::fit(&names, &matrix, &target, Target::Class, &options).unwrap(),
            linear: Logistic::fit(&matrix, &labels, 1.0).unwrap(),
            boost_share: 0.7,
        },
        calibration: None,
        threshold: None,
    };
    let mut scores = model.score(dataset, &rows).unwrap();
    model.calibration = Some(Calibration::fit(CalibrationKind::Platt, &scores, &labels));
    scores.sort_by(f64::total_cmp);
    model.threshold = Some(scores[ROWS * 6 / 10]);
    model
}

/// The features in another order, with one that no model reads.
pub(crate) fn vocabulary() -> Vocabulary {
    let names = FEATURES.iter().rev().chain(&["unread"]);
    let feature =
        |name: &&str| (FeatureVersion { name: (*name).to_owned(), version: 1 }, format!("What {name} is"));
    Vocabulary::of(names.map(feature).collect())
}

/// A row of the dataset in the order of the vocabulary.
pub(crate) fn row(vocabulary: &Vocabulary, dataset: &Dataset, nth: usize) -> Row {
    let value = |feature: &FeatureVersion| {
        let place = FEATURES.iter().position(|name| *name == feature.name);
        place.map_or(-1.0, |place| dataset.columns[place][nth])
    };
    let names = Arc::clone(&vocabulary.names);
    Row { values: names.iter().map(value).collect(), names, is_exact: true, as_of: 0 }
}
