//! The embedded store keeps the contract, and what only it can show: reopening and exclusive use.

use crate::contract;
use affluent_documents::{
    Action, CollectionSpec, DocumentError, DocumentStore, EmbeddedOptions, EmbeddedStore, IndexSpec, Inserts,
    Range, Scan, Ttl, VersionedWrite,
};
use affluent_model::{Position, Value};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const TOMBSTONE_TTL_S: u64 = 3_600;

async fn open(directory: &Path) -> Result<Arc<dyn DocumentStore>, DocumentError> {
    let path = Some(directory.to_owned());
    // Small batches, so that the cases cross their borders.
    let options = EmbeddedOptions { path, batch_writes: 3, ..EmbeddedOptions::default() };
    Ok(Arc::new(EmbeddedStore::open(options, TOMBSTONE_TTL_S).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::check(open(directory.path()).await.unwrap(), "contract", 40).await;
}

#[tokio::test]
async fn documents_and_tombstones_expire() {
    let directory = tempfile::tempdir().unwrap();
    contract::check_expiry(open(directory.path()).await.unwrap(), "expiring", TOMBSTONE_TTL_S).await;
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let spec = CollectionSpec { indexes: vec![IndexSpec::on(&["n"])], ..CollectionSpec::new("kept") };
    let put = |id: &str, version, n| VersionedWrite {
        id: id.to_owned(),
        version: Position::new(version, 1),
        action: Action::Put(vec![("n".to_owned(), Value::Int(n))]),
    };
    let store = open(directory.path()).await.unwrap();
    store.ensure(&spec).await.unwrap();
    store.apply("kept", (0..10).map(|n| put(&format!("{n}"), 5, n)).collect()).await.unwrap();
    store.truncate("kept", Position::new(4, 1)).await.unwrap();
    assert!(matches!(open(directory.path()).await, Err(DocumentError::Unavailable(_))), "held by another");
    drop(store);

    let store = open(directory.path()).await.unwrap();
    assert_eq!(store.count("kept").await.unwrap(), 10);
    let range = Range::Index {
        index: "n".to_owned(),
        equal: Vec::new(),
        from: Some(Value::Int(3)),
        to: Some(Value::Int(5)),
    };
    let page = store.scan("kept", &Scan { range, limit: 10, after: None }).await.unwrap();
    assert_eq!(page.documents.len(), 2);
    assert_eq!(store.apply("kept", vec![put("late", 3, 1)]).await.unwrap().stale, 1, "truncation is kept");
    assert_eq!(store.apply("kept", vec![put("3", 5, 9)]).await.unwrap().stale, 1, "versions are kept");
}

/// The id of an event: a UUID of version 7, some of them of one millisecond; every third id is of another form.
fn event_id(n: u64) -> String {
    match n % 3 {
        0 => format!("event {n}"),
        _ => Uuid::from_u64_pair((1_700_000_000_000 + n / 8) << 16 | 0x7000, n | 1 << 63).to_string(),
    }
}

#[tokio::test]
async fn each_event_is_inserted_once_however_it_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    // Write buffers of a few batches, so that documents are read from files as well.
    let options = EmbeddedOptions {
        path: Some(directory.path().to_owned()),
        memtable_bytes: 16 * 1024,
        batch_writes: 64,
        ..EmbeddedOptions::default()
    };
    let open = || EmbeddedStore::open(options.clone(), TOMBSTONE_TTL_S);
    let ttl = Some(Ttl { seconds: 1 << 32, field: Some("at".to_owned()) });
    let spec = CollectionSpec {
        indexes: vec![IndexSpec::on(&["user", "at"])],
        ttl,
        ..CollectionSpec::new("events")
    };
    let mut expected: BTreeMap<String, (String, i64)> = BTreeMap::new();
    for round in 0..6 {
        // A store that is opened again knows no id by heart.
        let store = open().await.unwrap();
        store.ensure(&spec).await.unwrap();
        // New ones, old ones, and some of these once more, in the same batch and in others.
        let first = 150 * round;
        let numbers = (first..first + 300).rev().chain(first + 100..first + 250);
        let (mut inserts, mut new, mut repeated) = (Inserts::default(), 0, 0);
        for (at, n) in (0_i64..).zip(numbers) {
            let (id, user) = (event_id(n), format!("user {}", n % 7));
            inserts.push(&id, |to| {
                to.text("user", &user);
                to.instant("at", at);
                to.text("text", &"x".repeat(100));
            });
            match expected.entry(id) {
                Entry::Occupied(_) => repeated += 1,
                Entry::Vacant(entry) => {
                    new += 1;
                    entry.insert((user, at));
                }
            }
        }
        let outcome = store.insert_if_absent("events", &[Arc::new(inserts)]).await.unwrap();
        assert_eq!((outcome.inserted, outcome.duplicates), (new, repeated), "round {round}");
        assert_eq!(store.count("events").await.unwrap(), expected.len() as u64);
    }
    let store = open().await.unwrap();
    let ids: Vec<String> = expected.keys().cloned().collect();
    let stored = store.get("events", &ids).await.unwrap();
    assert_eq!(stored.len(), ids.len());
    for document in stored {
        let (user, at) = &expected[&document.id];
        assert_eq!(document.field("user"), Some(&Value::Text(user.clone())));
        assert_eq!(document.field("at"), Some(&Value::TimestampTz(*at)), "the first stays");
    }
    let range = Range::Index {
        index: "user_at".to_owned(),
        equal: vec![Value::Text("user 3".to_owned())],
        from: None,
        to: None,
    };
    let page = store.scan("events", &Scan { range, limit: 1_000, after: None }).await.unwrap();
    let mut of_user: Vec<(i64, &String)> =
        expected.iter().filter(|(_, (user, _))| user == "user 3").map(|(id, (_, at))| (*at, id)).collect();
    of_user.sort_unstable();
    let found: Vec<&String> = page.documents.iter().map(|document| &document.id).collect();
    assert_eq!(found, of_user.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}
