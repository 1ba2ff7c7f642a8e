//! `affluent demo`: the whole platform at work on a private PostgreSQL under simulated payments, beside
//! visitors who click and services that log, and the proof: how long everything took, that every row and
//! event arrived everywhere once, that features have the values which the lake gives again, and that
//! models learn from a history and notice when payments change.
//!
//! Everything runs in this process and in temporary directories, and is gone at the end. What the load
//! does lives in the test kit, what is compared in `verify`; here both are put together and judged.

mod events;
mod features;
mod learning;
mod live;
mod report;
mod scoring;
mod warehouse;
mod wire;

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use crate::platform::Platform;
use crate::roles::{self, Running};
use crate::verify::{self, Mirrors, Scope};
use affluent_model::time::now_micros;
use affluent_telemetry::latency;
use affluent_testkit::payments::{Payments, PaymentsOptions};
use affluent_testkit::{Database, Postgres, PostgresOptions};
use anyhow::{Context as _, bail};
use events::EventLoad;
use live::Live;
use report::DemoReport;
use scoring::Alerts;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use warehouse::Runs;
use wire::Wire;

const EXAMPLES: &str = "\
Examples:
  affluent demo                                     one minute, 500 changes, 300 clicks, 200 log lines a second
  affluent demo --seconds 300 --rate 2000           longer and harder
  affluent demo --seconds 20 --report report.json   the figures for machines
  affluent demo --keep ./demo                       stay up for a look at the console, and leave the data
  affluent demo --no-models                         without the models that are trained afterwards

Needs the PostgreSQL server's binaries (Debian, Ubuntu: apt-get install postgresql), and nothing that
runs already. Ctrl-C ends the load early; what was written by then is still compared.
Exit codes: 0 all goals met and nothing lost or duplicated, 1 otherwise.";

/// Payments of so many days are there before the load: what is known of fraud after seven of them has values.
const HISTORY_DAYS: u32 = 14;
/// Every role has this long to get ready, the first reading of the tables included.
const READY: Duration = Duration::from_secs(60);
/// Capture and sinks have this long to catch up after the load.
const DRAIN: Duration = Duration::from_secs(120);
/// Threads left over at the end get this long.
const LEAVE: Duration = Duration::from_millis(500);

/// Options of `affluent demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How long the payments go on
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Row changes a second; 0 is as fast as PostgreSQL takes them
    #[arg(long, default_value_t = 500, value_name = "N")]
    rate: u32,
    /// Clicks a second
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    clicks: u32,
    /// Log lines a second
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    logs: u32,
    /// Payments, clicks and log lines follow from it
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Write the report as JSON into this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Train no models afterwards
    #[arg(long)]
    no_models: bool,
    /// Run in this directory, stay up with the console until Ctrl-C, train no models, and leave everything there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Where the demo lives while it runs.
enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(keep) = keep else {
            return Ok(Directory::Temporary(tempfile::Builder::new().prefix("affluent-demo_").tempdir()?));
        };
        std::fs::create_dir_all(keep).with_context(|| format!("create {}", keep.display()))?;
        if std::fs::read_dir(keep)?.next().is_some() {
            return Err(output::usage(format!(
                "--keep {} is not empty: name a new directory",
                keep.display()
            )));
        }
        Ok(Directory::Kept(keep.canonicalize()?))
    }

    fn path(&self) -> &Path {
        match self {
            Directory::Temporary(directory) => directory.path(),
            Directory::Kept(path) => path,
        }
    }

    fn postgres(&self) -> Option<PathBuf> {
        match self {
            Directory::Temporary(_) => None,
            Directory::Kept(path) => Some(path.join("postgres")),
        }
    }
}

