//! The MongoDB implementation against its contract, on the server that `AFFLUENT_TEST_MONGODB` names
//! (`mongodb://…`). Not part of `cargo test`: `make interop` starts a server and runs it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../it/contract.rs"]
mod contract;
#[path = "../it/history.rs"]
mod history;

use affluent_documents::{DocumentStore, MongoOptions, MongoStore};
use std::sync::Arc;

const TOMBSTONE_TTL_S: u64 = 3_600;

async fn connect() -> (Arc<dyn DocumentStore>, String) {
    let uri = std::env::var("AFFLUENT_TEST_MONGODB")
        .expect("AFFLUENT_TEST_MONGODB=mongodb://… names a server; `make interop` starts one");
    let run = format!("t{}", uuid::Uuid::now_v7().simple());
    // Small batches, so that the cases cross their borders.
    let options = MongoOptions { uri, database: run.clone(), batch_writes: 3, ..MongoOptions::default() };
    (Arc::new(MongoStore::connect(&options, TOMBSTONE_TTL_S).await.expect("connect")), run)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let (store, _) = connect().await;
    contract::check(store, "contract", 40).await;
}

#[tokio::test]
async fn documents_and_tombstones_expire() {
    let (store, _) = connect().await;
    contract::check_expiry(store, "expiring", TOMBSTONE_TTL_S).await;
}
