//! `affluent metrics`: the table of metrics, for people, for machines, and for `docs/metrics.md`.

use crate::cli::Format;
use crate::output::{self, Exit};
use affluent_telemetry::metrics_list::{METRICS, Metric, markdown};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  affluent metrics
  affluent metrics --markdown                   the table of docs/metrics.md
  affluent metrics --format json | jq -r '.[].name'";

/// Options of `affluent metrics`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// As a table of Markdown
    #[arg(long)]
    markdown: bool,
}

/// Prints the table.
///
/// # Errors
/// None that a terminal would show.
pub(crate) fn run(args: &Args, format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let shown = |metric: &Metric| -> Value {
                let Metric { name, kind, labels, help, series_max, buckets } = metric;
                json!({"name": name, "kind": kind.as_str(), "labels": labels, "help": help, "series_max": series_max,
                    "buckets": buckets})
            };
            output::print_json(&METRICS.iter().map(shown).collect::<Vec<_>>())?;
        }
        Format::Text if args.markdown => output::print(&markdown()),
        Format::Text => {
            let row = |metric: &Metric| {
                let kind = metric.kind.as_str().to_owned();
                vec![metric.name.to_owned(), kind, metric.labels.join(","), metric.help.to_owned()]
            };
            output::print(&output::table(&["name", "kind", "labels", "meaning"], METRICS.iter().map(row)));
        }
    }
    Ok(Exit::Done)
}
