//! Small models by hand, in both forms: what is read of them, and what is refused by its name.

use super::*;
use serde_json::{Value, json};

const NAN: f64 = f64::NAN;

/// `b < 0.5` leads to -1, all else to 2.
fn xgboost(change: impl FnOnce(&mut Value)) -> Result<Forest, ForestError> {
    let mut model = json!({
        "version": [3, 0, 0],
        "learner": {
            "objective": {"name": "binary:logitraw"},
            "feature_names": ["a", "b"],
            "feature_types": ["float", "float"],
            "learner_model_param": {"base_score": "2.5E-1", "num_class": "0", "num_feature": "2", "num_target": "1"},
            "gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "trees": [{
                "tree_param": {"size_leaf_vector": "1"},
                "left_children": [1, -1, -1], "right_children": [2, -1, -1],
                "split_indices": [1, 0, 0], "split_conditions": [0.5, -1.0, 2.0],
                "default_left": [1, 0, 0], "split_type": [0, 0, 0], "categories_nodes": [],
            }]}},
        },
    });
    change(&mut model);
    Forest::read(Origin::Xgboost, &model.to_string())
}

/// `b <= 0.5` leads to -1, all else to 2.
fn lightgbm(decision: u8, change: impl FnOnce(String) -> String) -> Result<Forest, ForestError> {
    let text = format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=regression\nfeature_names=a b\n\n\
         Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=1\nthreshold=0.5\ndecision_type={decision}\nleft_child=-1\nright_child=-2\n\
         leaf_value=-1 2\nis_linear=0\nshrinkage=1\n\n\nend of trees\n\nfeature_importances:\nb=1\n"
    );
    Forest::read(Origin::Lightgbm, &change(text))
}

/// The predictions of rows with these values of `b`.
fn of(forest: &Forest, values: &[f64]) -> Vec<f64> {
    let rows = values.len();
    forest.predict(&Matrix { values: [vec![9.0; rows], values.to_vec()].concat(), rows, columns: 2 })
}

fn refused(forest: Result<Forest, ForestError>, by: &str) {
    match forest {
        Err(ForestError::Unsupported(what)) => assert!(what.contains(by), "{what}, not {by}"),
        other => panic!("{by} was not refused: {other:?}"),
    }
}

#[test]
fn xgboost_splits_below_and_knows_missing_values() {
    let forest = xgboost(|_| {}).unwrap();
    assert_eq!(forest.features, ["a", "b"]);
    assert_eq!(of(&forest, &[0.4, 0.5, 0.6, NAN]), [-0.75, 2.25, 2.25, -0.75]);
    // A number of double precision counts as the nearest one of single precision.
    assert_eq!(of(&forest, &[0.5 - 1e-12]), [2.25]);
    let right =
        xgboost(|m| m["learner"]["gradient_booster"]["model"]["trees"][0]["default_left"] = json!([0, 0, 0]));
    assert_eq!(of(&right.unwrap(), &[NAN]), [2.25]);
    let list = xgboost(|m| m["learner"]["learner_model_param"]["base_score"] = json!("[2.5E-1]"));
    assert_eq!(of(&list.unwrap(), &[0.4]), [-0.75]);
    let odds = xgboost(|m| m["learner"]["objective"]["name"] = json!("binary:logistic")).unwrap();
    let expected = 1.0 / (1.0 + (1.0 + 3.0f64.ln()).exp());
    assert!((of(&odds, &[0.4])[0] - expected).abs() < 1e-7);
    // An intercept of nought is a little above it, as there.
    let never = xgboost(|m| {
        m["learner"]["objective"]["name"] = json!("binary:logistic");
        m["learner"]["learner_model_param"]["base_score"] = json!("[0E0]");
    });
    let found = of(&never.unwrap(), &[0.4])[0];
    assert!(found > 0.0 && found < 1e-6, "{found}");
}

#[test]
fn parts_of_xgboost_that_are_not_known_are_refused() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (|m| m["version"] = json!([1, 7, 6]), "XGBoost 1"),
        (|m| m["learner"]["objective"]["name"] = json!("multi:softprob"), "multi:softprob"),
        (|m| m["learner"]["learner_model_param"]["num_class"] = json!("3"), "3 outputs"),
        (|m| m["learner"]["learner_model_param"]["num_target"] = json!("2"), "2 outputs"),
        (|m| m["learner"]["gradient_booster"]["name"] = json!("dart"), "dart"),
        (|m| m["learner"]["gradient_booster"]["name"] = json!("gblinear"), "gblinear"),
        (|m| m["learner"]["feature_types"] = json!(["c", "float"]), "categorical"),
        (|m| m["learner"]["gradient_booster"]["model"]["tree_info"] = json!([1]), "several outputs"),
        (
            |m| m["learner"]["gradient_booster"]["model"]["trees"][0]["split_type"] = json!([1, 0, 0]),
            "categorical",
        ),
        (
            |m| m["learner"]["gradient_booster"]["model"]["trees"][0]["categories_nodes"] = json!([0]),
            "categorical",
        ),
        (
            |m| {
                m["learner"]["gradient_booster"]["model"]["trees"][0]["tree_param"]["size_leaf_vector"] =
                    json!("2")
            },
            "several numbers",
        ),
    ];
    for (change, by) in cases {
        refused(xgboost(change), by);
    }
    let circle = xgboost(|m| {
        m["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"] = json!([0, -1, -1]);
    });
    assert!(matches!(circle, Err(ForestError::Malformed(_))), "{circle:?}");
}

