//! What becomes of features is stored with the model, and is the same among many rows, of one row, and in Python.

use crate::oracle::LOADED;
use crate::payments::{NOISE, RATIO, dataset, manifest, options, protocol};
use crate::python::run;
use affluent_learning::dataset::Dataset;
use affluent_learning::fit::transform::TransformFit;
use affluent_learning::fit::{Model, TransformOptions};
use affluent_learning::registry::write_folder;
use affluent_learning::train::{Trained, train, train_value};
use serde_json::{Value, json};

const ROWS: usize = 1_000;

/// The payments, the noise being one of six names, some of them missing.
fn named() -> Dataset {
    let mut dataset = dataset(50);
    let name = |value: &mut f64| *value = if *value > 0.95 { f64::NAN } else { (*value * 6.0).floor() / 2.0 };
    dataset.columns[2].iter_mut().for_each(name);
    dataset
}

fn trained(dataset: &Dataset, transforms: &[(&str, TransformFit)]) -> Trained {
    let mut options = options();
    let one = |&(feature, by): &(&str, TransformFit)| TransformOptions { feature: feature.to_owned(), by };
    options.transforms = transforms.iter().map(one).collect();
    train("fraud", dataset, manifest(dataset), protocol(), &options, None, None).unwrap()
}

fn is_the_same_everywhere(transforms: &[(&str, TransformFit)]) {
    let dataset = named();
    let trained = trained(&dataset, transforms);
    let model = &trained.model;
    assert!(!model.transforms.is_empty());
    assert_eq!((model.features.len(), model.importance().len()), (3, 3));
    let folder = tempfile::tempdir().unwrap();
    write_folder(&trained, folder.path()).unwrap();
    let stored = Model::read(&folder.path().join("data")).unwrap();
    let rows: Vec<usize> = (0..ROWS).collect();
    let scores = stored.score(&dataset, &rows).unwrap();
    assert_eq!(scores, model.score(&dataset, &rows).unwrap());
    for (row, score) in scores.iter().enumerate() {
        let values: Vec<f64> = (0..3).map(|column| dataset.columns[column][row]).collect();
        assert_eq!(stored.score_row(&values).to_bits(), score.to_bits(), "row {row}");
        assert_eq!(stored.contributions(&values).values.len(), 3);
    }
    let columns: serde_json::Map<String, Value> = (dataset.features.iter().zip(&dataset.columns))
        .map(|(feature, column)| (feature.name.clone(), json!(column[..ROWS])))
        .collect();
    let theirs = run(LOADED, &json!({"folder": folder.path(), "columns": columns}));
    for (row, score) in scores.iter().enumerate() {
        let theirs = theirs["data"][row][0].as_f64().unwrap();
        assert!((score - theirs).abs() < 1e-6, "row {row}: {score}, theirs is {theirs}");
    }
}

#[test]
fn names_and_normalised_numbers() {
    is_the_same_everywhere(&[
        (RATIO, TransformFit::Log1p),
        ("terminal_risk", TransformFit::Quantile { steps: 50 }),
        (NOISE, TransformFit::OneHot { texts_max: 4 }),
    ]);
}

#[test]
fn hashed_and_target_encoded_names() {
    is_the_same_everywhere(&[(RATIO, TransformFit::Robust), (NOISE, TransformFit::Hashing { places: 8 })]);
    is_the_same_everywhere(&[
        (RATIO, TransformFit::Standard),
        (NOISE, TransformFit::Target { smoothing: 20 }),
    ]);
}

#[test]
fn what_cannot_be_transformed_is_refused() {
    let dataset = named();
    let refusal = |feature: &str, by| {
        let mut options = options();
        options.transforms = vec![TransformOptions { feature: feature.to_owned(), by }];
        train_value("score", &dataset, manifest(&dataset), protocol(), &options, None)
            .unwrap_err()
            .to_string()
    };
    assert!(refusal("no_such", TransformFit::Log1p).contains("no_such"));
    assert!(refusal(NOISE, TransformFit::Target { smoothing: 1 }).contains("labels"));
}
