//! `affluent bench score`: payments through the stream ([`stream`]), one judgement alone ([`inference`]), requests over HTTP at a rate that does not
//! depend on the answers ([`load`]), a model changed meanwhile, and the same model behind MLflow ([`peers`]).
//!
//! The database is a private PostgreSQL, everything else is this process, the clients of the HTTP interface included. The model is that of
//! simulated payments.

mod inference;
mod load;
mod peers;
mod stream;

use super::process::resident;
use super::{Context, Report};
use crate::champion;
use crate::config::Config;
use crate::features;
use crate::output;
use crate::platform::Platform;
use crate::roles::{self, ROLES, Running};
use affluent_feature_store::stream::Streamed;
use affluent_learning::train::Trained;
use affluent_scoring::Judge;
use affluent_testkit::payments::simulated;
use affluent_testkit::{Database, Postgres, PostgresOptions};
use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use load::{Answered, Requests, closed_loop, open_loop};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What scoring needs, and nothing else that would have the processor.
const NEEDED: [&str; 6] = ["broker", "registry", "api", "features", "score", "cdc"];
const STREAM_RATE: u64 = 2_000;
const STREAM_SECONDS: u64 = 20;
const REST_RATE: u64 = 3_000;
const REST_SECONDS: u64 = 20;
const RELOAD: Duration = Duration::from_secs(6);
const SATURATION: Duration = Duration::from_secs(10);
/// Clients that ask as fast as they are answered.
const CLIENTS: usize = 32;
/// Different payments that are asked about.
const ASKED: usize = 20_000;
const FRAUD_SHARE: f64 = 0.02;
/// A model that was promoted serves within this time, or the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const MEMORY_PAUSE: Duration = Duration::from_millis(50);
/// From the second third of the steady load to the last, percent: flat, but for what an allocator keeps.
const GROWTH_MAX: f64 = 2.0;

/// Measures.
///
/// # Errors
/// Where PostgreSQL or a role cannot be started, scores do not come, or the peer cannot be run.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    if let Some(python) = &context.peers {
        peers::check(python).await.map_err(|error| output::usage(format!("{error:#}")))?;
    }
    let progress = if context.progress { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let directory = tempfile::tempdir().context("temporary directory")?;
    let options = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let postgres = tokio::task::block_in_place(|| Postgres::start(options)).context("start PostgreSQL")?;
    let database = postgres.fresh_database().await?;
    stream::prepare(&database).await.context("make the payments database")?;

    let config = configuration(directory.path(), &database)?;
    let streamed = features::streamed(&config)?;
    say(&progress, "learning a model of simulated payments");
    let model = champion::learned(&streamed).await?;
    let version = champion::serve(&config, &model).await?;
    let roles: Vec<_> = ROLES.iter().filter(|role| NEEDED.contains(&role.name)).collect();
    let platform = roles::prepare(config, &roles)?;
    let mut running = Running::start(Arc::clone(&platform), roles);
    let stage =
        Stage { context: &context, platform: &platform, database: &database, streamed, model, progress };
    let measured = tokio::select! {
        measured = Box::pin(stage.measure(version)) => measured,
        error = running.failed() => Err(error),
    };
    running.stop().await?;
    measured
}

fn say(progress: &ProgressBar, what: &str) {
    progress.set_message(what.to_owned());
    progress.tick();
}

/// The embedded defaults on free ports, capturing the database.
fn configuration(directory: &Path, database: &Database) -> anyhow::Result<Config> {
    let settings = format!(
        "data_dir = {:?}\n[cdc]\nconnection = {:?}\n[broker]\nlisten = \"127.0.0.1:0\"\n\
         [registry_server]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
        directory.join("data"),
        database.url
    );
    Ok(Config::load_with(Some(Path::new("/dev/null")), &settings, "the benchmark")?)
}

/// Everything that runs.
struct Stage<'a> {
    context: &'a Context,
    platform: &'a Arc<Platform>,
    database: &'a Database,
    streamed: Streamed,
    model: Trained,
    progress: ProgressBar,
}

