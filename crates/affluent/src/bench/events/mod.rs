//! `affluent bench clickstream` and `affluent bench logs`: the whole way of an event on this machine, from
//! HTTP through the collector (or straight from a producer) and the bus into the document store and the
//! lake, every role and the generator in this process.
//!
//! The generators ([`http`], [`kafka`]) keep the rate as long as it is taken. At the end every event is
//! counted in both stores. [`processes`] does the same with each role in a process of its own.

mod http;
mod kafka;
mod processes;

use super::process::{processor_seconds, watch_memory};
use super::{Context, Report};
use crate::config::Config;
use crate::platform::Platform;
use crate::roles::{self, Running};
use crate::verify::events;
use affluent_model::EventKind;
use affluent_telemetry::latency::{self, Latency};
use anyhow::Context as _;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
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
    rate: u64,
    seconds: u64,
    /// Goals of the 99th percentile, seconds.
    documents_goal: f64,
    lake_goal: f64,
    kind: EventKind,
    input: Input,
    line: fn(&mut String, u64, i64),
}

/// How the events come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Input {
    /// NDJSON to the collector.
    Http,
    /// Avro straight to the topic.
    Kafka,
}

/// Clicks at 100,000 a second for a minute.
///
/// # Errors
/// Where the platform cannot be started, or events do not arrive.
pub(crate) async fn clickstream(context: Context) -> anyhow::Result<Report> {
    let (rate, seconds) = (context.rate.unwrap_or(100_000), context.seconds.unwrap_or(60));
    let stream = Stream::clicks(rate, seconds, context.input);
    run(context, stream).await
}

/// Clicks straight to their topic, and nothing else: `rate` a second for so many seconds.
///
/// # Errors
/// A bus that does not answer.
pub(super) async fn clicks(platform: &Platform, rate: u64, seconds: u64) -> anyhow::Result<()> {
    let stream = Stream::clicks(rate, seconds, Input::Kafka);
    Box::pin(kafka::generate(platform, &stream, (rate * seconds / BATCH).max(1) * BATCH)).await
}

/// Log lines at 20,000 a second for a minute.
///
/// # Errors
/// As [`clickstream`].
pub(crate) async fn logs(context: Context) -> anyhow::Result<Report> {
    let stream = Stream {
        name: "logs",
        path: "/collect/logs",
        rate: context.rate.unwrap_or(20_000),
        seconds: context.seconds.unwrap_or(60),
        documents_goal: 0.5,
        lake_goal: 3.0,
        kind: EventKind::Logs,
        input: context.input,
        line: http::log,
    };
    run(context, stream).await
}

async fn run(context: Context, stream: Stream) -> anyhow::Result<Report> {
    if context.processes {
        return Box::pin(processes::run(&context, &stream)).await;
    }
    let directory = tempfile::tempdir().context("temporary directory")?;
    let config = configuration(directory.path())?;
    let mut roles = roles::needed(&config);
    roles.retain(|role| processes::PROCESSES.iter().any(|process| process.contains(&role.name)));
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

    let total = stream.total(context);
    let cpu = processor_seconds();
    let begun = Instant::now();
    let told_to_wait = generated(platform, stream, total).await?;
    let sent = begun.elapsed().as_secs_f64();
    let documents = platform.documents().await?;
    let stored =
        until(|| async { documents.count(stream.kind.collection()).await.map_err(Into::into) }, total)
            .await?;
    let in_documents = begun.elapsed().as_secs_f64();
    let lake = platform.lake().await?;
    let in_lake_rows = until(|| events::rows_in_lake(&lake, stream.kind.collection()), total).await?;
    let in_lake = begun.elapsed().as_secs_f64();
    let cpu = processor_seconds() - cpu;
    // Counting below keeps every id in memory, which is the benchmark's.
    let resident = memory.load(Ordering::Relaxed);
    let distinct =
        events::in_lake(&lake, stream.kind.collection()).await?.into_iter().collect::<HashSet<_>>().len()
            as u64;

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
    let doubled = stored.saturating_sub(total) + in_lake_rows.saturating_sub(distinct);
    report.loss(stream.name, total, stored.min(distinct), doubled);
    let way = match told_to_wait {
        Some(waited) => format!("in requests of {BATCH}, of which {waited} were told to wait"),
        None => "straight through Kafka".to_owned(),
    };
    report.note(format!(
        "{total} events {way}: all acknowledged after {sent:.1} s ({:.0}/s), in the document store after \
         {in_documents:.1} s, in the lake after {in_lake:.1} s",
        total as f64 / sent
    ));
    report.note(format!(
        "{cpu:.1} s of processor time in this process, {:.1} µs an event: generator, collector, broker, both sinks, \
         registry, upkeep of the lake",
        cpu / total as f64 * 1e6
    ));
    Ok(report)
}

impl Stream {
    fn clicks(rate: u64, seconds: u64, input: Input) -> Self {
        Stream {
            name: "clickstream",
            path: "/collect/events",
            rate,
            seconds,
            documents_goal: 2.0,
            lake_goal: 3.0,
            kind: EventKind::Clicks,
            input,
            line: http::click,
        }
    }

    /// Events to send.
    fn total(&self, context: &Context) -> u64 {
        (context.scaled(self.rate * self.seconds) / BATCH).max(1) * BATCH
    }
}

/// Sends `total` events and waits until all are acknowledged; how many requests were told to wait.
async fn generated(platform: &Platform, stream: &Stream, total: u64) -> anyhow::Result<Option<u64>> {
    match stream.input {
        Input::Http => http::generate(platform, stream, total).await.map(Some),
        Input::Kafka => kafka::generate(platform, stream, total).await.map(|()| None),
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
