//! The registry in a folder.

use crate::payments::{dataset, manifest, options, protocol};
use affluent_learning::fit::Model;
use affluent_learning::registry::{
    Aliases, Card, LocalRegistry, Registry, RegistryError, promote, roll_back, write_folder,
};
use affluent_learning::train::train;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_kept_promoted_and_turned_back() {
    let dataset = dataset(50);
    let mut trained =
        train("fraud", &dataset, manifest(&dataset), protocol(), &options(), None, None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    write_folder(&trained, &folder).unwrap();
    let registry = LocalRegistry::new(home.path().join("models"));
    assert_eq!(registry.models().await.unwrap(), [""; 0]);
    assert!(matches!(registry.aliases("fraud").await, Err(RegistryError::NoModel(_))));

    assert_eq!(registry.register("fraud", &folder).await.unwrap(), 1);
    let challenger = Aliases { challenger: Some(1), ..Aliases::default() };
    assert_eq!(registry.aliases("fraud").await.unwrap(), challenger);
    promote(&registry, "fraud", None, false).await.unwrap();
    assert!(matches!(roll_back(&registry, "fraud").await, Err(RegistryError::NoPrevious(_))));

    // Another one, which failed a gate.
    trained.report.gates[0].passed = false;
    write_folder(&trained, &folder).unwrap();
    assert_eq!(registry.register("fraud", &folder).await.unwrap(), 2);
    let refused = promote(&registry, "fraud", Some(2), false).await;
    assert!(matches!(refused, Err(RegistryError::Gates { version: 2, .. })), "{refused:?}");
    assert_eq!(registry.aliases("fraud").await.unwrap().champion, Some(1));
    let promoted = promote(&registry, "fraud", Some(2), true).await.unwrap();
    assert_eq!((promoted.champion, promoted.previous), (Some(2), Some(1)));
    let back = roll_back(&registry, "fraud").await.unwrap();
    assert_eq!((back.champion, back.previous), (Some(1), Some(2)));
    let unknown = promote(&registry, "fraud", Some(9), false).await;
    assert!(matches!(unknown, Err(RegistryError::NoVersion { version: 9, .. })), "{unknown:?}");

    let versions = registry.versions("fraud").await.unwrap();
    assert_eq!(versions.iter().map(|v| (v.version, v.failed.len())).collect::<Vec<_>>(), [(1, 0), (2, 1)]);
    assert_eq!(versions[0].headline["average_precision"], trained.report.evaluation.average_precision);
    let stored = registry.folder("fraud", 1, home.path()).await.unwrap();
    let model = Model::read(&stored.join("data")).unwrap();
    let rows: Vec<usize> = (0..100).collect();
    assert_eq!(model.score(&dataset, &rows).unwrap(), trained.model.score(&dataset, &rows).unwrap());

    registering_at_the_same_time(&registry, &folder).await;
}

/// Every one gets a number of its own, whole.
async fn registering_at_the_same_time(registry: &LocalRegistry, folder: &std::path::Path) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (registry, folder) = (registry.clone(), folder.to_owned());
            tokio::spawn(async move { registry.register("fraud", &folder).await.unwrap() })
        })
        .collect();
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (3..11).collect::<Vec<u64>>());
    assert_eq!(registry.versions("fraud").await.unwrap().len(), 10);
}

/// One registers while another promotes, each with a registry of its own, as processes have: no name is lost.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_names_at_the_same_time_are_all_kept() {
    const TURNS: u64 = 50;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("card.json"), serde_json::to_string(&Card::default()).unwrap()).unwrap();
    let place = home.path().join("models");
    let registry = LocalRegistry::new(place.clone());
    assert_eq!(registry.register("fraud", &folder).await.unwrap(), 1);
    assert_eq!(registry.register("fraud", &folder).await.unwrap(), 2);
    promote(&registry, "fraud", Some(1), false).await.unwrap();
    let other = LocalRegistry::new(place);
    let promoting = tokio::spawn(async move {
        for turn in 1..=TURNS {
            let champion = 1 + turn % 2;
            let names = promote(&other, "fraud", Some(champion), false).await.unwrap();
            assert_eq!((names.champion, names.previous), (Some(champion), Some(3 - champion)));
        }
    });
    for turn in 1..=TURNS {
        let version = registry.register("fraud", &folder).await.unwrap();
        assert_eq!(version, turn + 2);
        assert_eq!(registry.aliases("fraud").await.unwrap().challenger, Some(version));
    }
    promoting.await.unwrap();
    let names = registry.aliases("fraud").await.unwrap();
    assert_eq!(names, Aliases { champion: Some(1), challenger: Some(TURNS + 2), previous: Some(2) });
}

/// Who serves reads the names again and again: it sees the old or the new ones whole, and the new ones at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_seen_whole_and_within_a_second() {
    let home = tempfile::tempdir().unwrap();
    let registry = LocalRegistry::new(home.path().join("models"));
    let folder = home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("card.json"), serde_json::to_string(&Card::default()).unwrap()).unwrap();
    for version in 1..=2 {
        assert_eq!(registry.register("fraud", &folder).await.unwrap(), version);
    }
    promote(&registry, "fraud", Some(1), false).await.unwrap();
    let (done, serving) = (Arc::new(AtomicBool::new(false)), LocalRegistry::new(home.path().join("models")));
    let reader = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut seen = 0u64;
            while !done.load(Ordering::Relaxed) {
                let names = serving.aliases("fraud").await.unwrap();
                // The champion and the one before it are never the same, nor is either missing.
                let both = (names.champion.unwrap(), names.previous);
                assert!(matches!(both, (1, None | Some(2)) | (2, Some(1))), "{names:?}");
                seen += 1;
                tokio::task::yield_now().await;
            }
            seen
        }
    });
    let other = LocalRegistry::new(home.path().join("models"));
    for turn in 0..100u64 {
        let version = 2 - turn % 2;
        promote(&registry, "fraud", Some(version), false).await.unwrap();
        let promoted = Instant::now();
        while other.aliases("fraud").await.unwrap().champion != Some(version) {
            assert!(promoted.elapsed() < Duration::from_secs(1), "the promotion is not seen");
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
}
