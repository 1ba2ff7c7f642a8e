//! `affluent features`: what is defined, and whether it is sound. Nothing is computed or stored here.

mod check;
mod form;
mod list;
mod options;
mod show;

pub(crate) use options::FeatureOptions;

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_features::Definitions;
use affluent_features::definition::nearest;
use clap::Subcommand;

const EXAMPLES: &str = "\
Examples:
  affluent features list --entity customer --freshness stream
  affluent features list --format json | jq -r '.[].name'
  affluent features show customer_velocity            what it says, what it is made of, what it costs to keep
  affluent features show customers                    a view: the features of one file
  affluent features show transactions                 a source: its columns, and what is computed of it
  affluent features check my-features                 are these definitions sound, and the recorded meanings the same?
  affluent features check my-features --record        then write my-features/versions.lock

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
}

/// Runs `affluent features`.
///
/// # Errors
/// Definitions that are wrong, names that there are not.
pub(crate) fn run(args: &Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List(args) => list::run(args, &load(config)?, format),
        Command::Show(args) => show::run(args, &load(config)?, format),
        Command::Check(args) => check::run(args, config.features.directory(), format),
    }
}

/// The shipped definitions, and over them the user's.
fn load(config: &Config) -> anyhow::Result<Definitions> {
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
