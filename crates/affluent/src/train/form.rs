//! What is printed of a model.

use affluent_learning::gate::Gate;
use affluent_learning::train::{Report, ValueReport};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Seconds of each step.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Took {
    pub(super) read: f64,
    pub(super) features: f64,
    pub(super) train: f64,
    pub(super) total: f64,
}

/// All that was measured, the metrics of the judged period first; curves and checksums are in the report.
pub(super) fn json(report: &Report, took: &Took) -> Value {
    let model = &report.evaluation;
    let drift: Vec<Value> = report
        .drift
        .iter()
        .map(|drift| json!({"name": drift.name, "psi": drift.psi, "level": drift.level}))
        .collect();
    let importance: Vec<Value> =
        report.importance.iter().map(|(name, part)| json!({"name": name, "part": part})).collect();
    json!({
        "model": report.model,
        "train": report.protocol.train.to_string(),
        "test": report.protocol.test.to_string(),
        "label_delay_days": report.protocol.delay / affluent_learning::DAY,
        "auc_roc": model.auc_roc,
        "average_precision": model.average_precision,
        "card_precision_at_100": model.card_precision_at_100,
        "card_precision_by_day": model.card_precision_by_day,
        "card_precision_by": model.card_precision_by,
        "card_score": report.options.card_score,
        "rows": model.rows,
        "positives": model.positives,
        "known_left_out": report.known_left_out,
        "prequential": report.prequential,
        "folds": report.folds,
        "choice": report.choice,
        "baseline": {
            "auc_roc": report.baseline.auc_roc,
            "average_precision": report.baseline.average_precision,
            "card_precision_at_100": report.baseline.card_precision_at_100,
            "decisions": report.baseline.decisions,
        },
        "intervals": report.intervals,
        "recall_at_alert_rate": model.recall_at_alert_rate,
        "decisions": model.decisions,
        "brier": model.brier,
        "log_loss": model.log_loss,
        "reliability": model.reliability,
        "segments": model.segments,
        "train_rows": report.train_rows,
        "train_positives": report.train_positives,
        "trees": report.trees,
        "importance": importance,
        "screened": report.screened,
        "drift": drift,
        "gates": report.gates,
        "notes": report.notes,
        "seconds": took,
    })
}

/// The same of a model of a number.
pub(super) fn value_json(report: &ValueReport, took: &Took) -> Value {
    let importance: Vec<Value> =
        report.importance.iter().map(|(name, part)| json!({"name": name, "part": part})).collect();
    let drift: Vec<Value> = report
        .drift
        .iter()
        .map(|drift| json!({"name": drift.name, "psi": drift.psi, "level": drift.level}))
        .collect();
    json!({
        "model": report.model,
        "train": report.protocol.train.to_string(),
        "test": report.protocol.test.to_string(),
        "horizon_s": report.protocol.delay / 1_000_000,
        "mae": report.evaluation.mae,
        "rmse": report.evaluation.rmse,
        "r2": report.evaluation.r2,
        "rank_correlation": report.evaluation.rank_correlation,
        "top_tenth_share": report.evaluation.top_tenth_share,
        "rows": report.evaluation.rows,
        "calibration": report.evaluation.calibration,
        "baseline": report.baseline,
        "intervals": report.intervals,
        "segments": report.segments,
        "folds": report.folds,
        "choice": report.choice,
        "train_rows": report.train_rows,
        "trees": report.trees,
        "importance": importance,
        "screened": report.screened,
        "drift": drift,
        "gates": report.gates,
        "notes": report.notes,
        "seconds": took,
    })
}

/// A few lines for people.
pub(super) fn text(report: &Report, version: u64) -> String {
    let model = &report.evaluation;
    let mut text = format!(
        "{} version {version}: area under ROC {:.3}, average precision {:.3} (baseline {:.3}), Card Precision@100 {:.3}\n",
        report.model,
        model.auc_roc,
        model.average_precision,
        report.baseline.average_precision,
        model.card_precision_at_100
    );
    told(&mut text, &report.model, version, &report.gates, &report.notes);
    text
}

/// The same of a model of a number.
pub(super) fn value_text(report: &ValueReport, version: u64) -> String {
    let (model, base) = (&report.evaluation, &report.baseline);
    let mut text = format!(
        "{} version {version}: R² {:.3} (baseline {:.3}), rank correlation {:.3}, mean error {:.2} (baseline {:.2})\n",
        report.model, model.r2, base.r2, model.rank_correlation, model.mae, base.mae
    );
    told(&mut text, &report.model, version, &report.gates, &report.notes);
    text
}

fn told(text: &mut String, model: &str, version: u64, gates: &[Gate], notes: &[String]) {
    let failed: Vec<&Gate> = gates.iter().filter(|gate| !gate.passed).collect();
    for gate in &failed {
        let _ = writeln!(text, "gate {} failed: {}", gate.name, gate.finding);
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    if failed.is_empty() {
        let _ = writeln!(text, "promote it with: affluent models promote {model} {version}");
    }
}
