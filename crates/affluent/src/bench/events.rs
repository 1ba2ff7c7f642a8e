//! `affluent bench clickstream` and `affluent bench logs`: the whole way of an event on this machine, from
//! HTTP through the collector and the bus into the document store and the lake, every role and the
//! generator in this process.
//!
//! The generator keeps its rate as long as the collector takes it: it has a bounded number of requests
//! under way, and what is answered with 429 is sent again. At the end every event is counted in both
//! stores.

use super::process::{processor_seconds, watch_memory};
use super::{Context, Report};
use crate::config::Config;
use crate::platform::Platform;
use crate::roles::{self, Running};
use affluent_lake::Scan;
use affluent_model::names::{COLLECTION_CLICKS, COLLECTION_LOGS, NAMESPACE_RAW, TABLE_LOGS};
use affluent_model::time::now_micros;
use affluent_telemetry::latency::{self, Latency};
use anyhow::{Context as _, bail};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events of one request.
const BATCH: u64 = 500;
/// Requests under way at the most.
const REQUESTS: usize = 16;
/// Everything has this long to reach the stores after the load.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);

/// What is sent, and where it ends.
struct Stream {
    name: &'static str,
    path: &'static str,
    collection: &'static str,
    table: &'static str,
    rate: u64,
    seconds: u64,
    /// Goals of the 99th percentile, seconds.
    documents_goal: f64,
    lake_goal: f64,
    line: fn(&mut String, u64, i64),
}

/// Clicks at 100,000 a second for a minute.
///
/// # Errors
/// Where the platform cannot be started, or events do not arrive.
pub(crate) async fn clickstream(context: Context) -> anyhow::Result<Report> {
    let stream = Stream {
        name: "clickstream",
        path: "/collect/events",
        collection: COLLECTION_CLICKS,
        table: "clickstream_events",
        rate: context.rate.unwrap_or(100_000),
        seconds: context.seconds.unwrap_or(60),
        documents_goal: 2.0,
        lake_goal: 3.0,
        line: click,
    };
    run(context, stream).await
}

/// Log lines at 20,000 a second for a minute.
///
/// # Errors
/// As [`clickstream`].
pub(crate) async fn logs(context: Context) -> anyhow::Result<Report> {
    let stream = Stream {
        name: "logs",
        path: "/collect/logs",
        collection: COLLECTION_LOGS,
        table: TABLE_LOGS,
        rate: context.rate.unwrap_or(20_000),
        seconds: context.seconds.unwrap_or(60),
        documents_goal: 0.5,
        lake_goal: 3.0,
        line: log,
    };
    run(context, stream).await
}

/// A click of about 300 bytes.
fn click(body: &mut String, number: u64, now_us: i64) {
    let id = id(now_us);
    let (user, session, product) = (number % 50_000, number % 200_000, number % 9_973);
    let _ = writeln!(
        body,
        r#"{{"event_id":"{id}","user_id":"user-{user}","session_id":"session-{session}","event_type":"page_view","occurred_at":{now_us},"url":"https://shop.example/products/{product}?utm_source=newsletter","referrer":"https://shop.example/","device":"mobile","properties":{{"product":{product},"position":{}}}}}"#,
        number % 40
    );
}

