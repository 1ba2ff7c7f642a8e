//! The embedded store keeps the contract, and what only it can show: reopening and exclusive use.

use crate::contract;
use affluent_documents::{
    Action, CollectionSpec, DocumentError, DocumentStore, EmbeddedOptions, EmbeddedStore, IndexSpec, Range,
    Scan, VersionedWrite,
};
use affluent_model::{Position, Value};
use std::path::Path;
use std::sync::Arc;

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
