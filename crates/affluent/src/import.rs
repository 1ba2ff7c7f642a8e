//! `affluent import`: history that lies in a file, into the raw zone of the lake.

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_lake::{Lake, LakeFormat};
use affluent_warehouse::batch::Models;
use affluent_warehouse::import::{FileKind, Import, ImportError, ImportProgress, Imported, Label, Mapping};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  affluent import transactions --from payments.parquet            columns by their own names, or by a shipped mapping
  affluent import transactions --from old.csv --map id=txn --map amount=cents:minor --set currency=EUR
  affluent import transactions --from old.ndjson --label is_fraud --label-delay-days 14
  affluent import refunds --from refunds.csv --mapping refunds.toml

Then: affluent batch run raw-to-dwh && affluent features backfill

Amounts are decimals, texts, or whole numbers of minor units (`:minor`), never floats. Times without a zone are UTC. Rows
that cannot be taken exactly go to ops.quarantine with the reason. The same file with the same mapping again adds nothing; an import that was
killed goes on where it was.
Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 99 nothing was added.";

const TICK: Duration = Duration::from_millis(200);

/// Options of `affluent import`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The table of the source: transactions, refunds, disputes, customers, merchants, or any that is captured
    table: String,
    /// The file: Parquet, CSV with a line of names, or one JSON object a line
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The file's form, where its name does not tell: parquet, csv or ndjson
    #[arg(long, value_name = "FORM")]
    form: Option<String>,
    /// Column of the table from a column of the file, COLUMN=FILE_COLUMN; `:minor` behind it for minor units; may be repeated
    #[arg(long, value_name = "COLUMN=FILE_COLUMN")]
    map: Vec<String>,
    /// Column of the table the same in every row; may be repeated
    #[arg(long, value_name = "COLUMN=VALUE")]
    set: Vec<String>,
    /// A file of such a mapping, or the name of a shipped one; --map and --set go before it
    #[arg(long, value_name = "FILE|NAME")]
    mapping: Option<String>,
    /// Column of the file that marks payments which were fraud
    #[arg(long, value_name = "FILE_COLUMN")]
    label: Option<String>,
    /// Days from a payment until its fraud was known
    #[arg(long, value_name = "N", default_value_t = 7, requires = "label")]
    label_delay_days: u32,
}

