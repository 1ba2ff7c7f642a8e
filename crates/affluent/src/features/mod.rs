//! `affluent features`: what is defined, whether it is sound, which values a key has, and vectors of the past.

mod backfill;
mod check;
pub(crate) mod form;
mod get;
mod list;
mod options;
mod parity;
mod show;
mod store;

pub(crate) use backfill::UntilStopped;
pub(crate) use options::FeatureOptions;
pub(crate) use store::{offline, past, pipelines, shared_documents};

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_feature_store::event::References;
use affluent_feature_store::stream::Streamed;
use affluent_features::Definitions;
use affluent_features::definition::nearest;
use affluent_warehouse::batch::Seeds;
use anyhow::Context as _;
use clap::Subcommand;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  affluent features list --entity customer --freshness stream
  affluent features list --format json | jq -r '.[].name'
  affluent features show customer_velocity            what it says, what it is made of, what it costs to keep
  affluent features show customers                    a view: the features of one file
  affluent features show transactions                 a source: its columns, and what is computed of it
  affluent features check my-features                 are these definitions sound, and the recorded meanings the same?
  affluent features check my-features --record        then write my-features/versions.lock
  affluent features backfill --from 2026-10-01T00:00:00Z customers     what their features were, day by day, into the lake
  affluent features parity --sample 500               is what was served what the lake says?
  affluent features get customer 42                   the newest values of a key, from the running platform

The shipped definitions, and over them those of `[features] definitions`. See docs/features.md.";

/// Options of `affluent features`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// List the features
    List(list::ListArgs),
    /// Show all of a feature, a view or a source
    Show(show::ShowArgs),
    /// Check a directory of definitions, and that none has changed its meaning
    Check(check::CheckArgs),
    /// Show the newest values of a key
    Get(get::GetArgs),
    /// Compute the vectors of the past from the lake, into the tables features.*
    Backfill(backfill::BackfillArgs),
    /// Compute a sample of what was served once more from the lake, and compare
    Parity(parity::ParityArgs),
}

/// Runs `affluent features`.
///
/// # Errors
/// Definitions that are wrong, names that there are not.
pub(crate) async fn run(args: Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    match args.command {
        Command::List(args) => list::run(&args, &load(config)?, format),
        Command::Show(args) => show::run(&args, &load(config)?, format),
        Command::Check(args) => check::run(&args, config.features.directory(), format),
        Command::Get(args) => get::run(args, config, format).await,
        Command::Backfill(args) => backfill::run(args, config, format).await,
        Command::Parity(args) => parity::run(args, config, format).await,
    }
}

/// What rows are looked up in: the seeds of the warehouse.
pub(crate) fn references(config: &Config) -> anyhow::Result<Arc<References>> {
    let seeds = Seeds::load(&config.batch).context("read the seeds")?;
    Ok(Arc::new(References::new(|name| seeds.get(name))?))
}

/// The features that are kept up with the topics.
pub(crate) fn streamed(config: &Config) -> anyhow::Result<Streamed> {
    Ok(Streamed::new(&load(config)?, references(config)?)?)
}

/// The shipped definitions, and over them the user's.
///
/// # Errors
/// What is wrong with the user's.
pub(crate) fn load(config: &Config) -> anyhow::Result<Definitions> {
    Definitions::load(config.features.directory()).map_err(refused)
}

/// Wrong definitions are a matter of configuration.
fn refused(error: impl std::error::Error) -> anyhow::Error {
    output::usage(error.to_string())
}

/// There is no such thing; the nearest known name, if any is near.
fn unknown<'a>(kind: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> anyhow::Error {
    let near = nearest(name, known.into_iter());
    output::usage(format!("there is no {kind} {name}{near}"))
}