/// A new id as [`uuid::Uuid::now_v7`] makes them, without its system call.
fn id(now_us: i64) -> uuid::Uuid {
    let millis = u64::try_from(now_us / 1_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// A log line of about 250 bytes.
fn log(body: &mut String, number: u64, now_us: i64) {
    let id = id(now_us);
    let (service, severity) = (number % 12, if number.is_multiple_of(50) { 17 } else { 9 });
    let _ = writeln!(
        body,
        r#"{{"event_id":"{id}","service":"service-{service}","severity":{severity},"occurred_at":{now_us},"message":"request {number} answered in {} ms","attributes":{{"path":"/v1/payments","status":200,"request":{number}}}}}"#,
        number % 300
    );
}

async fn run(context: Context, stream: Stream) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let config = configuration(directory.path())?;
    let roles = roles::needed(&config);
    let platform = roles::prepare(config, &roles)?;
    let mut running = Running::start(Arc::clone(&platform), roles);
    let measured = tokio::select! {
        measured = Box::pin(measure(&context, &platform, &stream)) => measured,
        error = running.failed() => Err(error),
    };
    running.stop().await?;
    measured
}

/// The embedded defaults on free ports.
fn configuration(directory: &Path) -> anyhow::Result<Config> {
    let settings = format!(
        "data_dir = {:?}\n[broker]\nlisten = \"127.0.0.1:0\"\n[registry_server]\nlisten = \"127.0.0.1:0\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n",
        directory.join("data")
    );
    Ok(Config::load_with(Some(Path::new("/dev/null")), &settings, "the benchmark")?)
}

async fn measure(context: &Context, platform: &Arc<Platform>, stream: &Stream) -> anyhow::Result<Report> {
    roles::all_ready(platform.health().clone()).await;
    let memory = Arc::new(AtomicU64::new(0));
    let watching = CancellationToken::new();
    let _watching = watching.clone().drop_guard();
    tokio::spawn(watch_memory(Arc::clone(&memory), watching));
    latency::reset();

    let total = (context.scaled(stream.rate * stream.seconds) / BATCH).max(1) * BATCH;
    let cpu = processor_seconds();
    let begun = Instant::now();
    let generator = generate(platform, stream, total).await?;
    let sent = begun.elapsed().as_secs_f64();
    let documents = platform.documents().await?;
    let stored =
        until(|| async { documents.count(stream.collection).await.map_err(Into::into) }, total).await?;
    let in_documents = begun.elapsed().as_secs_f64();
    let in_lake_rows = until(|| rows(platform, stream.table), total).await?;
    let in_lake = begun.elapsed().as_secs_f64();
    let cpu = processor_seconds() - cpu;
    // Counting below keeps every id in memory, which is the benchmark's.
    let resident = memory.load(Ordering::Relaxed);
    let distinct = distinct_ids(platform, stream.table).await?;

    let mut report = Report::new(stream.name);
    let rate = total as f64 / in_documents;
    report.at_least(&format!("{}.rate", stream.name), stream.rate as f64 * 0.98, rate, "events/s");
    let measured = latency::latencies();
    let find = |stop: &str| measured.iter().find(|l| l.pipeline == stream.name && l.stop == stop).copied();
    for (stop, goal) in [("documents", stream.documents_goal), ("lake_visible", stream.lake_goal)] {
        let found: Option<Latency> = find(stop);
        let p99 = found.map_or(f64::INFINITY, |l| l.p99);
        report.at_most(&format!("{}.{stop}.p99", stream.name), goal, p99, "s");
        if let Some(l) = found {
            report.note(format!(
                "{stop}: p50 {:.3} s, p99 {:.3} s, max {:.3} s, of {} events",
                l.p50, l.p99, l.max, l.records
            ));
        }
    }
    report.at_most(&format!("{}.memory.max", stream.name), 600.0, resident as f64 / 1e6, "MB");
    report.at_most(
        &format!("{}.lost", stream.name),
        0.0,
        total.saturating_sub(stored.min(distinct)) as f64,
        "events",
    );
    let doubled = stored.saturating_sub(total) + in_lake_rows.saturating_sub(distinct);
    report.at_most(&format!("{}.duplicated", stream.name), 0.0, doubled as f64, "events");
    report.note(format!(
        "{total} events in requests of {BATCH}: all answered after {sent:.1} s, in the document store after \
         {in_documents:.1} s, in the lake after {in_lake:.1} s; {} requests were told to wait",
        generator.told_to_wait
    ));
    report.note(format!(
        "{cpu:.1} s of processor time in this process, {:.1} µs an event: generator, collector, broker, both sinks, \
         registry, upkeep of the lake",
        cpu / total as f64 * 1e6
    ));
    Ok(report)
}

struct Generated {
    told_to_wait: u64,
}

/// Sends `total` events at the stream's rate, or as fast as they are taken.
async fn generate(platform: &Platform, stream: &Stream, total: u64) -> anyhow::Result<Generated> {
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
    Ok(Generated { told_to_wait: told_to_wait.load(Ordering::Relaxed) })
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

/// Waits until `count` has reached `total`; the last count.
async fn until<F, W>(mut count: F, total: u64) -> anyhow::Result<u64>
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

/// Rows of the newest snapshot of a raw table.
async fn rows(platform: &Platform, table: &str) -> anyhow::Result<u64> {
    let lake = platform.lake().await?;
    let Ok(table) = lake.table(NAMESPACE_RAW, table).await else { return Ok(0) };
    Ok(table.snapshots().await?.last().map_or(0, |snapshot| snapshot.rows))
}

/// Different event ids in a raw table.
async fn distinct_ids(platform: &Platform, table: &str) -> anyhow::Result<u64> {
    let lake = platform.lake().await?;
    let table = lake.table(NAMESPACE_RAW, table).await?;
    let mut stream = table.scan(Scan { columns: vec!["event_id".to_owned()], snapshot: None }).await?;
    let mut ids = HashSet::new();
    while let Some(rows) = stream.next().await {
        for row in rows? {
            if let Some(affluent_model::Value::Text(id)) = row.first() {
                ids.insert(uuid::Uuid::parse_str(id).context("event id")?);
            }
        }
    }
    Ok(ids.len() as u64)
}
