//! An abort at every failpoint of the role `score`, `kill -9` at random moments, and a second process, under load: afterwards every payment has one
//! record, its score and its alert are sent once, and the payments database says what the record says.

use crate::installation::{Installation, turn};
use crate::kill::chosen;
use crate::load::Load;
use affluent_bus::{Bus, Incoming, TopicPartition};
use affluent_testkit::{Database, Postgres};
use rand::Rng as _;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
/// Beside what is shipped: some payments are alerts.
pub(crate) const RULES: &str =
    "[[rules]]\nname = \"much\"\nwhen = \"amount_minor > 10000\"\ndecision = \"review\"\nwords = \"much\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_score_no_payment_twice_and_leave_none_out() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, 100, 11).await;
    let rules = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(rules.path(), RULES).unwrap();
    let sections =
        format!("[features.stream]\nsnapshot_interval_s = 1\n[score.serving]\nrules = {:?}\n", rules.path());
    let mut installation = Installation::with_sections(&database, &sections);
    for name in chosen(|name| name.starts_with("score::")) {
        let passes = rand::rng().random_range(0..6);
        installation.start(Some(&format!("{name}={passes}*off->return")));
        let ended = installation.wait_end(PATIENCE).await;
        assert!(ended.is_some(), "{name} is not passed\n{}", installation.tail());
        installation.start(None);
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(200..2_500))).await;
        installation.kill().await;
    }
    installation.start(None);
    installation.wait_ready().await;
    load.stop().await;
    are_scored_once(&installation, &database).await;
    installation.terminate(PATIENCE).await;
}

/// Payments that were inserted while somebody captured, by id: with a score in their database.
async fn scored(database: &Database) -> BTreeMap<String, (Option<f64>, String)> {
    let client = database.connect().await.unwrap();
    let sql = "select id::text, risk_score, risk_decision from transactions where risk_scored_at is not null";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

/// Waits until the three agree and stand still, then looks whether each has each payment once.
pub(crate) async fn are_scored_once(installation: &Installation, database: &Database) {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = (0, (0, 0, 0));
    while seen.0 < 5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let counts = (
            records(installation).await.len(),
            topic(installation, "fraud.scores").await.len(),
            scored(database).await.len(),
        );
        let agree = counts.0 > 0 && counts.0 == counts.1 && counts.1 == counts.2;
        seen = if agree && counts == seen.1 { (seen.0 + 1, counts) } else { (0, counts) };
        assert!(Instant::now() < deadline, "{counts:?} do not come to agree\n{}", installation.tail());
    }
    let records = records(installation).await;
    assert!(records.len() > 200, "{} payments", records.len());
    let (scores, alerts) =
        (topic(installation, "fraud.scores").await, topic(installation, "fraud.alerts").await);
    let ids: BTreeSet<String> = records.keys().cloned().collect();
    assert_eq!((once(&scores), scores.len()), (ids.clone(), ids.len()));
    let is_alert = |record: &&Json| record["decision"] != "approve";
    let expected: BTreeSet<String> =
        records.values().filter(is_alert).map(|record| record["_id"].as_str().unwrap().to_owned()).collect();
    assert!(!expected.is_empty(), "some payments are alerts");
    assert_eq!((once(&alerts), alerts.len()), (expected.clone(), expected.len()));
    for (id, (score, decision)) in scored(database).await {
        let record = &records[&id];
        let named = match record["decision"].as_str().unwrap() {
            "approve" => "allow",
            "decline" => "block",
            other => other,
        };
        assert_eq!((decision.as_str(), score), (named, record["score"].as_f64()), "{id}");
    }
    // What was inserted since the role runs is among them: it was captured as an insertion, not read by a snapshot.
    let inserted = topic(installation, "oltp.public.transactions").await;
    let created = |record: &&Incoming| {
        record.header("event_type").is_some_and(|e| e.as_ref() == b"transaction_created")
    };
    let created = inserted.iter().filter(created).count();
    assert_eq!(created, records.len());
}

fn once(records: &[Incoming]) -> BTreeSet<String> {
    records.iter().map(|r| String::from_utf8(r.key.as_ref().unwrap().to_vec()).unwrap()).collect()
}

/// The records of `fraud_events`, by id.
async fn records(installation: &Installation) -> BTreeMap<String, Json> {
    let (mut found, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let mut url =
            reqwest::Url::parse(&format!("{}/v1/documents/fraud_events", installation.http_url())).unwrap();
        url.query_pairs_mut().append_pair("limit", "1000");
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let answer = reqwest::get(url).await.unwrap();
        if !answer.status().is_success() {
            return found;
        }
        let page: Json = answer.json().await.unwrap();
        for document in page["documents"].as_array().unwrap() {
            found.insert(document["_id"].as_str().unwrap().to_owned(), document.clone());
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return found;
        }
    }
}

/// Every record of a topic.
async fn topic(installation: &Installation, name: &str) -> Vec<Incoming> {
    let admin = Bus::new(installation.bus()).unwrap().admin().unwrap();
    let mut records = Vec::new();
    for number in 0..admin.partitions(name).await.unwrap().unwrap_or(0) {
        let partition = TopicPartition::new(name, number);
        let (from, to) = admin.watermarks(&partition).await.unwrap();
        records.extend(admin.read_range(&partition, from, to).await.unwrap());
    }
    records
}
