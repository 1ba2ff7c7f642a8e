//! The registry, looked at again and again.

use super::{Refused, Served};
use crate::judge::Judge;
use affluent_learning::fit::{Model, ModelError};
use affluent_learning::registry::{Aliases, Registry, RegistryError};
use affluent_telemetry::metrics_list as metrics;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WHAT: &str = "model";

/// Where models are read from, and those that are in memory.
pub(super) struct Models {
    judge: Judge,
    registry: Arc<dyn Registry>,
    name: String,
    scratch: PathBuf,
    retry: Duration,
    /// Versions that have a name, so that going back to one takes no reading.
    ready: BTreeMap<u64, Arc<Served>>,
    /// Versions that could not serve, and when that was.
    refused: BTreeMap<u64, Instant>,
    champion: Option<Arc<Served>>,
    challenger: Option<Arc<Served>>,
    /// What was told of the registry, so that it is told once.
    told: Option<String>,
}

/// Why a version does not serve.
#[derive(Debug, thiserror::Error)]
enum Unready {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("reading it was stopped")]
    Stopped,
}

impl Models {
    pub(super) fn new(
        judge: Judge,
        registry: Arc<dyn Registry>,
        name: String,
        scratch: PathBuf,
        retry: Duration,
    ) -> Self {
        let (ready, refused) = (BTreeMap::new(), BTreeMap::new());
        let (champion, challenger, told) = (None, None, None);
        Models { judge, registry, name, scratch, retry, ready, refused, champion, challenger, told }
    }

    pub(super) async fn refresh(&mut self) {
        let aliases = match self.registry.aliases(&self.name).await {
            Ok(aliases) => aliases,
            Err(RegistryError::NoModel(_)) => Aliases::default(),
            Err(error) => return self.tell(&error),
        };
        self.told = None;
        let champion = match aliases.champion {
            Some(version) => match self.ready(version).await {
                Some(served) => Some(served),
                None => self.before(aliases.previous).await,
            },
            None => None,
        };
        let challenger = match aliases.challenger.filter(|version| Some(*version) != aliases.champion) {
            Some(version) => self.ready(version).await,
            None => None,
        };
        let is_stale = version(champion.as_ref()) != aliases.champion;
        metrics::scoring_stale(WHAT, is_stale);
        if version(champion.as_ref()) != version(self.champion.as_ref())
            || version(challenger.as_ref()) != version(self.challenger.as_ref())
        {
            self.judge.set_models(champion.clone(), challenger.clone());
            let (champion, challenger) = (version(champion.as_ref()), version(challenger.as_ref()));
            metrics::model_version(&self.name, "champion", champion);
            metrics::model_version(&self.name, "challenger", challenger);
            tracing::info!(model = self.name, ?champion, ?challenger, "models are in place");
            metrics::scoring_reload(WHAT, "ok");
        }
        (self.champion, self.challenger) = (champion, challenger);
        let serving = version(self.champion.as_ref());
        let named = [serving, aliases.champion, aliases.challenger, aliases.previous];
        self.ready.retain(|version, _| named.contains(&Some(*version)));
        self.refused.retain(|version, _| named.contains(&Some(*version)));
    }

    /// What serves in place of a champion that cannot: what served last, at the start the champion before it.
    async fn before(&mut self, previous: Option<u64>) -> Option<Arc<Served>> {
        if let Some(champion) = &self.champion {
            return Some(Arc::clone(champion));
        }
        match previous {
            Some(previous) => self.ready(previous).await,
            None => None,
        }
    }

    /// A version in memory, read if it is not there. None if it cannot serve.
    async fn ready(&mut self, version: u64) -> Option<Arc<Served>> {
        if let Some(served) = self.ready.get(&version) {
            return Some(Arc::clone(served));
        }
        if self.refused.get(&version).is_some_and(|since| since.elapsed() < self.retry) {
            return None;
        }
        match self.read(version).await {
            Ok(served) => {
                let served = Arc::new(served);
                self.ready.insert(version, Arc::clone(&served));
                self.refused.remove(&version);
                Some(served)
            }
            Err(error) => {
                tracing::error!(model = self.name, version, %error, "a model is refused, the one before it stays");
                metrics::scoring_reload(WHAT, "refused");
                self.refused.insert(version, Instant::now());
                None
            }
        }
    }

    async fn read(&self, version: u64) -> Result<Served, Unready> {
        let into = self.scratch.join(format!("{}-{version}", self.name));
        let folder = self.registry.folder(&self.name, version, &into).await?;
        let (vocabulary, decide) = (self.judge.vocabulary().clone(), self.judge.options().decide);
        let read = tokio::task::spawn_blocking(move || -> Result<Served, Unready> {
            let model = Model::read(&folder.join("data"))?;
            Ok(Served::new(model, version, &vocabulary, &decide)?)
        });
        read.await.map_err(|_| Unready::Stopped)?
    }

    fn tell(&mut self, error: &RegistryError) {
        let message = error.to_string();
        if self.told.as_ref() != Some(&message) {
            tracing::error!(%error, "the registry of models cannot be asked, what serves stays");
            metrics::scoring_stale(WHAT, true);
            self.told = Some(message);
        }
    }
}

fn version(served: Option<&Arc<Served>>) -> Option<u64> {
    served.map(|served| served.model_ref().version)
}
