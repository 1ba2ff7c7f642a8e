//! Fifty connections ask the warehouse over the PostgreSQL protocol while runs publish: no error, and no answer that is
//! of two versions. And every chart of `deploy/bi` is answered.

use crate::batch_trial::{SEEN, Trial, WRONG};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 50;
/// Versions that are published while they ask.
const ROUNDS: usize = 3;
/// Far longer than a version takes to be seen.
const VISIBLE: Duration = Duration::from_secs(30);
/// What the process may have with every role in it: statements have a gigabyte at the most.
const RESIDENT_MAX: u64 = 3 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_connections_see_whole_versions_while_runs_publish() {
    let mut trial = Trial::begin().await;
    trial.complete("raw-to-dwh", true).await;
    let url = trial.installation.bi_url();
    let charts = charts();
    let client = connect(&url).await;
    for (name, text) in &charts {
        client.simple_query(text).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    let mut answers = 0;
    for _ in 0..ROUNDS {
        trial.news().await;
        let stop = CancellationToken::new();
        let mut asking = JoinSet::new();
        for place in 0..CONNECTIONS {
            asking.spawn(ask(url.clone(), charts.clone(), place, stop.clone()));
        }
        trial.complete("raw-to-dwh", true).await;
        stop.cancel();
        answers += asking.join_all().await.into_iter().sum::<usize>();
        // What is asked from now on is of the version that has been published, as the command line reads it.
        trial.read().await;
        let published = trial.rows(SEEN).await;
        until(&client, SEEN, &published).await;
    }
    let resident = trial.installation.resident();
    assert!(resident < RESIDENT_MAX, "{resident} bytes of resident memory");
    eprintln!("{answers} answers, {} MB", resident >> 20);
    trial.finish().await;
}

/// Asks until `stop`, each connection beginning with another chart; how many answers.
async fn ask(url: String, charts: Vec<(String, String)>, place: usize, stop: CancellationToken) -> usize {
    let client = connect(&url).await;
    let mut answers = 0;
    for (name, text) in charts.iter().cycle().skip(place % charts.len()) {
        let answered = client.simple_query(text).await;
        answered.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let wrong: Vec<String> =
            rows(&client, WRONG).await.into_iter().filter(|row| !row.ends_with(",0")).collect();
        assert!(wrong.is_empty(), "half a version: {wrong:?}");
        // A transaction keeps the version that it began with.
        client.batch_execute("begin").await.unwrap();
        let first = rows(&client, SEEN).await;
        let again = rows(&client, SEEN).await;
        client.batch_execute("commit").await.unwrap();
        assert_eq!(first, again, "a transaction has seen two versions");
        answers += 4;
        if stop.is_cancelled() {
            break;
        }
    }
    answers
}

/// The queries of the shipped dashboards: name and text.
fn charts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/bi");
    let mut charts = Vec::new();
    for dashboard in ["payments", "fraud", "funnel", "freshness"] {
        for entry in std::fs::read_dir(root.join(dashboard)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy();
            charts.push((format!("{dashboard}/{name}"), std::fs::read_to_string(&path).unwrap()));
        }
    }
    charts.sort();
    assert!(charts.len() > 12, "{charts:?}");
    charts
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The rows of a query, columns between commas, as `affluent sql --format csv` has them; null is empty.
async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|place| row.get(place).unwrap_or_default());
            Some(cells.collect::<Vec<_>>().join(","))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// Waits until a query is answered so.
async fn until(client: &Client, query: &str, wanted: &[String]) {
    let deadline = Instant::now() + VISIBLE;
    loop {
        let found = rows(client, query).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "found {found:#?}\nwanted {wanted:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
