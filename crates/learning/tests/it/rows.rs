//! One row at a time, as payments come.

use crate::payments::{RATIO, dataset, manifest, options, protocol};
use affluent_learning::dataset::Dataset;
use affluent_learning::fit::Model;
use affluent_learning::train::{TrainOptions, train, train_value};

/// The model's row of a row of the dataset.
fn row(model: &Model, dataset: &Dataset, row: usize) -> Vec<f64> {
    let place = |name: &str| dataset.features.iter().position(|feature| feature.name == name).unwrap();
    model.features.iter().map(|feature| dataset.columns[place(&feature.name)][row]).collect()
}

#[test]
fn a_row_alone_scores_as_among_others_to_the_bit() {
    let dataset = dataset(50);
    let model =
        train("fraud", &dataset, manifest(&dataset), protocol(), &options(), None, None).unwrap().model;
    let rows: Vec<usize> = (0..5_000).collect();
    let scores = model.score(&dataset, &rows).unwrap();
    for &n in &rows {
        assert_eq!(model.score_row(&row(&model, &dataset, n)).to_bits(), scores[n].to_bits(), "row {n}");
    }
}

#[test]
fn contributions_add_up_to_about_the_score_and_name_what_is_odd() {
    let dataset = dataset(50);
    let model =
        train("fraud", &dataset, manifest(&dataset), protocol(), &options(), None, None).unwrap().model;
    let ratio = model.features.iter().position(|feature| feature.name == RATIO).unwrap();
    let log_odds = |p: f64| (p / (1.0 - p)).ln();
    let (mut first, mut far, mut all) = (0, 0.0, 0);
    // A ratio that no genuine payment has.
    for row in (0..5_000).map(|n| row(&model, &dataset, n)).filter(|row| row[ratio] > 2.5) {
        let contributions = model.contributions(&row);
        let sum = contributions.baseline + contributions.values.iter().sum::<f64>();
        let distance = (sum - log_odds(model.score_row(&row))).abs();
        assert!(distance < 4.0, "{distance}");
        let largest = contributions.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        first += usize::from(contributions.values[ratio] >= largest);
        far += distance;
        all += 1;
    }
    assert!(all > 20 && first * 10 >= all * 8, "{first} of {all}");
    assert!(far / (all as f64) < 2.5, "{far} over {all} rows");
}

#[test]
fn a_number_of_a_row_alone_is_the_one_among_others_and_the_sum_of_its_contributions() {
    let dataset = dataset(50);
    let options = TrainOptions { boost_share: 0.6, ..options() };
    let trained = train_value("score", &dataset, manifest(&dataset), protocol(), &options, None).unwrap();
    let model = trained.model;
    assert!(!model.tells_probabilities());
    let rows: Vec<usize> = (0..500).collect();
    let scores = model.score(&dataset, &rows).unwrap();
    for &n in &rows {
        let row = row(&model, &dataset, n);
        assert_eq!(model.score_row(&row).to_bits(), scores[n].to_bits(), "row {n}");
        let contributions = model.contributions(&row);
        let sum = contributions.baseline + contributions.values.iter().sum::<f64>();
        assert!(
            (sum - scores[n]).abs() < 1e-3 * scores[n].abs().max(1.0),
            "row {n}: {sum}, not {}",
            scores[n]
        );
    }
}
