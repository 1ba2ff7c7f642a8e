//! `affluent models`: which versions there are, which of them serves, those that were learned elsewhere, and whether what they see has moved.

mod drift;
mod import;
mod served;

pub(crate) use drift::{last_report as last_drift, pipeline as drift_pipeline};
pub(crate) use served::learned;

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use crate::train::Store;
use affluent_learning::registry::{Aliases, Version, promote, roll_back};
use anyhow::Context as _;
use chrono::DateTime;
use clap::Subcommand;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  affluent models list                     all models and versions, and which of them has which name
  affluent models show fraud               how the champion was judged
  affluent models show fraud 3
  affluent models promote fraud            let the challenger serve, if it passed every gate
  affluent models promote fraud 3
  affluent models rollback fraud           let the champion before serve again
  affluent models import model.json --name fraud --features card_payment_amount,card_customer_payments_1d
                                           a model of XGBoost (JSON) or LightGBM (text), as it is
  affluent models drift fraud              is what the champion sees and says still what it learned from?

Models are kept in the folder models of the data directory, or on the server of `[learning.mlflow] url`.";

/// Options of `affluent models`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// List versions
    List {
        /// Of this model alone
        model: Option<String>,
    },
    /// Show how a version was judged
    Show {
        model: String,
        /// [default: the champion, else the challenger]
        version: Option<u64>,
    },
    /// Let a version serve
    Promote {
        model: String,
        /// [default: the challenger]
        version: Option<u64>,
        /// Even if it failed a gate
        #[arg(long)]
        force: bool,
    },
    /// Let the champion before serve again
    Rollback { model: String },
    /// Keep a model that XGBoost or LightGBM has learned
    Import(import::ImportArgs),
    /// Compare what the champion sees and says with what it learned from, and tell what has moved
    Drift(drift::DriftArgs),
}

/// Runs `affluent models`.
///
/// # Errors
/// Models and versions that there are not; a registry that does not answer.
pub(crate) async fn run(args: Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let registry = config.learning.store(&config.data_dir)?;
    match args.command {
        Command::List { model } => list(&registry, model, format).await,
        Command::Show { model, version } => show(&registry, &model, version).await,
        Command::Promote { model, version, force } => {
            let aliases = promote(registry.as_ref(), &model, version, force).await?;
            told(&model, aliases, format)
        }
        Command::Rollback { model } => told(&model, roll_back(registry.as_ref(), &model).await?, format),
        Command::Import(args) => import::run(args, config, format).await,
        Command::Drift(args) => Box::pin(drift::run(args, config, format)).await,
    }
}

async fn list(registry: &Store, model: Option<String>, format: Format) -> anyhow::Result<Exit> {
    let models = match model {
        Some(model) => vec![model],
        None => registry.models().await?,
    };
    let mut lines: Vec<(Version, Vec<&'static str>)> = Vec::new();
    for model in &models {
        let aliases = registry.aliases(model).await?;
        let versions = registry.versions(model).await?;
        lines.extend(versions.into_iter().map(|version| (version.clone(), names(aliases, version.version))));
    }
    match format {
        Format::Json => {
            let one = |(version, names): &(Version, Vec<&str>)| {
                let mut value = json!(version);
                value["aliases"] = json!(names);
                value
            };
            output::print_json(&lines.iter().map(one).collect::<Vec<Value>>())?;
        }
        Format::Text if lines.is_empty() => {
            output::note("no models yet: affluent train --help");
            return Ok(Exit::NothingToDo);
        }
        Format::Text => {
            let metrics = |version: &Version| {
                let shown = version.headline.iter().map(|(name, value)| format!("{name} {value:.4}"));
                shown.collect::<Vec<String>>().join(", ")
            };
            let row = |(version, names): &(Version, Vec<&str>)| {
                let at = DateTime::from_timestamp_millis(version.registered_ms);
                vec![
                    version.model.clone(),
                    version.version.to_string(),
                    names.join(", "),
                    at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
                    metrics(version),
                    version.failed.join(", "),
                ]
            };
            let headers = ["model", "version", "name", "registered", "metrics", "failed gates"];
            output::print(&output::table(&headers, lines.iter().map(row)));
        }
    }
    Ok(Exit::Done)
}

/// The names that a version has.
fn names(aliases: Aliases, version: u64) -> Vec<&'static str> {
    [("champion", aliases.champion), ("challenger", aliases.challenger), ("previous", aliases.previous)]
        .into_iter()
        .filter(|(_, of)| *of == Some(version))
        .map(|(name, _)| name)
        .collect()
}

/// The report of a version, as it was stored.
async fn show(registry: &Store, model: &str, version: Option<u64>) -> anyhow::Result<Exit> {
    let aliases = registry.aliases(model).await?;
    let version = version.or(aliases.champion).or(aliases.challenger);
    let version = version.with_context(|| format!("model {model} has no champion: name a version"))?;
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    let folder = registry.folder(model, version, scratch.path()).await?;
    let file = folder.join("report.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut report: Value =
        serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))?;
    // Curves are for the page.
    for part in ["evaluation", "baseline"] {
        report.get_mut(part).and_then(Value::as_object_mut).map(|evaluation| evaluation.remove("curve"));
    }
    report["version"] = version.into();
    output::print_json(&report)?;
    Ok(Exit::Done)
}

fn told(model: &str, aliases: Aliases, format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let mut value = json!(aliases);
            value["model"] = model.into();
            output::print_json(&value)?;
        }
        Format::Text => {
            let shown = |version: Option<u64>| version.map_or_else(|| "none".to_owned(), |v| v.to_string());
            output::print(&format!(
                "{model}: champion {}, previous {}",
                shown(aliases.champion),
                shown(aliases.previous)
            ));
        }
    }
    Ok(Exit::Done)
}
