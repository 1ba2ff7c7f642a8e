//! The same model behind `mlflow models serve`: `benches/score_peer.py` starts it, asks it as fast as it answers, and prints what came of it.

use super::super::{Report, python};
use super::load::Answered;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::path::Path;
use tokio::process::Command;

/// Where the script lies in the checkout.
const SCRIPT: &str = "benches/score_peer.py";
/// How many times its throughput, and which part of its 99th percentile.
const THROUGHPUT: f64 = 20.0;
const LATENCY: f64 = 0.1;

/// What the script prints: of the number of clients with which it answered most.
#[derive(Debug, Deserialize)]
struct Answer {
    version: String,
    clients: u32,
    /// Payments a second, one a request.
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Fails before the work where the peer could not be run after it.
///
/// # Errors
/// The script or a library is missing.
pub(super) async fn check(python: &Path) -> anyhow::Result<()> {
    python::check(python, SCRIPT, "mlflow, perpetual, pandas").await
}

/// Measures the model of `folder` and holds it against ours: `saturated` and at a steady rate. A peer that fails is a goal that is missed: what was
/// measured of us stays.
pub(super) async fn measure(
    report: &mut Report,
    python: &Path,
    folder: &Path,
    saturated: &Answered,
    steady: &Answered,
) {
    let told = match answer(python, folder).await {
        Ok(text) => tell(&text, saturated.rate(), steady.quantile(0.99), report),
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        report.at_least("score.peer.throughput", THROUGHPUT, 0.0, "times the peer's");
        report.note(format!("mlflow models serve could not be measured: {error:#}"));
    }
}

/// What the script prints.
async fn answer(python: &Path, folder: &Path) -> anyhow::Result<String> {
    let output = python::output(Command::new(python).arg(SCRIPT).arg(folder)).await?;
    if !output.status.success() {
        bail!("{SCRIPT} ended with {}", output.status);
    }
    String::from_utf8(output.stdout).context("read the answer of the peer")
}

fn tell(text: &str, rate: f64, p99_ms: f64, report: &mut Report) -> anyhow::Result<()> {
    let line = text.lines().rfind(|line| !line.trim().is_empty()).context("the peer has said nothing")?;
    let peer: Answer = serde_json::from_str(line).with_context(|| format!("read the answer {line}"))?;
    report.at_least("score.peer.throughput", THROUGHPUT, rate / peer.rate.max(1e-9), "times the peer's");
    report.at_most("score.peer.p99", LATENCY, p99_ms / peer.p99_ms.max(1e-9), "of the peer's");
    report.note(format!(
        "mlflow {} models serve, at its best with {} clients: {:.1} payments/s, p50 {:.2} ms, p99 {:.2} ms; it is given features, and \
         computes none",
        peer.version, peer.clients, peer.rate, peer.p50_ms, peer.p99_ms
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_held_against_ours() {
        let line = r#"{"version": "3.4.0", "clients": 4, "rate": 250.0, "p50_ms": 10.0, "p99_ms": 40.0}"#;
        let told = |rate: f64, p99: f64| {
            let mut report = Report::new("score");
            tell(&format!("\n{line}\n"), rate, p99, &mut report).unwrap();
            report.met()
        };
        assert!(told(5_000.0, 4.0));
        assert!(!told(4_999.0, 4.0), "not twenty times as much");
        assert!(!told(5_000.0, 4.1), "more than a tenth");
        tell("", 1.0, 1.0, &mut Report::new("score")).unwrap_err();
    }
}