#[test]
fn lightgbm_splits_up_to_and_has_three_ways_of_missing_values() {
    let same = |text: String| text;
    // The low bits: 1 categorical, 2 missing ones go left; the next two: none, nought, NaN.
    for (decision, expected) in [
        (0, [-1.0, -1.0, 2.0, -1.0]),
        (2, [-1.0, -1.0, 2.0, -1.0]),
        (4, [2.0, -1.0, 2.0, 2.0]),
        (6, [-1.0, -1.0, 2.0, -1.0]),
        (8, [-1.0, -1.0, 2.0, 2.0]),
        (10, [-1.0, -1.0, 2.0, -1.0]),
    ] {
        let forest = lightgbm(decision, same).unwrap();
        assert_eq!(of(&forest, &[0.0, 0.5, 0.6, NAN]), expected, "decision type {decision}");
    }
    // The bound of nought is a number of single precision, a little above 1e-35.
    assert_eq!(of(&lightgbm(4, same).unwrap(), &[1e-35, -1.000_000_01e-35, 2e-35]), [2.0, 2.0, -1.0]);
    let odds = lightgbm(0, |text| text.replace("=regression", "=binary sigmoid:2")).unwrap();
    assert!((of(&odds, &[0.6])[0] - 1.0 / (1.0 + (-4.0f64).exp())).abs() < 1e-15);
    let leaf = lightgbm(0, |text| text.replace("num_leaves=2", "num_leaves=1").replace("-1 2", "0.25"));
    assert_eq!(of(&leaf.unwrap(), &[0.0]), [0.25]);
}

#[test]
fn parts_of_lightgbm_that_are_not_known_are_refused() {
    refused(lightgbm(1, |text| text), "categorical");
    refused(lightgbm(12, |text| text), "missing type 3");
    for (from, to, by) in [
        ("num_cat=0", "num_cat=1", "categorical"),
        ("is_linear=0", "is_linear=1", "linear trees"),
        ("tree\n", "tree\naverage_output\n", "average_output"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=3", "3 outputs"),
        ("objective=regression", "objective=poisson", "poisson"),
        ("objective=regression", "objective=regression sqrt", "regression sqrt"),
    ] {
        refused(lightgbm(0, |text| text.replacen(from, to, 1)), by);
    }
}

/// What stands before, and the contributions, of a row.
fn explained(forest: &Forest, b: f64) -> (f64, [f64; 2]) {
    let mut contributions = [0.0; 2];
    let before = forest.explain(&[9.0, b], &mut contributions);
    (before, contributions)
}

#[test]
fn contributions_are_of_the_features_on_the_way_and_add_up() {
    let of_xgboost =
        xgboost(|m| m["learner"]["gradient_booster"]["model"]["trees"][0]["sum_hessian"] = json!([4, 1, 3]));
    let of_xgboost = of_xgboost.unwrap();
    // A quarter of the rows have got -1, the others 2, and all 0.25 beside it.
    assert_eq!(explained(&of_xgboost, 0.4), (1.5, [0.0, -2.25]));
    assert_eq!(of_xgboost.predict_row(&[9.0, 0.4]), -0.75);
    let counted = |text: String| text.replace("=-1 2", "=-1 2\nleaf_count=1 3\ninternal_count=4");
    assert_eq!(explained(&lightgbm(0, counted).unwrap(), 0.6), (1.25, [0.0, 0.75]));
    // Without counts both sides count the same; log odds are multiplied as the sum is.
    let odds = lightgbm(0, |text| text.replace("=regression", "=binary sigmoid:2")).unwrap();
    assert_eq!(explained(&odds, 0.6), (1.0, [0.0, 3.0]));
    assert!(odds.tells_probabilities() && !of_xgboost.tells_probabilities());
    let leaf = lightgbm(0, |text| text.replace("num_leaves=2", "num_leaves=1").replace("-1 2", "0.25"));
    assert_eq!(explained(&leaf.unwrap(), 0.6), (0.25, [0.0, 0.0]));
}
