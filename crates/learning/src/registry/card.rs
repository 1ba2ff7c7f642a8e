//! What a registry tells of a version without reading the model: what a list shows, and what a tracking server logs.

use super::RegistryError;
use crate::dataset::Manifest;
use crate::split::Protocol;
use crate::train::{Choice, Report, TrainOptions, ValueReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The file of a version's folder that holds it.
pub(super) const FILE: &str = "card.json";
/// The gate that a model fails which was imported as it was: nobody has judged it here.
const JUDGED: &str = "judged";

/// Stored as `card.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The metrics that a list shows, by their names.
    pub headline: BTreeMap<String, f64>,
    /// Gates that failed; one alone stops promotion.
    pub failed: Vec<String>,
    pub metrics: Vec<Metric>,
    /// How it was made.
    pub params: Vec<(String, String)>,
}

/// A number that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub name: String,
    /// The fold, where there is one of each.
    pub step: usize,
    pub value: f64,
}

impl Card {
    /// Of a model that was trained, or judged.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let metrics = metrics(report).into_iter().filter(|(_, _, value)| value.is_finite());
        let headline = [
            ("auc_roc", report.evaluation.auc_roc),
            ("average_precision", report.evaluation.average_precision),
        ];
        Card {
            headline: headline.map(|(name, value)| (name.to_owned(), value)).into(),
            failed: report.failed().map(|gate| gate.name.clone()).collect(),
            metrics: metrics.map(|(name, step, value)| Metric { name, step, value }).collect(),
            params: params(report),
        }
    }

    /// Of a model of a number.
    #[must_use]
    pub fn of_value(report: &ValueReport) -> Self {
        let metrics = value_metrics(report).into_iter().filter(|(_, _, value)| value.is_finite());
        let headline =
            [("r2", report.evaluation.r2), ("rank_correlation", report.evaluation.rank_correlation)];
        Card {
            headline: headline.map(|(name, value)| (name.to_owned(), value)).into(),
            failed: report.failed().map(|gate| gate.name.clone()).collect(),
            metrics: metrics.map(|(name, step, value)| Metric { name, step, value }).collect(),
            params: [
                common_params(report.protocol, report.train_rows, &report.manifest, &report.options),
                chosen_params(report.choice.as_ref()),
            ]
            .concat(),
        }
    }

    /// Of a model that comes from elsewhere and was not judged here.
    #[must_use]
    pub fn unjudged(params: Vec<(String, String)>) -> Self {
        Card { failed: vec![JUDGED.to_owned()], params, ..Card::default() }
    }
}

/// Reads the card of a folder.
///
/// # Errors
/// There is none, or it is something else.
pub(super) fn read(folder: &Path) -> Result<Card, RegistryError> {
    let path = folder.join(FILE);
    let what = || format!("read {}", path.display());
    let text =
        std::fs::read_to_string(&path).map_err(|source| RegistryError::File { what: what(), source })?;
    serde_json::from_str(&text).map_err(|source| RegistryError::Json { what: what(), source })
}

/// Name, step, value.
fn metrics(report: &Report) -> Vec<(String, usize, f64)> {
    let mut all = Vec::new();
    for (prefix, of) in [("", &report.evaluation), ("baseline_", &report.baseline)] {
        let one = |name: &str, value: f64| (format!("{prefix}{name}"), 0, value);
        all.extend([
            one("auc_roc", of.auc_roc),
            one("average_precision", of.average_precision),
            one("card_precision_at_100", of.card_precision_at_100),
            one("brier", of.brier),
            one("log_loss", of.log_loss),
            one("saved", of.decisions.saved),
            one("alerts_per_day", of.decisions.alerts_per_day),
            one("precision", of.decisions.precision),
            one("recall", of.decisions.recall),
        ]);
    }
    for (nth, fold) in report.folds.iter().enumerate() {
        all.push(("fold_auc_roc".to_owned(), nth, fold.auc_roc));
        all.push(("fold_average_precision".to_owned(), nth, fold.average_precision));
        all.push(("fold_card_precision_at_100".to_owned(), nth, fold.card_precision_at_100));
    }
    for segment in &report.evaluation.segments {
        let name = format!("segment/{}/{}/average_precision", segment.by, segment.value.replace(' ', "_"));
        all.extend(segment.average_precision.map(|value| (name, 0, value)));
    }
    all.extend(report.importance.iter().map(|(name, part)| (format!("importance/{name}"), 0, *part)));
    all.extend(report.drift.iter().map(|drift| (format!("drift_psi/{}", drift.name), 0, drift.psi)));
    all
}

fn value_metrics(report: &ValueReport) -> Vec<(String, usize, f64)> {
    let mut all = Vec::new();
    for (prefix, of) in [("", &report.evaluation), ("baseline_", &report.baseline)] {
        let one = |name: &str, value: f64| (format!("{prefix}{name}"), 0, value);
        all.extend([
            one("r2", of.r2),
            one("rmse", of.rmse),
            one("mae", of.mae),
            one("rank_correlation", of.rank_correlation),
            one("top_tenth_share", of.top_tenth_share),
        ]);
    }
    for (nth, fold) in report.folds.iter().enumerate() {
        all.push(("fold_r2".to_owned(), nth, fold.r2));
        all.push(("fold_rank_correlation".to_owned(), nth, fold.rank_correlation));
    }
    all.extend(report.importance.iter().map(|(name, part)| (format!("importance/{name}"), 0, *part)));
    all.extend(report.drift.iter().map(|drift| (format!("drift_psi/{}", drift.name), 0, drift.psi)));
    all
}

fn params(report: &Report) -> Vec<(String, String)> {
    let mut all = common_params(report.protocol, report.train_rows, &report.manifest, &report.options);
    all.push(("train_positives".to_owned(), report.train_positives.to_string()));
    all.extend(chosen_params(report.choice.as_ref()));
    all
}

/// The settings that were chosen, beside those of the configuration.
fn chosen_params(choice: Option<&Choice>) -> Vec<(String, String)> {
    let Some(Choice { chosen, .. }) = choice else { return Vec::new() };
    vec![
        ("chosen.boost_share".to_owned(), chosen.boost_share.to_string()),
        ("chosen.budget".to_owned(), chosen.budget.to_string()),
        ("chosen.ridge".to_owned(), chosen.ridge.to_string()),
    ]
}

fn common_params(
    protocol: Protocol,
    train_rows: usize,
    manifest: &Manifest,
    options: &TrainOptions,
) -> Vec<(String, String)> {
    let mut all = vec![
        ("train".to_owned(), protocol.train.to_string()),
        ("test".to_owned(), protocol.test.to_string()),
        ("label_delay_days".to_owned(), (protocol.delay / crate::DAY).to_string()),
        ("train_rows".to_owned(), train_rows.to_string()),
        ("source".to_owned(), manifest.source.clone()),
        ("features".to_owned(), manifest.columns.len().to_string()),
    ];
    if let Ok(Value::Object(boost)) = serde_json::to_value(&options.boost) {
        all.extend(boost.into_iter().map(|(key, value)| (format!("boost.{key}"), value.to_string())));
    }
    all
}
