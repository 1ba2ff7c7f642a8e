//! What a model saw: the rows it learned from, as they were, and those of late, computed from the lake by the one engine of features.

use crate::models::served::{Learned, Served};
use affluent_feature_store::offline::{Offline, Writer};
use affluent_feature_store::training::{TrainingLabel, TrainingSet, Wanted, load, training_columns};
use affluent_learning::dataset::{Dataset, FeatureVersion, Rows};
use affluent_learning::drift::Seen;
use affluent_learning::fit::ModelError;
use affluent_learning::split::Period;
use anyhow::{Context as _, bail};

/// Rows of late that are held in memory at most.
const ROWS_MAX: usize = 2_000_000;
/// The payments, and what marks the fraudulent ones.
const PAYMENTS: &str = "transactions";
const LABELS: &str = "fraud_labels";

/// What the model saw and said.
pub(super) struct Periods {
    pub(super) training: Seen,
    pub(super) previous: Seen,
    pub(super) current: Seen,
}

/// Reads and scores the rows of learning, of `current`, and of `previous` before it.
///
/// # Errors
/// A model that was not learned from payments of the lake; tables that are not there; features that mean something else by now.
pub(super) async fn read(
    offline: &Offline,
    served: &Served,
    (previous, current): (Period, Period),
    writer: &dyn Writer,
) -> anyhow::Result<Periods> {
    let Some(Learned { manifest, protocol }) = &served.learned else {
        bail!("it was imported and not judged here: what it learned from is not known");
    };
    let Some(source) = &manifest.lake else {
        bail!(
            "it was learned from {}, not from the lake: train it from the lake to have it watched",
            manifest.source
        );
    };
    let names: Vec<String> = served.model.features.iter().map(|feature| feature.name.clone()).collect();
    let wanted = Wanted {
        rows: source.rows.clone(),
        beside: source.beside.clone(),
        features: names.clone(),
        categories: Vec::new(),
        valued: false,
        snapshots: source.snapshots.clone(),
    };
    let loaded = load(offline, &wanted).await.context("read the rows that it learned from")?;
    let learned_from = Dataset {
        features: served.model.features.clone(),
        columns: loaded.columns,
        rows: Rows { time: loaded.time, label: loaded.label, ..Rows::default() },
    };
    let late = late(offline, &names, (previous.from, current.to), protocol.delay, writer).await?;
    let (model, train, delay) = (served.model.clone(), protocol.train, protocol.delay);
    let scored = tokio::task::spawn_blocking(move || -> Result<Periods, ModelError> {
        let known = current.to.saturating_sub(delay);
        Ok(Periods {
            training: Seen::of(&model, &learned_from, train, i64::MAX)?,
            previous: Seen::of(&model, &late, previous, known)?,
            current: Seen::of(&model, &late, current, known)?,
        })
    });
    Ok(scored.await??)
}

/// The payments from one moment to before another, as what had arrived by then lets them be known.
async fn late(
    offline: &Offline,
    names: &[String],
    (from, to): (i64, i64),
    delay: i64,
    writer: &dyn Writer,
) -> anyhow::Result<Dataset> {
    let set = TrainingSet {
        name: "drift".to_owned(),
        source: PAYMENTS.to_owned(),
        features: names.to_vec(),
        from,
        to,
        as_of: to,
        label: Some(TrainingLabel { source: LABELS.to_owned(), delay }),
    };
    let rows =
        training_columns(offline, &set, ROWS_MAX, writer).await.context("read the payments of late")?;
    let definitions = offline.history().definitions();
    let version = |name: &String| FeatureVersion {
        name: name.clone(),
        version: definitions.feature(name).map_or(0, |feature| feature.version),
    };
    Ok(Dataset {
        features: rows.features.iter().map(version).collect(),
        columns: rows.values,
        rows: Rows {
            time: rows.time,
            label: rows.labels.iter().map(|label| label.unwrap_or_default()).collect(),
            ..Rows::default()
        },
    })
}
