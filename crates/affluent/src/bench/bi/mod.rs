//! `affluent bench bi`: the queries of the shipped dashboards over the PostgreSQL protocol, beside a PostgreSQL that holds
//! the same tables (by `[bi.publish]`); then fifty connections that go on asking while a run publishes.
//!
//! The endpoint runs in a process of its own (`affluent run bi`), as users run it; PostgreSQL is a private cluster with
//! memory of its own, its tables vacuumed and analysed, with primary keys and an index by time.

mod crowd;
mod questions;

use super::process::{free_port, usage};
use super::warehouse::history::History;
use super::warehouse::{batch, told};
use super::{Context, Report};
use crate::config::Config;
use crate::publication;
use affluent_bi::publish::Copied;
use affluent_lake::Lake;
use affluent_telemetry::health::Health;
use affluent_testkit::{Database, Postgres, PostgresOptions};
use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use questions::{Answered, QUESTIONS, p95};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// Payments of the history.
const PAYMENTS: u64 = 5_000_000;
/// Rows that change in a quarter of an hour.
const CHANGES: u64 = 20_000;
/// How often each question is asked.
const REPEATS: usize = 10;
/// Memory of all statements together, and what the process may have at the most: pages of files, plans and rows on
/// their way are beside it.
const MEMORY_BYTES: u64 = 512 << 20;
const RESIDENT_MB: f64 = 1_500.0;
/// How much faster than PostgreSQL we mean to be.
const GOAL: f64 = 10.0;
/// The endpoint has this long to listen.
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// What somebody would give a PostgreSQL for reports on this machine.
const PEER: &[(&str, &str)] = &[
    ("shared_buffers", "2GB"),
    ("effective_cache_size", "4GB"),
    ("work_mem", "128MB"),
    ("maintenance_work_mem", "512MB"),
    ("max_parallel_workers_per_gather", "2"),
    ("jit", "on"),
];

/// Measures.
///
/// # Errors
/// Where the warehouse cannot be made, or the two servers do not answer alike.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    let mut report = Report::new("bi");
    let settings = PEER.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let postgres = tokio::task::block_in_place(|| Postgres::start(options)).context("start PostgreSQL")?;
    let peer = postgres.fresh_database().await?;
    let directory = tempfile::Builder::new().prefix("affluent-bench_").tempdir()?;
    let port = free_port()?;
    let file = configuration(directory.path(), port, &peer)?;
    let config = Config::load_with(Some(&file), "", "the benchmark")?;
    let history = History { payments: context.scaled(PAYMENTS) };
    let lake = Lake::open(config.lake.clone()).await?;
    let bar = if context.progress { ProgressBar::new(history.rows()) } else { ProgressBar::hidden() };
    history.write(&lake, |done| bar.set_position(done)).await.context("write the history")?;
    bar.finish_and_clear();
    let filled = batch(&file, &["raw-to-dwh"]).await.context("fill the warehouse")?;
    report.note(format!("warehouse of {} payments over 120 days: {}", history.payments, told(&filled)));
    report.note(copied(&config, lake.clone(), &peer).await?);

    let mut endpoint = serve(&file)?;
    let ours = at_endpoint(port);
    ready(&mut endpoint, &ours).await?;
    let own = questions::ask_all(&ours, REPEATS).await.context("ask the endpoint")?;
    let others = questions::ask_all(&peer, REPEATS).await.context("ask PostgreSQL")?;
    compare(&mut report, &own, &others)?;

    let stop = CancellationToken::new();
    let asking = tokio::spawn(crowd::ask(ours, stop.clone()));
    history.change(&lake, context.scaled(CHANGES)).await.context("change rows")?;
    let increment =
        batch(&file, &["raw-to-dwh"]).await.context("take on the changes beside the connections")?;
    stop.cancel();
    let met = asking.await?;
    report.at_most("bi.crowd.errors", 0.0, met.errors as f64, "statements");
    report.at_most("bi.crowd.half_versions", 0.0, met.halves as f64, "answers");
    let id = endpoint.id().context("the endpoint has ended")?;
    report.at_most("bi.memory.max", RESIDENT_MB, usage(id)?.resident_max as f64 / 1e6, "MB");
    report.note(format!(
        "{} connections while a run published: {} answers, p95 {:.2} s; the run: {}",
        crowd::CONNECTIONS,
        met.seconds.len(),
        p95(met.seconds),
        told(&increment)
    ));
    met.said.iter().for_each(|said| report.note(format!("refused: {said}")));
    Ok(report)
}

