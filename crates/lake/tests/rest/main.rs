//! What a REST catalog adds to the promises of the lake: a network, other people's locations, tokens.
//!
//! Needs `AFFLUENT_TEST_CATALOG=http://…`, a real server; `make interop` starts one. The tests of `it` run on it too.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod proxy;
#[path = "../it/python.rs"]
mod python;
#[path = "../it/tables.rs"]
#[allow(dead_code, reason = "the other tests need more of it")]
mod tables;

use affluent_lake::{
    Advance, Commit, Lake, LakeError, LakeOptions, LakeTable, Outcome, Overwrite, Remove, RowBatch,
};
use affluent_testkit::RestCatalog;
use proxy::{Fault, Proxy};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tables::{
    advance, amounts, expected_sums, options, parquet_files, payment_batch, payment_columns, payments,
    payments_table, sums,
};

fn server() -> String {
    let place = RestCatalog::of(Path::new("/"));
    place.expect("AFFLUENT_TEST_CATALOG=http://… names a server; `make interop` starts one").url
}

/// Options of a lake that reaches the server through a proxy.
async fn through_proxy(warehouse: &Path) -> (LakeOptions, Proxy) {
    let proxy = Proxy::start(&server()).await;
    let mut options = options(warehouse);
    options.catalog.clone_from(&proxy.url);
    (options, proxy)
}

const FAULTS: [Fault; 7] = [
    Fault::AnswerLost,
    Fault::RequestLost,
    Fault::StoredButUnavailable,
    Fault::NotStoredAndUnavailable,
    Fault::Doubled,
    Fault::Late,
    Fault::Busy,
];

#[tokio::test(flavor = "multi_thread")]
async fn commits_happen_once_whatever_the_network_hides() {
    let dir = tempfile::tempdir().unwrap();
    let (options, proxy) = through_proxy(dir.path()).await;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    let mut next = None;
    // Rows with offsets, offsets alone, rows by key: each under every fault, and under two in a row.
    for (first, second) in FAULTS.iter().flat_map(|first| [(*first, None), (*first, Some(Fault::AnswerLost))])
    {
        let from = next.unwrap_or(0);
        proxy.plan([first].into_iter().chain(second));
        table.append(payments(from..from + 10), advance(next, from + 10)).await.unwrap();
        proxy.plan([first].into_iter().chain(second));
        table.append(payments(0..0), advance(Some(from + 10), from + 20)).await.unwrap();
        proxy.plan([first].into_iter().chain(second));
        let rows = vec![payment_batch(from + 10..from + 20)];
        let commit = Commit::named(format!("from {from}"));
        let done =
            table.overwrite(commit.clone(), Overwrite { remove: Remove::Nothing, rows }).await.unwrap();
        assert!(matches!(done, Outcome::Committed(_)), "{first:?}: {done:?}");
        let again = Overwrite { remove: Remove::Table, rows: vec![] };
        assert!(matches!(table.overwrite(commit, again).await.unwrap(), Outcome::AlreadyCommitted(_)));
        next = Some(from + 20);
        // Faults that hit nothing (a commit that was seen to be stored is not sent again) are forgotten.
        while !proxy.is_over() {
            table.tag("drained", table.snapshots().await.unwrap()[0].id).await.unwrap();
            table.untag("drained").await.unwrap();
        }
    }
    let total = next.unwrap();
    assert_eq!(amounts(&table).await.len(), usize::try_from(total).unwrap());
    assert_eq!(sums(&table, None).await, expected_sums(0..total));
    assert_eq!(table.offsets().await.unwrap().get("oltp.public.payments", 0), next);
    // Another reader, without the proxy, sees the same.
    let seen = python::ask(dir.path(), json!({"table": "raw.payments", "sum": ["currency", "amount"]}));
    assert_eq!((&seen["rows"], &seen["sums"]), (&json!(total), &json!(expected_sums(0..total).1)));
}

/// A server that does not answer for long: the caller is told that nobody knows, nothing that may be referred to
/// is deleted, and a repeat after it is back does what is missing and no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_leaves_nothing_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (options, proxy) = through_proxy(dir.path()).await;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    table.append(payments(0..10), advance(None, 10)).await.unwrap();
    let files = parquet_files(dir.path()).len();
    proxy.plan([Fault::NotStoredAndUnavailable; 9]);
    let error = table.append(payments(10..20), advance(Some(10), 20)).await.unwrap_err();
    assert!(matches!(error, LakeError::Unsettled { .. }), "{error}");
    assert_eq!(error.reason(), None);
    assert_eq!(parquet_files(dir.path()).len(), files + 1, "its file may be referred to yet");
    table.append(payments(10..20), advance(Some(10), 20)).await.unwrap();
    assert_eq!(sums(&table, None).await, expected_sums(0..20));
}

