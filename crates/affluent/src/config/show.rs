//! `affluent config`: the command, and of its parts `check`, `show` and `defaults`.

use super::connect;
use super::init::{self, InitArgs};
use super::layers::{Layers, dotted};
use super::{Config, file_in_force, read_layers, secrets};
use crate::cli::Format;
use crate::output::{self, Exit};
use clap::Subcommand;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

const EXAMPLES: &str = "\
Examples:
  affluent config init --connection 'postgresql://affluent:${env:PGPASSWORD}@db.internal/shop' --out affluent.toml
  affluent config check --config shop.toml     exit code 0, or 2 and what is wrong where
  affluent config check --connect              the same, then try every connection and permission
  affluent config show                         every key in force, and where it was set
  AFFLUENT__BROKER__FLUSH=relaxed affluent config show
  affluent config defaults > affluent.toml     a file to start from, every key explained";

/// Options of `affluent config`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Look at a database and write a configuration to start from; nothing in the database is changed
    Init(InitArgs),
    /// Say whether the configuration can be used
    Check(CheckArgs),
    /// Print what is in force and where it was set, secrets masked
    Show,
    /// Print the built-in configuration with the meaning of every key
    Defaults,
}

#[derive(Debug, Clone, clap::Args)]
struct CheckArgs {
    /// Try every connection and permission too, and say what to fix; exit code 1 where something fails
    #[arg(long)]
    connect: bool,
}

/// Runs `affluent config`.
///
/// # Errors
/// What is wrong with the configuration.
pub(crate) fn run(args: &Args, file: Option<&Path>, format: Format) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Init(args) => return crate::runtime()?.block_on(init::run(args, file, format)),
        Command::Check(CheckArgs { connect: true }) => {
            let config = Config::load(file)?;
            return crate::runtime()?.block_on(connect::run(&config, format));
        }
        Command::Check(CheckArgs { connect: false }) => {
            Config::load(file)?;
            let source =
                file_in_force(file).map_or("built-in defaults".to_owned(), |f| f.display().to_string());
            match format {
                Format::Text => output::print(&format!("ok: {source}")),
                Format::Json => output::print_json(&json!({"ok": true, "source": source}))?,
            }
        }
        Command::Show => {
            let layers = read_layers(file)?;
            match format {
                Format::Text => output::print(&to_text(&layers)),
                Format::Json => output::print_json(&to_json(&layers))?,
            }
        }
        Command::Defaults => output::print(super::DEFAULTS),
    }
    Ok(Exit::Done)
}

fn to_json(layers: &Layers) -> serde_json::Value {
    let masked: BTreeMap<&String, Value> =
        layers.values.iter().map(|(key, value)| (key, secrets::masked(key, value))).collect();
    json!({"config": masked, "set_by": layers.origins})
}

fn to_text(layers: &Layers) -> String {
    let mut text = String::new();
    write_table(&layers.values, &mut Vec::new(), layers, &mut text);
    text
}

/// Plain keys first, then each table as a section of its own.
fn write_table(table: &Table, path: &mut Vec<String>, layers: &Layers, text: &mut String) {
    for (name, value) in table {
        if value.is_table() {
            continue;
        }
        path.push(name.clone());
        let key = dotted(path);
        let origin = layers.origins.get(&key).map(|origin| format!("  # {origin}")).unwrap_or_default();
        let written = toml_key(name);
        text.push_str(&format!("{written} = {}{origin}\n", secrets::shown(&key, value)));
        path.pop();
    }
    for (name, value) in table {
        let Value::Table(inner) = value else { continue };
        path.push(name.clone());
        let section: Vec<String> = path.iter().map(|part| toml_key(part)).collect();
        text.push_str(&format!("\n[{}]\n", section.join(".")));
        write_table(inner, path, layers, text);
        path.pop();
    }
}

/// A key as TOML writes it: bare where it may be.
fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}
