//! Copies of published versions in a real PostgreSQL: exact, once, whole for every reader, and nobody else's tables.

use crate::warehouse::Warehouse;
use affluent_bi::publish::{Connect, Copied, PublishError, PublishOptions, Publisher};
use affluent_telemetry::health::Health;
use affluent_testkit::{Database, Postgres};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

fn connect(database: &Database) -> Connect {
    let database = database.clone();
    Arc::new(move || {
        let database = database.clone();
        Box::pin(async move { database.connect().await.map_err(|error| error.to_string()) })
    })
}

fn publisher(warehouse: &Warehouse, database: &Database) -> Publisher {
    let options = PublishOptions { schema: "marts".to_owned(), poll_ms: 100, ..PublishOptions::default() };
    let (lake, models) = (warehouse.lake.clone(), warehouse.batch.models().clone());
    Publisher::new(options, lake, models, connect(database), Health::default()).unwrap()
}

/// The rows of a query as text, columns between bars.
async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap();
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|place| row.get(place).unwrap_or("null"));
            Some(cells.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

const FACTS: &str =
    "select payment, amount, currency, memo, created_at from marts.fact_payments order by payment";

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_copied_exactly_and_once_and_the_next_takes_its_place() {
    let warehouse = Warehouse::new().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    let publisher = publisher(&warehouse, &database);
    assert_eq!(publisher.publish().await.unwrap(), Copied::Nothing);

    let odd = "tab\there, line\nhere, \\N and \\. and ü";
    warehouse.pay(&[(1, Some(odd), "12345678901234.5678", "EUR"), (2, None, "-0.0001", "JPY")]).await;
    warehouse.publish().await;
    assert_eq!(publisher.publish().await.unwrap(), Copied::Now { version: 1, rows: 4 });
    let first = format!("1|12345678901234.5678|EUR|{odd}|2026-11-22 12:00:01.000001+00");
    assert_eq!(
        rows(&client, FACTS).await,
        [first.as_str(), "2|-0.0001|JPY|null|2026-11-22 12:00:02.000002+00"]
    );
    let types = "select attname, format_type(atttypid, atttypmod) from pg_attribute \
        where attrelid = 'marts.fact_payments'::regclass and attnum > 0 order by attnum";
    let expected = [
        "payment|bigint",
        "amount|numeric(18,4)",
        "currency|text",
        "memo|text",
        "created_at|timestamp with time zone",
    ];
    assert_eq!(rows(&client, types).await, expected);
    let indexes = "select indexname from pg_indexes where schemaname = 'marts' order by 1";
    let names = [
        "affluent_publication_pkey",
        "currencies_pkey",
        "fact_payments_created_at_idx",
        "fact_payments_pkey",
    ];
    assert_eq!(rows(&client, indexes).await, names);
    let comment = "select obj_description('marts.fact_payments'::regclass)";
    assert_eq!(rows(&client, comment).await, ["Every payment, as it's told."]);

    let copied_at = "select max(copied_at) from marts.affluent_publication";
    let before = rows(&client, copied_at).await;
    assert_eq!(publisher.publish().await.unwrap(), Copied::Before { version: 1 });
    assert_eq!(rows(&client, copied_at).await, before, "a version is copied once");

    let reader = affluent_testkit::unique("reader");
    let grant = format!("create role {reader}; grant select on marts.fact_payments to {reader}, public");
    client.batch_execute(&grant).await.unwrap();
    warehouse.pay(&[(2, Some("changed"), "7.0000", "JPY"), (3, Some(""), "0", "EUR")]).await;
    warehouse.publish().await;
    assert_eq!(publisher.publish().await.unwrap(), Copied::Now { version: 2, rows: 5 });
    let expected = [
        first.as_str(),
        "2|7.0000|JPY|changed|2026-11-22 12:00:02.000002+00",
        "3|0.0000|EUR||2026-11-22 12:00:03.000003+00",
    ];
    assert_eq!(rows(&client, FACTS).await, expected);
    assert_eq!(rows(&client, indexes).await, names, "indexes have their names again");
    let may = format!(
        "select has_table_privilege('{reader}', 'marts.fact_payments', 'select'), relacl from pg_class \
        where oid = 'marts.fact_payments'::regclass"
    );
    let may = rows(&client, &may).await;
    assert!(may[0].starts_with("t|") && may[0].contains(",=r/"), "grants stay: {may:?}");
    let published = "select table_name, version, rows from marts.affluent_publication order by 1";
    assert_eq!(rows(&client, published).await, ["currencies|2|2", "fact_payments|2|3"]);
    client.batch_execute(&format!("drop owned by {reader}; drop role {reader}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_not_replaced() {
    let warehouse = Warehouse::new().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    let theirs = "create schema marts; create table marts.currencies (code text); insert into marts.currencies values ('X')";
    client.batch_execute(theirs).await.unwrap();
    warehouse.pay(&[(1, None, "1", "EUR")]).await;
    warehouse.publish().await;
    let refused = publisher(&warehouse, &database).publish().await.unwrap_err();
    assert!(
        matches!(&refused, PublishError::Foreign { tables, .. } if tables == &["currencies"]),
        "{refused}"
    );
    assert_eq!(rows(&client, "select code from marts.currencies").await, ["X"]);
    let made = "select count(*) from pg_class where relnamespace = 'marts'::regnamespace and relkind = 'r'";
    assert_eq!(rows(&client, made).await, ["1"], "nothing is left of the attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_one_version_and_are_waited_for() {
    let warehouse = Warehouse::new().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    warehouse.pay(&[(1, None, "1", "EUR")]).await;
    warehouse.publish().await;
    let publisher = publisher(&warehouse, &database);
    publisher.publish().await.unwrap();

    // Version n has n payments.
    let stop = CancellationToken::new();
    let reading = tokio::spawn({
        let (stop, client) = (stop.clone(), database.connect().await.unwrap());
        async move {
            let mut seen = Vec::new();
            let both = "select (select max(version) from marts.affluent_publication), count(*) from marts.fact_payments";
            while !stop.is_cancelled() {
                seen.extend(rows(&client, both).await);
            }
            seen
        }
    });
    for payment in 2..=4 {
        warehouse.pay(&[(payment, None, "1", "EUR")]).await;
        warehouse.publish().await;
        assert_eq!(
            publisher.publish().await.unwrap(),
            Copied::Now { version: payment, rows: 2 + payment.unsigned_abs() }
        );
    }
    stop.cancel();
    let seen = reading.await.unwrap();
    assert!(!seen.is_empty());
    for pair in &seen {
        let (version, payments) = pair.split_once('|').unwrap();
        assert_eq!(version, payments, "half a version was seen: {seen:?}");
    }

    // Somebody reads in a transaction that stays open: the copy waits, and then takes place.
    let reader = database.connect().await.unwrap();
    reader.batch_execute("begin; select count(*) from marts.fact_payments").await.unwrap();
    warehouse.pay(&[(5, None, "1", "EUR")]).await;
    warehouse.publish().await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(publisher.run(shutdown.clone()));
    let watcher = database.connect().await.unwrap();
    let waiting = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock' \
        and database = (select oid from pg_database where datname = current_database())";
    until(&watcher, waiting, "1").await;
    reader.batch_execute("commit").await.unwrap();
    until(&watcher, "select max(version) from marts.affluent_publication", "5").await;
    assert_eq!(rows(&watcher, "select count(*) from marts.fact_payments").await, ["5"]);
    shutdown.cancel();
    running.await.unwrap();
}

/// Waits until a query answers so.
async fn until(client: &Client, query: &str, wanted: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = rows(client, query).await;
        if found == [wanted] {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {found:?}");
        tokio::time::sleep(LOOK).await;
    }
}
