//! `affluent config init`: a configuration to start from, for a database that was looked at.
//!
//! The database is only read. What the file says is decided in `text`, which of its columns look personal in `personal`. Invariant: a
//! password that was given is not written.

mod personal;
mod text;

use super::{Config, ConfigError, read_layers, secrets};
use crate::cli::Format;
use crate::output::{self, Exit};
use affluent_stream::cdc::survey::{Finding, Severity, Survey, survey};
use anyhow::Context as _;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Stands in the file for a password that was given.
const PASSWORD: &str = "${env:PGPASSWORD}";

/// Options of `affluent config init`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct InitArgs {
    /// The database, as postgresql://user@host:5432/database; ${env:NAME} and ${file:PATH} stand for secrets [default: cdc.connection]
    #[arg(long, value_name = "URL")]
    connection: Option<String>,
    /// Tables to capture, schema.table or a pattern as public.*; may be given again [default: every schema that has tables]
    #[arg(long = "table", value_name = "PATTERN")]
    tables: Vec<String>,
    /// Write to this new file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Looks at the database and writes the file.
///
/// # Errors
/// A database that is not named or not reached, a file that is there already.
pub(super) async fn run(args: &InitArgs, file: Option<&Path>, format: Format) -> anyhow::Result<Exit> {
    let given = match &args.connection {
        Some(given) => given.clone(),
        None => configured(file)?,
    };
    if given.is_empty() {
        return Err(output::usage(
            "no database is named: give --connection postgresql://user@host:5432/database".to_owned(),
        ));
    }
    if let Some(out) = args.out.as_ref().filter(|out| out.exists()) {
        return Err(output::usage(format!(
            "{} is there already, and is not overwritten: name another by --out",
            out.display()
        )));
    }
    let mut options = Config::load_with(file, &settings(&given), "--connection")?.cdc;
    if !args.tables.is_empty() {
        options.tables.clone_from(&args.tables);
    }
    options.protect_key.get_or_insert_with(|| "is made at the first start".to_owned());
    options.check().map_err(|error| ConfigError::Invalid { message: error.to_string() })?;
    let seen = survey(&options).await.context("look at the database")?;
    if args.tables.is_empty() {
        options.tables = schemas(&seen);
    }
    let findings = seen.findings(&options);
    let text = text::starting_file(&seen, &options, &findings, &written(&given));
    if let Some(out) = &args.out {
        write(out, &text)?;
    }
    match (format, &args.out) {
        (Format::Json, out) => {
            let findings: Vec<_> = findings.iter().map(to_json).collect();
            output::print_json(&json!({"config": text, "written": out, "findings": findings}))?;
        }
        (Format::Text, Some(out)) => output::print(&format!(
            "{} written; {}",
            out.display(),
            match findings.iter().filter(|finding| finding.severity == Severity::Missing).count() {
                0 => "the database lacks nothing: `affluent up` captures it".to_owned(),
                n => format!("the database lacks {n} things first, which stand at its top"),
            }
        )),
        (Format::Text, None) => output::print(&text),
    }
    Ok(Exit::Done)
}

/// `cdc.connection` as it is written, with its references.
fn configured(file: Option<&Path>) -> Result<String, ConfigError> {
    let layers = read_layers(file)?;
    let written = layers.values.get("cdc").and_then(|cdc| cdc.get("connection")).and_then(Value::as_str);
    Ok(written.unwrap_or_default().to_owned())
}

/// The connection as a layer of the configuration, so that its references are resolved.
fn settings(connection: &str) -> String {
    let mut cdc = Table::new();
    cdc.insert("connection".to_owned(), Value::from(connection));
    let mut table = Table::new();
    table.insert("cdc".to_owned(), Value::Table(cdc));
    table.to_string()
}

/// The connection as it may stand in a file: with references it was written with care, otherwise without its password.
fn written(given: &str) -> String {
    let replaced = if given.contains("${") { None } else { secrets::with_password(given, PASSWORD) };
    replaced.unwrap_or_else(|| given.to_owned())
}

/// Every schema that has tables, as patterns; `public` where there is none yet.
fn schemas(seen: &Survey) -> Vec<String> {
    let mut patterns: Vec<String> =
        seen.tables.iter().map(|found| format!("{}.*", found.table.schema)).collect();
    patterns.dedup();
    if patterns.is_empty() {
        patterns.push("public.*".to_owned());
    }
    patterns
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

fn to_json(finding: &Finding) -> serde_json::Value {
    let is_missing = finding.severity == Severity::Missing;
    json!({"missing": is_missing, "what": finding.what, "remedy": finding.remedy})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_was_given_is_not_written() {
        for (given, expected) in [
            ("postgresql://me:hunter2@db/shop", "postgresql://me:${env:PGPASSWORD}@db/shop"),
            (
                "host=db user=me password='a b' dbname=x",
                "host=db user=me password=${env:PGPASSWORD} dbname=x",
            ),
            ("postgresql://me:${file:/run/pw}@db/shop", "postgresql://me:${file:/run/pw}@db/shop"),
            ("postgresql://me@db/shop", "postgresql://me@db/shop"),
        ] {
            assert_eq!(written(given), expected);
        }
    }

    #[test]
    fn a_connection_becomes_a_layer() {
        let layer: Table = settings("host=db password='it''s \"so\"'").parse().unwrap();
        assert_eq!(layer["cdc"]["connection"].as_str(), Some("host=db password='it''s \"so\"'"));
    }
}
