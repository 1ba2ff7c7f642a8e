//! `affluent models import`: a model that XGBoost or LightGBM has learned, into the registry as it is.
//!
//! Nobody has judged it here, so it may be promoted by force alone; `affluent train … --model FILE` judges one first.

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use crate::train::{import, kept};
use affluent_features::Definitions;
use affluent_learning::dataset::FeatureVersion;
use affluent_learning::registry::write_imported;
use serde_json::json;
use std::path::PathBuf;

/// Options of `affluent models import`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ImportArgs {
    /// What XGBoost saved as JSON, or LightGBM as text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Under which name it is kept
    #[arg(long, value_name = "MODEL")]
    name: String,
    /// What it reads, by the names of the definitions and in the order of its own [default: its own names]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    features: Vec<String>,
    /// From this score on a payment is looked at
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f64>,
}

/// Registers the model.
///
/// # Errors
/// Parts of it that are not supported, features that are not defined, a registry that does not answer; the folder is kept then.
pub(super) async fn run(args: ImportArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let ImportArgs { file, name, features, threshold } = args;
    let imported = import(&file).map_err(|error| output::usage(format!("{error:#}")))?;
    let names = if features.is_empty() { imported.forest.features.clone() } else { features };
    let features = versions(config, &names)?;
    let (origin, trees) = (imported.origin.name(), imported.forest.trees());
    let model = imported
        .into_model(&name, features, threshold)
        .map_err(|error| output::usage(format!("{}: {error}; name them with --features", file.display())))?;
    let params = [("origin", origin.to_owned()), ("source", file.display().to_string())];
    let params = params.map(|(name, value)| (name.to_owned(), value)).to_vec();

    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    let folder = scratch.path().join("model");
    std::fs::create_dir_all(&folder)?;
    write_imported(&model, params, &folder)?;
    let registry = config.learning.store(&config.data_dir)?;
    let version = match registry.register(&name, &folder).await {
        Ok(version) => version,
        Err(error) => return Err(kept(error.into(), scratch)),
    };
    match format {
        Format::Json => output::print_json(
            &json!({"model": name, "version": version, "origin": origin, "trees": trees, "features": model.features}),
        )?,
        Format::Text => output::print(&format!(
            "{name} version {version}: {trees} trees of {origin}, not judged here\n\
             promote it as it is with: affluent models promote {name} {version} --force"
        )),
    }
    Ok(Exit::Done)
}

/// The features with the number of their meaning.
fn versions(config: &Config, names: &[String]) -> anyhow::Result<Vec<FeatureVersion>> {
    let wrong = |error: &dyn std::fmt::Display| output::usage(error.to_string());
    let definitions = Definitions::load(config.features.directory()).map_err(|error| wrong(&error))?;
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let selected = definitions.select(&wanted).map_err(|error| {
        wrong(&format!("{error}; name the model's features, in its own order, with --features"))
    })?;
    let version = |name: &String| selected.feature(name).map_or(0, |feature| feature.version);
    Ok(names.iter().map(|name| FeatureVersion { name: name.clone(), version: version(name) }).collect())
}
