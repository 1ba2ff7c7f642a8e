//! From a dataset to a judged model.

use crate::payments::{NOISE, RATIO, dataset, manifest, options, protocol};
use affluent_learning::DAY;
use affluent_learning::dataset::{Dataset, Problem};
use affluent_learning::evaluate::CardScore;
use affluent_learning::fit::{Learner, Model, ModelError};
use affluent_learning::registry::write_folder;
use affluent_learning::split::SplitError;
use affluent_learning::train::{
    ChoiceOptions, Fitted, Judge, Report, TrainError, TrainOptions, Trained, fit, train,
};

const DAYS: i64 = 50;

fn trained(dataset: &Dataset) -> Trained {
    train("fraud", dataset, manifest(dataset), protocol(), &options(), None, None).unwrap()
}

fn failure(dataset: &Dataset) -> TrainError {
    train("fraud", dataset, manifest(dataset), protocol(), &options(), None, None).unwrap_err()
}

#[test]
fn a_model_finds_what_can_be_found_and_says_how_sure_that_is() {
    let dataset = dataset(DAYS);
    let Trained { model, report } = trained(&dataset);
    let evaluation = &report.evaluation;
    // A part of the fraud can be told, the rest is as any payment.
    assert!(evaluation.auc_roc > 0.65 && evaluation.auc_roc < 0.9, "{}", evaluation.auc_roc);
    assert!(evaluation.average_precision > report.baseline.average_precision);
    assert!(report.intervals.average_precision.low < evaluation.average_precision);
    assert!(evaluation.average_precision < report.intervals.average_precision.high);
    assert_eq!(report.failed().count(), 0, "{:?}", report.gates);
    assert_eq!(report.folds.len(), 2);
    assert_eq!(report.folds[1].test, "1970-01-31 to 1970-02-09");
    // The constant feature is left out, and told.
    assert_eq!(report.screened.constant, ["constant"]);
    assert!(report.notes.iter().any(|note| note.contains("constant")), "{:?}", report.notes);
    assert_eq!(model.features.len(), 3);
    let importance = |name: &str| report.importance.iter().find(|(of, _)| of == name).unwrap().1;
    assert!(importance(RATIO) > importance(NOISE));
    // Probabilities are true: as much fraud as was said.
    let said: f64 = evaluation.reliability.iter().map(|bin| bin.said * bin.rows as f64).sum();
    let happened = evaluation.positives as f64;
    assert!((said / happened - 1.0).abs() < 0.3, "{said} said, {happened} happened");
    assert!(evaluation.decisions.saved > 0.0);
}

#[test]
fn a_model_is_rebuilt_to_the_same_predictions_and_read_back_to_the_same() {
    let dataset = dataset(DAYS);
    let (one, two) = (trained(&dataset), trained(&dataset));
    let rows: Vec<usize> = (0..3_000).collect();
    let scores = one.model.score(&dataset, &rows).unwrap();
    assert_eq!(scores, two.model.score(&dataset, &rows).unwrap());
    assert_eq!(one.report.manifest, two.report.manifest);

    let folder = tempfile::tempdir().unwrap();
    write_folder(&one, folder.path()).unwrap();
    let read = Model::read(&folder.path().join("data")).unwrap();
    assert_eq!(read.score(&dataset, &rows).unwrap(), scores);
    let probability =
        |model: &Model| scores.iter().map(|&score| model.probability(score)).collect::<Vec<f64>>();
    assert_eq!(probability(&read), probability(&one.model));
    assert_eq!(read.threshold, one.model.threshold);
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.matches("<svg").count() == 5 && !page.contains("NaN"), "five plots");
    assert!(!page.contains("src=") && !page.contains("href="), "the page needs nothing else");
}

#[test]
fn nothing_is_chosen_by_the_judged_rows() {
    let dataset = dataset(DAYS);
    let mut other = dataset.clone();
    // Every label from the judged period on is turned around, but for enough of both.
    let judged = other.rows.time.partition_point(|&time| time < 40 * DAY);
    other.rows.label[judged..].iter_mut().for_each(|label| *label = !*label);
    let (one, two) = (trained(&dataset), trained(&other));
    let rows: Vec<usize> = (0..2_000).collect();
    assert_eq!(one.model.score(&dataset, &rows).unwrap(), two.model.score(&dataset, &rows).unwrap());
    assert_eq!(one.model.threshold, two.model.threshold);
    assert_eq!(one.model.calibration, two.model.calibration);
    assert!(one.report.choice.is_some() && one.report.choice == two.report.choice);
    assert_ne!(one.report.evaluation.auc_roc, two.report.evaluation.auc_roc);
}

