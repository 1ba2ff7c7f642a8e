//! Models of a registry and a file of rules, changed while a judge is at work.

use crate::learned::{FRAUD, dataset, model, row, vocabulary};
use affluent_learning::fit::{Learner, Model, Ridge};
use affluent_learning::registry::{Aliases, Change, LocalRegistry, Registry as _};
use affluent_scoring::serving::{Serving, ServingOptions};
use affluent_scoring::{Degraded, Facts, Features, Judge, JudgeOptions};
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
        let options =
            ServingOptions { rules: self.rules.clone(), poll_ms: 10, retry_ms, ..ServingOptions::default() };
        options.check().unwrap();
        Serving::new(
            self.judge.clone(),
            Arc::new(self.registry.clone()),
            options,
            self.home.path().join("scratch"),
        )
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