impl Stage<'_> {
    async fn measure(&self, version: u64) -> anyhow::Result<Report> {
        let mut report = Report::new("score");
        say(&self.progress, "starting");
        roles::all_ready(self.platform.health().clone()).await;
        self.serves(version).await?;
        let judge = self.judge()?.clone();

        say(&self.progress, "payments through the stream");
        let total = self.context.scaled(STREAM_RATE * STREAM_SECONDS);
        stream::measure(&mut report, self.platform, self.database, STREAM_RATE, total).await?;
        say(&self.progress, "one judgement alone");
        let (streamed, context) = (self.streamed.clone(), self.context.clone());
        let mut report = tokio::task::spawn_blocking(move || {
            inference::measure(&mut report, &streamed, &judge, |count| context.scaled(count)).map(|()| report)
        })
        .await??;

        let requests = self.requests()?;
        self.is_whole(&requests).await?;
        let rate = self.context.rate.unwrap_or(REST_RATE);
        let seconds = self.context.scaled(self.context.seconds.unwrap_or(REST_SECONDS));
        say(&self.progress, "requests at a rate");
        let length = Duration::from_secs(seconds);
        let (steady, memory) = tokio::join!(open_loop(requests.clone(), rate as f64, length), thirds(length));
        let steady = steady?;
        report.at_least("score.rest.rate", rate as f64 * 0.98, steady.rate(), "requests/s");
        report.at_most("score.rest.p50", 1.0, steady.quantile(0.5), "ms");
        report.at_most("score.rest.p99", 10.0, steady.quantile(0.99), "ms");
        flat(&mut report, memory, seconds);
        tell(&mut report, &format!("{rate} requests/s for {seconds} s"), &steady);
        self.reload(&mut report, &requests, rate as f64).await.context("change the model meanwhile")?;
        say(&self.progress, "requests as fast as they are answered");
        let saturated = closed_loop(requests, CLIENTS, SATURATION).await?;
        report.at_least("score.rest.saturation", REST_RATE as f64, saturated.rate(), "requests/s");
        tell(&mut report, &format!("saturation, {CLIENTS} clients"), &saturated);
        let failed = steady.failed + saturated.failed;
        report.at_most("score.rest.failed", 0.0, failed as f64, "requests");
        if let Some(python) = &self.context.peers {
            say(&self.progress, "the same model behind MLflow");
            let config = self.platform.config();
            let registry = config.learning.store(&config.data_dir)?;
            let scratch = tempfile::tempdir()?;
            let folder = registry.folder(champion::NAME, version, scratch.path()).await?;
            peers::measure(&mut report, python, &folder, &saturated, &steady).await;
        }
        self.progress.finish_and_clear();
        Ok(report)
    }

    /// Another version is promoted half-way through a load.
    async fn reload(&self, report: &mut Report, requests: &Requests, rate: f64) -> anyhow::Result<()> {
        say(&self.progress, "a model is changed meanwhile");
        let loading = open_loop(requests.clone(), rate, RELOAD);
        let changing = async {
            tokio::time::sleep(RELOAD / 2).await;
            let version = champion::serve(self.platform.config(), &self.model).await?;
            let begun = Instant::now();
            self.serves(version).await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        };
        let (answered, changed) = tokio::join!(loading, changing);
        let (answered, changed) = (answered?, changed?);
        report.at_most("score.promotion", 1.0, changed, "s");
        report.at_most("score.reload.max", 20.0, answered.quantile(1.0), "ms");
        tell(report, "a model changed meanwhile", &answered);
        ensure!(answered.failed == 0, "{} requests failed meanwhile", answered.failed);
        Ok(())
    }

    fn judge(&self) -> anyhow::Result<&Judge> {
        let scoring = self.platform.scoring().context("this process does not score")?;
        Ok(&scoring.judge)
    }

    /// Waits until this version decides.
    async fn serves(&self, version: u64) -> anyhow::Result<()> {
        let (judge, begun) = (self.judge()?, Instant::now());
        while judge.champion().is_none_or(|model| model.version != version) {
            ensure!(begun.elapsed() < PATIENCE, "version {version} does not serve: {:?}", judge.champion());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn requests(&self) -> anyhow::Result<Requests> {
        let address: SocketAddr = self.platform.config().http.listen;
        let body = |payment| serde_json::to_vec(&champion::request(payment, None));
        let mut bytes = Vec::with_capacity(ASKED);
        for payment in &simulated(5, ASKED, FRAUD_SHARE) {
            bytes.push(load::request("/v1/score", &body(payment)?));
        }
        Ok(Requests { address, bytes: Arc::new(bytes) })
    }

    /// What is measured are whole scores, not those of a platform that is starting.
    async fn is_whole(&self, requests: &Requests) -> anyhow::Result<()> {
        let url = format!("http://{}/v1/score", requests.address);
        let payment = simulated(5, 1, 0.0).pop().context("no payment")?;
        let answer = reqwest::Client::new().post(url).json(&champion::request(&payment, None));
        let answer: serde_json::Value = answer.send().await?.error_for_status()?.json().await?;
        let is_whole = answer["degraded"].is_null() && answer["features"]["source"] == "live";
        ensure!(is_whole, "scores are not whole: {answer}");
        Ok(())
    }
}

/// Greatest resident memory of this process, clients included, in each third of a load; bytes.
async fn thirds(length: Duration) -> [u64; 3] {
    let (begun, mut greatest) = (Instant::now(), [0; 3]);
    for (nth, greatest) in (1..).zip(&mut greatest) {
        while begun.elapsed() < length * nth / 3 {
            *greatest = resident().max(*greatest);
            tokio::time::sleep(MEMORY_PAUSE).await;
        }
    }
    greatest
}

/// What is made once is made in the first third; from then on memory is flat.
fn flat(report: &mut Report, [first, second, last]: [u64; 3], seconds: u64) {
    let growth = (last as f64 / second.max(1) as f64 - 1.0) * 100.0;
    report.at_most("score.memory.growth", GROWTH_MAX, growth.max(0.0), "%");
    report.note(format!(
        "greatest resident memory of this process, clients included, in the thirds of {seconds} s of requests: {:.1}, {:.1} and {:.1} MB",
        first as f64 / 1e6,
        second as f64 / 1e6,
        last as f64 / 1e6
    ));
}

fn tell(report: &mut Report, what: &str, answered: &Answered) {
    let q = |quantile: f64| answered.quantile(quantile);
    report.note(format!(
        "REST, {what}: {:.0} requests/s answered, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.2} ms; {} failed",
        answered.rate(),
        q(0.5),
        q(0.99),
        q(0.999),
        q(1.0),
        answered.failed
    ));
    if let Some(failure) = &answered.failure {
        report.note(format!("the first failure: {failure}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_flat_or_it_grows() {
        let is_met = |memory: [u64; 3]| {
            let mut report = Report::new("score");
            flat(&mut report, memory, 600);
            report.met()
        };
        assert!(is_met([100, 1_000, 1_000]), "what is made once");
        assert!(is_met([1_000, 1_000, 900]));
        assert!(!is_met([1_000, 1_000, 1_030]));
    }
}
