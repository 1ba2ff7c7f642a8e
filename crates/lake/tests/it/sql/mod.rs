//! SQL over the lake's tables, against the lake's own scan, pyiceberg and the same rows in memory.

pub(crate) mod cluster;
mod exact;
mod limits;
mod newest;
mod parameters;
mod pinned;
mod pruned;
mod schemas;
mod sought;

use crate::tables::options;
use affluent_lake::Lake;
use affluent_lake::sql::{Engine, EngineOptions, Pins, Renderer, Session, SqlError, TextFormat};
use std::path::Path;

pub(crate) async fn lake(directory: &Path) -> Lake {
    let mut options = options(directory);
    options.maintenance.compact_files_min = 2;
    Lake::open(options).await.unwrap()
}

pub(crate) fn engine(lake: &Lake) -> Engine {
    Engine::new(lake.clone(), EngineOptions { partitions: 2, ..EngineOptions::default() }).unwrap()
}

/// A session over the newest state.
pub(crate) async fn session(lake: &Lake) -> Session {
    engine(lake).session(Pins::default()).await.unwrap()
}

/// The rows as CSV without the line of names.
pub(crate) async fn rows(session: &Session, text: &str) -> Vec<String> {
    try_rows(session, text).await.unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) async fn try_rows(session: &Session, text: &str) -> Result<Vec<String>, SqlError> {
    let mut rows = session.sql(text).await?;
    let mut renderer = Renderer::new(TextFormat::Csv, rows.schema());
    let mut csv = String::new();
    while let Some(batch) = rows.next_batch().await {
        csv += &renderer.batch(&batch?)?;
    }
    csv += &renderer.finish()?;
    Ok(csv.lines().skip(1).map(str::to_owned).collect())
}

/// The one row of the answer.
pub(crate) async fn one(session: &Session, text: &str) -> String {
    let rows = rows(session, text).await;
    assert_eq!(rows.len(), 1, "{text}: {rows:?}");
    rows.into_iter().next().unwrap()
}

/// Data files that the plan opens.
pub(crate) async fn files_opened(session: &Session, text: &str) -> usize {
    let plan = session.explain(text, false).await.unwrap();
    assert!(!plan.contains("..."), "too many files to be listed: {plan}");
    plan.matches(".parquet").count()
}