/// Offsets alone change no snapshot, and a REST server compares nothing else: without more, one writer would
/// overwrite what the other stored.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_two_writers_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    payments_table(&lake).await;
    let writer = |partition: i32| {
        let options = options(dir.path());
        tokio::spawn(async move {
            let table = Lake::open(options).await.unwrap().table("raw", "payments").await.unwrap();
            for n in 0..30_i64 {
                let expected = (n > 0).then_some(n);
                let advance = Advance { topic: "t".into(), partition, expected, next: n + 1 };
                let rows = Arc::new(RowBatch { columns: payment_columns(), rows: vec![] });
                table.append(rows, vec![advance]).await.unwrap();
            }
        })
    };
    let writers = [writer(0), writer(1)];
    for writer in writers {
        writer.await.unwrap();
    }
    let offsets = lake.table("raw", "payments").await.unwrap().offsets().await.unwrap();
    assert_eq!((offsets.get("t", 0), offsets.get("t", 1)), (Some(30), Some(30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_asks_for_tokens_and_for_another_when_one_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, proxy) = through_proxy(dir.path()).await;
    options.rest.client_id = "affluent".to_owned();
    options.rest.client_secret = "secret".to_owned();
    let lake = Lake::open(options.clone()).await.unwrap();
    let table = payments_table(&lake).await;
    proxy.plan([Fault::Unauthorized]);
    table.append(payments(0..10), advance(None, 10)).await.unwrap();
    assert_eq!(sums(&table, None).await, expected_sums(0..10));
    // The name is what Iceberg's server makes of the client's.
    let tokens = proxy.tokens();
    assert!(!tokens.is_empty() && tokens.iter().all(|token| token.contains("sub=affluent")), "{tokens:?}");
    // A token that was given cannot be renewed: the refusal is final, and nothing is stored.
    options.rest.client_id.clear();
    options.rest.client_secret.clear();
    options.rest.token = "given".to_owned();
    let table = Lake::open(options).await.unwrap().table("raw", "payments").await.unwrap();
    proxy.plan([Fault::Unauthorized]);
    let commits = proxy.commits();
    let error = table.append(payments(10..20), advance(Some(10), 20)).await.unwrap_err();
    assert!(
        matches!(&error, LakeError::Rest(text) if text.contains("401") && text.contains("expired")),
        "{error}"
    );
    assert_eq!(proxy.commits(), commits + 1);
    assert_eq!(proxy.tokens().last().unwrap(), "Bearer given");
    assert_eq!(parquet_files(dir.path()).len(), 1, "what is not referred to is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_gone_and_can_be_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    table.append(payments(0..10), advance(None, 10)).await.unwrap();
    lake.drop_table("raw", "payments").await.unwrap();
    assert!(matches!(lake.drop_table("raw", "payments").await, Err(LakeError::NotFound(_))));
    assert!(matches!(table.append(payments(10..20), vec![]).await, Err(LakeError::NotFound(_))));
    assert_eq!(lake.tables().await.unwrap(), []);
    let table = payments_table(&lake).await;
    assert_eq!(sums(&table, None).await.0, 0);
    assert_eq!(lake.tables().await.unwrap(), [("raw".to_owned(), "payments".to_owned())]);
}

/// A table that pyiceberg made, where the server wants it: its locations are URIs.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_other_engines_are_written_and_kept_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    options.maintenance.grace_s = 0;
    let lake = Lake::open(options).await.unwrap();
    payments_table(&lake).await;
    let script = format!(
        "catalog = open_catalog()
catalog.create_table(PREFIX + 'raw.theirs', table.schema(), location='file://{}/theirs')",
        dir.path().display()
    );
    python::change(dir.path(), "raw.payments", &script);
    let theirs = lake.table("raw", "theirs").await.unwrap();
    theirs.append(payments(0..10), advance(None, 10)).await.unwrap();
    theirs.append(payments(10..20), advance(Some(10), 20)).await.unwrap();
    let compacted = theirs.compact(tokio_util::sync::CancellationToken::new()).await.unwrap();
    assert_eq!((compacted.merges, compacted.rows), (1, 20));
    remove_stale(&theirs).await;
    assert_eq!(sums(&theirs, None).await, expected_sums(0..20));
    let seen = python::ask(dir.path(), json!({"table": "raw.theirs", "sum": ["currency", "amount"]}));
    assert_eq!((&seen["rows"], &seen["sums"]), (&json!(20), &json!(expected_sums(0..20).1)));
    let names: BTreeSet<_> = lake.tables().await.unwrap().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["payments".to_owned(), "theirs".to_owned()].into());
}

async fn remove_stale(table: &LakeTable) {
    for _ in 0..2 {
        table.clean().await.unwrap();
    }
}
