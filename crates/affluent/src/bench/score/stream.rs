//! Payments through the whole: inserted into PostgreSQL at a rate, captured, judged, recorded in `fraud_events`, alerted in Kafka, written
//! back into PostgreSQL. Latencies are the platform's own, from the commit on.

use super::super::Report;
use crate::platform::Platform;
use affluent_bus::TopicPartition;
use affluent_model::names::{COLLECTION_SCORES, TOPIC_FRAUD_ALERTS};
use affluent_telemetry::latency::{self, Latency};
use affluent_testkit::Database;
use affluent_testkit::payments::{SCHEMA, Simulated, simulated};
use anyhow::Context as _;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

const FRAUD_SHARE: f64 = 0.02;
/// Payments of a transaction.
const BATCH: usize = 10;
/// Everything has this long to arrive after the load.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

const PARENTS: &str = "
insert into customers (id, email, full_name, country)
select i, 'c' || i || '@example.com', 'Customer ' || i, 'DE' from generate_series(1, 2000) i;
insert into merchants (id, name, category_code, country, currency)
select i, 'Merchant ' || i, '5411', 'DE', 'EUR' from generate_series(1, 200) i;";

const INSERT: &str = "
insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method, card_token, card_bin,
    terminal_id, device_id, ip)
select id, customer, merchant, amount::numeric, currency, 'authorized', method, token, bin, terminal, device, ip::inet
from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text[],
    $10::uuid[], $11::text[])
    as new (id, customer, merchant, amount, currency, method, token, bin, terminal, device, ip)";

/// Makes the tables of the payments database, and whom payments name.
///
/// # Errors
/// What the server answers.
pub(super) async fn prepare(database: &Database) -> anyhow::Result<()> {
    let client = database.connect().await?;
    client.batch_execute(SCHEMA).await?;
    client.batch_execute(PARENTS).await?;
    Ok(())
}

/// Inserts at the rate, waits until all is written back, and reports.
///
/// # Errors
/// What the server answers; scores that do not come.
pub(super) async fn measure(
    report: &mut Report,
    platform: &Platform,
    database: &Database,
    rate: u64,
    total: u64,
) -> anyhow::Result<()> {
    let client = database.connect().await?;
    let statement = client.prepare(INSERT).await?;
    let payments = simulated(11, usize::try_from(total)?, FRAUD_SHARE);
    latency::reset();
    let begun = Instant::now();
    for (nth, batch) in payments.chunks(BATCH).enumerate() {
        let due = begun + Duration::from_secs_f64((nth * BATCH) as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        insert(&client, &statement, batch).await.context("insert payments")?;
    }
    let inserted = begun.elapsed().as_secs_f64();
    let written = until(total, || written_back(&client)).await?;
    let arrived = begun.elapsed().as_secs_f64();
    let recorded = platform.documents().await?.count(COLLECTION_SCORES).await?;
    let alerts = records(platform, TOPIC_FRAUD_ALERTS).await?;

    report.loss("score.stream", total, recorded.min(written), recorded.saturating_sub(total));
    report.at_least("score.stream.rate", rate as f64 * 0.98, total as f64 / inserted, "payments/s");
    let measured = latency::latencies();
    for (stop, id) in [("end_to_end", "score.end_to_end.p99"), ("oltp_updated", "score.oltp_updated.p99")] {
        let found: Option<&Latency> =
            measured.iter().find(|latency| latency.pipeline == "score" && latency.stop == stop);
        report.at_most(id, 0.3, found.map_or(f64::INFINITY, |latency| latency.p99), "s");
        if let Some(found) = found {
            report.note(format!(
                "{stop}: p50 {:.3} s, p99 {:.3} s, max {:.3} s after the commit, of {} payments",
                found.p50, found.p99, found.max, found.records
            ));
        }
    }
    let planted = payments.iter().filter(|payment| payment.fraud.is_some()).count();
    report.note(format!(
        "stream: {total} payments inserted in transactions of {BATCH} over {inserted:.1} s, all written back after {arrived:.1} s; \
         {alerts} alerts, {planted} of the payments were planted as fraud"
    ));
    Ok(())
}

async fn insert(
    client: &Client,
    statement: &Statement,
    batch: &[Simulated],
) -> Result<u64, tokio_postgres::Error> {
    fn column<'a, T>(batch: &'a [Simulated], of: impl Fn(&'a Simulated) -> T) -> Vec<T> {
        batch.iter().map(of).collect()
    }
    client
        .execute(
            statement,
            &[
                &column(batch, |payment| payment.id),
                &column(batch, |payment| payment.customer),
                &column(batch, |payment| payment.merchant),
                &column(batch, |payment| payment.amount.as_str()),
                &column(batch, |payment| payment.currency.as_str()),
                &column(batch, |payment| payment.method),
                &column(batch, |payment| payment.card_token),
                &column(batch, |payment| payment.card_bin.as_deref()),
                &column(batch, |payment| payment.terminal.as_deref()),
                &column(batch, |payment| payment.device),
                &column(batch, |payment| payment.ip.as_deref()),
            ],
        )
        .await
}

async fn written_back(client: &Client) -> anyhow::Result<u64> {
    let count = "select count(*) from transactions where risk_scored_at is not null";
    Ok(u64::try_from(client.query_one(count, &[]).await?.get::<_, i64>(0))?)
}

/// Records of a topic.
async fn records(platform: &Platform, topic: &str) -> anyhow::Result<u64> {
    let admin = platform.bus().admin()?;
    let mut records = 0;
    for partition in 0..admin.partitions(topic).await?.unwrap_or(0) {
        let (first, next) = admin.watermarks(&TopicPartition::new(topic, partition)).await?;
        records += next - first;
    }
    Ok(u64::try_from(records)?)
}

/// Waits until `count` has reached `total`; the last count.
async fn until<F, W>(total: u64, mut count: F) -> anyhow::Result<u64>
where
    F: FnMut() -> W,
    W: Future<Output = anyhow::Result<u64>>,
{
    let begun = Instant::now();
    loop {
        let counted = count().await?;
        if counted >= total || begun.elapsed() > PATIENCE {
            return Ok(counted);
        }
        tokio::time::sleep(POLL).await;
    }
}
