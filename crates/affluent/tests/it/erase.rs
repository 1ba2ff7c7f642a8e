//! A customer who is erased: gone from documents, lake and warehouse and from the disk, also when the command was killed in between, also after
//! the next rebuild; while every sum of money is what it was, to the minor unit.

use crate::installation::{Installation, Said, turn};
use affluent_testkit::payments::SCHEMA;
use affluent_testkit::{Database, Postgres};
use serde_json::Value as Json;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

/// Far more than any step takes.
const LIMIT: Duration = Duration::from_secs(600);
const CRONS: [&str; 10] = [
    "raw_to_dwh",
    "rebuild",
    "features_5m",
    "features_1h",
    "features_nightly",
    "features_parity",
    "train_fraud",
    "train_churn",
    "train_score",
    "drift",
];
const CLICK: &str = "0193f1a0-0000-7000-8000-000000000001";
/// Every sum of money: of the facts, and of each version of each row in the raw zone.
const MONEY: &str = "
    select 'payments' as what, currency, count(*) as n, sum(amount) as amount, sum(refunded_amount) as other
        from dwh.fact_transactions group by currency
    union all select 'refunds', currency, count(*), sum(amount), sum(amount) from dwh.fact_refunds group by currency
    union all select 'raw payments', currency, count(*), sum(amount), sum(amount) from raw.transactions group by currency
    union all select 'raw refunds', currency, count(*), sum(amount), sum(amount) from raw.refunds group by currency
    order by 1, 2";

/// Three customers, six payments in two currencies, a refund; customer 910042 is the one who asks.
const WORLD: &str = "
    insert into merchants (id, name, category_code, country, currency) values (1, 'Corner shop', '5411', 'FR', 'EUR');
    insert into customers (id, email, full_name, phone, country, birth_date) values
        (910041, 'bob@example.org', 'Bob Example', '+33100000001', 'FR', '1970-01-01'),
        (910042, 'ada@example.org', 'Ada Example', '+33100000002', 'FR', '1980-02-02'),
        (910043, 'cyd@example.org', 'Cyd Example', '+33100000003', 'JP', '1990-03-03');
    insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method, ip, device_id)
        select gen_random_uuid(), c, 1, amount, currency, 'captured', 'card', '203.0.113.7', gen_random_uuid()
        from unnest(array[910041, 910042, 910043]) c,
            (values (12.34, 'EUR'), (1500, 'JPY')) a (amount, currency);
    insert into refunds (id, transaction_id, amount, currency, reason, status)
        select gen_random_uuid(), id, 2.34, 'EUR', 'asked for', 'paid' from transactions
        where customer_id = 910042 and currency = 'EUR';
    update transactions set status = 'refunded', updated_at = now() where customer_id = 910042 and currency = 'EUR';";

