//! The registry on a real MLflow server, and the model in Python's `mlflow`.
//!
//! Needs `AFFLUENT_TEST_MLFLOW=http://…` and `AFFLUENT_TEST_MLFLOW_PYTHON`, the Python that has mlflow; `make interop` sets both.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../it/payments.rs"]
#[allow(dead_code, reason = "the other tests need more of it")]
mod payments;

use affluent_learning::dataset::FeatureVersion;
use affluent_learning::fit::{Imported, Model};
use affluent_learning::registry::{
    MlflowOptions, MlflowRegistry, Registry, RegistryError, promote, roll_back, write_folder, write_imported,
};
use affluent_learning::train::train;
use payments::{dataset, manifest, options, protocol};
use serde_json::{Value, json};
use std::process::Command;

fn server() -> MlflowOptions {
    let url = std::env::var("AFFLUENT_TEST_MLFLOW");
    let url = url.expect("AFFLUENT_TEST_MLFLOW=http://… names a server; `make interop` starts one");
    let experiment = format!("test-{}", uuid::Uuid::new_v4());
    MlflowOptions { url, experiment, retry_first_ms: 10, ..MlflowOptions::default() }
}

/// Loads a version by its name as anybody would, predicts, and looks at the run.
const LOADED: &str = r"
import json, sys
import mlflow, pandas as pd
it = json.loads(open(sys.argv[1]).read())
mlflow.set_tracking_uri(it['url'])
frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in it['columns'].items()})
model = mlflow.pyfunc.load_model('models:/%s@champion' % it['model'])
run = mlflow.get_run(mlflow.MlflowClient().get_model_version_by_alias(it['model'], 'champion').run_id)
files = [f.path for f in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)]
print(json.dumps({'predicted': json.loads(model.predict(frame).to_json(orient='split', double_precision=15))['data'],
    'inputs': model.metadata.signature.inputs.input_names(), 'metrics': run.data.metrics, 'params': run.data.params,
    'status': run.info.status, 'files': files,
    'plots': [f.path for f in mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path='plots')]}))
";

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_registered_served_by_name_and_predicts_the_same_in_python() {
    let options_of_server = server();
    let dataset = dataset(50);
    let trained = train("fraud", &dataset, manifest(&dataset), protocol(), &options(), None, None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    write_folder(&trained, &folder).unwrap();
    let registry = MlflowRegistry::new(&options_of_server).unwrap();
    let model = format!("fraud-{}", uuid::Uuid::new_v4().simple());
    assert!(matches!(registry.aliases(&model).await, Err(RegistryError::NoModel(_))));
    assert_eq!(registry.register(&model, &folder).await.unwrap(), 1);
    assert_eq!(registry.register(&model, &folder).await.unwrap(), 2);
    // Somebody else's model on the same server.
    let other = format!("somebody else's {}", uuid::Uuid::new_v4());
    let address = format!("{}/api/2.0/mlflow/registered-models/create", options_of_server.url);
    let made = reqwest::Client::new().post(address).json(&json!({"name": other})).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let models = registry.models().await.unwrap();
    assert!(models.contains(&model) && !models.contains(&other), "{models:?}");
    assert_eq!(registry.aliases(&model).await.unwrap().challenger, Some(2));
    promote(&registry, &model, Some(1), false).await.unwrap();
    promote(&registry, &model, None, false).await.unwrap();
    let back = roll_back(&registry, &model).await.unwrap();
    assert_eq!((back.champion, back.previous, back.challenger), (Some(1), Some(2), None));
    assert_eq!(registry.aliases(&model).await.unwrap(), back);
    let versions = registry.versions(&model).await.unwrap();
    assert_eq!(versions.iter().map(|v| v.version).collect::<Vec<u64>>(), [1, 2]);
    assert_eq!(versions[0].headline["average_precision"], trained.report.evaluation.average_precision);

    let fetched = registry.folder(&model, 1, &home.path().join("fetched")).await.unwrap();
    let rows: Vec<usize> = (0..1_000).collect();
    let scores = trained.model.score(&dataset, &rows).unwrap();
    assert_eq!(Model::read(&fetched.join("data")).unwrap().score(&dataset, &rows).unwrap(), scores);

    let columns: serde_json::Map<String, Value> = (dataset.features.iter().zip(&dataset.columns))
        .map(|(feature, column)| (feature.name.clone(), json!(column[..rows.len()])))
        .collect();
    let ask = home.path().join("ask.json");
    let text = json!({"url": options_of_server.url, "model": model, "columns": columns}).to_string();
    std::fs::write(&ask, text).unwrap();
    let python = std::env::var("AFFLUENT_TEST_MLFLOW_PYTHON").expect("the Python that has mlflow");
    let output = Command::new(python).args(["-c", LOADED]).arg(&ask).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (row, &score) in scores.iter().enumerate() {
        let line = &theirs["predicted"][row];
        assert!((line[0].as_f64().unwrap() - score).abs() < 1e-6, "row {row}: {score}, theirs is {line}");
        let probability = trained.model.probability(score);
        assert!((line[1].as_f64().unwrap() - probability).abs() < 1e-6, "row {row}: {probability}, {line}");
    }
    let names: Vec<&str> = trained.model.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(theirs["inputs"], json!(names));
    assert_eq!(theirs["status"], "FINISHED");
    let precision = theirs["metrics"]["average_precision"].as_f64().unwrap();
    assert!((precision - trained.report.evaluation.average_precision).abs() < 1e-12);
    assert_eq!(theirs["params"]["source"], "simulated");
    assert!(
        theirs["plots"].as_array().unwrap().contains(&json!("plots/precision_recall.svg")),
        "{}",
        theirs["plots"]
    );
    for file in ["model", "plots", "report.html", "report.json", "manifest.json"] {
        assert!(theirs["files"].as_array().unwrap().contains(&json!(file)), "{file}: {}", theirs["files"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_model_is_kept_unjudged_and_promoted_by_force_alone() {
    let text = "tree\nversion=v4\nnum_tree_per_iteration=1\nobjective=regression\nfeature_names=amount\n\nTree=0\nnum_leaves=2\n\
                num_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=2\nleft_child=-1\nright_child=-2\nleaf_value=-1 2\n\nend of trees\n";
    let features = vec![FeatureVersion { name: "card_payment_amount".to_owned(), version: 1 }];
    let model = format!("fraud-{}", uuid::Uuid::new_v4().simple());
    let imported = Imported::read(text).unwrap().into_model(&model, features, None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    write_imported(&imported, vec![("origin".to_owned(), "LightGBM".to_owned())], &folder).unwrap();
    let registry = MlflowRegistry::new(&server()).unwrap();
    assert_eq!(registry.register(&model, &folder).await.unwrap(), 1);
    let refused = promote(&registry, &model, None, false).await;
    assert!(matches!(refused, Err(RegistryError::Gates { version: 1, .. })), "{refused:?}");
    assert_eq!(promote(&registry, &model, None, true).await.unwrap().champion, Some(1));
    let versions = registry.versions(&model).await.unwrap();
    assert_eq!((versions[0].headline.len(), versions[0].failed.clone()), (0, vec!["judged".to_owned()]));
    let fetched = registry.folder(&model, 1, &home.path().join("fetched")).await.unwrap();
    assert_eq!(Model::read(&fetched.join("data")).unwrap().features, imported.features);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_told_after_some_attempts() {
    // A port that was free just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = MlflowOptions { url: format!("http://127.0.0.1:{port}"), attempts: 3, ..server() };
    let error = MlflowRegistry::new(&options).unwrap().models().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { attempts: 3, .. }), "{error}");
}
