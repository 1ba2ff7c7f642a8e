//! The scripts of `benches/`, by which other engines do the same work: run by the Python that `--peers` names.

use anyhow::{Context as _, bail};
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// Fails before the work where `script` could not be run after it.
///
/// # Errors
/// The script is not in the working directory, or Python lacks one of `libraries` (`numpy, pandas`).
pub(super) async fn check(python: &Path, script: &str, libraries: &str) -> anyhow::Result<()> {
    if !Path::new(script).exists() {
        bail!("{script} is not here: run the benchmark with --peers from the checkout");
    }
    let output = output(Command::new(python).arg("-c").arg(format!("import {libraries}"))).await?;
    if !output.status.success() {
        bail!("{} lacks a library: pip install --requirement benches/requirements.txt", python.display());
    }
    Ok(())
}

/// Runs to the end. What it says on standard error is shown, as it takes long.
///
/// # Errors
/// It cannot be started.
pub(super) async fn output(command: &mut Command) -> anyhow::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.kill_on_drop(true).spawn().context("run Python")?.wait_with_output().await.context("run Python")
}
