//! `affluent bench console`: what the console, the metrics and their scraping cost.
//!
//! The same few roles with the same clicks, once without the role `api` and once with it, each in a process of its own: the difference
//! is the HTTP interface with what the console keeps, a scraper that comes every five seconds, and one open page that is kept up to date.

use super::process::{free_port, usage};
use super::{Context, Report, events};
use crate::config::Config;
use crate::platform::Platform;
use affluent_bus::TopicSpec;
use affluent_model::names::TOPIC_CLICKS;
use anyhow::{Context as _, bail};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

/// How long each of the two is measured, and runs before.
const SECONDS: u64 = 60;
const WARM_SECONDS: u64 = 10;
/// Clicks a second: enough for every metric on their way to move.
const RATE: u64 = 1_000;
/// What is asked for besides clicks going in and out.
const ROLES: &[&str] = &["broker", "registry", "sink-events", "sink-lake"];
const SCRAPE_EVERY: Duration = Duration::from_secs(5);
/// What Prometheus sends.
const SCRAPE_ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// A process has this long to start.
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const SHARE_GOAL: f64 = 2.0;
const MEMORY_GOAL_MB: f64 = 50.0;
const FIRST_PAGE_GOAL: f64 = 0.3;

/// What a process cost.
struct Cost {
    /// Percent of a core.
    share: f64,
    /// Resident memory at the end, bytes.
    resident: u64,
}

/// The process that is measured, killed when dropped.
struct Process {
    child: Child,
    platform: Platform,
    http: String,
    _directory: tempfile::TempDir,
}

/// Measures.
///
/// # Errors
/// Where a process does not start, or does not answer.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    let seconds = context.seconds.unwrap_or_else(|| context.scaled(SECONDS));
    let rate = context.rate.unwrap_or(RATE);
    let plain = Process::start(ROLES)?;
    plain.has_broker().await.context("without the interface")?;
    let without = plain.cost(rate, seconds).await?;
    drop(plain);

    let process = Process::start(&[ROLES, &["api"]].concat())?;
    process.has_broker().await.context("with the interface")?;
    process.is_ready().await?;
    let first_page = first_page(&process.http).await.context("open the console")?;
    let page = format!("{}/console/live?page=overview", process.http);
    let watching = AbortOnDropHandle::new(tokio::spawn(watch(page)));
    let scraping = AbortOnDropHandle::new(tokio::spawn(scrape(format!("{}/metrics", process.http))));
    let with = process.cost(rate, seconds).await?;
    for (what, task) in [("event stream", watching), ("scraper", scraping)] {
        if task.is_finished() {
            task.await?.context(what)?;
            bail!("the {what} has ended early");
        }
    }

    let mut report = Report::new("console");
    let memory = with.resident as f64 - without.resident as f64;
    report.at_most("console.cpu", SHARE_GOAL, with.share - without.share, "% of a core");
    report.at_most("console.memory", MEMORY_GOAL_MB, memory / 1e6, "MB");
    report.at_most("console.first_page", FIRST_PAGE_GOAL, first_page.as_secs_f64(), "s");
    report.note(format!(
        "{seconds} s at {rate} clicks/s each: {:.2} % of a core and {:.0} MB without, {:.2} % and {:.0} MB with the interface, a scrape every \
         {} s and one open page",
        without.share,
        without.resident as f64 / 1e6,
        with.share,
        with.resident as f64 / 1e6,
        SCRAPE_EVERY.as_secs()
    ));
    Ok(report)
}

impl Process {
    fn start(roles: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("temporary directory")?;
        let [broker, registry, http] = [free_port()?, free_port()?, free_port()?];
        let settings = format!(
            "data_dir = {:?}\n[broker]\nlisten = \"127.0.0.1:{broker}\"\n[registry_server]\nlisten = \
             \"127.0.0.1:{registry}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n",
            directory.path().join("data")
        );
        let file = directory.path().join("affluent.toml");
        std::fs::write(&file, &settings).context("write the configuration")?;
        let config = Config::load_with(Some(Path::new("/dev/null")), &settings, "the benchmark")?;
        let child = Command::new(std::env::current_exe().context("the program's own file")?)
            .arg("--config")
            .arg(&file)
            .arg("run")
            .args(roles)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", roles.join(" ")))?;
        let http = format!("http://127.0.0.1:{http}");
        Ok(Process { child, platform: Platform::new(config)?, http, _directory: directory })
    }

    /// Waits for its broker, which has the topic then.
    async fn has_broker(&self) -> anyhow::Result<()> {
        let (admin, begun) = (self.platform.admin().await?, Instant::now());
        while let Err(error) = admin.ensure_topic(TOPIC_CLICKS, &TopicSpec::new(2)).await {
            if begun.elapsed() > START {
                return Err(error).context("no broker");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> anyhow::Result<()> {
        let (client, begun) = (reqwest::Client::new(), Instant::now());
        let url = format!("{}/readyz", self.http);
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if begun.elapsed() > START {
                bail!("not ready after {START:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// What it costs under clicks, once it has run for a while.
    async fn cost(&self, rate: u64, seconds: u64) -> anyhow::Result<Cost> {
        let id = self.child.id().context("the process has ended")?;
        events::clicks(&self.platform, rate, WARM_SECONDS).await?;
        let (before, begun) = (usage(id)?, Instant::now());
        events::clicks(&self.platform, rate, seconds).await?;
        let (after, took) = (usage(id)?, begun.elapsed());
        let share = (after.processor_seconds - before.processor_seconds) / took.as_secs_f64() * 100.0;
        Ok(Cost { share, resident: after.resident })
    }
}

/// From a connection until the whole first page is there.
async fn first_page(url: &str) -> anyhow::Result<Duration> {
    let client = reqwest::Client::new();
    let begun = Instant::now();
    let page = client.get(url).send().await?.error_for_status()?.text().await?;
    let took = begun.elapsed();
    if !page.contains("</html>") {
        bail!("what answers is no page: {page:.200}");
    }
    Ok(took)
}

/// Reads a page's events until it is dropped.
async fn watch(url: String) -> anyhow::Result<()> {
    let mut stream = reqwest::Client::new().get(url).send().await?.error_for_status()?;
    while stream.chunk().await?.is_some() {}
    Ok(())
}

/// Scrapes until it is dropped.
async fn scrape(url: String) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let mut due = tokio::time::interval(SCRAPE_EVERY);
    loop {
        due.tick().await;
        client.get(&url).header("accept", SCRAPE_ACCEPT).send().await?.error_for_status()?.bytes().await?;
    }
}
