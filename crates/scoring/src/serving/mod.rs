//! Models and rules brought up to date while payments are judged: whoever asks the registry and the file, the judge does not wait for it.
//!
//! They are looked at beside each other: neither waits for the other. A new model is read, made ready and warmed beside the judge, then put in place
//! at once; so are new rules. What cannot be read, is of other features, or has a mistake is refused, told once, and what was there stays.
//!
//! Invariant: what judges is whole: a version of a model with its thresholds, a version of the rules with their lists.

mod models;
mod rules;
mod served;
mod telling;

pub use served::{Refused, Served};

use crate::judge::Judge;
use affluent_bus::Bus;
use affluent_learning::registry::Registry;
use models::Models;
use rules::RulesFile;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use telling::Telling;
use tokio::time::{Interval, MissedTickBehavior};
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
    /// In the directory of the process: which alert fires.
    alert: PathBuf,
    telling: Option<Telling>,
}

/// A process has no rules to judge by.
#[derive(Debug, thiserror::Error)]
#[error("there are no rules to judge by: {0}; mend the file, or name another in `score.serving.rules`")]
pub struct NoRules(String);

impl Serving {
    /// `directory` is the process's own: for models of a registry that is not on this machine, and for the copy of the rules.
    #[must_use]
    pub fn new(judge: Judge, registry: Arc<dyn Registry>, options: ServingOptions, directory: &Path) -> Self {
        let retry = Duration::from_millis(options.retry_ms);
        let scratch = directory.join("models");
        Serving {
            models: Models::new(judge.clone(), registry, options.model, scratch, retry),
            rules: RulesFile::new(judge, options.rules, directory.join("rules.json")),
            poll: Duration::from_millis(options.poll_ms),
            alert: directory.join("rules_alert.json"),
            telling: None,
        }
    }

    /// Tells `ops.alerts` where rules are refused by the process `instance`.
    #[must_use]
    pub fn telling(mut self, bus: Bus, instance: &str) -> Self {
        self.telling = Some(Telling::new(bus, instance, self.alert.clone(), self.rules.looks()));
        self
    }

    /// Looks once at the file and at the registry.
    pub async fn refresh(&mut self) {
        self.rules.refresh().await;
        self.models.refresh().await;
    }

    /// Looks for the first time, before anybody is judged.
    ///
    /// # Errors
    /// The file of rules has a mistake, and no rules of before are kept: nobody must be judged.
    pub async fn begin(&mut self) -> Result<(), NoRules> {
        self.refresh().await;
        if self.rules.has_rules() {
            return Ok(());
        }
        let problem = self.rules.problem().unwrap_or("nobody has looked for them");
        if let Some(telling) = &mut self.telling
            && let Err(error) = telling.tell().await
        {
            tracing::warn!(%error, "an alert of rules is not told");
        }
        Err(NoRules(problem.to_owned()))
    }

    /// Looks again and again, until it is told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let Serving { mut models, mut rules, poll, telling, .. } = self;
        let of_rules = async {
            let mut ticks = ticks(poll);
            while !shutdown.is_cancelled() {
                ticks.tick().await;
                rules.refresh().await;
            }
        };
        let of_models = async {
            let mut ticks = ticks(poll);
            while !shutdown.is_cancelled() {
                ticks.tick().await;
                models.refresh().await;
            }
        };
        let told = async {
            if let Some(telling) = telling {
                telling.run().await;
            }
        };
        shutdown.run_until_cancelled(async { tokio::join!(of_rules, of_models, told) }).await;
    }
}

fn ticks(pause: Duration) -> Interval {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
