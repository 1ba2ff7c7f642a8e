//! Files and row groups that a filter does not need are not read, and no row is lost by it.

use super::{files_opened, lake, one, rows, session};
use crate::tables::{DAY, MICROS_A_DAY, advance, column, parquet_files, payments, payments_table};
use affluent_lake::sql::Session;
use affluent_lake::{Lake, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value};
use proptest::prelude::*;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_files_that_may_hold_wanted_rows_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let table = payments_table(&lake).await;
    // One file a day for four days.
    for day in 0..4 {
        let from = day * 86_400;
        table.append(payments(from..from + 1_000), advance((day > 0).then_some(day), day + 1)).await.unwrap();
    }
    let session = session(&lake).await;
    let expected = [
        ("true", 4),
        ("at >= '2026-11-23T00:00:00Z' and at < '2026-11-24T00:00:00Z'", 1),
        ("at < '2026-11-24T00:00:00Z'", 2),
        ("date_trunc('day', at) = timestamp '2026-11-24 00:00:00'", 4),
        ("id between 86500 and 86600", 1),
        ("id in (5, 259300)", 2),
        ("amount > 300000.0000", 1),
        ("currency = 'XXX'", 0),
        ("currency = 'EUR' and (id < 5 or id > 259200)", 2),
        ("currency like 'X%'", 0),
        ("id is null", 0),
        ("id + 0 = 5", 4),
    ];
    let mut opened = Vec::new();
    for (filter, _) in expected {
        let text = format!("select id from raw.payments where {filter}");
        opened.push((filter, files_opened(&session, &text).await));
    }
    assert_eq!(opened, expected);
    assert_eq!(files_opened(&session, "select id from raw.payments limit 10").await, 1);
    assert_eq!(files_opened(&session, "select count(*) from raw.payments").await, 0, "the manifests tell");

    // The same holds when it runs: destroyed files are in nobody's way.
    for file in parquet_files(dir.path()).iter().filter(|file| !file.to_string_lossy().contains("2026-11-23"))
    {
        std::fs::write(file, "destroyed").unwrap();
    }
    let day = "at >= '2026-11-23T00:00:00Z' and at < '2026-11-24T00:00:00Z'";
    let count = format!("select count(*), min(id), max(id) from raw.payments where {day}");
    assert_eq!(one(&session, &count).await, "1000,86400,87399");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_bloom_filter_lacks_costs_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let key = |n: i64| format!("{:016x}", n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let columns = [column("key", ColumnType::Text), column("at", ColumnType::TimestampTz)];
    let table = lake.ensure_table("staged", "keyed", &columns, &Partition::None).await.unwrap();
    table.keep_filter("key").await.unwrap();
    let keyed = (0..2_000).map(|n| vec![Value::Text(key(n)), Value::TimestampTz(n)]).collect();
    table.append(Arc::new(RowBatch { columns: columns.into(), rows: keyed }), vec![]).await.unwrap();
    let session = session(&lake).await;
    let find = |n: i64| format!("select at from staged.keyed where key = '{}'", key(n));
    assert_eq!(one(&session, &find(7)).await, "1970-01-01T00:00:00.000007Z");
    let absent: Vec<i64> = (2_000..2_020).filter(|n| key(*n) < key(2_000_000)).collect();
    let files = parquet_files(dir.path());
    // The pages stand before the filter and the footer.
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[4..2_000].fill(0xff);
    std::fs::write(&files[0], bytes).unwrap();
    for n in absent {
        assert_eq!(
            rows(&session, &find(n)).await,
            [] as [&str; 0],
            "within the statistics, not in the filter"
        );
    }
    session.collect(&find(7)).await.unwrap_err();
}

fn typed_columns() -> [Column; 7] {
    [
        column("id", ColumnType::Int64),
        column("small", ColumnType::Int32),
        column("note", ColumnType::Text),
        column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        column("at", ColumnType::TimestampTz),
        column("day", ColumnType::Date),
        column("ok", ColumnType::Bool),
    ]
}

