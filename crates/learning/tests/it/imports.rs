//! Models of XGBoost and LightGBM predict here what they predict there.

use crate::oracle::LOADED;
use crate::payments::{dataset, manifest, options, protocol};
use crate::python::run;
use affluent_learning::dataset::Matrix;
use affluent_learning::fit::{Imported, Model};
use affluent_learning::registry::write_imported;
use affluent_learning::train::train;
use serde_json::{Value, json};

/// Rows whose predictions are compared.
const ROWS: usize = 50_000;

const TRAINED: &str = r"
import json, sys
import numpy as np
it = json.load(sys.stdin)
x = np.array([[np.nan if v is None else v for v in column] for column in it['columns']], dtype=float).T
y = np.array(it['labels'])
names = it['names']
if it['library'] == 'xgboost':
    import xgboost as xgb
    d = xgb.DMatrix(x, y, feature_names=names)
    model = xgb.train({'objective': it['objective'], 'max_depth': 5, 'seed': 1, 'nthread': 1, **it.get('params', {})}, d, 40)
    text, predicted = model.save_raw('json').decode(), model.predict(xgb.DMatrix(x, feature_names=names))
    some = xgb.DMatrix(x[:1000], feature_names=names)
    contributions = model.predict(some, pred_contribs=True).tolist() if it['explained'] else []
else:
    import lightgbm as lgb
    d = lgb.Dataset(x, y, feature_name=names, params={'verbose': -1, 'num_threads': 1, **it.get('params', {})})
    model = lgb.train({'objective': it['objective'], 'num_leaves': 15, 'verbose': -1, 'num_threads': 1, **it.get('params', {})}, d, 40)
    text, predicted = model.model_to_string(), model.predict(x)
    contributions = model.predict(x[:1000], pred_contrib=True).tolist() if it['explained'] else []
print(json.dumps({'text': text, 'predicted': [float(p) for p in predicted], 'contributions': contributions}))
";

/// What Python says of the model that it has trained on these rows.
fn answered(library: &str, objective: &str, params: &Value, explained: bool) -> (Value, Matrix) {
    let dataset = dataset(100);
    let rows: Vec<usize> = (0..ROWS).collect();
    let matrix = dataset.gather(&rows);
    let columns: Vec<&[f64]> = (0..matrix.columns).map(|column| matrix.column(column)).collect();
    let labels: Vec<u8> = dataset.rows.label[..ROWS].iter().map(|&label| u8::from(label)).collect();
    let names: Vec<&str> = dataset.features.iter().map(|feature| feature.name.as_str()).collect();
    let input = json!({"library": library, "objective": objective, "columns": columns, "labels": labels, "names": names,
        "params": params, "explained": explained});
    (run(TRAINED, &input), matrix)
}

fn trained(library: &str, objective: &str, params: &Value) -> (String, Vec<f64>, Matrix) {
    let (answer, matrix) = answered(library, objective, params, false);
    let predicted = answer["predicted"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    (answer["text"].as_str().unwrap().to_owned(), predicted, matrix)
}

/// The largest difference on all rows.
fn difference(library: &str, objective: &str, params: &Value) -> f64 {
    let (text, theirs, matrix) = trained(library, objective, params);
    let ours = Imported::read(&text).unwrap().forest.predict(&matrix);
    ours.iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max)
}

#[test]
fn predictions_are_those_of_the_original() {
    let none = json!({});
    // The sums are theirs to the bit; the exponential of single precision may differ in its last one.
    let odds = difference("xgboost", "binary:logistic", &none);
    assert!(odds <= f64::from(f32::EPSILON), "{odds:e}");
    assert_eq!(difference("xgboost", "binary:logitraw", &none), 0.0);
    assert_eq!(difference("xgboost", "reg:squarederror", &none), 0.0);
    let odds = difference("lightgbm", "binary", &none);
    assert!(odds <= 2.0 * f64::EPSILON, "{odds:e}");
    assert_eq!(difference("lightgbm", "regression", &none), 0.0);
    assert_eq!(difference("lightgbm", "regression", &json!({"zero_as_missing": true})), 0.0);
    assert_eq!(difference("lightgbm", "regression", &json!({"use_missing": false})), 0.0);
}

