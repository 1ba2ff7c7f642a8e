//! Memory, time, rows, and statements that are no queries.

use super::{engine, lake, one, rows, session, try_rows};
use crate::tables::{column, payments_table};
use affluent_lake::sql::{Engine, EngineOptions, Limits, Pins, SqlError};
use affluent_lake::{Partition, RowBatch};
use affluent_model::{ColumnType, Value};
use std::sync::Arc;
use std::time::Duration;

/// An engine with little memory.
async fn small(directory: &std::path::Path, memory_bytes: u64) -> Engine {
    let spill_directory = Some(directory.join("spill"));
    let options = EngineOptions { memory_bytes, spill_directory, partitions: 1, ..EngineOptions::default() };
    Engine::new(lake(directory).await, options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_goes_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let session = small(dir.path(), 64 << 20).await.session(Pins::default()).await.unwrap();
    // About 100 MB to sort.
    let sorted = "select md5(cast(value as varchar)) as k, value from generate_series(1, 1500000) order by k";
    let plan = session.explain(sorted, true).await.unwrap();
    let spilled = plan.split("spill_count=").skip(1).any(|rest| !rest.starts_with('0'));
    assert!(spilled, "nothing was spilled: {plan}");
    let left = std::fs::read_dir(dir.path().join("spill")).unwrap().flatten();
    let files = left.flat_map(|entry| std::fs::read_dir(entry.path()).into_iter().flatten()).count();
    assert_eq!(files, 0, "what was spilled is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_does_not_fit_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let session = small(dir.path(), 8 << 20).await.session(Pins::default()).await.unwrap();
    let joined = "select count(*) from generate_series(1, 2000000) a(v) join generate_series(1, 2000000) b(v) on a.v = b.v";
    let error = try_rows(&session, joined).await.unwrap_err();
    assert!(matches!(error, SqlError::Memory(_)), "{error:?}");
    // Nothing of it is left behind.
    assert_eq!(one(&session, "select count(*) from generate_series(1, 1000)").await, "1000");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_join_the_side_with_fewer_rows_is_held_wherever_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let numbers = |count: i64| RowBatch {
        columns: [column("id", ColumnType::Int64)].into(),
        rows: (0..count).map(|n| vec![Value::Int(n)]).collect(),
    };
    for (name, count) in [("many", 20_000), ("few", 10)] {
        let batch = numbers(count);
        let table = lake.ensure_table("raw", name, &batch.columns, &Partition::None).await.unwrap();
        table.append(Arc::new(batch), vec![]).await.unwrap();
    }
    let session = session(&lake).await;
    // Behind a window the engine estimates nothing.
    let newest = "(select id, row_number() over (partition by id order by id) as nth from raw.many)";
    for (join, said) in [
        (format!("{newest} m left join raw.few f on f.id = m.id"), "join_type=Right"),
        (format!("raw.few f right join {newest} m on f.id = m.id"), "join_type=Right"),
        (format!("{newest} m full join raw.few f on f.id = m.id"), "join_type=Full"),
    ] {
        let text = format!("select m.id, m.nth, f.id as other from {join}");
        let plan = session.explain(&text, false).await.unwrap();
        let held = plan.lines().skip_while(|line| !line.contains("HashJoinExec")).collect::<Vec<_>>();
        assert!(held[0].contains(said), "{plan}");
        let side = held.iter().find(|line| line.contains("raw/few/") || line.contains("raw/many/")).unwrap();
        assert!(side.contains("raw/few/"), "{plan}");
        let counted = format!("select count(*), sum(nth), count(other) from ({text})");
        assert_eq!(one(&session, &counted).await, "20000,20000,10");
    }
    // Each row that is held makes a batch: many beside one row must not be.
    let product =
        session.collect("select m.id, f.id as f from raw.many m cross join raw.few f").await.unwrap();
    assert_eq!(product.iter().map(|batch| batch.num_rows()).sum::<usize>(), 200_000);
    assert!(product.len() < 2_000, "{} batches", product.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_rows_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let session = session(&lake).await;
    let endless = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b where a.value % 7 = b.value % 5";
    let limits = Limits { timeout: Some(Duration::from_millis(300)), rows: None };
    let mut rows = session.query(endless, limits).await.unwrap();
    let error = rows.next_batch().await.unwrap().unwrap_err();
    assert!(matches!(error, SqlError::Timeout(_)), "{error}");
    assert!(rows.next_batch().await.is_none());

    let limits = Limits { timeout: None, rows: Some(3) };
    let mut some =
        session.query("select * from generate_series(1, 10) order by 1 desc", limits).await.unwrap();
    assert_eq!(some.next_batch().await.unwrap().unwrap().num_rows(), 3);
    assert!(some.next_batch().await.is_none() && some.truncated());
    let mut all = session.query("select * from generate_series(1, 3)", limits).await.unwrap();
    assert_eq!(all.next_batch().await.unwrap().unwrap().num_rows(), 3);
    assert!(all.next_batch().await.is_none() && !all.truncated());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_queries_is_run_and_mistakes_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    payments_table(&lake).await;
    let secret = dir.path().join("secret.csv");
    std::fs::write(&secret, "a\n1\n").unwrap();
    let session = engine(&lake).session(Pins::default()).await.unwrap();
    let path = secret.display();
    for (text, words) in [
        ("select * form raw.payments", "line 1, column"),
        ("select * from raw.payment", "did you mean raw.payments?"),
        ("select * from raw.payments$x", "payments$x"),
        ("select curency from raw.payments", "currency"),
        ("create table t as select 1", "only queries"),
        ("drop table raw.payments", "only queries"),
        ("insert into raw.payments select * from raw.payments", "only queries"),
        ("set datafusion.execution.batch_size = 1", "only queries"),
        (&format!("create external table t stored as csv location '{path}'"), "only queries"),
        (&format!("copy (select 1) to '{path}'"), "only queries"),
        (&format!("select * from '{path}'"), "no table"),
    ] {
        let error = try_rows(&session, text).await.unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "a\n1\n");
    let tables = "select table_schema, table_name from information_schema.tables where table_schema = 'raw'";
    assert_eq!(rows(&session, tables).await, ["raw,payments"]);
    assert_eq!(rows(&session, "describe raw.payments").await.len(), 4);
    assert!(rows(&session, "explain select * from raw.payments").await.len() >= 2);
}
