//! The demo's visitors and services: clicks and log lines through the HTTP collector of this process,
//! beside the payments, and what the stores have of them at the end.

use crate::platform::Platform;
use crate::verify::{self, Store, events};
use affluent_lake::LakeFormat;
use affluent_model::EventKind;
use affluent_testkit::events::{Events, EventsError, EventsOptions, EventsProgress, Outcome};
use anyhow::{Context as _, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a request is repeated.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Both loads under way.
pub(super) struct EventLoad {
    clicks: Running,
    logs: Running,
}

struct Running {
    kind: EventKind,
    rate: u32,
    progress: Arc<EventsProgress>,
    task: JoinHandle<Result<Outcome, EventsError>>,
}

/// Both loads at their end.
pub(super) struct EventsSent {
    pub(super) clicks: Sent,
    pub(super) logs: Sent,
}

/// One load at its end.
pub(super) struct Sent {
    kind: EventKind,
    /// Events a second that were offered.
    pub(super) rate: u32,
    outcome: Outcome,
}

impl EventLoad {
    /// Starts both; they end with `shutdown`.
    pub(super) fn start(
        platform: &Platform,
        clicks: u32,
        logs: u32,
        seed: u64,
        shutdown: &CancellationToken,
    ) -> Self {
        let start = |kind, rate| {
            let token = platform.config().collect.tokens.first().map(|token| token.token.clone());
            let options =
                EventsOptions { kind, url: platform.http_url(), token, rate, seed, patience: PATIENCE };
            let events = Events::new(options);
            let progress = events.progress();
            Running { kind, rate, progress, task: tokio::spawn(events.run(shutdown.clone())) }
        };
        EventLoad { clicks: start(EventKind::Clicks, clicks), logs: start(EventKind::Logs, logs) }
    }

    /// Clicks and log lines that the collector has acknowledged so far.
    pub(super) fn accepted(&self) -> (u64, u64) {
        (self.clicks.progress.accepted(), self.logs.progress.accepted())
    }

    /// Waits for what is under way; both were told to stop.
    pub(super) async fn end(self) -> anyhow::Result<EventsSent> {
        Ok(EventsSent { clicks: self.clicks.end().await?, logs: self.logs.end().await? })
    }
}

impl Running {
    async fn end(self) -> anyhow::Result<Sent> {
        let outcome = self.task.await?.with_context(|| format!("send {:?}", self.kind))?;
        Ok(Sent { kind: self.kind, rate: self.rate, outcome })
    }
}

impl EventsSent {
    /// Waits until the stores have what was acknowledged, and adds to the report what they lack or have
    /// beyond it.
    pub(super) async fn compare(
        &self,
        platform: &Platform,
        wait: Duration,
        report: &mut verify::Report,
    ) -> anyhow::Result<()> {
        for sent in [&self.clicks, &self.logs] {
            sent.compare(platform, wait, report).await?;
        }
        Ok(())
    }
}

impl Sent {
    /// Events a second that were acknowledged.
    pub(super) fn per_second(&self) -> f64 {
        self.outcome.acknowledged.len() as f64 / self.outcome.seconds.max(1e-3)
    }

    pub(super) fn describe(&self) -> String {
        let Sent { kind, rate, outcome } = self;
        let what = match kind {
            EventKind::Clicks => "clicks",
            EventKind::Logs => "log lines",
        };
        format!(
            "{} {what} acknowledged over {:.1} s: {:.1} of {rate} a second; {} never answered for, {} sent again",
            outcome.acknowledged.len(),
            outcome.seconds,
            self.per_second(),
            outcome.unanswered.len(),
            outcome.repeated.len(),
        )
    }

    async fn compare(
        &self,
        platform: &Platform,
        wait: Duration,
        report: &mut verify::Report,
    ) -> anyhow::Result<()> {
        let (collection, table) = (self.kind.collection(), self.kind.collection());
        let acknowledged = self.outcome.acknowledged.len() as u64;
        report.add_events(table, Store::Collector, acknowledged, 0, 0);
        let documents = platform.documents().await?;
        let deadline = Instant::now() + wait;
        until(deadline, "the document store", || async {
            Ok(documents.count(collection).await? >= acknowledged)
        })
        .await?;
        let verdict = self.outcome.compare(events::in_documents(documents.as_ref(), collection).await?);
        report.add_events(table, Store::Documents, verdict.stored, verdict.lost, verdict.duplicated);
        match platform.config().lake.format {
            // `verify` says so already.
            LakeFormat::Json => return Ok(()),
            LakeFormat::Iceberg => {}
        }
        let lake = platform.lake().await?;
        until(deadline, "the lake", || async {
            Ok(events::rows_in_lake(&lake, table).await? >= acknowledged)
        })
        .await?;
        let verdict = self.outcome.compare(events::in_lake(&lake, table).await?);
        report.add_events(table, Store::Lake, verdict.stored, verdict.lost, verdict.duplicated);
        Ok(())
    }
}

/// Waits until `reached` says so; past the deadline the comparison tells what is missing.
async fn until<F, W>(deadline: Instant, what: &str, mut reached: F) -> anyhow::Result<()>
where
    F: FnMut() -> W,
    W: Future<Output = anyhow::Result<bool>>,
{
    loop {
        match reached().await {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() >= deadline => return Ok(()),
            Err(error) if Instant::now() >= deadline => bail!("{what}: {error:#}"),
            Ok(false) | Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
