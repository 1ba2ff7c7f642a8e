//! Models of a registry and a file of rules, changed while a judge is at work.

use crate::learned::{FRAUD, dataset, model, row, vocabulary};
use affluent_bus::{Bus, BusOptions, TopicPartition};
use affluent_learning::fit::{Learner, Model, Ridge};
use affluent_learning::registry::{Aliases, Change, LocalRegistry, Registry, RegistryError, Version};
use affluent_model::names::TOPIC_ALERTS;
use affluent_model::{Alert, AlertState};
use affluent_scoring::serving::{Serving, ServingOptions};
use affluent_scoring::{Degraded, Facts, Features, Judge, JudgeOptions};
use affluent_testkit::Broker;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Rig {
    home: tempfile::TempDir,
    registry: LocalRegistry,
    judge: Judge,
    rules: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("models").join(FRAUD)).unwrap();
        let registry = LocalRegistry::new(home.path().join("models"));
        let judge = Judge::new(vocabulary(), JudgeOptions::default());
        let rules = home.path().join("rules.toml");
        write_rules(&rules, "amount_minor > 500");
        Rig { home, registry, judge, rules }
    }

    /// A registered version, as the registry keeps it.
    fn version(&self, version: u64, model: &Model) -> PathBuf {
        let folder = self.home.path().join("models").join(FRAUD).join("versions").join(version.to_string());
        std::fs::create_dir_all(folder.join("data")).unwrap();
        model.write(&folder.join("data")).unwrap();
        folder
    }

    async fn name(&self, champion: Option<u64>, challenger: Option<u64>, previous: Option<u64>) {
        let names = Change::Set(Aliases { champion, challenger, previous });
        self.registry.change_aliases(FRAUD, names).await.unwrap();
    }

    fn serving(&self, retry_ms: u64) -> Serving {
        self.serving_of(self.judge.clone(), Arc::new(self.registry.clone()), retry_ms)
    }

    fn serving_of(&self, judge: Judge, registry: Arc<dyn Registry>, retry_ms: u64) -> Serving {
        let options =
            ServingOptions { rules: self.rules.clone(), poll_ms: 10, retry_ms, ..ServingOptions::default() };
        options.check().unwrap();
        Serving::new(judge, registry, options, &self.home.path().join("scratch"))
    }

    fn champion(&self) -> Option<u64> {
        self.judge.champion().map(|model| model.version)
    }

    /// The challenger's version, as a judgement tells it.
    fn challenger(&self) -> Option<u64> {
        let (vocabulary, dataset) = (self.judge.vocabulary(), dataset(1));
        let row = row(vocabulary, &dataset, 0);
        let judged = self.judge.judge(&Facts::default(), Features::Live(&row));
        assert_eq!(judged.degraded == Some(Degraded::NoModel), self.champion().is_none());
        judged.shadow.map(|shadow| shadow.model.version)
    }
}

/// A model of the same features that tells no probabilities.
fn of_a_number(model: &Model) -> Model {
    let Learner::Boosted { ensemble, boost_share, .. } = model.learner.clone() else { unreachable!() };
    let rows: Vec<usize> = (0..100).collect();
    let matrix = dataset(1).gather(&rows);
    let linear = Ridge::fit(&matrix, matrix.column(0), 1.0).unwrap();
    let learner = Learner::Regressed { ensemble, linear, boost_share };
    Model { learner, ..model.clone() }
}