/// Lake and endpoint in `directory`; copies go to `peer`.
fn configuration(directory: &Path, port: u16, peer: &Database) -> anyhow::Result<PathBuf> {
    let file = directory.join("affluent.toml");
    let text = format!(
        "data_dir = {:?}\n[log]\nfilter = \"warn\"\n[bi]\nlisten = \"127.0.0.1:{port}\"\nquery_log = false\n\
         [bi.engine]\nmemory_bytes = {MEMORY_BYTES}\n[bi.publish]\npostgres = {:?}\n",
        directory.join("data"),
        peer.url
    );
    std::fs::write(&file, text).context("write the configuration")?;
    Ok(file)
}

/// Copies the published version, and has PostgreSQL prepare for being asked.
async fn copied(config: &Config, lake: Lake, peer: &Database) -> anyhow::Result<String> {
    let publisher = publication::publisher(config, lake, Health::default())?;
    let begun = Instant::now();
    let Copied::Now { rows, .. } = publisher.publish().await.context("copy the warehouse")? else {
        bail!("there is no version to copy");
    };
    let seconds = begun.elapsed().as_secs_f64();
    let client = peer.connect().await?;
    client.batch_execute("vacuum analyze").await.context("vacuum the copy")?;
    let version: String = client.query_one("show server_version", &[]).await?.get(0);
    let rate = rows as f64 / seconds;
    Ok(format!(
        "{rows} rows copied into PostgreSQL {version} in {seconds:.1} s ({rate:.0} rows/s), with keys and statistics"
    ))
}

/// The endpoint in a process of its own, which ends with this one's handle.
fn serve(file: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(file).args(["run", "bi"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    child.kill_on_drop(true).spawn().context("start the endpoint")
}

/// How the endpoint is reached.
fn at_endpoint(port: u16) -> Database {
    Database {
        name: "affluent".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        user: "affluent".to_owned(),
        password: None,
        url: format!("postgres://affluent@127.0.0.1:{port}/affluent"),
    }
}

async fn ready(endpoint: &mut Child, ours: &Database) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let Err(error) = ours.connect().await else { return Ok(()) };
        if let Some(status) = endpoint.try_wait()? {
            bail!("the endpoint ended with {status}");
        }
        if begun.elapsed() > START {
            bail!("the endpoint does not listen: {error}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The 95th percentiles of both, and that they have said the same.
fn compare(report: &mut Report, own: &[Answered], others: &[Answered]) -> anyhow::Result<()> {
    for (((name, _), own), other) in QUESTIONS.iter().zip(own).zip(others) {
        let differs = own.rows.iter().zip(&other.rows).find(|(own, other)| own != other);
        if let Some((own, other)) = differs {
            bail!("{name}: the endpoint says {own:?}, PostgreSQL {other:?}");
        }
        if own.rows.len() != other.rows.len() {
            bail!("{name}: {} rows of the endpoint, {} of PostgreSQL", own.rows.len(), other.rows.len());
        }
        report.note(format!(
            "{name}: {:.3} s, PostgreSQL {:.3} s (p95 of {REPEATS}), {} rows, the same",
            own.p95(),
            other.p95(),
            own.rows.len()
        ));
    }
    let total = |answered: &[Answered]| answered.iter().map(Answered::p95).sum::<f64>();
    let (own, others) = (total(own), total(others));
    report.at_least("bi.vs_postgres", GOAL, others / own.max(1e-9), "times");
    report.note(format!("the twelve together: {own:.3} s, PostgreSQL {others:.3} s"));
    Ok(())
}
