//! `affluent batch rollback` and `affluent batch lineage`.

use super::engine;
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_warehouse::batch::Models;

/// Options of `affluent batch rollback`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The version to return to; `affluent batch status` lists them [default: the one before the newest]
    #[arg(long, value_name = "VERSION")]
    to: Option<i64>,
}

/// Publishes an older version again. The tables stay as they are: the next run publishes them anew.
///
/// # Errors
/// No lake, no such version.
pub(crate) async fn rollback(args: &RollbackArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let version = engine(config).await?.rollback(args.to).await?;
    match format {
        Format::Json => output::print_json(&super::status::version_json(&version))?,
        Format::Text => output::print(&format!(
            "version {} shows what version {} showed",
            version.version,
            version.same_as.unwrap_or(version.version)
        )),
    }
    Ok(Exit::Done)
}

/// Prints the graph of the models.
///
/// # Errors
/// None but those of printing.
pub(crate) fn lineage(models: &Models, format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => output::print_json(&models.lineage_json())?,
        Format::Text => output::print(&models.lineage_text()),
    }
    Ok(Exit::Done)
}