/// Plays the demo and judges it.
///
/// # Errors
/// What keeps it from being carried out.
pub(crate) fn run(args: &Args, file: Option<&Path>, format: Format) -> anyhow::Result<Exit> {
    let directory = Directory::new(args.keep.as_deref())?;
    let options =
        PostgresOptions { directory: directory.postgres(), durable: true, ..PostgresOptions::default() };
    let postgres = Postgres::start(options).context("start a private PostgreSQL")?;
    let database = postgres.database("postgres");
    let config = configuration(directory.path(), &database, file)?;
    affluent_telemetry::logs::init(&config.log.filter, config.log.format, false);
    let roles = roles::needed(&config);
    let platform = roles::prepare(config, &roles)?;
    let runtime = crate::runtime()?;
    let wire = Wire::new(postgres.bin(), platform.config().bi.listen);
    let played = runtime.block_on(Box::pin(play(args, directory.path(), platform, roles, (database, wire))));
    runtime.shutdown_timeout(LEAVE);
    let report = played?;
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("write the report to {}", path.display()))?;
    }
    match format {
        Format::Text => output::print(&report.text()),
        Format::Json => output::print_json(&report)?,
    }
    drop(postgres);
    if let Directory::Kept(path) = &directory {
        output::print(&format!("Everything is in {}.", path.display()));
    }
    Ok(if report.is_good() { Exit::Done } else { Exit::Failed })
}

/// The embedded defaults on free ports, or the given configuration, on the demo's database and
/// directory; whoever is on this machine may ask the warehouse. The pipelines run when the demo says so, not
/// by their calendars, and a larger part of the served vectors is logged: there is but a minute of them. A
/// file that merely lies in the current directory does not count.
fn configuration(directory: &Path, database: &Database, file: Option<&Path>) -> anyhow::Result<Config> {
    let settings = format!(
        "data_dir = {data:?}\n\
         [cdc]\nconnection = {url:?}\ncheckpoint_ms = 200\n\
         [broker]\nlisten = \"127.0.0.1:0\"\n\
         [registry_server]\nlisten = \"127.0.0.1:0\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\
         [bi]\nlisten = \"127.0.0.1:0\"\nusers = []\nroles = []\n\
         [bi.tls]\ncertificate_file = \"\"\nkey_file = \"\"\n\
         [schedule.raw_to_dwh]\ncron = \"\"\n\
         [schedule.rebuild]\ncron = \"\"\n\
         [schedule.features_5m]\ncron = \"\"\n\
         [schedule.features_1h]\ncron = \"\"\n\
         [schedule.features_nightly]\ncron = \"\"\n\
         [schedule.features_parity]\ncron = \"\"\n\
         [schedule.train_fraud]\ncron = \"\"\n\
         [schedule.train_churn]\ncron = \"\"\n\
         [schedule.train_score]\ncron = \"\"\n\
         [schedule.drift]\ncron = \"\"\n\
         [features.stream]\nlogged_share = 0.05\n\
         [log]\nfilter = \"warn\"\n",
        data = directory.join("data"),
        url = database.url,
    );
    let file = file.unwrap_or(Path::new("/dev/null"));
    Ok(Config::load_with(Some(file), &settings, "the demo")?)
}

async fn play(
    args: &Args,
    directory: &Path,
    platform: Arc<Platform>,
    roles: Vec<&'static roles::Role>,
    (database, wire): (Database, Wire),
) -> anyhow::Result<DemoReport> {
    let mut live = Live::new(args.seconds, args.rate);
    let interrupted = interruption()?;
    live.say("private PostgreSQL is up; inserts customers, merchants and their history");
    let options = PaymentsOptions {
        rate: args.rate,
        seed: args.seed,
        history_days: HISTORY_DAYS,
        fraud_share: scoring::FRAUD_SHARE,
        ..PaymentsOptions::default()
    };
    let payments = Arc::new(Payments::new(database.clone(), options));
    payments.prepare().await.context("prepare the payments database")?;

    live.say("learns a model of simulated payments, some of which are fraud");
    scoring::learn(&platform).await.context("learn a model")?;
    live.say("starts every role; reads what the tables hold already");
    live.say(&format!("what happens can be seen at {}", platform.http_url()));
    let mut running = Running::start(Arc::clone(&platform), roles);
    let mirrors = Mirrors::Store(platform.documents().await?);
    let played = tokio::select! {
        played = Box::pin(measure(args, &platform, &mirrors, (&database, wire), payments, &mut live, &interrupted)) => played,
        error = running.failed() => Err(error),
    };
    live.clear();
    if args.keep.is_some() && played.is_ok() && !interrupted.is_cancelled() {
        live.say(&format!(
            "the console is at {} until Ctrl-C, which ends the demo and shows what was measured",
            platform.http_url()
        ));
        tokio::select! {
            () = interrupted.cancelled() => {}
            error = running.failed() => live.say(&format!("a role has failed: {error:#}")),
        }
    }
    let stopped = running.stop().await;
    let mut report = played?;
    if !args.no_models && !interrupted.is_cancelled() {
        // Once the roles have stopped: both cores are theirs as long as anything is measured.
        tokio::select! {
            learned = Box::pin(learning::play(directory, args.seed, &live)) => report.learned(learned),
            () = interrupted.cancelled() => report.note("models: interrupted".to_owned()),
        }
    }
    if let Err(error) = stopped {
        report.note(format!("not every role stopped in order: {error:#}"));
    }
    Ok(report)
}