/// Row `n` of 3,000 over three days; each column has its nulls.
fn typed(n: i64) -> Row {
    let unless = |every: i64, value: Value| if n % every == 0 { Value::Null } else { value };
    vec![
        Value::Int(n),
        unless(7, Value::Int(n / 100 - 15)),
        unless(
            5,
            Value::Text(format!("{}{:03}", ["ab", "b", "a"][usize::try_from(n / 1_000).unwrap()], n % 50)),
        ),
        unless(11, Value::Decimal(bigdecimal::BigDecimal::new((n * 37 - 50_000).into(), 4))),
        unless(301, Value::TimestampTz(DAY + n / 1_000 * MICROS_A_DAY + n * 1_000_000)),
        unless(13, Value::Date(20_000 + i32::try_from(n / 500).unwrap())),
        unless(3, Value::Bool(n < 1_500)),
    ]
}

/// The rows as a table of several files, and the same rows in memory, where nothing can be left out.
async fn twice(lake: &Lake) -> Session {
    let day = Partition::Day("at".to_owned());
    let table =
        lake.ensure_sorted_table("raw", "typed", &typed_columns(), &day, &["note", "id"]).await.unwrap();
    for part in 0..6 {
        let rows = (part * 500..(part + 1) * 500).map(typed).collect();
        let columns = typed_columns().into();
        table.append(Arc::new(RowBatch { columns, rows }), vec![]).await.unwrap();
    }
    let session = session(lake).await;
    let batches = session.collect("select * from raw.typed").await.unwrap();
    session.register_batches("plain", batches[0].schema(), batches).unwrap();
    session
}

fn comparison() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let value = prop_oneof![
        (-10..3_100_i64).prop_map(|n| format!("id ? {n}")),
        (-20..20_i64).prop_map(|n| format!("small ? {n}")),
        (0..60_i64, prop::sample::select(vec!["a", "ab", "b", "c", ""]))
            .prop_map(|(n, prefix)| format!("note ? '{prefix}{n:03}'")),
        (-60_000..70_000_i64).prop_map(|n| format!("amount ? {n} / 10000.0")),
        (-5..80_i64).prop_map(|h| format!("at ? timestamptz '2026-11-22T00:00:00Z' + interval '{h} hours'")),
        (19_998..20_008_i64).prop_map(|d| format!("day ? date '1970-01-01' + interval '{d} days'")),
        Just("ok ? true".to_owned()),
    ];
    (operator, value).prop_map(|(operator, text)| text.replacen('?', operator, 1))
}

fn filter() -> impl Strategy<Value = String> {
    let other = prop_oneof![
        prop::sample::select(vec!["note", "amount", "at", "day", "ok", "small"])
            .prop_map(|c| format!("{c} is null")),
        prop::sample::select(vec!["note", "amount", "at"]).prop_map(|c| format!("{c} is not null")),
        prop::sample::select(vec!["a%", "ab0%", "b04_", "%9"]).prop_map(|like| format!("note like '{like}'")),
        prop::collection::vec(0..3_000_i64, 1..4).prop_map(|ids| format!(
            "id in ({})",
            ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        )),
        (0..3_000_i64, 0..900_i64).prop_map(|(n, width)| format!("id between {n} and {}", n + width)),
        Just("not ok".to_owned()),
        (0..20_i64).prop_map(|n| format!("small + {n} > 10")),
        Just("date_trunc('day', at) = timestamptz '2026-11-23T00:00:00Z'".to_owned()),
    ];
    let leaf = prop_oneof![3 => comparison(), 2 => other];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

#[test]
fn filters_that_leave_files_out_lose_no_row() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let session = runtime.block_on(async { twice(&lake(dir.path()).await).await });
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(filter in filter())| {
        let ids = |table: &str| format!("select id from {table} where {filter} order by id");
        let (pruned, plain) = runtime.block_on(async {
            (rows(&session, &ids("raw.typed")).await, rows(&session, &ids("plain")).await)
        });
        prop_assert_eq!(pruned, plain, "{}", filter);
    });
}
