//! Every pipeline, over what a running platform has open: the scheduler runs them by their calendars, the console when it is asked.

use super::{Emitter, pipelines};
use crate::platform::Platform;
use crate::{features, models, train};
use affluent_documents::DocumentStore;
use affluent_lake::Lake;
use affluent_schedule::{Ledger, Pipeline, Runner};
use affluent_warehouse::batch::Batch;
use std::sync::Arc;

/// The pipelines to the warehouse, of features, of training and of drift. With `emitter` it is told what they read and write.
///
/// # Errors
/// A cron line, a model, a definition that cannot be read.
pub(crate) fn every(
    platform: &Platform,
    lake: &Lake,
    store: Arc<dyn DocumentStore>,
    ledger: &Ledger,
    emitter: Option<&Emitter>,
) -> anyhow::Result<Vec<Pipeline>> {
    let config = platform.config();
    let batch = Batch::new(lake.clone(), config.batch.clone())?;
    let mut every = pipelines(&config.schedule, &batch, false, emitter)?;
    every.extend(features::pipelines(config, lake, Some(store))?);
    let training = train::pipelines(config, lake)?;
    every.extend(training.iter().cloned());
    let runner = Runner::new(ledger.clone(), config.schedule.clone());
    every.push(models::drift_pipeline(config, lake, platform.bus(), runner, training)?);
    Ok(every)
}
