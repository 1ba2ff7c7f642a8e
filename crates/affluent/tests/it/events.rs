//! Clicks and log lines under a real load while things happen to the installation: what the collector
//! acknowledged is in both stores once, and staged once, whatever was killed or stopped meanwhile.

use crate::broker::Broker;
use crate::installation::{Installation, turn};
use affluent_documents::{DocumentStore, EmbeddedOptions, EmbeddedStore, Scan};
use affluent_model::names::{
    COLLECTION_CLICKS, COLLECTION_ERROR_GROUPS, COLLECTION_LOGS, NAMESPACE_RAW, TABLE_LOGS,
};
use affluent_model::{EventKind, Value};
use affluent_testkit::events::{Events, EventsError, EventsOptions, EventsProgress, Outcome};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What is sent again this long, nobody has lost.
const PATIENCE: Duration = Duration::from_secs(120);
const TABLE_CLICKS: &str = "clickstream_events";
const STAGED: &str = "staged";

/// Clicks and log lines that go on until told to stop.
struct Load {
    shutdown: CancellationToken,
    clicks: JoinHandle<Result<Outcome, EventsError>>,
    logs: JoinHandle<Result<Outcome, EventsError>>,
    progress: Arc<EventsProgress>,
}

impl Load {
    fn start(installation: &Installation, clicks: u32, logs: u32) -> Self {
        let shutdown = CancellationToken::new();
        let events = |kind, rate| {
            let url = installation.http_url();
            Events::new(EventsOptions { kind, url, token: None, rate, seed: 5, patience: PATIENCE })
        };
        let (clicks, logs) = (events(EventKind::Clicks, clicks), events(EventKind::Logs, logs));
        let progress = clicks.progress();
        let (clicks, logs) = (clicks.run(shutdown.clone()), logs.run(shutdown.clone()));
        Load { shutdown, clicks: tokio::spawn(clicks), logs: tokio::spawn(logs), progress }
    }

