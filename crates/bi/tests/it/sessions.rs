//! Transactions, cursors, portals, settings and copies, as clients use them.

use crate::endpoint::{Endpoint, refusal, rows};
use crate::warehouse::Warehouse;
use affluent_bi::BiOptions;
use futures::TryStreamExt as _;
use tokio_postgres::types::Type;

/// A state is looked for by each statement.
fn fresh() -> BiOptions {
    BiOptions { snapshot_age_max_ms: 0, ..BiOptions::default() }
}

async fn paid() -> (Warehouse, Endpoint) {
    let warehouse = Warehouse::new().await;
    warehouse.pay(&[(1, Some("a"), "1.0000", "EUR"), (2, None, "2.5000", "JPY")]).await;
    warehouse.publish().await;
    let endpoint = Endpoint::start(&warehouse, fresh()).await;
    (warehouse, endpoint)
}

const COUNT: &str = "select count(*), sum(amount) from dwh.fact_payments";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_sees_what_is_published_and_a_transaction_keeps_it() {
    let (warehouse, endpoint) = paid().await;
    let (one, other) = (endpoint.client().await, endpoint.client().await);
    let prepared = one.prepare(COUNT).await.unwrap();
    one.simple_query("begin").await.unwrap();
    assert_eq!(rows(&one, COUNT).await, ["2|3.5000"]);
    warehouse.pay(&[(3, None, "10.0000", "EUR")]).await;
    assert_eq!(rows(&other, COUNT).await, ["2|3.5000"], "not published yet");
    warehouse.publish().await;
    assert_eq!(rows(&other, COUNT).await, ["3|13.5000"]);
    assert_eq!(rows(&one, COUNT).await, ["2|3.5000"]);
    one.simple_query("commit").await.unwrap();
    assert_eq!(rows(&one, COUNT).await, ["3|13.5000"]);
    // What was prepared earlier sees what is published now.
    assert_eq!(one.query_one(&prepared, &[]).await.unwrap().get::<_, i64>(0), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_in_a_transaction_that_failed() {
    let (_warehouse, endpoint) = paid().await;
    let client = endpoint.client().await;
    assert!(refusal(&client, "select 1; select nonsense; select 2").await.starts_with("42"));
    client.simple_query("begin").await.unwrap();
    refusal(&client, "select * from dwh.no_such_table").await;
    assert_eq!(refusal(&client, "select 1").await, "25P02");
    assert!(client.prepare("select 1").await.is_err());
    client.simple_query("rollback").await.unwrap();
    assert_eq!(rows(&client, "select 1").await, ["1"]);
    client.simple_query("begin; savepoint s").await.unwrap();
    assert_eq!(refusal(&client, "selec 1").await, "42601");
    client.simple_query("rollback to savepoint s").await.unwrap();
    assert_eq!(rows(&client, "select 2; commit").await, ["2"]);
    // Messages that follow an error are left out, and the connection goes on.
    client.query("select $1::bigint / 0", &[&1_i64]).await.unwrap_err();
    assert_eq!(client.query_one("select $1::bigint + 1", &[&1_i64]).await.unwrap().get::<_, i64>(0), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_has_the_type_that_the_client_says() {
    let (_warehouse, endpoint) = paid().await;
    let client = endpoint.client().await;
    let typed = client.prepare_typed("select $1", &[Type::INT4]).await.unwrap();
    assert_eq!(client.query_one(&typed, &[&7_i32]).await.unwrap().get::<_, i32>(0), 7);
    // What is only written as text is what it is compared with: as texts, 10 would be less than 9.
    let typed = client.prepare_typed("select 10 > $1", &[Type::TEXT]).await.unwrap();
    assert_eq!(typed.params(), [Type::INT8]);
    assert!(client.query_one(&typed, &[&9_i64]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_hand_out_rows_as_they_are_fetched() {
    let (_warehouse, endpoint) = paid().await;
    let client = endpoint.client().await;
    assert_eq!(refusal(&client, "declare c cursor for select 1").await, "25P01");
    client
        .simple_query(
            "begin; declare \"C\" cursor for select value from generate_series(1, 100000) order by 1",
        )
        .await
        .unwrap();
    assert_eq!(rows(&client, "fetch 2 from \"C\"").await, ["1", "2"]);
    assert_eq!(rows(&client, "fetch next from \"C\"").await, ["3"]);
    client.simple_query("move forward 6 from \"C\"").await.unwrap();
    // The same cursor by the other protocol, in binary.
    let fetched = client.query("fetch forward 2 from \"C\"", &[]).await.unwrap();
    let numbers: Vec<i64> = fetched.iter().map(|row| row.get(0)).collect();
    assert_eq!(numbers, [10, 11]);
    assert_eq!(rows(&client, "fetch all from \"C\"").await.len(), 100_000 - 11);
    assert_eq!(rows(&client, "fetch all from \"C\"").await.len(), 0);
    client.simple_query("close \"C\"").await.unwrap();
    assert_eq!(refusal(&client, "fetch 1 from \"C\"").await, "34000");
    client.simple_query("rollback").await.unwrap();
    client.simple_query("begin; declare c cursor for select 1; commit").await.unwrap();
    assert_eq!(refusal(&client, "fetch 1 from c").await, "34000", "it ended with its transaction");
    client.simple_query("declare h cursor with hold for select 7").await.unwrap();
    assert_eq!(rows(&client, "fetch 1 from h").await, ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_come_page_by_page() {
    let (_warehouse, endpoint) = paid().await;
    let mut client = endpoint.client().await;
    let transaction = client.transaction().await.unwrap();
    let text = "select value from generate_series(1, 20000) where value > $1::bigint order by value";
    let portal = transaction.bind(text, &[&10_i64]).await.unwrap();
    let mut numbers: Vec<i64> = Vec::new();
    loop {
        let page = transaction.query_portal(&portal, 3_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3_000);
        numbers.extend(page.iter().map(|row| row.get::<_, i64>(0)));
    }
    transaction.commit().await.unwrap();
    assert_eq!(numbers, (11..=20_000).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_the_sessions_own() {
    let (_warehouse, endpoint) = paid().await;
    let (client, other) = (endpoint.client().await, endpoint.client().await);
    client.simple_query("set application_name = 'report'; set extra_float_digits to 3").await.unwrap();
    assert_eq!(rows(&client, "show application_name").await, ["report"]);
    assert_ne!(rows(&other, "show application_name").await, ["report"]);
    client.simple_query("begin; set local application_name = 'part'").await.unwrap();
    assert_eq!(rows(&client, "show application_name").await, ["part"]);
    client.simple_query("commit").await.unwrap();
    assert_eq!(rows(&client, "show application_name").await, ["report"]);
    client.simple_query("begin; set application_name = 'undone'; rollback").await.unwrap();
    assert_eq!(rows(&client, "show application_name").await, ["report"]);
    client.simple_query("DISCARD ALL").await.unwrap();
    assert_ne!(rows(&client, "show application_name").await, ["report"]);
    assert_eq!(rows(&client, "show time zone").await, ["UTC"]);
    client.simple_query("set time zone 'Europe/Berlin'").await.unwrap();
    assert_eq!(rows(&client, "show timezone").await, ["UTC"]);
    assert_eq!(refusal(&client, "set nonsense = 1").await, "42704");
    assert_eq!(refusal(&client, "show nonsense").await, "42704");
    assert_eq!(rows(&client, "show transaction isolation level").await, ["repeatable read"]);
    assert!(rows(&client, "show all").await.len() > 20);
    let started = endpoint.connect("user=affluent options='-c application_name=from_options'").await.unwrap();
    assert_eq!(rows(&started, "show application_name").await, ["from_options"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_copied_out() {
    let (_warehouse, endpoint) = paid().await;
    let client = endpoint.client().await;
    for (copy, expected) in [
        ("copy dwh.fact_payments (payment, amount, memo) to stdout", "1\t1.0000\ta\n2\t2.5000\t\\N\n"),
        (
            "copy (select payment, amount from dwh.fact_payments order by 1) to stdout with (format csv, header)",
            "payment,amount\n1,1.0000\n2,2.5000\n",
        ),
    ] {
        let stream = client.copy_out(copy).await.unwrap();
        let parts: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
        let mut lines: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        if !copy.contains("order by") {
            lines.sort_unstable();
        }
        assert_eq!(String::from_utf8(lines.concat()).unwrap(), expected, "{copy}");
    }
}
