//! `affluent batch status`: where the pipelines stand, their last runs, alerts, and published versions.

use super::ledger;
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_lake::Lake;
use affluent_model::time::format_micros;
use affluent_schedule::{History, RunRecord};
use affluent_warehouse::batch::{Batch, Version, versions};
use serde_json::{Value as Json, json};

/// Alerts and versions that are shown.
const ALERTS: u32 = 10;
const VERSIONS: usize = 10;

/// Options of `affluent batch status`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StatusArgs {
    /// Runs that are listed, the newest first
    #[arg(long, value_name = "N", default_value_t = 10)]
    runs: u32,
}

/// Prints where everything stands.
///
/// # Errors
/// Ledger, lake.
pub(crate) async fn run(args: &StatusArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let ledger = ledger(&config.schedule).await?;
    let status = ledger.status(ALERTS).await?;
    let runs = ledger.history(&History { limit: args.runs, ..History::default() }).await?;
    // Without a lake there are no versions either.
    let (published, changed) = match Lake::open_existing(config.lake.clone()).await {
        Ok(lake) => {
            let batch = Batch::new(lake.clone(), config.batch.clone()).map_err(super::told)?;
            (versions(&lake).await?, batch.changed().await?)
        }
        Err(_) => Default::default(),
    };
    match format {
        Format::Json => {
            let shown: Vec<Json> = published.iter().take(VERSIONS).map(version_json).collect();
            output::print_json(
                &json!({"status": status, "runs": runs, "versions": shown, "changed": changed}),
            )?;
        }
        Format::Text => {
            let pipelines = status.pipelines.iter().map(|pipeline| {
                let done = pipeline.newest_done.map(|interval| time(interval.to_us())).unwrap_or_default();
                let failure =
                    pipeline.open_failure.as_ref().and_then(|run| run.error.clone()).unwrap_or_default();
                vec![pipeline.pipeline.clone(), done, pipeline.running.len().to_string(), failure]
            });
            let mut text = output::table(&["pipeline", "done up to", "running", "open failure"], pipelines);
            text += &format!(
                "\n{}",
                output::table(&["run", "pipeline", "interval", "state", "s", ""], runs.iter().map(run_row))
            );
            if !published.is_empty() {
                let rows = published.iter().take(VERSIONS).map(version_row);
                text +=
                    &format!("\n{}", output::table(&["version", "as of", "published", "tables", ""], rows));
            }
            if !changed.is_empty() {
                text += &format!(
                    "\nTheir models or seeds have changed since these were computed: {}.\n\
                     What comes in goes by the new ones; `affluent batch run rebuild` computes the rest.\n",
                    changed.join(", ")
                );
            }
            if !status.alerts.is_empty() {
                let rows = status.alerts.iter().map(|alert| {
                    let kind = alert.kind.as_str().to_owned();
                    vec![
                        time(alert.at_us),
                        alert.pipeline.clone(),
                        kind,
                        alert.interval.to_string(),
                        alert.detail.clone(),
                    ]
                });
                text += &format!("\n{}", output::table(&["alert", "pipeline", "kind", "interval", ""], rows));
            }
            output::print(&text);
        }
    }
    Ok(Exit::Done)
}

fn run_row(run: &RunRecord) -> Vec<String> {
    let seconds = run.ended_us.map(|ended| format!("{:.1}", (ended - run.started_us) as f64 / 1e6));
    vec![
        run.id.to_string(),
        run.pipeline.clone(),
        run.interval.to_string(),
        run.state.as_str().to_owned(),
        seconds.unwrap_or_default(),
        run.error.clone().unwrap_or_default(),
    ]
}

fn version_row(version: &Version) -> Vec<String> {
    vec![
        version.version.to_string(),
        version.as_of.map(time).unwrap_or_default(),
        time(version.published_at),
        version.snapshots.len().to_string(),
        version.same_as.map(|other| format!("version {other} again")).unwrap_or_default(),
    ]
}

pub(super) fn version_json(version: &Version) -> Json {
    json!({"version": version.version, "as_of": version.as_of.map(time), "published_at": time(version.published_at),
           "run": version.run, "same_as": version.same_as, "snapshots": version.snapshots})
}

fn time(micros: i64) -> String {
    format_micros(micros, true)
}