    /// Waits until so many more requests were answered with 429 or 503.
    async fn told_to_wait(&self, requests: u64) {
        let (target, deadline) = (self.progress.told_to_wait() + requests, Instant::now() + PATIENCE);
        while self.progress.told_to_wait() < target {
            assert!(Instant::now() < deadline, "nobody is told to wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many more clicks are acknowledged.
    async fn grow(&self, clicks: u64, installation: &Installation) {
        let (target, deadline) = (self.progress.accepted() + clicks, Instant::now() + PATIENCE);
        while self.progress.accepted() < target {
            assert!(Instant::now() < deadline, "nothing is acknowledged any more\n{}", installation.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it; what became of clicks and log lines.
    async fn end(self) -> (Outcome, Outcome) {
        self.shutdown.cancel();
        (self.clicks.await.unwrap().unwrap(), self.logs.await.unwrap().unwrap())
    }
}

/// Stops the installation once both sinks have read everything, and holds its stores against the load.
async fn assert_exact(mut installation: Installation, clicks: &Outcome, logs: &Outcome) {
    for (outcome, collection) in [(clicks, COLLECTION_CLICKS), (logs, COLLECTION_LOGS)] {
        assert!(outcome.unanswered.is_empty(), "{collection}: {} never answered", outcome.unanswered.len());
        if let Some(id) = outcome.acknowledged.last() {
            let page = format!("/v1/documents/{collection}/{id}");
            installation.wait_page(&page, PATIENCE, |status, _| status == 200).await;
        }
    }
    let data = installation.data();
    for (outcome, table) in [(clicks, TABLE_CLICKS), (logs, TABLE_LOGS)] {
        let deadline = Instant::now() + PATIENCE;
        for zone in [NAMESPACE_RAW, STAGED] {
            while outcome.compare(installation.events_in_lake(zone, table).await).lost > 0 {
                let tail = installation.tail();
                assert!(Instant::now() < deadline, "{zone}.{table} does not have everything\n{tail}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    let (status, _) = installation.terminate(Duration::from_secs(15)).await;
    assert_eq!(status.code(), Some(0), "{}", installation.tail());

    let store = documents(&data).await;
    for (outcome, collection, table) in
        [(clicks, COLLECTION_CLICKS, TABLE_CLICKS), (logs, COLLECTION_LOGS, TABLE_LOGS)]
    {
        let documents = outcome.compare(in_documents(&store, collection).await);
        let rows = outcome.compare(installation.events_in_lake(NAMESPACE_RAW, table).await);
        let mut staged = installation.events_in_lake(STAGED, table).await;
        eprintln!(
            "{collection}: {} acknowledged, {} sent again, answers {:?}; documents {documents:?}, lake {rows:?}",
            outcome.acknowledged.len(),
            outcome.repeated.len(),
            outcome.answers,
        );
        let sent = outcome.acknowledged.len() as u64;
        for verdict in [documents, rows] {
            assert_eq!((verdict.stored, verdict.lost, verdict.duplicated), (sent, 0, 0), "{collection}");
        }
        // Also what was sent again is staged once.
        let rows = staged.len() as u64;
        staged.sort_unstable();
        staged.dedup();
        assert_eq!((rows, staged.len() as u64), (sent, sent), "{STAGED}.{table}");
    }
    assert_errors_are_counted(&store).await;
}

/// The groups count every error among the log lines once.
async fn assert_errors_are_counted(store: &EmbeddedStore) {
    let (mut errors, mut scan) = (0, Scan::all(5_000));
    loop {
        let page = store.scan(COLLECTION_LOGS, &scan).await.unwrap();
        let is_error = |value: Option<&Value>| matches!(value, Some(Value::Int(17..)));
        errors += page.documents.iter().filter(|document| is_error(document.field("severity"))).count();
        scan.after = page.next;
        if scan.after.is_none() {
            break;
        }
    }
    let groups = store.scan(COLLECTION_ERROR_GROUPS, &Scan::all(5_000)).await.unwrap().documents;
    let count = |value: Option<&Value>| match value {
        Some(Value::Int(count)) => usize::try_from(*count).unwrap(),
        other => panic!("{other:?}"),
    };
    let counted: usize = groups.iter().map(|group| count(group.field("count"))).sum();
    eprintln!("{errors} errors in {} groups", groups.len());
    assert_eq!(counted, errors, "{groups:#?}");
    // Two kinds of errors in each of eight services.
    assert!(errors > 0 && groups.len() <= 16, "{groups:#?}");
}

async fn documents(data: &Path) -> EmbeddedStore {
    let options = EmbeddedOptions { path: Some(data.join("documents")), ..EmbeddedOptions::default() };
    EmbeddedStore::open(options, 3_600).await.unwrap()
}

async fn in_documents(store: &EmbeddedStore, collection: &str) -> Vec<Uuid> {
    let (mut ids, mut scan) = (Vec::new(), Scan::all(5_000));
    loop {
        let page = store.scan(collection, &scan).await.unwrap();
        ids.extend(page.documents.iter().map(|document| Uuid::parse_str(&document.id).unwrap()));
        scan.after = page.next;
        if scan.after.is_none() {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_under_clicks() {
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    installation.start(None);
    installation.wait_ready().await;
    let load = Load::start(&installation, 3_000, 500);
    for round in 1..=5_u64 {
        load.grow(2_000 * round, &installation).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..800))).await;
        installation.kill().await;
        installation.start(None);
        let ready = installation.wait_ready().await;
        eprintln!("round {round}: {} acknowledged, ready after {ready:?}", load.progress.accepted());
    }
    load.grow(3_000, &installation).await;
    let (clicks, logs) = load.end().await;
    assert!(
        clicks.answers.get(&0).is_some_and(|&cut| cut > 0),
        "no request was cut off: {:?}",
        clicks.answers
    );
    assert_exact(installation, &clicks, &logs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_under_load_costs_patience_and_no_event() {
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    let mut broker = Broker::of(&installation);
    broker.start();
    installation.start_roles(&["registry", "collect", "api", "sink-events", "sink-lake", "stage"]);
    installation.wait_ready().await;
    let load = Load::start(&installation, 2_000, 300);
    for kill in [false, true] {
        load.grow(4_000, &installation).await;
        if kill {
            broker.kill().await;
        } else {
            broker.stop().await;
        }
        // Until clients are told; everything that is asked meanwhile waits.
        load.told_to_wait(1).await;
        let while_down = load.progress.accepted();
        load.told_to_wait(20).await;
        assert_eq!(load.progress.accepted(), while_down, "acknowledged without a broker");
        broker.start();
        load.grow(4_000, &installation).await;
        eprintln!("killed: {kill}; {} acknowledged", load.progress.accepted());
    }
    let (clicks, logs) = load.end().await;
    let told = |status| clicks.answers.get(&status).copied().unwrap_or(0);
    assert!(told(429) + told(503) > 0, "nobody was told to wait: {:?}", clicks.answers);
    let others = clicks.answers.keys().filter(|status| ![202, 429, 503].contains(*status)).count();
    assert_eq!(others, 0, "the collector was there all the time: {:?}", clicks.answers);
    assert_exact(installation, &clicks, &logs).await;
}
