//! Models and rules brought up to date while payments are judged: whoever asks the registry and the file, the judge does not wait for it.
//!
//! Both are looked at in turn. A new model is read, made ready and warmed beside the judge, then put in place at once; so are new rules.
//! What cannot be read, is of other features, or has a mistake is refused, told once, and what was there stays.
//!
//! Invariant: what judges is whole: a version of a model with its thresholds, a version of the rules with their lists.

mod models;
mod rules;
mod served;

pub use served::{Refused, Served};

use crate::judge::Judge;
use affluent_learning::registry::Registry;
use models::Models;
use rules::RulesFile;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Which model and which rules judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServingOptions {
    /// The model, by its name in the registry: its champion decides, its challenger is asked too.
    pub model: String,
    /// The file of rules; empty: those that are shipped.
    pub rules: PathBuf,
    /// How often registry and file are looked at, in milliseconds.
    pub poll_ms: u64,
    /// After so many milliseconds a version that could not serve is tried again.
    pub retry_ms: u64,
}

impl Default for ServingOptions {
    fn default() -> Self {
        ServingOptions { model: "fraud".to_owned(), rules: PathBuf::new(), poll_ms: 250, retry_ms: 30_000 }
    }
}

impl ServingOptions {
    /// # Errors
    /// What is wrong with which key.
    pub fn check(&self) -> Result<(), String> {
        if self.model.is_empty() {
            return Err("model is empty: name a model of the registry".to_owned());
        }
        if self.poll_ms == 0 || self.retry_ms < self.poll_ms {
            return Err("poll_ms must be at least 1, retry_ms no less than it".to_owned());
        }
        Ok(())
    }
}

/// Keeps a judge up to date.
pub struct Serving {
    models: Models,
    rules: RulesFile,
    poll: Duration,
}

impl Serving {
    /// `scratch` is a folder for models of a registry that is not on this machine.
    #[must_use]
    pub fn new(judge: Judge, registry: Arc<dyn Registry>, options: ServingOptions, scratch: PathBuf) -> Self {
        let retry = Duration::from_millis(options.retry_ms);
        Serving {
            models: Models::new(judge.clone(), registry, options.model, scratch, retry),
            rules: RulesFile::new(judge, options.rules),
            poll: Duration::from_millis(options.poll_ms),
        }
    }

    /// Looks once at the file and at the registry.
    pub async fn refresh(&mut self) {
        self.rules.refresh().await;
        self.models.refresh().await;
    }

    /// Looks again and again, until it is told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            if shutdown.run_until_cancelled(self.refresh()).await.is_none() {
                return;
            }
        }
    }
}
