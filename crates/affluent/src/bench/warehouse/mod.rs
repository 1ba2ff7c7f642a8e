//! `affluent bench warehouse`: the batch pipeline over a generated history: filled, brought up to date by the changes
//! of a quarter of an hour, and rebuilt; each step by `affluent batch run` in a process of its own, as users run it. With
//! `--peers` DuckDB and PySpark rebuild it too.

pub(super) mod history;
mod peers;

use super::process::usage;
use super::{Context, Report};
use crate::config::Config;
use affluent_lake::Lake;
use anyhow::{Context as _, bail};
use history::History;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Payments of the history.
const PAYMENTS: u64 = 10_000_000;
/// Rows that change in a quarter of an hour.
const CHANGES: u64 = 20_000;

/// What one run cost.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    /// Bytes of resident memory at the most.
    resident_max: u64,
    /// Task and its seconds.
    tasks: Vec<(String, f64)>,
}

/// Measures.
///
/// # Errors
/// Where the history cannot be written, or a run fails.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    if let Some(python) = &context.peers {
        peers::check(python).await?;
    }
    let mut report = Report::new("warehouse");
    let directory = tempfile::Builder::new().prefix("affluent-bench_").tempdir()?;
    let file = settings(directory.path())?;
    let config = Config::load_with(Some(&file), "", "the benchmark")?;
    let history = History { payments: context.scaled(PAYMENTS) };
    let changes = context.scaled(CHANGES);
    let bar = if context.progress { ProgressBar::new(history.rows()) } else { ProgressBar::hidden() };
    let lake = Lake::open(config.lake.clone()).await?;
    history.write(&lake, |done| bar.set_position(done)).await.context("write the history")?;
    bar.finish_and_clear();
    report.note(format!(
        "{} payments over 120 days, {} raw rows; ids without order, as gen_random_uuid() makes them",
        history.payments,
        history.rows()
    ));
    let filled = batch(&file, &["raw-to-dwh"]).await.context("fill the warehouse")?;
    let rate = |cost: &Cost| history.rows() as f64 / cost.seconds;
    report.note(format!("first fill: {:.0} raw rows/s; {}", rate(&filled), told(&filled)));
    history.change(&lake, changes).await.context("change rows")?;
    let increment = batch(&file, &["raw-to-dwh"]).await.context("take on the changes")?;
    report.at_most("warehouse.increment", 10.0, increment.seconds, "s");
    report.at_most("warehouse.increment.memory", 2_000.0, increment.resident_max as f64 / 1e6, "MB");
    report.note(format!("increment of {changes} changed rows: {}", told(&increment)));
    let rebuilt = batch(&file, &["rebuild"]).await.context("rebuild")?;
    report.at_least("warehouse.rebuild", 400_000.0, rate(&rebuilt), "raw rows/s");
    report.note(format!("rebuild, with the comparison of every table: {}", told(&rebuilt)));
    if let Some(python) = &context.peers {
        peers::measure(&mut report, python, (directory.path(), file.as_path()), (&filled, &rebuilt)).await?;
    }
    Ok(report)
}

/// A configuration whose lake lies in `directory`.
fn settings(directory: &Path) -> anyhow::Result<PathBuf> {
    let file = directory.join("affluent.toml");
    let text = format!(
        "data_dir = {:?}\n[log]\nfilter = \"warn,affluent_warehouse=info\"\n",
        directory.join("data")
    );
    std::fs::write(&file, text).context("write the configuration")?;
    Ok(file)
}

/// One `affluent batch run` in a process of its own.
///
/// # Errors
/// It fails; the text is what it printed.
pub(super) async fn batch(file: &Path, arguments: &[&str]) -> anyhow::Result<Cost> {
    let began = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(file).args(["--format", "json", "batch", "run"]).args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let id = child.id().context("the process has ended already")?;
    let mut resident_max = 0;
    let mut output = Box::pin(child.wait_with_output());
    let output = loop {
        tokio::select! {
            output = &mut output => break output?,
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                resident_max = usage(id).map_or(resident_max, |usage| usage.resident_max.max(resident_max));
            }
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!(
            "`affluent batch run {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read the answer of the run")?;
    let micros = |task: &serde_json::Value, key: &str| task[key].as_i64().unwrap_or_default();
    let tasks = answer["run"]["tasks"].as_array().into_iter().flatten();
    let task = |task: &serde_json::Value| {
        let seconds = (micros(task, "ended_us") - micros(task, "started_us")) as f64 / 1e6;
        (task["task"].as_str().unwrap_or_default().to_owned(), seconds)
    };
    Ok(Cost { seconds, resident_max, tasks: tasks.map(task).collect() })
}

/// Seconds, those of each task, and memory.
pub(super) fn told(cost: &Cost) -> String {
    let tasks: Vec<String> =
        cost.tasks.iter().map(|(task, seconds)| format!("{task} {seconds:.1}")).collect();
    format!("{:.1} s ({}), {:.0} MB", cost.seconds, tasks.join(", "), cost.resident_max as f64 / 1e6)
}
