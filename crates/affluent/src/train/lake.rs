//! Rows to learn from out of the lake: which they are, written once into tables of Iceberg, and read from there by the snapshots that the
//! manifest names.
//!
//! Invariant: a dataset that is read by its manifest is the one that the manifest describes, or an error.

use super::kind::Kind;
use super::options::LearningOptions;
use super::periods::{Looks, of_customers, of_payments};
use crate::output;
use affluent_feature_store::offline::{Offline, Writer};
use affluent_feature_store::training::{
    CATEGORIES, CUSTOMER_CATEGORIES, CustomerSet, INSTANTS_MAX, Loaded, TrainingLabel, TrainingSet, Wanted,
    customer_rows, keep_snapshots, load, payments_span, readable, training_rows, write_beside,
};
use affluent_features::event::fingerprint;
use affluent_learning::dataset::{Category, Dataset, FeatureVersion, LakeSource, Manifest, Rows};
use affluent_learning::split::{Protocol, TooShort};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The source whose events are the rows of the fraud model, and the one that marks them.
const PAYMENTS: &str = "transactions";
pub(super) const LABELS: &str = "fraud_labels";

/// What was asked for; what was not is chosen by the data.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// What had come by then is known, microseconds UTC.
    pub(super) as_of: Option<i64>,
    pub(super) protocol: Option<Protocol>,
    /// How long after a row its label is known, microseconds.
    pub(super) delay: Option<i64>,
    /// Judged periods of the prequential validation.
    pub(super) folds: Option<usize>,
}

/// Rows that are written and described.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Planned {
    pub(super) protocol: Protocol,
    pub(super) manifest: Manifest,
    /// What is not as it was asked for, in words.
    pub(super) notes: Vec<String>,
}