/// XGBoost and LightGBM have Shapley values, too.
#[test]
fn contributions_are_those_of_the_original_and_add_up() {
    let (answer, matrix) = answered("xgboost", "binary:logistic", &json!({}), true);
    let dataset = dataset(100);
    let model = |text: &str| {
        let imported = Imported::read(text).unwrap();
        imported.into_model("fraud", dataset.features.clone(), None).unwrap()
    };
    let row = |n: usize| (0..matrix.columns).map(|column| matrix.column(column)[n]).collect::<Vec<f64>>();
    // The relative difference that is allowed: XGBoost computes in single precision.
    let compare = |answer: &Value, allowed: f64| {
        let ours = model(answer["text"].as_str().unwrap());
        let theirs = answer["contributions"].as_array().unwrap();
        assert_eq!(theirs.len(), 1_000);
        for (n, theirs) in theirs.iter().enumerate() {
            let theirs: Vec<f64> = theirs.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let size: f64 = theirs.iter().map(|value| value.abs()).sum();
            let found = ours.contributions(&row(n));
            for (at, ours) in found.values.iter().chain([&found.baseline]).enumerate() {
                let theirs = theirs[at];
                let is_near = (ours - theirs).abs() <= allowed * size;
                assert!(is_near, "row {n}, feature {at}: {ours}, theirs is {theirs}");
            }
            let sum = found.baseline + found.values.iter().sum::<f64>();
            let score = ours.score_row(&row(n));
            let odds = (score / (1.0 - score)).ln();
            assert!((sum - odds).abs() <= 1e-5 * size.max(1.0), "row {n}: {sum} of {odds}");
        }
    };
    compare(&answer, 1e-5);
    compare(&answered("lightgbm", "binary", &json!({}), true).0, 1e-6);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (library, objective, params, name) in [
        ("xgboost", "binary:logistic", json!({"booster": "gblinear"}), "gblinear"),
        ("xgboost", "binary:logistic", json!({"booster": "dart"}), "dart"),
        ("xgboost", "count:poisson", json!({}), "count:poisson"),
        ("lightgbm", "poisson", json!({}), "poisson"),
        ("lightgbm", "regression", json!({"linear_tree": true}), "linear trees"),
        (
            "lightgbm",
            "binary",
            json!({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}),
            "average_output",
        ),
    ] {
        let (text, ..) = trained(library, objective, &params);
        let error = Imported::read(&text).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("not supported"), "{library} {objective}: {error}");
    }
    for text in ["", "{}", "{\"learner\": {}}", "pickle", "tree\nversion=v4\n"] {
        Imported::read(text).unwrap_err();
    }
}

#[test]
fn an_imported_model_is_judged_stored_and_read_as_any_other() {
    let (text, theirs, _) = trained("xgboost", "binary:logistic", &json!({}));
    let dataset = dataset(100);
    let imported = Imported::read(&text).unwrap();
    let trained =
        train("fraud", &dataset, manifest(&dataset), protocol(), &options(), None, Some(&imported)).unwrap();
    assert!(trained.report.evaluation.auc_roc > 0.65 && trained.report.trees == 40);
    let folder = tempfile::tempdir().unwrap();
    trained.model.write(folder.path()).unwrap();
    let read = Model::read(folder.path()).unwrap();
    let rows: Vec<usize> = (0..1_000).collect();
    let scores = read.score(&dataset, &rows).unwrap();
    assert!(scores.iter().zip(&theirs).all(|(ours, theirs)| (ours - theirs).abs() < 1e-6));
}

#[test]
fn python_loads_it_by_its_own_library() {
    let dataset = dataset(100);
    let rows: Vec<usize> = (0..1_000).collect();
    let columns: serde_json::Map<String, Value> = (dataset.features.iter().zip(&dataset.columns))
        .map(|(feature, column)| (feature.name.clone(), json!(column[..rows.len()])))
        .collect();
    for (library, objective) in [("xgboost", "binary:logistic"), ("lightgbm", "binary")] {
        let (text, ..) = trained(library, objective, &json!({}));
        let imported = Imported::read(&text).unwrap();
        let model = imported.into_model("fraud", dataset.features.clone(), Some(0.1)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_imported(&model, Vec::new(), folder.path()).unwrap();
        let theirs = run(LOADED, &json!({"folder": folder.path(), "columns": columns}));
        for (row, score) in model.score(&dataset, &rows).unwrap().into_iter().enumerate() {
            let line = &theirs["data"][row];
            let found = line[0].as_f64().unwrap();
            assert!((score - found).abs() < 1e-6, "{library}, row {row}: {score}, theirs is {found}");
        }
    }
}