/// As docs/erasure.md says.
const DELETE: &str = "begin;
    update transactions set ip = null, device_id = null, terminal_id = null, card_number = null, card_token = null, card_bin = null
        where customer_id = 910042;
    delete from customers where id = 910042;
    commit;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_is_erased_from_every_store_and_no_sum_changes() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let crons: String = CRONS.map(|name| format!("[schedule.{name}]\ncron = \"\"\n")).concat();
    let mut installation = Installation::with_sections(&database, &crons);
    fill(&database).await;
    installation.start(None);
    installation.wait_ready().await;
    installation.verify().await;
    click(&installation).await;
    let deadline = Instant::now() + LIMIT;
    while installation.events_in_lake("staged", "clickstream_events").await.is_empty() {
        assert!(Instant::now() < deadline, "the click is not staged\n{}", installation.tail());
    }
    batch(&installation, "raw-to-dwh", "00:00", "00:15").await;
    let token = rows(&installation, "select email from raw.customers where id = 910042").await.remove(0);

    let erase = ["erase", "--customer", "910042", "--asked-by", "request 7", "--format", "json"];
    let refused = ask(&installation, &erase).await;
    assert!(refused.status.code() == Some(1) && refused.err.contains("stop it"), "{refused:?}");

    // Stopped, but still at the source.
    installation.terminate(LIMIT).await;
    let refused = ask(&installation, &erase).await;
    assert!(refused.err.contains("delete at the source"), "{refused:?}");
    let client = database.connect().await.unwrap();
    client.batch_execute(DELETE).await.unwrap();
    installation.start(None);
    installation.wait_ready().await;
    installation.verify().await;
    batch(&installation, "raw-to-dwh", "00:15", "00:30").await;
    installation.terminate(LIMIT).await;
    let money = rows(&installation, MONEY).await;
    assert!(money.len() >= 6, "{money:?}");

    let found = check(&installation, &token).await;
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    for store in ["raw.customers", "raw.transactions", "staged.customers", "clickstream_events"] {
        assert!(found.out.contains(store), "{store} is not found: {}", found.out);
    }
    assert_eq!(ask(&installation, &erase[..3]).await.status.code(), Some(2), "nobody says who asked");

    // Killed with files written and not committed, and with history ended and its files still there.
    for failpoint in ["erase::after_files", "erase::before_files"] {
        let killed = installation.begin(&erase, Some(&format!("{failpoint}=return"))).end(LIMIT).await;
        assert!(killed.status.signal().is_some(), "{failpoint} is not reached: {killed:?}");
    }
    let done = ask(&installation, &erase).await;
    assert!(done.status.success(), "{done:?}");
    let clean = check(&installation, &token).await;
    let left = || installation.data().join("lake").display().to_string();
    assert_eq!(clean.status.code(), Some(0), "in {}: {}\n{}", left(), clean.out, clean.err);
    assert_eq!(rows(&installation, MONEY).await, money);

    // What the night computes anew does not bring anybody back, and doing it twice does nothing.
    batch(&installation, "rebuild", "00:30", "00:45").await;
    let again = ask(&installation, &erase).await;
    let told: Json = serde_json::from_str(&again.out).unwrap_or_else(|_| panic!("{again:?}"));
    assert_eq!(told["removed"], serde_json::json!([]), "{told:#}");
    assert_eq!(check(&installation, &token).await.status.code(), Some(0));
    assert_eq!(rows(&installation, MONEY).await, money);

    let audit = "select state, count(*) as n from ops.erasures where asked_by = 'request 7' group by state order by 1";
    let audit = rows(&installation, audit).await;
    assert!(audit.iter().any(|row| row == "begun,4") && audit.iter().any(|row| row == "done,2"), "{audit:?}");
    let names = "select count(*) as n from ops.erasures where subject = '910042' or asked_by = '910042'";
    assert_eq!(rows(&installation, names).await, ["0"]);
    let others = "select count(*) as n from dwh.dim_customer where customer_id in (910041, 910043)";
    assert_eq!(rows(&installation, others).await, ["2"]);

    // And the platform goes on with what is left.
    installation.start(None);
    installation.wait_ready().await;
    installation.verify().await;
    installation.terminate(LIMIT).await;
    let after = check(&installation, &token).await;
    let found: Json = serde_json::from_str(&after.out).unwrap_or_else(|_| panic!("{after:?}"));
    let in_lake = found["found"].as_array().unwrap().iter().filter(|one| one["found"]["kind"] == "lake");
    assert_eq!(in_lake.count(), 0, "{found:#}");
}

async fn fill(database: &Database) {
    let client = database.connect().await.unwrap();
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(WORLD).await.unwrap();
}

async fn click(installation: &Installation) {
    let body = format!(
        r#"{{"event_id":"{CLICK}","event_type":"page_view","user_id":"910042","url":"https://shop.example/basket"}}"#
    );
    let request = reqwest::Client::new().post(format!("{}/collect/events", installation.http_url()));
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let stored = format!("/v1/documents/clickstream_events/{CLICK}");
    installation.wait_page(&stored, LIMIT, |code, _| code == 200).await;
}

async fn ask(installation: &Installation, arguments: &[&str]) -> Said {
    installation.begin(arguments, None).end(LIMIT).await
}

async fn check(installation: &Installation, value: &str) -> Said {
    let arguments = [
        "erase",
        "--check",
        "--customer",
        "910042",
        "--value",
        value,
        "--value",
        "ada@example.org",
        "--format",
        "json",
    ];
    ask(installation, &arguments).await
}

async fn batch(installation: &Installation, pipeline: &str, from: &str, to: &str) {
    let at = |time: &str| format!("2026-11-22T{time}:00Z");
    let said = ask(installation, &["batch", "run", pipeline, "--from", &at(from), "--to", &at(to)]).await;
    assert!(matches!(said.status.code(), Some(0 | 99)), "{pipeline}: {said:?}");
}

/// The rows of a query as `affluent sql` answers it.
async fn rows(installation: &Installation, query: &str) -> Vec<String> {
    let said = ask(installation, &["sql", "--format", "csv", query]).await;
    assert!(said.status.success(), "{query}: {said:?}");
    said.out.lines().skip(1).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
