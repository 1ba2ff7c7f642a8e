//! `affluent batch`: runs pipelines, and shows and turns back what they made.

mod every;
mod openlineage;
mod run;
mod status;
mod versions;

pub(crate) use every::every;
pub(crate) use openlineage::Emitter;
pub(crate) use run::{NAMES, rebuild, stopped_by_signals, time, word};

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_lake::Lake;
use affluent_schedule::{Clock, Ledger, Pipeline, RAW_TO_DWH, REBUILD, ScheduleOptions, Work};
use affluent_warehouse::batch::{Batch, BatchError, Models, RawToDwh, TASKS};
use anyhow::Context as _;
use clap::Subcommand;
use openlineage::Told;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  affluent batch run raw-to-dwh                       take on what came since, check, publish
  affluent batch run raw-to-dwh --task clean --from 2026-11-22T06:00:00Z --to 2026-11-22T06:15:00Z
  affluent batch run rebuild                          compute everything again, compare, put right
  affluent batch run train-churn                      train anew, where there are enough new labels
  affluent batch backfill raw-to-dwh --from 2026-11-22T00:00:00Z --to 2026-11-22T06:00:00Z
  affluent batch status                               runs, alerts, published versions
  affluent batch lineage --format json                which table is made of which
  affluent batch rollback                             readers see the version before the newest again

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 99 nothing to do.";

/// Options of `affluent batch`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Run a pipeline, or one task of it, for one interval
    Run(run::RunArgs),
    /// Run every interval of a range
    Backfill(run::BackfillArgs),
    /// Show where the pipelines stand, and the published versions
    Status(status::StatusArgs),
    /// Show which table is computed from which
    Lineage,
    /// Publish the version before the newest one again
    Rollback(versions::RollbackArgs),
}

/// Runs `affluent batch`.
///
/// # Errors
/// No lake or ledger, a model that cannot be read, what a command itself says.
pub(crate) async fn run(args: Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    match args.command {
        Command::Run(args) => run::run(args, config, format).await,
        Command::Backfill(args) => run::backfill(args, config, format).await,
        Command::Status(args) => status::run(&args, config, format).await,
        Command::Lineage => versions::lineage(&models(config)?, format),
        Command::Rollback(args) => versions::rollback(&args, config, format).await,
    }
}

/// The pipelines on their calendars. With `full` the pipeline of every quarter of an hour computes everything
/// again, as the nightly one does. With `emitter` what their tasks read and write is told.
///
/// # Errors
/// A cron line that cannot be read.
pub(crate) fn pipelines(
    options: &ScheduleOptions,
    batch: &Batch,
    full: bool,
    emitter: Option<&Emitter>,
) -> anyhow::Result<Vec<Pipeline>> {
    let work = |pipeline: &'static str, work: RawToDwh| -> Arc<dyn Work> {
        match emitter {
            Some(emitter) => {
                let models = Arc::new(batch.models().clone());
                Arc::new(Told::new(Arc::new(work), pipeline, models, emitter.clone()))
            }
            None => Arc::new(work),
        }
    };
    let rebuild = || RawToDwh::rebuild(batch.clone());
    let often = if full { rebuild() } else { RawToDwh::increments(batch.clone()) };
    let (often, nightly) = (work(RAW_TO_DWH, often), work(REBUILD, rebuild()));
    let zone = &options.time_zone;
    Ok(vec![
        Pipeline::new(RAW_TO_DWH, TASKS, options.raw_to_dwh.clone(), zone, often)?,
        Pipeline::new(REBUILD, TASKS, options.rebuild.clone(), zone, nightly)?,
    ])
}

/// The run ledger.
///
/// # Errors
/// A file that cannot be opened.
pub(crate) async fn ledger(options: &ScheduleOptions) -> anyhow::Result<Ledger> {
    Ok(Ledger::open(&options.ledger, Clock::system()).await?)
}

/// The models in force: the shipped ones, and those of `batch.models`.
///
/// # Errors
/// A file that is none.
pub(crate) fn models(config: &Config) -> anyhow::Result<Models> {
    let directory = Some(config.batch.models.as_path()).filter(|path| !path.as_os_str().is_empty());
    Models::load(directory).map_err(told)
}

/// The engine over the lake that is there.
async fn engine(config: &Config) -> anyhow::Result<Batch> {
    let remedy = "does `[lake]` name the right directory, and did `affluent up` ever write to it?";
    let lake =
        Lake::open_existing(config.lake.clone()).await.with_context(|| format!("open the lake; {remedy}"))?;
    Batch::new(lake, config.batch.clone()).map_err(told)
}

/// What the user's own files lack is a matter of configuration.
fn told(error: BatchError) -> anyhow::Error {
    match error {
        BatchError::Options(_) | BatchError::Model { .. } | BatchError::Seed { .. } => {
            output::usage(error.to_string())
        }
        BatchError::Io { .. }
        | BatchError::Sql { .. }
        | BatchError::Lake { .. }
        | BatchError::Behind { .. }
        | BatchError::Checks(_)
        | BatchError::Unpublishable { .. }
        | BatchError::NoVersion(_)
        | BatchError::Stopped { .. } => error.into(),
    }
}
