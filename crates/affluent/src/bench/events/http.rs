//! The generator that comes in through the collector: NDJSON over HTTP, a bounded number of requests
//! under way; what is answered with 429 or 503 is sent again.

use super::{BATCH, REQUESTS, Stream};
use crate::platform::Platform;
use affluent_model::time::now_micros;
use anyhow::{Context as _, bail};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A click of about 300 bytes.
pub(super) fn click(body: &mut String, number: u64, now_us: i64) {
    let id = id(now_us);
    let (user, session, product) = (number % 50_000, number % 200_000, number % 9_973);
    let _ = writeln!(
        body,
        r#"{{"event_id":"{id}","user_id":"user-{user}","session_id":"session-{session}","event_type":"page_view","occurred_at":{now_us},"url":"https://shop.example/products/{product}?utm_source=newsletter","referrer":"https://shop.example/","device":"mobile","properties":{{"product":{product},"position":{}}}}}"#,
        number % 40
    );
}

/// A log line of about 250 bytes; one in fifty is an error.
pub(super) fn log(body: &mut String, number: u64, now_us: i64) {
    let id = id(now_us);
    let (service, severity) = (number % 12, if number.is_multiple_of(50) { 17 } else { 9 });
    let _ = writeln!(
        body,
        r#"{{"event_id":"{id}","service":"service-{service}","severity":{severity},"occurred_at":{now_us},"message":"request {number} answered in {} ms","attributes":{{"path":"/v1/payments","status":200,"request":{number}}}}}"#,
        number % 300
    );
}

/// A new id as [`uuid::Uuid::now_v7`] makes them, without its system call.
pub(super) fn id(now_us: i64) -> uuid::Uuid {
    let millis = u64::try_from(now_us / 1_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// Sends `total` events at the stream's rate, or as fast as they are taken; how many requests were told
/// to wait.
pub(super) async fn generate(platform: &Platform, stream: &Stream, total: u64) -> anyhow::Result<u64> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(REQUESTS).build()?;
    let url = format!("{}{}", platform.http_url(), stream.path);
    let permits = Arc::new(Semaphore::new(REQUESTS));
    let told_to_wait = Arc::new(AtomicU64::new(0));
    let mut requests: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let begun = Instant::now();
    for first in (0..total).step_by(usize::try_from(BATCH)?) {
        let due = Duration::from_secs_f64(first as f64 / stream.rate as f64);
        tokio::time::sleep_until((begun + due).into()).await;
        let permit = Arc::clone(&permits).acquire_owned().await?;
        while let Some(ended) = requests.try_join_next() {
            ended??;
        }
        let (client, url, line) = (client.clone(), url.clone(), stream.line);
        let told_to_wait = Arc::clone(&told_to_wait);
        requests.spawn(async move {
            let _permit = permit;
            let mut body = String::with_capacity(400 * BATCH as usize);
            let now = now_micros();
            (first..first + BATCH).for_each(|number| line(&mut body, number, now));
            post(&client, &url, body, &told_to_wait).await
        });
    }
    while let Some(ended) = requests.join_next().await {
        ended??;
    }
    Ok(told_to_wait.load(Ordering::Relaxed))
}

/// Sends until it is taken.
async fn post(
    client: &reqwest::Client,
    url: &str,
    body: String,
    told_to_wait: &AtomicU64,
) -> anyhow::Result<()> {
    loop {
        let request = client.post(url).header("content-type", "application/x-ndjson").body(body.clone());
        let answer = request.send().await.context("send events")?;
        match answer.status().as_u16() {
            202 => {
                let answer: serde_json::Value = answer.json().await?;
                if answer["accepted"].as_u64() == Some(BATCH) {
                    return Ok(());
                }
                bail!("the collector refused events: {answer}");
            }
            429 | 503 => {
                told_to_wait.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            status => bail!("the collector answered {status}: {}", answer.text().await.unwrap_or_default()),
        }
    }
}