fn write_rules(file: &Path, when: &str) {
    let text =
        format!("[[rules]]\nname = \"cap\"\nwhen = '{when}'\ndecision = \"review\"\nwords = \"because\"\n");
    std::fs::write(file, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_and_a_way_back_take_one_look_each() {
    let rig = Rig::new();
    let model = model(&dataset(1));
    let mut serving = rig.serving(60_000);
    serving.refresh().await;
    assert_eq!((rig.champion(), rig.challenger()), (None, None), "a registry without a champion");

    let first = rig.version(1, &model);
    rig.version(2, &model);
    rig.name(Some(1), Some(2), None).await;
    serving.refresh().await;
    assert_eq!((rig.champion(), rig.challenger()), (Some(1), Some(2)));

    rig.name(Some(2), None, Some(1)).await;
    serving.refresh().await;
    assert_eq!((rig.champion(), rig.challenger()), (Some(2), None));
    // The way back needs no file: the version is still in memory.
    std::fs::remove_dir_all(first).unwrap();
    rig.name(Some(1), None, Some(2)).await;
    serving.refresh().await;
    assert_eq!(rig.champion(), Some(1));

    // What the registry does not tell changes nothing; no champion is a champion less.
    let aliases = rig.home.path().join("models").join(FRAUD).join("aliases.json");
    std::fs::write(&aliases, "{").unwrap();
    serving.refresh().await;
    assert_eq!(rig.champion(), Some(1));
    std::fs::remove_file(&aliases).unwrap();
    rig.name(None, Some(2), Some(1)).await;
    serving.refresh().await;
    assert_eq!(rig.champion(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_other_features_is_refused_and_the_one_before_stays() {
    let rig = Rig::new();
    let good = model(&dataset(1));
    let mut newer = good.clone();
    newer.features[0].version = 2;
    let mut unknown = good.clone();
    unknown.features[0].name = "no_such".to_owned();
    rig.version(1, &good);
    rig.version(2, &newer);
    rig.version(3, &unknown);
    let broken = rig.version(4, &good).join("data").join("model.json");
    std::fs::write(&broken, "{}").unwrap();
    rig.version(5, &of_a_number(&good));
    // The first champion there is cannot serve: the one before it does.
    rig.name(Some(2), None, Some(1)).await;
    let mut serving = rig.serving(60_000);
    serving.refresh().await;
    assert_eq!(rig.champion(), Some(1));
    for refused in [3, 4, 5] {
        rig.name(Some(refused), Some(2), Some(1)).await;
        serving.refresh().await;
        assert_eq!((rig.champion(), rig.challenger()), (Some(1), None), "version {refused}");
    }
    // What was mended is taken after a while.
    rig.name(Some(4), Some(2), Some(1)).await;
    let mut serving = rig.serving(10);
    serving.refresh().await;
    good.write(broken.parent().unwrap()).unwrap();
    serving.refresh().await;
    assert!(matches!(rig.champion(), Some(1 | 4)));
    let stop = CancellationToken::new();
    let task = tokio::spawn(serving.run(stop.clone()));
    until(|| rig.champion() == Some(4)).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_with_a_mistake_keep_those_before_them() {
    let rig = Rig::new();
    let mut serving = rig.serving(60_000);
    serving.refresh().await;
    let first = rig.judge.rules_version();
    assert_ne!(&*first, "none");
    for mistake in ["amuont_minor > 500", "amount_minor >", "amount_minor"] {
        write_rules(&rig.rules, mistake);
        serving.refresh().await;
        serving.refresh().await;
        assert_eq!(rig.judge.rules_version(), first, "{mistake}");
    }
    std::fs::write(&rig.rules, "[[rules]").unwrap();
    serving.refresh().await;
    std::fs::remove_file(&rig.rules).unwrap();
    serving.refresh().await;
    assert_eq!(rig.judge.rules_version(), first);
    // Other rules count once they are the same twice: nobody is writing them any more.
    write_rules(&rig.rules, "amount_minor > 900");
    serving.refresh().await;
    assert_eq!(rig.judge.rules_version(), first);
    serving.refresh().await;
    let second = rig.judge.rules_version();
    assert_ne!(second, first);
    // The same text is the same version.
    write_rules(&rig.rules, "amount_minor > 500");
    serving.refresh().await;
    serving.refresh().await;
    assert_eq!(rig.judge.rules_version(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_begins_with_the_rules_that_counted_last_or_not_at_all() {
    let rig = Rig::new();
    std::fs::write(&rig.rules, "[[rules]").unwrap();
    let error = rig.serving(60_000).begin().await.unwrap_err().to_string();
    assert!(error.contains("no rules") && !rig.judge.has_rules(), "{error}");
    write_rules(&rig.rules, "amount_minor > 500");
    rig.serving(60_000).begin().await.unwrap();
    let first = rig.judge.rules_version();
    for mistake in ["amuont_minor > 500", "amount_minor >"] {
        write_rules(&rig.rules, mistake);
        // As a process that is started again: of before it has its directory.
        let again = Judge::new(vocabulary(), JudgeOptions::default());
        let mut serving = rig.serving_of(again.clone(), Arc::new(rig.registry.clone()), 60_000);
        serving.begin().await.unwrap();
        assert_eq!(again.rules_version(), first, "{mistake}");
        // It takes what is mended.
        write_rules(&rig.rules, "amount_minor > 900");
        serving.refresh().await;
        serving.refresh().await;
        assert_ne!(again.rules_version(), first);
        write_rules(&rig.rules, "amount_minor > 500");
        serving.refresh().await;
        serving.refresh().await;
        assert_eq!(again.rules_version(), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rules_are_an_alert_until_they_are_mended() {
    let (rig, broker) = (Rig::new(), Broker::start().unwrap());
    let bootstrap_servers = broker.bootstrap_servers().to_owned();
    let bus = Bus::new(BusOptions { bootstrap_servers, ..BusOptions::default() }).unwrap();
    let told = async || {
        let (admin, partition) = (bus.admin().unwrap(), TopicPartition::new(TOPIC_ALERTS, 0));
        if admin.partitions(TOPIC_ALERTS).await.unwrap().is_none() {
            return Vec::new();
        }
        let (from, to) = admin.watermarks(&partition).await.unwrap();
        let records = admin.read_range(&partition, from, to).await.unwrap();
        let alerts = records.iter().map(|r| serde_json::from_slice(r.value.as_ref().unwrap()).unwrap());
        alerts.map(|alert: Alert| (alert.rule, alert.state)).collect::<Vec<_>>()
    };
    let is_told = async |count: usize| {
        let so = async {
            while told().await.len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), so).await.unwrap();
    };
    let start = || {
        let stop = CancellationToken::new();
        let serving = rig.serving(60_000).telling(bus.clone(), "here");
        (stop.clone(), tokio::spawn(serving.run(stop)))
    };
    let (stop, task) = start();
    until(|| rig.judge.has_rules()).await;
    write_rules(&rig.rules, "amuont_minor > 500");
    is_told(1).await;
    // Once that is noted it is told no more.
    let noted = rig.home.path().join("scratch").join("rules_alert.json");
    until(|| std::fs::read_to_string(&noted).is_ok_and(|text| text.ends_with('}'))).await;
    stop.cancel();
    task.await.unwrap();
    // A process that is started again tells nothing twice, and knows what is over.
    let (stop, task) = start();
    write_rules(&rig.rules, "amount_minor > 900");
    is_told(2).await;
    stop.cancel();
    task.await.unwrap();
    let rule = "scoring.rules.here".to_owned();
    assert_eq!(told().await, [(rule.clone(), AlertState::Firing), (rule, AlertState::Resolved)]);
}

/// A registry that never answers.
struct Hanging;

#[async_trait::async_trait]
impl Registry for Hanging {
    async fn register(&self, _: &str, _: &Path) -> Result<u64, RegistryError> {
        pending().await
    }

    async fn models(&self) -> Result<Vec<String>, RegistryError> {
        pending().await
    }

    async fn versions(&self, _: &str) -> Result<Vec<Version>, RegistryError> {
        pending().await
    }

    async fn aliases(&self, _: &str) -> Result<Aliases, RegistryError> {
        pending().await
    }

    async fn change_aliases(&self, _: &str, _: Change) -> Result<Aliases, RegistryError> {
        pending().await
    }

    async fn folder(&self, _: &str, _: u64, _: &Path) -> Result<PathBuf, RegistryError> {
        pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_do_not_wait_for_a_registry() {
    let (rig, stop) = (Rig::new(), CancellationToken::new());
    let serving = rig.serving_of(rig.judge.clone(), Arc::new(Hanging), 60_000);
    let task = tokio::spawn(serving.run(stop.clone()));
    until(|| rig.judge.has_rules()).await;
    let before = rig.judge.rules_version();
    write_rules(&rig.rules, "amount_minor > 900");
    until(|| rig.judge.rules_version() != before).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_sees_both_within_a_moment() {
    let rig = Rig::new();
    rig.version(1, &model(&dataset(1)));
    let (stop, before) = (CancellationToken::new(), rig.judge.rules_version());
    let task = tokio::spawn(rig.serving(60_000).run(stop.clone()));
    until(|| rig.judge.rules_version() != before).await;
    let before = rig.judge.rules_version();
    rig.name(Some(1), None, None).await;
    write_rules(&rig.rules, "currency == \"EUR\"");
    until(|| rig.champion() == Some(1) && rig.judge.rules_version() != before).await;
    stop.cancel();
    task.await.unwrap();
}

/// Waits for a condition.
async fn until(is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), so).await.unwrap();
}
