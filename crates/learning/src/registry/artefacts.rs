//! The folder of a version: what MLflow loads, what people read, what the model is rebuilt from.
//!
//! ```text
//! MLmodel, requirements.txt, python_env.yaml    for mlflow.pyfunc
//! code/affluent_model.py                        the loader
//! data/model.json, data/booster-N.json          the model
//! report.json, report.html, manifest.json, plots/*.svg
//! ```

use super::RegistryError;
use crate::dataset::FeatureVersion;
use crate::fit::Model;
use crate::report;
use crate::train::Trained;
use serde_json::json;
use std::path::Path;

const LOADER: &str = include_str!("../../python/affluent_model.py");
/// The PyPI package of the library that fits the boosters, in the same version.
const REQUIREMENTS: &str = "mlflow>=3\nnumpy\npandas\nperpetual==3.0.0rc2\n";
const PYTHON: &str = "3.11";

/// Writes the folder, which has to be there.
///
/// # Errors
/// Files that cannot be written.
pub fn write_folder(trained: &Trained, folder: &Path) -> Result<(), RegistryError> {
    for part in ["code", "data", "plots"] {
        let path = folder.join(part);
        std::fs::create_dir_all(&path)
            .map_err(|source| RegistryError::File { what: format!("make {}", path.display()), source })?;
    }
    trained.model.write(&folder.join("data")).map_err(|error| RegistryError::File {
        what: "write the model".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })?;
    let text = |what: &str, value: serde_json::Result<String>| {
        value.map_err(|source| RegistryError::Json { what: what.to_owned(), source })
    };
    let put = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text)
            .map_err(|source| RegistryError::File { what: format!("write {}", file.display()), source })
    };
    put("code/affluent_model.py", LOADER)?;
    put("requirements.txt", REQUIREMENTS)?;
    put(
        "python_env.yaml",
        &format!("python: \"{PYTHON}\"\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n"),
    )?;
    put("MLmodel", &mlmodel(&trained.model))?;
    put("report.json", &text("report.json", serde_json::to_string_pretty(&trained.report))?)?;
    put("manifest.json", &text("manifest.json", serde_json::to_string_pretty(&trained.report.manifest))?)?;
    put("report.html", &report::html(&trained.report))?;
    for (name, svg) in report::plots(&trained.report) {
        put(&format!("plots/{name}.svg"), &svg)?;
    }
    Ok(())
}

/// The description by which MLflow loads the model, with its signature. JSON strings are YAML.
fn mlmodel(model: &Model) -> String {
    let input = |f: &FeatureVersion| json!({"type": "double", "name": f.name, "required": true});
    let inputs = serde_json::Value::Array(model.features.iter().map(input).collect()).to_string();
    let outputs = json!([
        {"type": "double", "name": "score", "required": true},
        {"type": "double", "name": "probability", "required": true},
        {"type": "boolean", "name": "alert", "required": true},
    ])
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