/// Load, drain, comparison.
async fn measure(
    args: &Args,
    platform: &Platform,
    mirrors: &Mirrors,
    (database, wire): (&Database, Wire),
    payments: Arc<Payments>,
    live: &mut Live,
    interrupted: &CancellationToken,
) -> anyhow::Result<DemoReport> {
    let ready = roles::all_ready(platform.health().clone());
    tokio::select! {
        ready = tokio::time::timeout(READY, ready) => {
            ready.map_err(|_| anyhow::anyhow!("not every role got ready in time: {:?}", platform.health().snapshot()))?;
        }
        () = interrupted.cancelled() => bail!("interrupted before the load began"),
    }
    scoring::serves(platform).await?;
    // What was there before the load has waited for the start, not for the platform. The first
    // comparison also makes sure that reading it is over before anything is measured.
    let scope = Scope { tables: Vec::new(), wait: DRAIN };
    let progress = verify::Progress::new();
    let before = verify::verify(platform, mirrors, &scope, &progress).await;
    progress.clear();
    before.context("compare before the load")?;
    live.say("computes the warehouse of the history");
    let batch = Runs::begin(platform, wire).await.context("compute the warehouse before the load")?;
    latency::reset();

    let progress = payments.progress();
    let shutdown = CancellationToken::new();
    let load = tokio::spawn({
        let (payments, shutdown) = (Arc::clone(&payments), shutdown.clone());
        async move { payments.run(shutdown).await }
    });
    let events = EventLoad::start(platform, args.clicks, args.logs, args.seed, &shutdown);
    let batch = batch.beside(shutdown.clone());
    let begun_us = now_micros();
    let mut alerts = Alerts::since(platform, begun_us).await?;
    let begun = Instant::now();
    let length = Duration::from_secs(args.seconds);
    while begun.elapsed() < length && !load.is_finished() && !interrupted.is_cancelled() {
        live.tick(begun.elapsed(), &progress, &events);
        if let Some(alert) = alerts.read().await? {
            live.say(&alert);
        }
        let pause = live.pause().min(length.saturating_sub(begun.elapsed()));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = interrupted.cancelled() => {}
        }
    }
    shutdown.cancel();
    load.await?.context("play the payments")?;
    let loaded = begun.elapsed();
    let events = events.end().await?;
    live.say("the load is over; waits until every payment has its score");
    scoring::settled(database, begun_us).await.context("wait for the scores")?;

    live.say("waits until everything has arrived, and compares every row");
    live.clear();
    let spinner = verify::Progress::new();
    let compared = verify::verify(platform, mirrors, &scope, &spinner).await;
    spinner.clear();
    let mut compared = compared.context("compare the stores")?;
    events.compare(platform, DRAIN, &mut compared).await.context("compare clicks and log lines")?;
    let mut report = DemoReport::new(compared, &latency::latencies(), &progress, loaded);
    report.rate(&events);
    report.fraud(alerts.end(&progress.planted()).await.context("look up what was caught")?);

    live.say("computes the warehouse again from the raw zone, and compares it with the increments");
    let batch = batch.await?.context("run the pipeline beside the load")?;
    report.warehouse(batch.end(database).await.context("rebuild the warehouse")?);

    live.say("computes the features of every source, and a sample of those that were served once more");
    report.features(&Box::pin(features::compute(platform)).await.context("compute the features")?);
    Ok(report)
}

/// Cancelled by Ctrl-C or SIGTERM.
fn interruption() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let interrupted = CancellationToken::new();
    let cancelled = interrupted.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(interrupted)
}
