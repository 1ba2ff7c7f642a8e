//! What a statement may take: time, rows, memory; and how many there may be.

use crate::endpoint::{Endpoint, LIMIT, LOOK, code, refusal, role, rows, user};
use crate::warehouse::Warehouse;
use affluent_bi::{BiEngineOptions, BiOptions, RoleOptions};
use std::time::Instant;
use tokio_postgres::NoTls;

/// Years of work.
const ENDLESS: &str = "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b where a.value + b.value = 0";

async fn endpoint(options: BiOptions) -> (Warehouse, Endpoint) {
    let warehouse = Warehouse::new().await;
    let endpoint = Endpoint::start(&warehouse, options).await;
    (warehouse, endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_within_its_time() {
    let (_warehouse, endpoint) = endpoint(BiOptions { statement_timeout_s: 1, ..BiOptions::default() }).await;
    let client = endpoint.client().await;
    let begun = Instant::now();
    assert_eq!(refusal(&client, ENDLESS).await, "57014");
    // Also where rows flow all the while.
    let flowing = "select a.value from generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    assert_eq!(refusal(&client, flowing).await, "57014");
    assert!(begun.elapsed() < LIMIT);
    client.simple_query("set statement_timeout = '200ms'").await.unwrap();
    assert_eq!(refusal(&client, ENDLESS).await, "57014");
    // More than the user has is not given.
    client.simple_query("set statement_timeout = '1h'").await.unwrap();
    assert_eq!(refusal(&client, ENDLESS).await, "57014");
    assert_eq!(rows(&client, "select 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cancelled_by_its_key() {
    let (_warehouse, endpoint) = endpoint(BiOptions::default()).await;
    let client = endpoint.client().await;
    let cancel = client.cancel_token();
    let running = tokio::spawn(async move { (refusal(&client, ENDLESS).await, client) });
    let deadline = Instant::now() + LIMIT;
    while !running.is_finished() {
        assert!(Instant::now() < deadline, "it is not cancelled");
        cancel.cancel_query(NoTls).await.unwrap();
        tokio::time::sleep(LOOK).await;
    }
    let (refused, client) = running.await.unwrap();
    assert_eq!(refused, "57014");
    assert_eq!(rows(&client, "select 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_allowed_are_an_error() {
    let wide = RoleOptions { max_rows: Some(20), ..role("wide", &["*"], &[]) };
    let options = BiOptions {
        users: vec![user("ana", "long enough", &["narrow"]), user("bo", "long enough", &["narrow", "wide"])],
        roles: vec![role("narrow", &["*"], &[]), wide],
        max_rows: 10,
        ..BiOptions::default()
    };
    let (_warehouse, endpoint) = endpoint(options).await;
    for (name, most) in [("ana", 10), ("bo", 20)] {
        let mut client = endpoint.connect(&format!("user={name} password='long enough'")).await.unwrap();
        let series = |rows: usize| format!("select value from generate_series(1, {rows})");
        assert_eq!(rows(&client, &series(most)).await.len(), most);
        assert_eq!(refusal(&client, &series(most + 1)).await, "54000");
        assert_eq!(refusal(&client, &series(1_000_000)).await, "54000");
        // Pages are counted together.
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind(series(most + 1).as_str(), &[]).await.unwrap();
        let mut seen = 0;
        let error = loop {
            match transaction.query_portal(&portal, 3).await {
                Ok(page) => seen += page.len(),
                Err(error) => break error,
            }
        };
        assert_eq!((code(&error).as_str(), seen <= most), ("54000", true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_too_large_fails_alone() {
    let engine = BiEngineOptions { memory_bytes: 16 << 20, partitions: 2, ..BiEngineOptions::default() };
    let (_warehouse, endpoint) = endpoint(BiOptions { engine, ..BiOptions::default() }).await;
    let client = endpoint.client().await;
    // The smaller side is held in memory.
    let large = "select count(*) from generate_series(1, 8000000) a join generate_series(1, 8000000) b \
                 on a.value = b.value";
    assert_eq!(refusal(&client, large).await, "53200");
    // A sort goes to disk.
    let sorted = "select max(place) from (select row_number() over (order by value % 1000, value) as place \
                  from generate_series(1, 1000000))";
    assert_eq!(rows(&client, sorted).await, ["1000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_so_much_and_no_more() {
    let (_warehouse, endpoint) = endpoint(BiOptions::default()).await;
    let client = endpoint.client().await;
    let large = format!("select '{}' as x", "x".repeat(600 << 10));
    let mut kept = Vec::new();
    let error = loop {
        assert!(kept.len() < 100, "there is no end");
        match client.prepare(&large).await {
            Ok(statement) => kept.push(statement),
            Err(error) => break error,
        }
    };
    // Four megabytes of text.
    assert_eq!((code(&error).as_str(), kept.len()), ("54000", 6));
    drop(kept);
    assert_eq!(rows(&client, "select 1").await, ["1"]);
    client.prepare(&large).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_has_so_many_columns() {
    let (_warehouse, endpoint) = endpoint(BiOptions::default()).await;
    let client = endpoint.client().await;
    let wide = |columns: i32| (0..columns).map(|column| column.to_string()).collect::<Vec<_>>().join(", ");
    assert_eq!(rows(&client, &format!("select {}", wide(1_664))).await.len(), 1);
    assert_eq!(refusal(&client, &format!("select {}", wide(1_665))).await, "54000");
    assert_eq!(refusal(&client, &format!("select {} from pg_am", wide(1_665))).await, "54000");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_connections_as_allowed() {
    let (_warehouse, endpoint) = endpoint(BiOptions { max_connections: 2, ..BiOptions::default() }).await;
    let (first, _second) = (endpoint.client().await, endpoint.client().await);
    let error = endpoint.connect("user=affluent").await.err().unwrap();
    assert_eq!(code(&error), "53300");
    drop(first);
    let deadline = Instant::now() + LIMIT;
    while let Err(error) = endpoint.connect("user=affluent").await {
        assert_eq!(code(&error), "53300");
        assert!(Instant::now() < deadline, "the place is not given back");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_nothing_is_let_go() {
    let options =
        BiOptions { idle_timeout_s: 3_600, idle_in_transaction_timeout_s: 1, ..BiOptions::default() };
    let (_warehouse, endpoint) = endpoint(options).await;
    let (idle, holding) = (endpoint.client().await, endpoint.client().await);
    holding.simple_query("begin").await.unwrap();
    let deadline = Instant::now() + LIMIT;
    while !holding.is_closed() {
        assert!(Instant::now() < deadline, "the transaction is kept");
        tokio::time::sleep(LOOK).await;
    }
    assert!(!idle.is_closed());
    endpoint.end().await.unwrap();
    while !idle.is_closed() {
        assert!(Instant::now() < deadline, "the server is gone, its connection is not");
        tokio::time::sleep(LOOK).await;
    }
}
