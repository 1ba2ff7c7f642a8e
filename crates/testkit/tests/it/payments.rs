//! The load keeps its rate, touches every table in every way, and survives a restart of the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use affluent_testkit::payments::{Payments, PaymentsOptions, TABLES};
use affluent_testkit::{Database, Postgres, PostgresOptions, Stop};
use tokio_util::sync::CancellationToken;

fn options(rate: u32) -> PaymentsOptions {
    PaymentsOptions { rate, customers: 200, merchants: 20, history: 300, ..PaymentsOptions::default() }
}

async fn count(database: &Database, sql: &str) -> i64 {
    database.connect().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

/// Runs the load until `done` holds.
async fn play_until(payments: Arc<Payments>, done: impl Fn(&Payments) -> bool) {
    let shutdown = CancellationToken::new();
    let run = tokio::spawn({
        let (payments, shutdown) = (Arc::clone(&payments), shutdown.clone());
        async move { payments.run(shutdown).await }
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done(&payments) && !run.is_finished() {
        assert!(Instant::now() < deadline, "timed out: {:?}", payments.progress());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_table_changes_in_every_way() {
    let database = Postgres::shared().fresh_database().await.unwrap();
    let payments = Arc::new(Payments::new(database.clone(), options(0)));
    payments.prepare().await.unwrap();
    payments.prepare().await.unwrap();
    assert_eq!(count(&database, "select count(*) from transactions").await, 300);
    play_until(Arc::clone(&payments), |p| p.progress().changes() > 120_000).await;
    assert_eq!(payments.progress().failures(), 0);

    let client = database.connect().await.unwrap();
    for table in TABLES {
        let sql = format!("select count(*) from {table}");
        assert!(count(&database, &sql).await > 0, "{table} is empty");
        let sql = format!("select count(*) from {table} where updated_at > created_at");
        assert!(client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) > 0, "{table} never updated");
    }
    let erased = "select count(*) from transactions where customer_id is null";
    assert!(count(&database, erased).await > 0, "no customer was erased");
    let stray = "select count(*) from transactions where currency = 'JPY' and amount <> trunc(amount)";
    assert_eq!(count(&database, stray).await, 0);
    for currency in ["JPY", "KWD", "EUR"] {
        let sql = format!("select count(*) from transactions where currency = '{currency}'");
        assert!(count(&database, &sql).await > 0, "no {currency}");
    }
}

#[tokio::test]
async fn the_history_is_spread_over_days_and_partly_disputed() {
    let database = Postgres::shared().fresh_database().await.unwrap();
    let payments =
        Payments::new(database.clone(), PaymentsOptions { history: 600, history_days: 14, ..options(0) });
    payments.prepare().await.unwrap();
    payments.prepare().await.unwrap();
    let days = "select count(distinct created_at::date) from transactions";
    assert!((14..=15).contains(&count(&database, days).await));
    let old = "select count(*) from transactions where created_at < now() - interval '7 days'";
    assert!((200..400).contains(&count(&database, old).await));
    for (what, none) in [
        (
            "a payment before its customer",
            "select count(*) from transactions t join customers c on c.id = t.customer_id where t.created_at < c.created_at",
        ),
        (
            "a dispute before its payment",
            "select count(*) from disputes d join transactions t on t.id = d.transaction_id where d.created_at < t.created_at",
        ),
        ("one of the future", "select count(*) from disputes where created_at > now()"),
    ] {
        assert_eq!(count(&database, none).await, 0, "{what}");
    }
    for table in ["disputes", "transactions where status = 'declined'"] {
        let found = count(&database, &format!("select count(*) from {table}")).await;
        assert!((5..100).contains(&found), "{found} of {table}");
    }
    let again = "select count(*) from (select card_token from transactions group by card_token having count(*) > 1) as cards";
    assert!(count(&database, again).await > 20, "customers use their cards again");
}

#[tokio::test]
async fn the_rate_is_kept() {
    let database = Postgres::shared().fresh_database().await.unwrap();
    let payments = Arc::new(Payments::new(database, options(500)));
    payments.prepare().await.unwrap();
    let start = Instant::now();
    play_until(Arc::clone(&payments), |_| start.elapsed() > Duration::from_secs(3)).await;
    let rate = payments.progress().changes() as f64 / start.elapsed().as_secs_f64();
    // A busy machine may be slower; faster would be a fault of the pace.
    assert!((100.0..=560.0).contains(&rate), "{rate} changes/s");
}

#[tokio::test]
async fn the_load_survives_a_killed_server() {
    let cluster = Arc::new(Postgres::start(PostgresOptions::default()).unwrap());
    let database = cluster.fresh_database().await.unwrap();
    let payments = Arc::new(Payments::new(database, options(0)));
    payments.prepare().await.unwrap();
    let progress = payments.progress();
    let restarter = tokio::task::spawn_blocking({
        let (cluster, progress) = (Arc::clone(&cluster), Arc::clone(&progress));
        move || {
            while progress.changes() < 2_000 {
                std::thread::sleep(Duration::from_millis(5));
            }
            cluster.restart(Stop::Immediate).unwrap();
            progress.changes()
        }
    });
    play_until(payments, |p| p.progress().changes() > 20_000 && p.progress().failures() > 0).await;
    assert!(restarter.await.unwrap() < progress.changes());
    assert!(progress.failures() > 0);
}