/// Imports.
///
/// # Errors
/// A file or mapping that does not go together, disk and catalog.
pub(crate) async fn run(args: Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    if config.lake.format == LakeFormat::Json {
        return Err(output::usage(
            "lake.format is json: history is imported into Iceberg tables only".to_owned(),
        ));
    }
    let kind = kind(&args)?;
    let (mapping, shipped) = mapping(&args, kind)?;
    if let Some(name) = shipped {
        output::note(&format!("by the shipped mapping {name}: {}", mapping.description));
    }
    let models = Some(config.batch.models.as_path()).filter(|path| !path.as_os_str().is_empty());
    let models = Models::load(models).map_err(|error| output::usage(error.to_string()))?;
    let lake = Lake::open(config.lake.clone()).await.context("open the lake")?;
    let import = Import { file: args.from.clone(), kind, mapping, source: config.cdc.source.clone() };
    let bar = bar();
    let imported = import.run(&lake, &models, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let imported = imported.map_err(told)?;
    match format {
        Format::Json => output::print_json(&json!(imported))?,
        Format::Text => output::print(&text(&args.table, &imported)),
    }
    Ok(if imported.added == 0 && imported.quarantined == 0 { Exit::NothingToDo } else { Exit::Done })
}

fn kind(args: &Args) -> anyhow::Result<FileKind> {
    let kind = match &args.form {
        Some(name) => FileKind::named(name),
        None => FileKind::of(&args.from),
    };
    kind.ok_or_else(|| {
        let file = args.from.display();
        output::usage(format!("what is {file}? Give --form parquet, csv or ndjson"))
    })
}

/// The mapping of the flags; where there are none, the shipped one that fits the file, with its name.
fn mapping(args: &Args, kind: FileKind) -> anyhow::Result<(Mapping, Option<&'static str>)> {
    let is_plain = args.map.is_empty() && args.set.is_empty() && args.label.is_none();
    let mut mapping = match &args.mapping {
        Some(name) => named(name)?,
        None if is_plain => {
            let columns = kind.columns(&args.from).map_err(told)?;
            if let Some((name, mapping)) = Mapping::shipped_for(&args.table, &columns).map_err(told)? {
                return Ok((mapping, Some(name)));
            }
            Mapping { table: args.table.clone(), ..Mapping::default() }
        }
        None => Mapping { table: args.table.clone(), ..Mapping::default() },
    };
    if mapping.table != args.table {
        let (asked, meant) = (&args.table, &mapping.table);
        return Err(output::usage(format!("the mapping is to {meant}, not to {asked}")));
    }
    for flag in &args.map {
        mapping.map(flag).map_err(told)?;
    }
    for flag in &args.set {
        mapping.set(flag).map_err(told)?;
    }
    if let Some(column) = &args.label {
        mapping.label = Some(Label { column: column.clone(), delay_days: args.label_delay_days });
    }
    Ok((mapping, None))
}

/// The mapping of a file, or a shipped one by its name.
fn named(name: &str) -> anyhow::Result<Mapping> {
    let shipped = Mapping::shipped().map_err(told)?;
    if let Some((_, mapping)) = shipped.iter().find(|(known, _)| *known == name) {
        return Ok(mapping.clone());
    }
    let known: Vec<&str> = shipped.iter().map(|(known, _)| *known).collect();
    let text = std::fs::read_to_string(Path::new(name)).map_err(|error| {
        output::usage(format!("read the mapping {name}: {error}; shipped are {}", known.join(", ")))
    })?;
    Mapping::parse(name, &text).map_err(told)
}

/// A bar on a terminal; elsewhere nothing is drawn.
fn bar() -> ProgressBar {
    if !output::is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} rows {per_sec} {wide_bar} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn show(bar: &ProgressBar, progress: ImportProgress) {
    if let Some(total) = progress.rows_total {
        bar.set_length(total);
    }
    bar.set_position(progress.rows);
    tracing::debug!(rows = progress.rows, "imported");
}

fn text(table: &str, imported: &Imported) -> String {
    let Imported { number, rows, added, labels, quarantined } = imported;
    let mut text =
        format!("import {number}: {rows} rows of the file, {} added to raw.{table}", added - labels);
    if *labels > 0 {
        text += &format!(", {labels} disputes of marked payments to raw.disputes");
    }
    if *quarantined > 0 {
        text += &format!(
            "; {quarantined} not taken: select error, count(*) from ops.quarantine where _kafka_partition = -{number} group by error"
        );
    }
    text
}

/// What the caller can put right is a matter of usage.
fn told(error: ImportError) -> anyhow::Error {
    if error.is_usage() { output::usage(error.to_string()) } else { error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Command::parse_from(std::iter::once("import").chain(line.iter().copied())).args
    }

    #[test]
    fn flags_go_before_a_mapping_and_a_shipped_one_is_found_by_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.csv");
        std::fs::write(&file, "transaction_id,occurred_at,customer_id,terminal_id,amount_minor,fraud\n")
            .unwrap();
        let file = file.to_str().unwrap();
        let found = mapping(&args(&["transactions", "--from", file]), FileKind::Csv).unwrap();
        assert_eq!(found.1, Some("card_transactions"));
        let own = ["transactions", "--from", file, "--mapping", "card_transactions", "--set", "currency=USD"];
        let (own, shipped) = mapping(&args(&own), FileKind::Csv).unwrap();
        assert_eq!((own.set["currency"].as_str(), shipped), ("USD", None));
        let labelled = ["transactions", "--from", file, "--label", "fraud", "--label-delay-days", "3"];
        let (labelled, _) = mapping(&args(&labelled), FileKind::Csv).unwrap();
        assert_eq!(labelled.label, Some(Label { column: "fraud".to_owned(), delay_days: 3 }));
        let wrong =
            mapping(&args(&["refunds", "--from", file, "--mapping", "card_transactions"]), FileKind::Csv);
        assert!(wrong.unwrap_err().to_string().contains("to transactions, not to refunds"));
        assert!(named("no such").unwrap_err().to_string().contains("shipped are card_transactions"));
        assert!(
            kind(&args(&["transactions", "--from", "f.txt"])).unwrap_err().to_string().contains("--form")
        );
    }
}