/// The delay of a model's labels, in microseconds.
pub(super) fn delay(kind: Kind, options: &LearningOptions) -> i64 {
    let rows = &options.rows;
    micros(match kind {
        Kind::Fraud => rows.fraud_label_delay_s,
        Kind::Churn => rows.churn_horizon_s,
        Kind::Score => rows.score_horizon_s,
    })
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// Chooses periods, writes the rows, and reads them.
///
/// # Errors
/// No payments, too short a history, tables that are missing.
pub(super) async fn prepare(
    offline: &Offline,
    kind: Kind,
    options: &LearningOptions,
    asked: Asked,
    writer: &dyn Writer,
) -> anyhow::Result<(Planned, Dataset)> {
    let (first, last) = payments_span(offline).await?.context(
        "there are no payments in the warehouse: import some, or let `affluent up` run, then `affluent batch run raw-to-dwh`",
    )?;
    let known = offline.known_until().await?.unwrap_or(last);
    let as_of = asked.as_of.unwrap_or_else(|| known.min(last.saturating_add(1)));
    if as_of <= first {
        return Err(output::usage(format!(
            "--as-of lies before the first payment ({}): nothing was known by then",
            affluent_model::time::format_micros(first, true)
        )));
    }
    let delay = asked.delay.unwrap_or_else(|| delay(kind, options));
    let lengths = (micros(options.rows.train_max_s), micros(options.rows.test_max_s));
    let mut train = kind.options(options).clone();
    train.folds = asked.folds.unwrap_or(train.folds);
    let (source, protocol, notes) = match kind {
        Kind::Fraud => {
            let protocol = match asked.protocol {
                Some(protocol) => protocol,
                None => of_payments((first, as_of), delay, lengths)?,
            };
            let span = train.span(protocol);
            if span.to <= first || protocol.train.from > last {
                bail!(
                    "no payments in {} and {}: those of the warehouse begin with {} and end with {}",
                    protocol.train,
                    protocol.test,
                    affluent_model::time::format_micros(first, true),
                    affluent_model::time::format_micros(last, true)
                );
            }
            let (source, notes) =
                payments(offline, options, (span.from.max(first), span.to), (as_of, delay), writer).await?;
            (source, protocol, notes)
        }
        Kind::Churn | Kind::Score => {
            let every = micros(options.rows.every_s);
            let looks = of_customers((first, as_of), delay, every, lengths, asked.protocol)?;
            let instants = looks.instants(train.span(looks.protocol), INSTANTS_MAX);
            let (source, notes) =
                customers(offline, kind, options, &looks, (instants, delay), writer).await?;
            (source, looks.protocol, notes)
        }
    };
    let (dataset, manifest) = read(offline, source).await?;
    if let Some(source) = &manifest.lake {
        keep_snapshots(offline, &source.snapshots).await?;
    }
    Ok((Planned { protocol, manifest, notes }, dataset))
}

/// Writes rows of payments that happened in a span.
async fn payments(
    offline: &Offline,
    options: &LearningOptions,
    (from, to): (i64, i64),
    (as_of, delay): (i64, i64),
    writer: &dyn Writer,
) -> anyhow::Result<(LakeSource, Vec<String>)> {
    let (features, notes) = match options.rows.fraud_features.as_slice() {
        [] => readable(offline, PAYMENTS).await?,
        names => (names.to_vec(), Vec::new()),
    };
    let versions = versions(offline, &features)?;
    let mut meaning = format!("{from} {to} {as_of} {delay} ");
    for name in &features {
        let digest = offline.history().definitions().feature(name).map(|feature| feature.digest.as_str());
        let _ = write!(meaning, "{name}:{} ", digest.unwrap_or_default());
    }
    let name = format!("fraud_{:016x}", fingerprint(&meaning));
    let label = Some(TrainingLabel { source: LABELS.to_owned(), delay });
    let set = TrainingSet { name, source: PAYMENTS.to_owned(), features, from, to, as_of, label };
    let done = training_rows(offline, &set, writer, |_| {}).await?;
    let beside = write_beside(offline, &set.name, writer).await?;
    let mut notes: Vec<String> = notes.into_iter().map(|note| format!("left out: {note}")).collect();
    for (count, what) in [
        (done.inexact, "rows have windows that reach back to events that had been let go"),
        (done.read.refused, "rows of the lake are no events, and were left out"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    let source = LakeSource {
        snapshots: BTreeMap::new(),
        features: versions,
        categories: CATEGORIES.map(str::to_owned).to_vec(),
        rows: done.table,
        beside: Some(beside),
        valued: false,
    };
    Ok((source, notes))
}

/// Name and version of each feature.
fn versions(offline: &Offline, names: &[String]) -> anyhow::Result<Vec<FeatureVersion>> {
    let definitions = offline.history().definitions();
    let version = |name: &String| {
        let feature = definitions.feature(name);
        let missing = || output::usage(format!("learning.rows.fraud_features: there is no feature {name}"));
        Ok(FeatureVersion { name: name.clone(), version: feature.ok_or_else(missing)?.version })
    };
    names.iter().map(version).collect()
}

/// Writes rows of customers at instants.
async fn customers(
    offline: &Offline,
    kind: Kind,
    options: &LearningOptions,
    looks: &Looks,
    (instants, horizon): (Vec<i64>, i64),
    writer: &dyn Writer,
) -> anyhow::Result<(LakeSource, Vec<String>)> {
    if instants.is_empty() {
        bail!(
            "no look at customers lies in the periods {} and {}",
            looks.protocol.train,
            looks.protocol.test
        );
    }
    // No shorter than from one look to the next, so that nobody is between two of them.
    let active = micros(options.rows.active_s);
    let set = CustomerSet {
        name: kind.name().to_owned(),
        entities: options.rows.entities.clone(),
        instants,
        active: active.max(looks.step),
        horizon,
    };
    let done = customer_rows(offline, &set, writer, |_| {}).await?;
    let feature = |(name, version)| FeatureVersion { name, version };
    let source = LakeSource {
        snapshots: BTreeMap::new(),
        features: done.features.into_iter().map(feature).collect(),
        categories: CUSTOMER_CATEGORIES.map(str::to_owned).to_vec(),
        rows: done.table,
        beside: None,
        valued: kind.is_valued(),
    };
    let notes = done.left_out.into_iter().map(|note| format!("left out: {note}")).collect();
    Ok((source, notes))
}

/// The rows as they are in their tables, or were at the snapshots that are named; the manifest names those that were read.
///
/// # Errors
/// A table or snapshot that is not there.
async fn read(offline: &Offline, source: LakeSource) -> anyhow::Result<(Dataset, Manifest)> {
    let wanted = Wanted {
        rows: source.rows.clone(),
        beside: source.beside.clone(),
        features: source.features.iter().map(|feature| feature.name.clone()).collect(),
        categories: source.categories.clone(),
        valued: source.valued,
        snapshots: source.snapshots.clone(),
    };
    let mut loaded = load(offline, &wanted).await?;
    let snapshots = std::mem::take(&mut loaded.snapshots);
    let rows_all = usize::try_from(loaded.rows_all).unwrap_or(usize::MAX);
    let dataset = dataset(loaded, &source);
    let mut manifest = Manifest::of(&dataset, source.rows.clone(), rows_all);
    manifest.lake = Some(LakeSource { snapshots, ..source });
    Ok((dataset, manifest))
}

fn dataset(loaded: Loaded, source: &LakeSource) -> Dataset {
    let categories = source.categories.iter().zip(&loaded.words);
    let categories =
        categories.map(|(name, words)| Category::new(name, words.iter().map(String::as_str))).collect();
    let rows = Rows {
        pattern: vec![0; loaded.time.len()],
        time: loaded.time,
        card: loaded.card,
        amount: loaded.amount,
        label: loaded.label,
        value: loaded.value,
        categories,
    };
    Dataset { features: source.features.clone(), columns: loaded.columns, rows }
}

/// Reads a dataset once more, from the snapshots that its manifest names.
///
/// # Errors
/// It came from a file, a snapshot is gone, or the rows are others.
pub(super) async fn read_again(offline: &Offline, manifest: &Manifest) -> anyhow::Result<Dataset> {
    let source = manifest.lake.clone();
    let source = source.with_context(|| format!("{} is no table of the lake", manifest.source))?;
    let (dataset, found) = read(offline, source).await?;
    if found != *manifest {
        bail!(
            "{} has other rows than the manifest says ({} instead of {}): checksums differ",
            manifest.source,
            found.rows_sha256,
            manifest.rows_sha256
        );
    }
    Ok(dataset)
}

/// There is not enough yet, which more time will bring.
pub(super) fn is_too_short(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<TooShort>())
}
