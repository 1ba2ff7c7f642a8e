//! Models of other libraries in the registry: imported, listed, promoted, rolled back.

use crate::platform::affluent;
use serde_json::{Value, json};
use std::path::Path;

/// A tree of XGBoost on two features, one split.
fn model(left: f64) -> String {
    json!({
        "version": [3, 0, 0],
        "learner": {
            "objective": {"name": "binary:logistic"},
            "feature_names": ["amount", "payments"],
            "feature_types": ["float", "float"],
            "learner_model_param": {"base_score": "[5E-1]", "num_class": "0", "num_feature": "2", "num_target": "1"},
            "gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "trees": [{
                "tree_param": {"size_leaf_vector": "1"},
                "left_children": [1, -1, -1], "right_children": [2, -1, -1],
                "split_indices": [0, 0, 0], "split_conditions": [5_000.0, left, 2.0],
                "default_left": [1, 0, 0], "split_type": [0, 0, 0], "categories_nodes": [],
            }]}},
        },
    })
    .to_string()
}

/// Exit code, standard output, standard error.
fn call(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = affluent(directory).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const IMPORT: [&str; 7] = [
    "models",
    "import",
    "model.json",
    "--name",
    "fraud",
    "--features",
    "card_payment_amount,card_customer_payments_1d",
];

#[test]
fn a_model_from_elsewhere_is_kept_promoted_by_force_and_rolled_back() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for left in [-1.0, -2.0] {
        std::fs::write(at.join("model.json"), model(left)).unwrap();
        let (code, out, err) = call(at, &IMPORT);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("1 trees of XGBoost, not judged here"), "{out}");
    }
    let (code, _, err) = call(at, &["models", "promote", "fraud"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("did not pass judged") && err.contains("--force"), "{err}");
    for version in ["1", "2"] {
        let (code, _, err) = call(at, &["models", "promote", "fraud", version, "--force"]);
        assert_eq!(code, Some(0), "{err}");
    }
    let (code, out, err) = call(at, &["models", "rollback", "fraud"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.trim(), "fraud: champion 1, previous 2");

    let (code, out, err) = call(at, &["models", "list", "--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let list: Value = serde_json::from_str(&out).unwrap();
    let told = |nth: usize| {
        (list[nth]["version"].clone(), list[nth]["aliases"].clone(), list[nth]["failed"].clone())
    };
    assert_eq!(told(0), (json!(1), json!(["champion"]), json!(["judged"])));
    assert_eq!(told(1), (json!(2), json!(["previous"]), json!(["judged"])));
    let (code, out, err) = call(at, &["models", "show", "fraud"]);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["version"], &report["imported"]["origin"]), (&json!(1), &json!("XGBoost")));
    assert_eq!(report["features"][0]["name"], "card_payment_amount");
}

#[test]
fn what_cannot_be_imported_says_what_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (text, arguments, parts) in [
        (model(0.0).replace("gbtree", "dart"), &IMPORT[..], &["booster dart", "not supported"][..]),
        ("pickle".to_owned(), &IMPORT[..], &["neither XGBoost's JSON nor LightGBM's text"]),
        (model(0.0), &IMPORT[..5], &["amount", "--features"]),
        (
            model(0.0),
            &["models", "import", "model.json", "--name", "fraud", "--features", "card_payment_amount"],
            &["it has 2 features, 1 are named", "--features"],
        ),
    ] {
        std::fs::write(at.join("model.json"), text).unwrap();
        let (code, _, err) = call(at, arguments);
        assert_eq!(code, Some(2), "{err}");
        for part in parts {
            assert!(err.contains(part), "{part} is not in: {err}");
        }
    }
}

#[test]
fn a_registry_that_is_down_loses_no_model() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // A port that was free just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config =
        format!("[learning.mlflow]\nurl = 'http://127.0.0.1:{port}'\nattempts = 2\nretry_first_ms = 1\n");
    std::fs::write(at.join("affluent.toml"), config).unwrap();
    std::fs::write(at.join("model.json"), model(0.0)).unwrap();
    let (code, _, err) = call(at, &IMPORT);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("does not answer (2 attempts)"), "{err}");
    let folder = err.split("it is kept in ").nth(1).unwrap().split(": ").next().unwrap();
    let kept = Path::new(folder);
    for file in ["data/model.json", "data/xgboost.json", "card.json", "MLmodel"] {
        assert!(kept.join(file).exists(), "{file}: {err}");
    }
    std::fs::remove_dir_all(kept.parent().unwrap()).unwrap();
}