#[test]
fn settings_are_chosen_on_folds_whose_labels_are_known() {
    let mut options = options();
    options.boost_share = 0.0;
    options.choice = ChoiceOptions { boost_share: vec![1.0], budget: vec![0.31], ridge: vec![1e9] };
    let by = |dataset: &Dataset| {
        train("fraud", dataset, manifest(dataset), protocol(), &options, None, None).unwrap()
    };
    let dataset = dataset(DAYS);
    let Trained { model, report } = by(&dataset);
    let choice = report.choice.unwrap();
    assert_eq!((choice.folds, choice.tried.len()), (vec!["1970-01-21 to 1970-01-30".to_owned()], 8));
    let best = choice.tried.iter().map(|tried| tried.metric).fold(f64::NEG_INFINITY, f64::max);
    let chosen = choice.tried.iter().find(|tried| tried.setting == choice.chosen).unwrap();
    assert_eq!(chosen.metric, best);
    let Learner::Boosted { boost_share, .. } = model.learner else { panic!("{:?}", model.learner) };
    assert_eq!(boost_share, choice.chosen.boost_share);
    // It is the labels of that fold that are looked at.
    let mut other = dataset.clone();
    let place = |day: i64| dataset.rows.time.partition_point(|&time| time < day * DAY);
    other.rows.label[place(20)..place(30)].reverse();
    let turned = by(&other).report.choice.unwrap();
    assert!(turned.tried.iter().zip(&choice.tried).all(|(a, b)| a.metric != b.metric));
}

#[test]
fn the_champion_is_compared_where_it_can_be() {
    let dataset = dataset(DAYS);
    let champion = trained(&dataset).model;
    let again = |champion: &Model, dataset: &Dataset| {
        train("fraud", dataset, manifest(dataset), protocol(), &options(), Some(champion), None)
            .unwrap()
            .report
    };
    let report = again(&champion, &dataset);
    let gate = report.gates.iter().find(|gate| gate.name == "better_than_champion").unwrap();
    assert!(gate.passed && gate.finding.starts_with("equal"), "{}", gate.finding);
    let mut newer = dataset.clone();
    newer.features[0].version = 2;
    let report = again(&champion, &newer);
    // One that cannot be scored any more is no excuse: nobody knows which is better.
    let failed: Vec<&str> = report.failed().map(|gate| gate.name.as_str()).collect();
    assert_eq!(failed, ["comparable"]);
    assert!(report.failed().all(|gate| gate.finding.contains("version 2")), "{:?}", report.gates);
    let error = champion.score(&newer, &[0]).unwrap_err();
    assert!(matches!(error, ModelError::Version { wanted: 1, found: 2, .. }), "{error}");
}

#[test]
fn a_feature_that_carries_the_label_stops_promotion() {
    let mut dataset = dataset(DAYS);
    let leak = dataset.rows.label.iter().map(|&label| f64::from(u8::from(label)));
    dataset.columns[2] = leak.collect();
    let report = trained(&dataset).report;
    let failed: Vec<&str> = report.failed().map(|gate| gate.name.as_str()).collect();
    assert_eq!(failed, ["no_feature_carries_the_label"]);
    assert_eq!(report.facts.best_feature, NOISE);
}

