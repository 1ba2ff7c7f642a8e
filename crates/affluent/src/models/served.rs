//! A version of a model as it was stored, with what is known of where it learned.

use crate::train::Store;
use affluent_learning::dataset::Manifest;
use affluent_learning::fit::Model;
use affluent_learning::split::Protocol;
use anyhow::Context as _;
use serde::Deserialize;
use std::path::Path;

/// The version, and what it learned from.
pub(crate) struct Served {
    pub(crate) version: u64,
    pub(crate) model: Model,
    /// None of a model that was imported and not judged.
    pub(crate) learned: Option<Learned>,
}

/// The parts of a report that models of labels and of numbers have in common.
#[derive(Debug, Deserialize)]
pub(crate) struct Learned {
    pub(crate) manifest: Manifest,
    pub(crate) protocol: Protocol,
}

/// The champion of a model; none where it has none.
///
/// # Errors
/// No such model, files that cannot be read, a registry that does not answer.
pub(crate) async fn champion(registry: &Store, name: &str) -> anyhow::Result<Option<Served>> {
    let Some(version) = registry.aliases(name).await?.champion else { return Ok(None) };
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    let folder = registry.folder(name, version, scratch.path()).await?;
    let model = Model::read(&folder.join("data"));
    let model = model.with_context(|| format!("read version {version} of {name}, the champion"))?;
    let learned = read(&folder)?;
    Ok(Some(Served { version, model, learned }))
}

/// What a version learned from; none of a model that was imported and not judged.
///
/// # Errors
/// No such version, files that cannot be read, a registry that does not answer.
pub(crate) async fn learned(registry: &Store, name: &str, version: u64) -> anyhow::Result<Option<Learned>> {
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    read(&registry.folder(name, version, scratch.path()).await?)
}

fn read(folder: &Path) -> anyhow::Result<Option<Learned>> {
    let report = folder.join("report.json");
    let text = std::fs::read_to_string(&report).with_context(|| format!("read {}", report.display()))?;
    let what = || format!("read {}", report.display());
    let said: serde_json::Value = serde_json::from_str(&text).with_context(what)?;
    // A report without a dataset is of an imported model. One that has it and is not understood is a fault: rows that a model has learned from are kept
    // by what this says.
    if said.get("manifest").is_none() {
        return Ok(None);
    }
    serde_json::from_value(said).map(Some).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_a_dataset_is_of_an_imported_model_and_one_that_is_not_understood_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let with = |text: &str| {
            std::fs::write(folder.path().join("report.json"), text).unwrap();
            read(folder.path())
        };
        assert!(with(r#"{"model": "fraud", "imported": {}}"#).unwrap().is_none());
        for broken in [r#"{"manifest": {"source": 1}}"#, r#"{"manifest": {"#, ""] {
            let error = with(broken).unwrap_err().to_string();
            assert!(error.contains("report.json"), "{broken}: {error}");
        }
    }
}
