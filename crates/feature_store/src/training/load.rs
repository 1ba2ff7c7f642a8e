//! Rows to learn from, read from their tables as they were at a snapshot: the same rows in the same order, each time.

use super::NAMESPACE;
use crate::history::{HistoryError, instant};
use crate::offline::Offline;
use affluent_features::event::fingerprint;
use affluent_lake::LakeError;
use affluent_lake::sql::Pins;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The table of the rows, `features.training_…`, and the one of what is known of them beside their features, where that is another.
    pub rows: String,
    pub beside: Option<String>,
    pub features: Vec<String>,
    pub categories: Vec<String>,
    /// Whether rows have a value.
    pub valued: bool,
    /// Table to the snapshot that is read; tables that are not named are read as they are now.
    pub snapshots: BTreeMap<String, i64>,
}

/// Rows in columns, in the order of time; only those whose label is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// Microseconds UTC.
    pub time: Vec<i64>,
    /// A number of the card or customer: its own, or a fingerprint of its text.
    pub card: Vec<i64>,
    /// Hundredths of the reporting currency.
    pub amount: Vec<i64>,
    pub label: Vec<bool>,
    /// Empty where rows have no value.
    pub value: Vec<f64>,
    /// One a category.
    pub words: Vec<Vec<String>>,
    /// One a feature; NaN where there is no value.
    pub columns: Vec<Vec<f64>>,
    /// All rows of the table, those without a label too.
    pub rows_all: u64,
    /// Table to the snapshot that was read.
    pub snapshots: BTreeMap<String, i64>,
}

/// Reads the rows.
///
/// # Errors
/// [`HistoryError`]: a table or a snapshot that is not there (any more), a feature that the table lacks.
pub async fn load(offline: &Offline, wanted: &Wanted) -> Result<Loaded, HistoryError> {
    let pins = Pins { snapshots: wanted.snapshots.clone(), ..Pins::default() };
    let session = offline.history().session_at(pins).await?;
    let mut loaded = Loaded {
        words: vec![Vec::new(); wanted.categories.len()],
        columns: vec![Vec::new(); wanted.features.len()],
        ..Loaded::default()
    };
    for table in std::iter::once(&wanted.rows).chain(&wanted.beside) {
        let state = session.tables().iter().find(|state| state.name == *table);
        let missing = || HistoryError::Definition(format!("{table} is not there, or has no rows"));
        let state = state.ok_or_else(missing)?;
        loaded.snapshots.insert(table.clone(), state.snapshot.ok_or_else(missing)?);
        if *table == wanted.rows {
            loaded.rows_all = state.rows;
        }
    }
    let mut rows = session.sql(&query(wanted)).await.map_err(HistoryError::sql(&wanted.rows))?;
    while let Some(batch) = rows.next_batch().await {
        take(&mut loaded, wanted, &batch.map_err(HistoryError::sql(&wanted.rows))?);
    }
    Ok(loaded)
}

fn query(wanted: &Wanted) -> String {
    let beside = if wanted.beside.is_some() { "b" } else { "t" };
    let value = if wanted.valued { "t.\"value\"" } else { "cast(null as double)" };
    let mut text = format!(
        "select t.event_time, arrow_cast({beside}.card, 'Utf8') as card, {beside}.amount, t.\"label\", {value} as val"
    );
    for (nth, category) in wanted.categories.iter().enumerate() {
        let _ = write!(text, ", arrow_cast({beside}.\"{category}\", 'Utf8') as c{nth}");
    }
    for (nth, feature) in wanted.features.iter().enumerate() {
        let _ = write!(text, ", t.\"{feature}\" as f{nth}");
    }
    let _ = write!(text, " from {} t", wanted.rows);
    if let Some(table) = &wanted.beside {
        let _ = write!(text, " join {table} b on b.id = t.id");
    }
    text.push_str(" where t.\"label\" is not null order by t.event_time, t.id");
    text
}

/// Takes in a batch, whose columns stand as the query names them.
fn take(loaded: &mut Loaded, wanted: &Wanted, batch: &RecordBatch) {
    let column = |place: usize| batch.column(place);
    let (cards, labels) = (column(1).as_string::<i32>(), column(3).as_boolean());
    loaded.time.extend(column(0).as_primitive::<TimestampMicrosecondType>().values());
    loaded.card.extend(cards.iter().map(|card| number(card.unwrap_or_default())));
    loaded.amount.extend(column(2).as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default));
    loaded.label.extend(labels.iter().map(Option::unwrap_or_default));
    let floats = |place: usize| {
        column(place).as_primitive::<Float64Type>().iter().map(|value| value.unwrap_or(f64::NAN))
    };
    if wanted.valued {
        loaded.value.extend(floats(4));
    }
    for (nth, words) in loaded.words.iter_mut().enumerate() {
        let texts = column(5 + nth).as_string::<i32>();
        words.extend(texts.iter().map(|word| word.unwrap_or_default().to_owned()));
    }
    let first = 5 + wanted.categories.len();
    for (nth, values) in loaded.columns.iter_mut().enumerate() {
        values.extend(floats(first + nth));
    }
}

fn number(card: &str) -> i64 {
    card.parse().unwrap_or_else(|_| fingerprint(card))
}

/// How many events of a source happened from one moment to before another; none where its tables are not there.
///
/// # Errors
/// [`HistoryError`]: no such source, disk and catalog.
pub async fn events_between(
    offline: &Offline,
    source: &str,
    (from, to): (i64, i64),
) -> Result<u64, HistoryError> {
    let history = offline.history();
    let (source, session) = (history.source(source)?, history.session().await?);
    if history.unreadable(&session, source).await?.is_some() {
        return Ok(0);
    }
    let text = format!(
        "select count(*) as events from ({}) as e where e.\"{time}\" >= {} and e.\"{time}\" < {}",
        source.query.as_deref().unwrap_or_default(),
        instant(from),
        instant(to),
        time = source.event_time
    );
    let batches = session.collect(&text).await.map_err(HistoryError::sql(&source.file))?;
    let counts = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
    Ok(counts.map(|&count| u64::try_from(count).unwrap_or(0)).sum())
}

/// The table of a set of payments.
#[must_use]
pub fn table_of(name: &str) -> String {
    format!("{NAMESPACE}.training_{name}")
}

/// Takes the table of a set away that is not wanted any more, and its files; one that is gone already is fine.
///
/// # Errors
/// [`HistoryError`]: disk and catalog.
pub async fn drop_table(offline: &Offline, table: &str) -> Result<(), HistoryError> {
    match offline.lake().purge_table(NAMESPACE, bare(table)).await {
        Ok(()) | Err(LakeError::NotFound(_)) => Ok(()),
        Err(error) => Err(HistoryError::lake(format!("drop {table}"))(error)),
    }
}

/// Keeps these snapshots of tables, as long as the tables are there: merging files makes others the newest, and what is older expires.
///
/// # Errors
/// [`HistoryError`]: a snapshot that is not there (any more), disk and catalog.
pub async fn keep_snapshots(
    offline: &Offline,
    snapshots: &BTreeMap<String, i64>,
) -> Result<(), HistoryError> {
    for (table, &snapshot) in snapshots {
        let failed = || HistoryError::lake(format!("keep snapshot {snapshot} of {table}"));
        let found = offline.lake().table(NAMESPACE, bare(table)).await.map_err(failed())?;
        found.tag(&format!("training-{snapshot}"), snapshot).await.map_err(failed())?;
    }
    Ok(())
}

/// The name of a table without its namespace.
fn bare(table: &str) -> &str {
    table.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(table)
}
