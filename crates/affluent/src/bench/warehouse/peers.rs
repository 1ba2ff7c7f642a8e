//! The same rebuild by other engines: `benches/warehouse_peers` computes every model in DuckDB and in PySpark from the
//! raw zone that this run has written, on the same cores, and holds its tables against ours.

use super::super::python;
use super::{Cost, Report};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::path::Path;
use tokio::process::Command;

/// Where the script lies in the checkout.
const SCRIPT: &str = "benches/warehouse_peers";
/// How much faster than PySpark we mean to be.
const GOAL: f64 = 5.0;

/// What the script prints.
#[derive(Debug, Deserialize)]
struct Peer {
    version: String,
    cores: u32,
    memory_gb: u32,
    /// From the first raw file to the last table, without the start of the engine.
    seconds: f64,
    resident_max: u64,
    tables: Vec<Table>,
    /// What is not as in our tables: rows of a table, sums of payments.
    differs: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Table {
    table: String,
    seconds: f64,
}

/// Fails before hours of work where the peers could not be run after it.
///
/// # Errors
/// The script or its libraries are missing.
pub(super) async fn check(python: &Path) -> anyhow::Result<()> {
    python::check(python, SCRIPT, "duckdb, pyspark, sqlglot").await
}

/// Measures the engines one after the other over the lake in `directory`, whose configuration is `file`; our own
/// first fill and rebuild took `filled` and `rebuilt`.
///
/// # Errors
/// An engine fails, or its tables are not ours: it has not computed the same.
pub(super) async fn measure(
    report: &mut Report,
    python: &Path,
    (directory, file): (&Path, &Path),
    (filled, rebuilt): (&Cost, &Cost),
) -> anyhow::Result<()> {
    for engine in ["duckdb", "pyspark"] {
        let peer =
            run(python, engine, directory, file).await.with_context(|| format!("rebuild by {engine}"))?;
        if !peer.differs.is_empty() {
            bail!("the tables of {engine} are not ours: {}", peer.differs.join("; "));
        }
        if engine == "pyspark" {
            let faster = peer.seconds / rebuilt.seconds;
            report.at_least("warehouse.rebuild.vs_pyspark", GOAL, faster, "times");
        }
        report.note(told(engine, &peer, filled, rebuilt));
    }
    Ok(())
}

async fn run(python: &Path, engine: &str, directory: &Path, file: &Path) -> anyhow::Result<Peer> {
    let work = directory.join(engine);
    let mut command = Command::new(python);
    command.args([SCRIPT, engine]).arg("--data").arg(directory.join("data")).arg("--work").arg(&work);
    command.arg("--affluent").arg(std::env::current_exe()?).arg("--config").arg(file);
    let output = python::output(&mut command).await?;
    // The next engine needs the room; what cannot be removed now goes with the benchmark's directory.
    let _ = tokio::fs::remove_dir_all(&work).await;
    // Tables that differ are an exit code of 1 too, with an answer.
    serde_json::from_slice(&output.stdout).with_context(|| format!("the script ended with {}", output.status))
}

fn told(engine: &str, peer: &Peer, filled: &Cost, rebuilt: &Cost) -> String {
    let mut slowest: Vec<&Table> = peer.tables.iter().collect();
    slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let slowest: Vec<String> =
        slowest.iter().take(4).map(|table| format!("{} {:.1}", table.table, table.seconds)).collect();
    format!(
        "{engine} {}, {} cores, up to {} GB: {:.1} s ({}), {:.0} MB; {:.2} times our rebuild, {:.2} times our first \
         fill; its tables have our rows and sums",
        peer.version,
        peer.cores,
        peer.memory_gb,
        peer.seconds,
        slowest.join(", "),
        peer.resident_max as f64 / 1e6,
        peer.seconds / rebuilt.seconds,
        peer.seconds / filled.seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_script_is_read() {
        let answer = r#"{"engine": "duckdb", "version": "2.0.0", "cores": 2, "memory_gb": 8, "start_seconds": 0.1,
            "seconds": 50.0, "resident_max": 1000000, "tables": [{"table": "dwh.a", "seconds": 1.0, "rows": 3}],
            "payments": {"EUR": "1.0000"}, "differs": []}"#;
        let peer: Peer = serde_json::from_str(answer).unwrap();
        let cost = |seconds| Cost { seconds, resident_max: 0, tasks: Vec::new() };
        let told = told("duckdb", &peer, &cost(100.0), &cost(10.0));
        assert!(told.contains("dwh.a 1.0") && told.contains("5.00 times our rebuild"), "{told}");
    }
}
