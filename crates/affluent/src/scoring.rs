//! Section `[score]`, and what scoring in the stream and over HTTP share in a process: one judge, one state, one way to read a payment.

use crate::config::Config;
use crate::features;
use crate::platform::Platform;
use affluent_feature_store::stream::{LiveState, Streamed};
use affluent_scoring::serving::{Serving, ServingOptions};
use affluent_scoring::stream::{Payments, ScoreOptions, Scores};
use affluent_scoring::{Judge, JudgeOptions, Vocabulary};
use affluent_stream::consume::ConsumeOptions;
use anyhow::Context as _;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// In the directory of the role: what tells this process from others.
const INSTANCE: &str = "instance";

/// How payments are scored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScoringOptions {
    /// Who this process is, and its state where it does not play the role `features`; each process has its own.
    pub(crate) directory: PathBuf,
    /// What the role reads where the process does not play the role `features`; else only how soon it commits.
    pub(crate) consume: ConsumeOptions,
    pub(crate) judge: JudgeOptions,
    pub(crate) serving: ServingOptions,
    pub(crate) stream: ScoreOptions,
}

impl ScoringOptions {
    /// # Errors
    /// What is wrong with which key.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.directory.as_os_str().is_empty() {
            return Err("directory is empty: name one".to_owned());
        }
        self.judge.decide.check().map_err(|problem| format!("judge.decide.{problem}"))?;
        self.serving.check().map_err(|problem| format!("serving.{problem}"))?;
        self.stream.check().map_err(|problem| format!("stream.{problem}"))
    }
}

/// The scoring of this process.
pub(crate) struct Scoring {
    pub(crate) judge: Judge,
    pub(crate) live: LiveState,
    pub(crate) payments: Payments,
    pub(crate) streamed: Streamed,
    /// This process plays the role `score`.
    pub(crate) is_role: bool,
    /// It plays the role `features`, whose state it is then.
    pub(crate) has_features: bool,
    scores: OnceCell<Scores>,
}

impl Scoring {
    /// Scoring by the features of freshness `stream`; none where no such feature is of payments.
    ///
    /// # Errors
    /// Definitions and seeds that cannot be used.
    pub(crate) fn new(config: &Config, is_role: bool, has_features: bool) -> anyhow::Result<Option<Self>> {
        let streamed = features::streamed(config)?;
        let Some(payments) = Payments::new(&streamed) else { return Ok(None) };
        let vocabulary = Vocabulary::new(&streamed.definitions, payments.names().clone())?;
        let judge = Judge::new(vocabulary, config.score.judge);
        let (live, scores) = (LiveState::new(&streamed), OnceCell::new());
        Ok(Some(Scoring { judge, live, payments, streamed, is_role, has_features, scores }))
    }

    /// What keeps the judge up to date.
    ///
    /// # Errors
    /// A registry of models that cannot be reached at all, a directory that cannot be written.
    pub(crate) fn serving(&self, platform: &Platform) -> anyhow::Result<Serving> {
        let config = platform.config();
        let (registry, directory) = (config.learning.store(&config.data_dir)?, &config.score.directory);
        let serving = Serving::new(self.judge.clone(), registry, config.score.serving.clone(), directory);
        Ok(serving.telling(platform.bus().clone(), &instance(directory)?))
    }

    /// The scores of the stream, made at the first call.
    ///
    /// # Errors
    /// A document store that cannot be opened, a directory that cannot be written, no rules to judge by.
    pub(crate) async fn scores(&self, platform: &Platform) -> anyhow::Result<&Scores> {
        let make = || async {
            let config = platform.config();
            let options =
                ScoreOptions { instance: instance(&config.score.directory)?, ..config.score.stream.clone() };
            // The first payments are judged by the model and by rules, too.
            self.serving(platform)?.begin().await?;
            let (store, health) = (platform.documents().await?, platform.health().clone());
            let (bus, registry) = (platform.bus().clone(), platform.registry().clone());
            let (payments, judge) = (self.payments.clone(), self.judge.clone());
            anyhow::Ok(Scores::new(payments, judge, store, bus, registry, options, health)?)
        };
        self.scores.get_or_try_init(make).await
    }
}

/// The name of this process, made at the first start.
///
/// # Errors
/// A directory that cannot be written.
fn instance(directory: &Path) -> anyhow::Result<String> {
    let path = directory.join(INSTANCE);
    if let Ok(name) = std::fs::read_to_string(&path)
        && !name.is_empty()
    {
        return Ok(name);
    }
    let name = Uuid::new_v4().simple().to_string();
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, &name))
        .with_context(|| format!("write {}; set `score.directory`", path.display()))?;
    Ok(name)
}

/// Gives `options` a group of this process alone, named after that of the configuration: a state is of all partitions, whoever else reads them.
///
/// # Errors
/// A directory of the process that cannot be written.
pub(crate) fn replica(options: &mut ConsumeOptions, directory: &Path) -> anyhow::Result<()> {
    options.group = format!("{}-{}", options.group, instance(directory)?);
    // The process that comes back has its partitions at once; a copy of its directory is told that there are two.
    options.instance_id.clone_from(&options.group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_reads_in_a_group_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let group = |directory: &str| {
            let mut options = ConsumeOptions { group: "features".to_owned(), ..ConsumeOptions::default() };
            replica(&mut options, &home.path().join(directory)).unwrap();
            assert_eq!(options.instance_id, options.group);
            options.group
        };
        assert_eq!(group("one"), group("one"));
        assert_ne!(group("one"), group("two"));
        assert!(group("one").starts_with("features-"));
    }

    #[test]
    fn a_process_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("score");
        let name = instance(&path).unwrap();
        assert_eq!((name.len(), instance(&path).unwrap()), (32, name));
    }
}
