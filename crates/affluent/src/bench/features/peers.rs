//! The same twelve features by others: `benches/features_peers.py` computes them in pandas, DuckDB and PySpark from the same file, on
//! one core each, and holds their values against ours.

use super::super::python;
use super::Report;
use super::handbook::{Measured, WIDTH};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::path::Path;
use tokio::process::Command;

/// Where the script lies in the checkout.
const SCRIPT: &str = "benches/features_peers.py";

/// What the script prints, a line a peer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    peer: String,
    /// Why it could not be measured; then the rest is not there.
    error: Option<String>,
    version: String,
    rows: usize,
    /// From the file in the peer's memory to all values there: by the clock, and on the processor.
    seconds: f64,
    processor_seconds: f64,
    /// Values that are not ours, by feature.
    differ: Vec<u64>,
}

/// Fails before the work where the peers could not be run after it. The values are checked by pandas; the others may be missing.
///
/// # Errors
/// The script or pandas is missing.
pub(super) async fn check(python: &Path) -> anyhow::Result<()> {
    python::check(python, SCRIPT, "numpy, pandas, pyarrow").await
}

/// Has every peer compute the features of `file` and compares.
///
/// # Errors
/// The script fails; its answer cannot be read.
pub(super) async fn measure(
    report: &mut Report,
    python: &Path,
    file: &Path,
    ours: Measured,
) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("affluent-bench_").tempdir()?;
    let values = directory.path().join("values");
    let (rows, seconds) = (ours.rows(), ours.replayed.processor_seconds);
    let into = values.clone();
    tokio::task::spawn_blocking(move || ours.write(&into)).await?.context("write the values")?;
    let output = python::output(Command::new(python).arg(SCRIPT).arg(file).arg(&values)).await?;
    if !output.status.success() {
        bail!("{SCRIPT} ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("read the answer of the peers")?;
    tell(&text, rows, seconds, report)
}

/// Reports the answers; `seconds` are ours on the processor.
fn tell(text: &str, rows: usize, seconds: f64, report: &mut Report) -> anyhow::Result<()> {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let answer: Answer = serde_json::from_str(line).with_context(|| format!("read the answer {line}"))?;
        let checks = answer.peer == "pandas";
        if let Some(error) = answer.error {
            if checks {
                bail!("pandas, by which values are checked: {error}");
            }
            report.note(format!("{} was not measured: {error}", answer.peer));
            continue;
        }
        if (answer.rows, answer.differ.len()) != (rows, WIDTH) {
            bail!("{} has {} rows of {} features, we {rows}", answer.peer, answer.rows, answer.differ.len());
        }
        let differ: u64 = answer.differ.iter().sum();
        if checks {
            report.at_most("features.handbook.differ", 0.0, differ as f64, "values");
        }
        report.note(format!(
            "{} {}: {:.1} s by the clock, {:.1} s on the processor, {:.1} times ours; {differ} of {} values differ from ours",
            answer.peer,
            answer.version,
            answer.seconds,
            answer.processor_seconds,
            answer.processor_seconds / seconds.max(0.01),
            rows * WIDTH
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_judged() {
        let answer = |peer: &str, differ: u64| {
            format!(
                "{{\"peer\": \"{peer}\", \"version\": \"1\", \"rows\": 10, \"seconds\": 9.0, \"processor_seconds\": 8.0, \
                 \"differ\": [{differ}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}}\n"
            )
        };
        let told = |text: &str| {
            let mut report = Report::new("features");
            tell(text, 10, 2.0, &mut report).map(|()| report)
        };
        let missing = "{\"peer\": \"pyspark\", \"error\": \"no Java\"}\n";
        let report = told(&(answer("pandas", 0) + &answer("duckdb", 3) + missing)).unwrap();
        assert!(report.met() && report.slos.len() == 1, "only pandas has our rule for ties: {report:?}");
        assert!(report.notes[0].contains("4.0 times ours; 0 of 120 values"), "{report:?}");
        assert!(
            report.notes[1].contains("3 of 120 values") && report.notes[2].contains("no Java"),
            "{report:?}"
        );
        assert!(!told(&answer("pandas", 1)).unwrap().met());
        told(&missing.replace("pyspark", "pandas")).unwrap_err();
        told(&answer("pandas", 0).replace("\"rows\": 10", "\"rows\": 9")).unwrap_err();
    }
}
