//! Answers are those of other readers, and exact or an error.

use super::{lake, one, rows, session, try_rows};
use crate::python;
use crate::tables::{advance, expected_sums, payments, payments_table};
use affluent_lake::Lake;
use affluent_lake::sql::SqlError;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_sums_equal_those_of_the_scan_and_of_pyiceberg() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let table = payments_table(&lake).await;
    // Three days.
    table.append(payments(0..100_000), advance(None, 1)).await.unwrap();
    table.append(payments(100_000..200_000), advance(Some(1), 2)).await.unwrap();
    let session = session(&lake).await;
    let by_currency = "select currency, sum(amount) from raw.payments group by currency order by currency";
    let (count, expected) = expected_sums(0..200_000);
    let sums: Vec<String> = expected.iter().map(|(currency, sum)| format!("{currency},{sum}")).collect();
    assert_eq!(rows(&session, by_currency).await, sums);
    assert_eq!(
        one(&session, "select count(*), count(amount) from raw.payments").await,
        format!("{count},{count}")
    );

    let day = "at >= '2026-11-23T00:00:00+00:00' and at < '2026-11-24T00:00:00+00:00'";
    let ask = json!({"table": "raw.payments", "filter": day, "sum": ["currency", "amount"]});
    let seen = python::ask(dir.path(), ask);
    let of_day = format!("select currency, sum(amount) from raw.payments where {day} group by 1 order by 1");
    let mut theirs: Vec<String> = seen["sums"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(currency, sum)| format!("{currency},{}", sum.as_str().unwrap()))
        .collect();
    theirs.sort();
    assert_eq!(rows(&session, &of_day).await, theirs);
    // Times come as they were stored, joins and windows work on them.
    let first = "select id, at, lag(id) over (order by at desc) from raw.payments order by id limit 1";
    assert_eq!(one(&session, first).await, "0,2026-11-22T00:00:00Z,1");
}

async fn refused(lake: &Lake, text: &str) {
    match try_rows(&session(lake).await, text).await {
        Err(SqlError::Overflow(_)) => {}
        other => panic!("{text}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_the_range_of_its_type_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let nines = "99999999999999999999999999999999999999";
    let decimals = |values: &[&str]| {
        let value = |value: &&str| format!("(1, cast('{value}' as decimal(38,0)))");
        format!("(values {}) as t(k, v)", values.iter().map(value).collect::<Vec<_>>().join(", "))
    };
    let two = decimals(&[nines, nines]);
    let one_more = decimals(&[nines, "1"]);
    for text in [
        format!("select sum(v) from {two}"),
        format!("select sum(v) from {one_more}"),
        format!("select k, sum(v) from {two} group by k"),
        format!("select k, sum(v) from {one_more} group by k"),
        format!("select avg(v) from {two}"),
        format!("select k, avg(v) from {two} group by k"),
        format!("select sum(v) over (order by k rows between 1 preceding and current row) from {two}"),
        format!("select v + 1 from {one_more}"),
        "select sum(v) from (values (9223372036854775807), (1)) as t(v)".to_owned(),
        "select v + 1 from (values (9223372036854775807)) as t(v)".to_owned(),
        "select v * 2 as doubled from (values (9223372036854775807)) as t(v)".to_owned(),
        "select -2 - v from (values (9223372036854775807)) as t(v)".to_owned(),
        "select count(*) from (values (9223372036854775807)) as t(v) where v + 1 > 0".to_owned(),
        "select cast(v as int) from (values (3000000000)) as t(v)".to_owned(),
        "select cast('12345.678' as decimal(5,2))".to_owned(),
    ] {
        refused(&lake, &text).await;
    }
    // What the engine would add up unchecked.
    let text = "select sum(distinct v), count(distinct k) from (values (1, 2), (1, 3)) as t(k, v)";
    let error = try_rows(&session(&lake).await, text).await.unwrap_err();
    assert!(error.to_string().contains("in a subquery"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_is_exact_and_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(&lake(dir.path()).await).await;
    for (text, expected) in [
        ("select 0.1 + 0.2", "0.3"),
        ("select sum(v) from (values (0.1), (0.2)) as t(v)", "0.3"),
        ("select sum(v), avg(v) from (values (1), (null), (2)) as t(v)", "3,1.5"),
        ("select sum(v) from (select 1 as v where false)", ""),
        ("select cast('0.0001' as decimal(18,4)) * 3", "0.0003"),
        ("select k + 1, sum(v) from (values (1, 2), (1, 3)) as t(k, v) group by k + 1", "2,5"),
        ("select (select max(w) + 1 from (values (4)) as u(w)) * v from (values (2)) as t(v)", "10"),
        ("select sum(distinct v) from (values (1), (1), (2)) as t(v)", "3"),
    ] {
        assert_eq!(one(&session, text).await, expected, "{text}");
    }
    let schema = session.schema("select 1 + v, v * 2 as twice from (values (1)) as t(v)").await.unwrap();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["Int64(1) + t.v", "twice"]);
}