#[test]
fn stages_that_are_stored_in_between_come_to_the_same() {
    let dataset = dataset(DAYS);
    let whole = trained(&dataset);
    let folder = tempfile::tempdir().unwrap();
    let options = options();
    let found = {
        let fitted = fit("fraud", &dataset, protocol(), &options, None).unwrap();
        fitted.model.write(folder.path()).unwrap();
        serde_json::to_string(&fitted.found).unwrap()
    };
    let read = || Fitted {
        model: Model::read(folder.path()).unwrap(),
        found: serde_json::from_str(&found).unwrap(),
    };
    let fitted = read();
    let report = Judge::new(&fitted, &dataset, protocol(), &options).unwrap().evaluate(manifest(&dataset));
    let mut text = serde_json::to_string(&report).unwrap();
    for stage in ["validate", "validate", "compare", "drift", "compare"] {
        let fitted = read();
        let judge = Judge::new(&fitted, &dataset, protocol(), &options).unwrap();
        let mut report: Report = serde_json::from_str(&text).unwrap();
        match stage {
            "validate" => judge.validate(&mut report).unwrap(),
            "compare" => judge.compare(Some(&whole.model), &mut report),
            _ => judge.drift(&mut report).unwrap(),
        }
        text = serde_json::to_string(&report).unwrap();
    }
    let report: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(report.evaluation, whole.report.evaluation);
    assert_eq!(report.folds, whole.report.folds);
    assert_eq!(report.drift, whole.report.drift);
    let names = |report: &Report| report.gates.iter().map(|gate| gate.name.clone()).collect::<Vec<String>>();
    let with_champion = [names(&whole.report), vec!["better_than_champion".to_owned()]].concat();
    assert_eq!(names(&report), with_champion, "each gate once");
    let rows: Vec<usize> = (0..1_000).collect();
    assert_eq!(read().model.score(&dataset, &rows).unwrap(), whole.model.score(&dataset, &rows).unwrap());
}

#[test]
fn cards_are_ordered_as_configured_and_both_orders_are_told() {
    let dataset = dataset(DAYS);
    let by = |card_score| {
        let options = TrainOptions { card_score, ..options() };
        train("fraud", &dataset, manifest(&dataset), protocol(), &options, None, None)
            .unwrap()
            .report
            .evaluation
    };
    let (max, any) = (by(CardScore::Max), by(CardScore::Any));
    assert_eq!(max.card_precision_by, any.card_precision_by);
    assert_eq!(max.card_precision_at_100, max.card_precision_by.max);
    assert_eq!(any.card_precision_at_100, any.card_precision_by.any);
    assert_eq!(max.average_precision, any.average_precision, "payments are ordered alike");
}

#[test]
fn segments_are_told_by_country() {
    let report = trained(&dataset(DAYS)).report;
    let countries = report.evaluation.segments.iter().filter(|segment| segment.by == "country");
    assert_eq!(
        countries.map(|segment| segment.value.as_str()).collect::<std::collections::BTreeSet<_>>(),
        ["DE", "FR", "PL"].into()
    );
}

#[test]
fn without_earlier_rows_there_is_a_model_and_a_note() {
    let mut dataset = dataset(DAYS);
    let begin = dataset.rows.time.partition_point(|&time| time < 25 * DAY);
    dataset.columns.iter_mut().for_each(|column| drop(column.drain(..begin)));
    let rows = &mut dataset.rows;
    for column in [&mut rows.time, &mut rows.card, &mut rows.amount, &mut rows.pattern] {
        column.drain(..begin);
    }
    rows.label.drain(..begin);
    rows.value.drain(..begin);
    rows.categories[0].of_row.drain(..begin);
    let Trained { model, report } = trained(&dataset);
    assert!(model.calibration.is_none() && model.threshold.is_some());
    assert!(report.notes.iter().any(|note| note.contains("no earlier rows")), "{:?}", report.notes);
    assert_eq!(report.folds.len(), 1);
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let dataset = dataset(DAYS);
    let with = |change: &dyn Fn(&mut Dataset)| {
        let mut dataset = dataset.clone();
        change(&mut dataset);
        failure(&dataset)
    };
    let one_class = with(&|dataset| dataset.rows.label.fill(false));
    assert!(matches!(one_class, TrainError::Problem(Problem::OneClass { label: false, .. })), "{one_class}");
    let few = with(&|dataset| {
        dataset.rows.label.fill(false);
        dataset.rows.label.iter_mut().step_by(1_000).for_each(|label| *label = true);
    });
    assert!(matches!(few, TrainError::Problem(Problem::TooFew { .. })), "{few}");
    let nothing = with(&|dataset| dataset.columns.iter_mut().for_each(|column| column.fill(f64::NAN)));
    assert!(matches!(nothing, TrainError::Problem(Problem::NoFeatures { .. })), "{nothing}");
    let empty = with(&|dataset| dataset.rows.time.iter_mut().for_each(|time| *time += 1_000 * DAY));
    let TrainError::Split(SplitError::Problem(Problem::Empty { .. })) = empty else { panic!("{empty}") };
    let mut options = options();
    options.boost.rising = vec!["no_such".to_owned()];
    let error = train("fraud", &dataset, manifest(&dataset), protocol(), &options, None, None).unwrap_err();
    assert!(error.to_string().contains("no_such"), "{error}");
}
