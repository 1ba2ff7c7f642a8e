//! `affluent train MODEL --again VERSION`: a registered model is learned once more, from the rows that its manifest names, as they were at
//! their snapshots, and has to say the same of every row.

use super::kind::Kind;
use super::lake::read_again;
use super::options::Store;
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_feature_store::offline::Offline;
use affluent_learning::dataset::{Dataset, Manifest};
use affluent_learning::fit::Model;
use affluent_learning::split::Protocol;
use affluent_learning::train::{Report, TrainOptions, ValueReport, fit, fit_value};
use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::path::Path;

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

/// Learns a version once more, and compares what both say of every row.
///
/// # Errors
/// No such version, one that was learned from a file, snapshots that are gone, rows that are others.
pub(super) async fn run(
    kind: Kind,
    version: u64,
    (config, offline, registry): (&Config, &Offline, &Store),
    format: Format,
) -> anyhow::Result<Exit> {
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    let folder = registry.folder(kind.name(), version, &scratch.path().join("stored")).await?;
    let stored = Model::read(&folder.join("data"))?;
    let recipe = Recipe::of(kind, &folder)?;
    if recipe.manifest.lake.is_none() {
        bail!(
            "version {version} of {} was learned from {}: give that file to affluent train {0} --from",
            kind.name(),
            recipe.manifest.source
        );
    }
    let mut options = recipe.options;
    // How many threads there are is no part of a model.
    options.boost.threads = kind.options(&config.learning).boost.threads;
    let dataset = read_again(offline, &recipe.manifest).await?;
    let protocol = recipe.protocol;
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

/// How many rows there are, and of how many both models say another number.
fn differences(
    kind: Kind,
    stored: &Model,
    dataset: &Dataset,
    protocol: Protocol,
    options: &TrainOptions,
) -> anyhow::Result<(usize, usize)> {
    let again = if kind.is_valued() {
        fit_value(kind.name(), dataset, protocol, options)?.model
    } else {
        fit(kind.name(), dataset, protocol, options, None)?.model
    };
    let all: Vec<usize> = (0..dataset.rows.len()).collect();
    let (one, two) = (stored.score(dataset, &all)?, again.score(dataset, &all)?);
    let said = |model: &Model, score: f64| (score.to_bits(), model.probability(score).to_bits());
    let differs = |(a, b): &(&f64, &f64)| said(stored, **a) != said(&again, **b);
    Ok((all.len(), one.iter().zip(&two).filter(differs).count()))
}
