//! What a model saw: the rows it learned from, as they were, and those of late, computed from the lake by the one engine of features.

use crate::models::served::{Learned, Served};
use crate::train::RowOptions;
use affluent_feature_store::history::HistoryError;
use affluent_feature_store::offline::{Offline, Writer};
use affluent_feature_store::training::{
    CustomerSet, Loaded, TrainingColumns, TrainingLabel, TrainingSet, Wanted, customer_rows, drop_table,
    load, training_columns,
};
use affluent_learning::DAY;
use affluent_learning::dataset::{Dataset, FeatureVersion, LakeSource, Rows};
use affluent_learning::drift::Seen;
use affluent_learning::fit::ModelError;
use affluent_learning::split::{Period, Protocol};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;

/// Rows of late that are held in memory at most; of more payments a sample is looked at.
const ROWS_MAX: usize = 2_000_000;
/// The payments, and what marks the fraudulent ones.
const PAYMENTS: &str = "transactions";
const LABELS: &str = "fraud_labels";

/// What the model saw and said.
pub(super) struct Periods {
    pub(super) training: Seen,
    pub(super) previous: Seen,
    pub(super) current: Seen,
    /// One of so many payments of late was looked at.
    pub(super) one_of: u64,
}

/// Where the rows are that a model learned from, or why it cannot be watched.
pub(super) fn reference(served: &Served) -> Result<(&LakeSource, &Protocol), String> {
    let Some(Learned { manifest, protocol }) = &served.learned else {
        return Err("it was imported and not judged here: what it learned from is not known".to_owned());
    };
    let from_file = || {
        let source = &manifest.source;
        format!("it was learned from {source}, not from the lake: train it from the lake to have it watched")
    };
    Ok((manifest.lake.as_ref().ok_or_else(from_file)?, protocol))
}

/// Reads and scores the rows of learning, of `current`, and of `previous` before it. Of a model of customers both are looked at at one instant, the last whole
/// day of the period.
///
/// # Errors
/// A model that was not learned from the lake; tables that are not there; features that mean something else by now.
pub(super) async fn read(
    offline: &Offline,
    rows: &RowOptions,
    served: &Served,
    (previous, current): (Period, Period),
    writer: &dyn Writer,
) -> anyhow::Result<Periods> {
    let (source, protocol) = match reference(served) {
        Ok(found) => found,
        Err(why) => bail!(why),
    };
    // Rows of payments have a table beside them, rows of customers have values.
    let of_customers = source.beside.is_none();
    let names: Vec<String> = served.model.features.iter().map(|feature| feature.name.clone()).collect();
    let wanted = Wanted {
        rows: source.rows.clone(),
        beside: source.beside.clone(),
        features: names.clone(),
        categories: Vec::new(),
        valued: of_customers,
        snapshots: source.snapshots.clone(),
    };
    let loaded = load(offline, &wanted).await.context("read the rows that it learned from")?;
    let learned_from = dataset(served.model.features.clone(), loaded);
    let delay = protocol.delay;
    let (late, one_of, previous_of, current_of) = if of_customers {
        let (before, now) = (instant(previous), instant(current));
        let late = customers(offline, rows, served, [before, now], delay, writer).await?;
        (late, 1, moment(before), moment(now))
    } else {
        let (late, one_of) = payments(offline, &names, (previous.from, current.to), delay, writer).await?;
        (late, one_of, previous, current)
    };
    let (model, train) = (served.model.clone(), protocol.train);
    let scored = tokio::task::spawn_blocking(move || -> Result<Periods, ModelError> {
        let known = current.to.saturating_sub(delay);
        Ok(Periods {
            training: Seen::of(&model, &learned_from, train, i64::MAX)?,
            previous: Seen::of(&model, &late, previous_of, known)?,
            current: Seen::of(&model, &late, current_of, known)?,
            one_of,
        })
    });
    Ok(scored.await??)
}

fn dataset(features: Vec<FeatureVersion>, loaded: Loaded) -> Dataset {
    let rows = Rows { time: loaded.time, label: loaded.label, value: loaded.value, ..Rows::default() };
    Dataset { features, columns: loaded.columns, rows }
}

/// The last whole day of a period.
fn instant(period: Period) -> i64 {
    period.to.div_euclid(DAY) * DAY
}

fn moment(at: i64) -> Period {
    Period { from: at, to: at + 1 }
}

fn versions(offline: &Offline, names: &[String]) -> Vec<FeatureVersion> {
    let definitions = offline.history().definitions();
    let version = |name: &String| definitions.feature(name).map_or(0, |feature| feature.version);
    names.iter().map(|name| FeatureVersion { name: name.clone(), version: version(name) }).collect()
}

/// The payments from one moment to before another, as what had arrived by then lets them be known; one of how many.
async fn payments(
    offline: &Offline,
    names: &[String],
    (from, to): (i64, i64),
    delay: i64,
    writer: &dyn Writer,
) -> anyhow::Result<(Dataset, u64)> {
    let set = TrainingSet {
        name: "drift".to_owned(),
        source: PAYMENTS.to_owned(),
        features: names.to_vec(),
        from,
        to,
        as_of: to,
        label: Some(TrainingLabel { source: LABELS.to_owned(), delay }),
    };
    let rows = match training_columns(offline, &set, ROWS_MAX, writer).await {
        Ok(rows) => rows,
        // Nobody has paid: too few rows to tell anything, and no fault.
        Err(HistoryError::NoRows { refused: 0, .. }) => TrainingColumns {
            features: names.to_vec(),
            values: vec![Vec::new(); names.len()],
            ..TrainingColumns::default()
        },
        Err(error) => return Err(anyhow::Error::from(error).context("read the payments of late")),
    };
    let dataset = Dataset {
        features: versions(offline, &rows.features),
        columns: rows.values,
        rows: Rows {
            time: rows.time,
            label: rows.labels.iter().map(|label| label.unwrap_or_default()).collect(),
            ..Rows::default()
        },
    };
    Ok((dataset, rows.one_of.max(1)))
}

/// The customers at two instants; their table goes again once it is read.
async fn customers(
    offline: &Offline,
    rows: &RowOptions,
    served: &Served,
    instants: [i64; 2],
    horizon: i64,
    writer: &dyn Writer,
) -> anyhow::Result<Dataset> {
    let micros = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    let set = CustomerSet {
        name: format!("drift_{}", served.model.name.replace('-', "_").to_ascii_lowercase()),
        entities: rows.entities.clone(),
        instants: instants.to_vec(),
        active: micros(rows.active_s),
        horizon,
    };
    let done = customer_rows(offline, &set, writer, |_| {}).await.context("read the customers of late")?;
    let names: Vec<String> = served.model.features.iter().map(|feature| feature.name.clone()).collect();
    let wanted = Wanted {
        rows: done.table.clone(),
        beside: None,
        features: names.clone(),
        categories: Vec::new(),
        valued: true,
        snapshots: BTreeMap::new(),
    };
    let loaded = load(offline, &wanted).await;
    drop_table(offline, &done.table).await.with_context(|| format!("drop {}", done.table))?;
    Ok(dataset(versions(offline, &names), loaded.context("read the customers of late")?))
}
