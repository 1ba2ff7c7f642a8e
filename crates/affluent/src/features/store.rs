//! What of the feature store the commands and roles share: the offline store, and the pipelines of features.

use super::{load, references};
use crate::config::Config;
use affluent_documents::{Backend, DocumentStore};
use affluent_feature_store::history::History;
use affluent_feature_store::jobs::{FeatureJobs, Online, PARITY_TASKS, ParityJob, TASKS};
use affluent_feature_store::offline::Offline;
use affluent_feature_store::stream::{Past, Streamed};
use affluent_features::definition::Freshness;
use affluent_lake::Lake;
use affluent_lake::sql::{Engine, EngineOptions};
use affluent_schedule::{FEATURES_1H, FEATURES_5M, FEATURES_NIGHTLY, FEATURES_PARITY, Pipeline};
use anyhow::Context as _;
use std::sync::Arc;

/// The offline store over `lake`.
///
/// # Errors
/// Definitions or seeds that are wrong.
pub(crate) fn offline(config: &Config, lake: &Lake) -> anyhow::Result<Offline> {
    let history = History::new(engine(config, lake)?, Arc::new(load(config)?), references(config)?);
    Ok(Offline::new(lake.clone(), history, config.features.memory_bytes))
}

/// What the topics of the streamed features do not hold, in `lake`.
///
/// # Errors
/// Memory or a spill directory that queries cannot have.
pub(crate) fn past(config: &Config, lake: Lake, streamed: &Streamed) -> anyhow::Result<Past> {
    let engine = engine(config, &lake)?;
    Ok(Past::new(lake, engine, streamed))
}

fn engine(config: &Config, lake: &Lake) -> anyhow::Result<Arc<Engine>> {
    let options = EngineOptions { memory_bytes: config.batch.memory_bytes, ..EngineOptions::default() };
    Ok(Arc::new(Engine::new(lake.clone(), options)?))
}

/// The pipelines of features on their calendars. Without a document store nothing is served and nothing compared.
///
/// # Errors
/// As [`offline`]; a cron line that cannot be read.
pub(crate) fn pipelines(
    config: &Config,
    lake: &Lake,
    store: Option<Arc<dyn DocumentStore>>,
) -> anyhow::Result<Vec<Pipeline>> {
    let (options, offline) = (&config.schedule, offline(config, lake)?);
    let zone = &options.time_zone;
    let ttl_days = config.features.stream.ttl_days;
    let online = store.clone().map(|store| Online { store, ttl_days });
    let mut pipelines = Vec::new();
    for (name, freshness, own) in [
        (FEATURES_5M, Freshness::FiveMinutes, &options.features_5m),
        (FEATURES_1H, Freshness::Hour, &options.features_1h),
        (FEATURES_NIGHTLY, Freshness::Nightly, &options.features_nightly),
    ] {
        let work = Arc::new(FeatureJobs::new(offline.clone(), freshness, online.clone()));
        pipelines.push(Pipeline::new(name, TASKS, own.clone(), zone, work)?);
    }
    let (history, sample) = (offline.history().clone(), config.features.parity_sample);
    let work = Arc::new(ParityJob::new(lake.clone(), history, store, sample));
    pipelines.push(Pipeline::new(
        FEATURES_PARITY,
        PARITY_TASKS,
        options.features_parity.clone(),
        zone,
        work,
    )?);
    Ok(pipelines)
}

/// The document store, where a command can open it beside a running platform: not the embedded one.
///
/// # Errors
/// A store that cannot be reached.
pub(crate) async fn shared_documents(config: &Config) -> anyhow::Result<Option<Arc<dyn DocumentStore>>> {
    if config.documents.backend == Backend::Embedded {
        return Ok(None);
    }
    let store = affluent_documents::open(&config.documents, &config.data_dir).await;
    Ok(Some(store.context("open the document store")?))
}
