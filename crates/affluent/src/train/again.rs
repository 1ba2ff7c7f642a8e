//! `affluent train MODEL --again VERSION`: a registered model is learned once more, from the rows that its manifest names, as they were at
//! their snapshots, or from the file, which has to be the same to the byte; and has to say the same of every row.

use super::kind::Kind;
use super::lake::read_again;
use super::{FileRows, file_checksum, open_offline};
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_features::{DefinitionError, Definitions};
use affluent_learning::dataset::manifest::Column;
use affluent_learning::dataset::{Dataset, Manifest};
use affluent_learning::fit::{Learner, Model};
use affluent_learning::split::Protocol;
use affluent_learning::train::{Report, TrainOptions, ValueReport, fit, fit_value};
use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What a model was learned from and how, as its report says.
struct Recipe {
    manifest: Manifest,
    protocol: Protocol,
    options: TrainOptions,
}

impl Recipe {
    fn of(kind: Kind, folder: &Path) -> anyhow::Result<Self> {
        Ok(if kind.is_valued() {
            let ValueReport { manifest, protocol, options, .. } = report(folder)?;
            Recipe { manifest, protocol, options }
        } else {
            let Report { manifest, protocol, options, .. } = report(folder)?;
            Recipe { manifest, protocol, options }
        })
    }
}

fn report<T: DeserializeOwned>(folder: &Path) -> anyhow::Result<T> {
    let file = folder.join("report.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
}

/// Learns a version once more, and compares what both say of every row. `from` says where the file is by now that it was learned from.
///
/// # Errors
/// No such version, a file that is another by now, snapshots that are gone, rows that are others.
pub(super) async fn run(
    kind: Kind,
    version: u64,
    from: Option<PathBuf>,
    config: Config,
    format: Format,
) -> anyhow::Result<Exit> {
    let registry = config.learning.store(&config.data_dir)?;
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    let folder = registry.folder(kind.name(), version, &scratch.path().join("stored")).await?;
    let stored = Model::read(&folder.join("data"))?;
    let recipe = Recipe::of(kind, &folder)?;
    let mut options = recipe.options.clone();
    // How many threads there are is no part of a model.
    options.boost.threads = kind.options(&config.learning).boost.threads;
    let (protocol, is_of_lake) = (recipe.protocol, recipe.manifest.lake.is_some());
    let dataset = match (is_of_lake, from) {
        (true, None) => read_again(&open_offline(&config).await?, &recipe.manifest).await?,
        (true, Some(_)) => {
            let name = kind.name();
            return Err(output::usage(format!(
                "version {version} of {name} comes from the lake: leave out --from"
            )));
        }
        (false, from) => {
            let wrong = |error: DefinitionError| output::usage(error.to_string());
            let definitions = Definitions::load(config.features.directory()).map_err(wrong)?;
            tokio::task::spawn_blocking(move || of_file(from, &definitions, &recipe)).await??
        }
    };
    let work = move || differences(kind, &stored, &dataset, protocol, &options);
    let (rows, different) = tokio::task::spawn_blocking(work).await??;
    match format {
        Format::Json => {
            let name = kind.name();
            output::print_json(
                &json!({"model": name, "version": version, "rows": rows, "different": different}),
            )?;
        }
        Format::Text => {
            output::print(&format!("{} version {version}: {different} of {rows} rows differ", kind.name()));
        }
    }
    Ok(if different == 0 { Exit::Done } else { Exit::Failed })
}

/// The rows of the file that a model was learned from, which has to be the same to the byte.
fn of_file(from: Option<PathBuf>, definitions: &Definitions, recipe: &Recipe) -> anyhow::Result<Dataset> {
    let manifest = &recipe.manifest;
    let file = from.unwrap_or_else(|| PathBuf::from(&manifest.source));
    same_file(&file, manifest)?;
    let rows = FileRows::read(&file, definitions, recipe.protocol, &recipe.options)?;
    let found = Manifest { source: manifest.source.clone(), ..rows.manifest };
    if found != *manifest {
        let differs = |(now, then): (&Column, &Column)| (now != then).then(|| then.name.clone());
        let others: Vec<String> = found.columns.iter().zip(&manifest.columns).filter_map(differs).collect();
        bail!(
            "{} is the same, its features are others by now: {}",
            file.display(),
            if others.is_empty() { "which there are".to_owned() } else { others.join(", ") }
        );
    }
    Ok(rows.dataset)
}

fn same_file(file: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let Some(wanted) = &manifest.file_sha256 else {
        bail!("the model was learned from {}, of which no checksum is kept", manifest.source);
    };
    let found = file_checksum(file)
        .context("the file that the model was learned from; name its place with --from")?;
    if found != *wanted {
        bail!(
            "{} is not the file that the model was learned from: its SHA-256 is {found}, that of {} was {wanted}",
            file.display(),
            manifest.source
        );
    }
    Ok(())
}

/// How many rows there are, and of how many both models say another number.
fn differences(
    kind: Kind,
    stored: &Model,
    dataset: &Dataset,
    protocol: Protocol,
    options: &TrainOptions,
) -> anyhow::Result<(usize, usize)> {
    // One that was learned elsewhere is judged once more as it is.
    let imported = match &stored.learner {
        Learner::Imported(imported) => Some(imported),
        Learner::Boosted { .. } | Learner::Regressed { .. } => None,
    };
    let again = if kind.is_valued() {
        fit_value(kind.name(), dataset, protocol, options)?.model
    } else {
        fit(kind.name(), dataset, protocol, options, imported)?.model
    };
    let all: Vec<usize> = (0..dataset.rows.len()).collect();
    let (one, two) = (stored.score(dataset, &all)?, again.score(dataset, &all)?);
    let said = |model: &Model, score: f64| (score.to_bits(), model.probability(score).to_bits());
    let differs = |(a, b): &(&f64, &f64)| said(stored, **a) != said(&again, **b);
    Ok((all.len(), one.iter().zip(&two).filter(differs).count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_refused_with_both_checksums() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("payments.parquet");
        std::fs::write(&file, "abc").unwrap();
        let manifest = Manifest::of(&Dataset::default(), "old.parquet".to_owned(), 0);
        let refusal =
            |manifest: &Manifest, file: &Path| format!("{:#}", same_file(file, manifest).unwrap_err());
        assert!(refusal(&manifest, &file).contains("no checksum"));
        let manifest = Manifest { file_sha256: Some(file_checksum(&file).unwrap()), ..manifest };
        same_file(&file, &manifest).unwrap();
        assert!(refusal(&manifest, &home.path().join("gone.parquet")).contains("gone.parquet"));
        std::fs::write(&file, "abd").unwrap();
        let error = refusal(&manifest, &file);
        assert!(error.contains("ba7816bf") && error.contains("old.parquet"), "{error}");
    }
}
