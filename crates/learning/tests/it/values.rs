//! From a dataset to a judged model of a number.

use crate::payments::{NOISE, RATIO, dataset, manifest, protocol};
use affluent_learning::DAY;
use affluent_learning::dataset::{Dataset, Problem};
use affluent_learning::fit::Model;
use affluent_learning::registry::{LocalRegistry, Registry as _, promote, write_value_folder};
use affluent_learning::train::{
    FittedValue, JudgeValue, TrainError, TrainOptions, TrainedValue, ValueReport, fit_value, train_value,
};

const DAYS: i64 = 50;

/// One booster that sees every feature: there are three.
fn options() -> TrainOptions {
    let mut options = crate::payments::options();
    options.boost.boosters = 1;
    options.boost_share = 1.0;
    options
}

fn trained(dataset: &Dataset, champion: Option<&Model>) -> TrainedValue {
    train_value("score", dataset, manifest(dataset), protocol(), &options(), champion).unwrap()
}

#[test]
fn a_model_of_a_number_beats_a_line_where_the_truth_is_none() {
    let dataset = dataset(DAYS);
    let TrainedValue { model, report } = trained(&dataset, None);
    assert!(
        report.evaluation.r2 > 0.8 && report.evaluation.r2 > report.baseline.r2,
        "{:?}",
        report.evaluation
    );
    assert!(report.intervals.r2_gain.low > 0.0, "{:?}", report.intervals);
    assert_eq!(report.failed().count(), 0, "{:?}", report.gates);
    assert_eq!((report.folds.len(), report.evaluation.calibration.len()), (2, 10));
    assert_eq!(report.importance[0].0, RATIO);
    assert_eq!(report.segments.len(), 3);
    assert!((&model.calibration, model.threshold) == (&None, None));
    // Nobody is left out for what is known of him.
    assert_eq!(report.evaluation.rows, 5_000);
}

#[test]
fn the_same_dataset_makes_the_same_model_and_stages_the_same_report() {
    let dataset = dataset(DAYS);
    let (one, two) = (trained(&dataset, None), trained(&dataset, None));
    let rows: Vec<usize> = (0..1_000).collect();
    assert_eq!(one.model.score(&dataset, &rows).unwrap(), two.model.score(&dataset, &rows).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let options = options();
    let fitted = fit_value("score", &dataset, protocol(), &options).unwrap();
    fitted.model.write(folder.path()).unwrap();
    let found = serde_json::from_str(&serde_json::to_string(&fitted.found).unwrap()).unwrap();
    let fitted = FittedValue { model: Model::read(folder.path()).unwrap(), found };
    let judge = JudgeValue::new(&fitted, &dataset, protocol(), &options).unwrap();
    let mut report = judge.evaluate(manifest(&dataset));
    judge.validate(&mut report).unwrap();
    judge.compare(None, &mut report);
    judge.drift(&mut report).unwrap();
    let mut report: ValueReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    // Clocks differ.
    report.seconds = one.report.seconds;
    report.facts.latency_us_p99 = one.report.facts.latency_us_p99;
    report.gates.clone_from(&one.report.gates);
    assert_eq!(report, one.report);
}

#[test]
fn the_champion_and_leaks_are_judged() {
    let mut dataset = dataset(DAYS);
    let champion = trained(&dataset, None).model;
    let report = trained(&dataset, Some(&champion)).report;
    let gate = report.gates.iter().find(|gate| gate.name == "better_than_champion").unwrap();
    assert!(gate.passed && gate.finding.starts_with("equal"), "{}", gate.finding);
    dataset.columns[2] = dataset.rows.value.clone();
    let report = trained(&dataset, None).report;
    assert!(report.failed().any(|gate| gate.name == "no_feature_carries_the_label"), "{:?}", report.gates);
    assert_eq!(report.facts.best_feature, NOISE);
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let with = |change: &dyn Fn(&mut Dataset)| {
        let mut dataset = dataset(DAYS);
        change(&mut dataset);
        train_value("score", &dataset, manifest(&dataset), protocol(), &options(), None).unwrap_err()
    };
    let one = with(&|dataset| dataset.rows.value.fill(3.0));
    assert!(matches!(one, TrainError::Problem(Problem::OneValue { .. })), "{one}");
    let none = with(&|dataset| dataset.rows.value[25 * 500] = f64::NAN);
    assert!(matches!(none, TrainError::Problem(Problem::NoValue { count: 1, .. })), "{none}");
    let nothing = with(&|dataset| dataset.columns.iter_mut().for_each(|column| column.fill(1.0)));
    assert!(matches!(nothing, TrainError::Problem(Problem::NoFeatures { .. })), "{nothing}");
    let empty = with(&|dataset| dataset.rows.time.iter_mut().for_each(|time| *time += 1_000 * DAY));
    assert!(matches!(empty, TrainError::Split(_)), "{empty}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_registered_with_its_own_metrics() {
    let dataset = dataset(DAYS);
    let trained = trained(&dataset, None);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    write_value_folder(&trained, &folder).unwrap();
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.matches("<svg").count() == 3 && !page.contains("NaN"), "three plots");
    let signature = std::fs::read_to_string(folder.join("MLmodel")).unwrap();
    assert!(signature.contains("value") && !signature.contains("alert"), "{signature}");
    let registry = LocalRegistry::new(home.path().join("models"));
    assert_eq!(registry.register("score", &folder).await.unwrap(), 1);
    promote(&registry, "score", None, false).await.unwrap();
    let versions = registry.versions("score").await.unwrap();
    assert_eq!(versions[0].headline.get("r2"), Some(&trained.report.evaluation.r2));
    let stored = registry.folder("score", 1, home.path()).await.unwrap();
    let model = Model::read(&stored.join("data")).unwrap();
    let rows: Vec<usize> = (0..100).collect();
    assert_eq!(model.score(&dataset, &rows).unwrap(), trained.model.score(&dataset, &rows).unwrap());
}
