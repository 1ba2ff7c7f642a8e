//! The folder of a version: what MLflow loads, what people read, what the model is rebuilt from.
//!
//! ```text
//! MLmodel, requirements.txt, python_env.yaml    for mlflow.pyfunc
//! code/affluent_model.py                        the loader
//! data/model.json, data/booster-N.json          the model (data/xgboost.json or data/lightgbm.txt of one that comes from there)
//! card.json                                     what a list shows
//! report.json, report.html, manifest.json, plots/*.svg
//! ```

use super::RegistryError;
use super::card::{self, Card};
use crate::dataset::FeatureVersion;
use crate::fit::{Learner, Model};
use crate::forest::Origin;
use crate::report;
use crate::train::{Trained, TrainedValue};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

const LOADER: &str = include_str!("../../python/affluent_model.py");
const PYTHON: &str = "3.11";

/// Writes the folder of a model that was trained or judged here; it has to be there.
///
/// # Errors
/// Files that cannot be written.
pub fn write_folder(trained: &Trained, folder: &Path) -> Result<(), RegistryError> {
    write_model(&trained.model, &Card::of(&trained.report), folder)?;
    put(folder, "report.json", &json_text("report.json", &trained.report)?)?;
    put(folder, "manifest.json", &json_text("manifest.json", &trained.report.manifest)?)?;
    put(folder, "report.html", &report::html(&trained.report))?;
    make(&folder.join("plots"))?;
    for (name, svg) in report::plots(&trained.report) {
        put(folder, &format!("plots/{name}.svg"), &svg)?;
    }
    Ok(())
}

/// The same of a model of a number.
///
/// # Errors
/// Files that cannot be written.
pub fn write_value_folder(trained: &TrainedValue, folder: &Path) -> Result<(), RegistryError> {
    write_model(&trained.model, &Card::of_value(&trained.report), folder)?;
    put(folder, "report.json", &json_text("report.json", &trained.report)?)?;
    put(folder, "manifest.json", &json_text("manifest.json", &trained.report.manifest)?)?;
    put(folder, "report.html", &report::value::html(&trained.report))?;
    make(&folder.join("plots"))?;
    for (name, svg) in report::value::plots(&trained.report) {
        put(folder, &format!("plots/{name}.svg"), &svg)?;
    }
    Ok(())
}

/// Writes the folder of a model that was learned elsewhere and is not judged here; `params` say where it comes from.
///
/// # Errors
/// Files that cannot be written.
pub fn write_imported(
    model: &Model,
    params: Vec<(String, String)>,
    folder: &Path,
) -> Result<(), RegistryError> {
    let card = Card::unjudged(params);
    write_model(model, &card, folder)?;
    let said: serde_json::Map<String, serde_json::Value> =
        card.params.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let report = json!({
        "model": model.name,
        "imported": said,
        "features": model.features,
        "trees": model.learner.trees(),
        "notes": ["not judged here: judge it with affluent train … --model FILE"],
    });
    put(folder, "report.json", &json_text("report.json", &report)?)
}

/// What MLflow loads, and the card.
fn write_model(model: &Model, card: &Card, folder: &Path) -> Result<(), RegistryError> {
    make(&folder.join("code"))?;
    make(&folder.join("data"))?;
    model.write(&folder.join("data")).map_err(|error| RegistryError::File {
        what: "write the model".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })?;
    put(folder, "code/affluent_model.py", LOADER)?;
    put(folder, "requirements.txt", &format!("mlflow>=3\nnumpy\npandas\n{}\n", package(&model.learner)))?;
    put(
        folder,
        "python_env.yaml",
        &format!("python: \"{PYTHON}\"\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n"),
    )?;
    put(folder, "MLmodel", &mlmodel(model))?;
    put(folder, card::FILE, &json_text(card::FILE, card)?)
}

/// The PyPI package of the library that the model is of; of our own in the same version.
fn package(learner: &Learner) -> &'static str {
    match learner {
        Learner::Boosted { .. } | Learner::Regressed { .. } => "perpetual==3.0.0rc2",
        Learner::Imported(imported) => match imported.origin {
            Origin::Xgboost => "xgboost-cpu>=3",
            Origin::Lightgbm => "lightgbm>=4.5",
        },
    }
}

fn make(folder: &Path) -> Result<(), RegistryError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| RegistryError::File { what: format!("make {}", folder.display()), source })
}

fn put(folder: &Path, name: &str, text: &str) -> Result<(), RegistryError> {
    let file = folder.join(name);
    std::fs::write(&file, text)
        .map_err(|source| RegistryError::File { what: format!("write {}", file.display()), source })
}

fn json_text<T: Serialize>(what: &str, value: &T) -> Result<String, RegistryError> {
    serde_json::to_string_pretty(value)
        .map_err(|source| RegistryError::Json { what: format!("write {what}"), source })
}

/// The description by which MLflow loads the model, with its signature. JSON strings are YAML.
fn mlmodel(model: &Model) -> String {
    let input = |f: &FeatureVersion| json!({"type": "double", "name": f.name, "required": true});
    let inputs = serde_json::Value::Array(model.features.iter().map(input).collect()).to_string();
    let outputs = match model.learner {
        Learner::Regressed { .. } => json!([{"type": "double", "name": "value", "required": true}]),
        Learner::Boosted { .. } | Learner::Imported(_) => json!([
            {"type": "double", "name": "score", "required": true},
            {"type": "double", "name": "probability", "required": true},
            {"type": "boolean", "name": "alert", "required": true},
        ]),
    }
    .to_string();
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "flavors:\n  python_function:\n    loader_module: affluent_model\n    code: code\n    data: data\n    env:\n      \
         virtualenv: python_env.yaml\n    python_version: {}\nsignature:\n  inputs: {}\n  outputs: {}\n  params: null\nmodel_uuid: {}\n\
         utc_time_created: {}\n",
        quoted(PYTHON),
        quoted(&inputs),
        quoted(&outputs),
        quoted(&uuid::Uuid::new_v4().simple().to_string()),
        quoted(&chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string()),
    )
}
