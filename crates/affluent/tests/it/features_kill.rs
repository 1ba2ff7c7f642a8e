//! An abort at every failpoint of the role `features`, and `kill -9` at random moments, under load: afterwards the online store holds what one
//! unbroken reading of the topics gives.

use crate::installation::{Installation, turn};
use crate::kill::chosen;
use crate::load::Load;
use affluent_bus::Bus;
use affluent_bus::registry::{RegistryClient, RegistryOptions};
use affluent_documents::{DocumentStore, EmbeddedOptions, EmbeddedStore, Scan};
use affluent_feature_store::event::References;
use affluent_feature_store::online::COLLECTION;
use affluent_feature_store::stream::{FeaturesSink, StreamOptions, Streamed};
use affluent_features::Definitions;
use affluent_stream::consume::{ConsumeOptions, ConsumeService};
use affluent_stream::sinks::events::EventOptions;
use affluent_telemetry::health::Health;
use affluent_testkit::Postgres;
use affluent_warehouse::batch::{BatchOptions, Seeds};
use rand::Rng as _;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
const TOPICS: [&str; 2] = ["oltp.public.transactions", "clickstream.events"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_role_change_no_value() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, 200, 7).await;
    let sections = "[features.stream]\nsnapshot_interval_s = 1\nlogged_share = 0.1\n";
    let mut installation = Installation::with_sections(&database, sections);
    for name in chosen(|name| name.starts_with("features::")) {
        let passes = rand::rng().random_range(0..4);
        installation.start(Some(&format!("{name}={passes}*off->return")));
        die(&mut installation, &name).await;
        installation.start(None);
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(200..2_500))).await;
        installation.kill().await;
    }
    load.stop().await;
    installation.start(None);
    installation.wait_ready().await;
    let bus = bus(&installation);
    let group = group(&installation);
    // Readiness does not say that all was captured: no lag, and nothing new behind it, also while both are read.
    let deadline = Instant::now() + PATIENCE;
    let (mut seen, mut values) = ((0, None), None);
    let (expected, found) = loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let offsets = caught_up(&bus, &group).await;
        seen = if offsets.is_some() && offsets == seen.1 { (seen.0 + 1, offsets) } else { (0, offsets) };
        if seen.0 == 0 {
            values = None;
        }
        if let Some(values) = values.take() {
            break values;
        }
        if seen.0 >= 5 {
            values = Some((unbroken(&installation, &bus).await, online(&installation).await));
        }
        assert!(Instant::now() < deadline, "the role does not catch up\n{}", installation.tail());
    };
    assert!(expected.len() > 500, "{} keys", expected.len());
    let wrong: Vec<&String> = expected.keys().filter(|id| found.get(*id) != expected.get(*id)).collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), expected.len(), &wrong[..wrong.len().min(5)]);
    let more: Vec<&String> = found.keys().filter(|id| !expected.contains_key(*id)).take(5).collect();
    assert!(more.is_empty(), "of {} more: {more:?}", found.len() - expected.len());

    let customer = expected.keys().find_map(|id| id.strip_prefix("customer/stream/")).unwrap();
    let (status, said) = installation.run(&["features", "get", "customer", customer], PATIENCE).await;
    assert!(status.success() && said.contains("customer_velocity"), "{said}");
    let (status, said) = installation.run(&["features", "get", "customer", "nobody"], PATIENCE).await;
    assert_eq!((status.code(), said.contains("no features of customer")), (Some(1), true), "{said}");
}

/// Gives it clicks to store until it has died of the failpoint, which may be before it takes any.
async fn die(installation: &mut Installation, failpoint: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        installation.click(&uuid::Uuid::now_v7().to_string()).await;
        if installation.wait_end(Duration::from_millis(200)).await.is_some() {
            return;
        }
        assert!(Instant::now() < deadline, "{failpoint} is not passed\n{}", installation.tail());
    }
}

fn bus(installation: &Installation) -> Bus {
    Bus::new(installation.bus()).unwrap()
}

/// The group of the role: it is the process's own.
fn group(installation: &Installation) -> String {
    let name = std::fs::read_to_string(installation.data().join("features").join("instance")).unwrap();
    format!("affluent-features-{name}")
}

/// The offsets of the group, where it has read everything.
async fn caught_up(bus: &Bus, group: &str) -> Option<BTreeMap<affluent_bus::TopicPartition, i64>> {
    let admin = bus.admin().unwrap();
    let lag = admin.group_lag(group, &TOPICS).await.ok()?;
    if lag.is_empty() || lag.values().any(|&lag| lag > 0) {
        return None;
    }
    admin.group_offsets(group, &TOPICS).await.ok()
}

/// The values that one reading of the topics gives, by id.
async fn unbroken(installation: &Installation, bus: &Bus) -> BTreeMap<String, Json> {
    let directory = tempfile::tempdir().unwrap();
    let documents =
        EmbeddedOptions { path: Some(directory.path().join("documents")), ..EmbeddedOptions::default() };
    let store: Arc<dyn DocumentStore> = Arc::new(EmbeddedStore::open(documents, 3_600).await.unwrap());
    let seeds = Seeds::load(&BatchOptions::default()).unwrap();
    let references = Arc::new(References::new(|name| seeds.get(name)).unwrap());
    let streamed = Streamed::new(&Definitions::load(None).unwrap(), references).unwrap();
    let registry = RegistryOptions { url: Some(installation.registry_url()), ..RegistryOptions::default() };
    let registry = RegistryClient::new(registry).unwrap();
    let options = StreamOptions { directory: directory.path().join("state"), ..StreamOptions::default() };
    let (admin, events) = (bus.admin().unwrap(), EventOptions::default());
    let sink =
        FeaturesSink::new(&streamed, Arc::clone(&store), admin, Some(registry), &events, "unbroken", options);
    // No other reading has been anywhere.
    let group = format!("unbroken-{}", uuid::Uuid::now_v7());
    let options =
        ConsumeOptions { group: group.clone(), topics: streamed.topics(), ..ConsumeOptions::default() };
    let service = ConsumeService::new(sink, bus.clone(), options, "features", Health::default()).unwrap();
    let shutdown = CancellationToken::new();
    let reading = tokio::spawn(service.run(shutdown.clone()));
    let deadline = Instant::now() + PATIENCE;
    while caught_up(bus, &group).await.is_none() {
        assert!(Instant::now() < deadline, "an unbroken reading takes longer than {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shutdown.cancel();
    reading.await.unwrap().unwrap();
    let (mut values, mut scan) = (BTreeMap::new(), Scan::all(1_000));
    loop {
        let page = store.scan(COLLECTION, &scan).await.unwrap();
        for document in page.documents {
            let fields = document.fields.iter().map(|(name, value)| (name.clone(), value.to_json()));
            values.insert(document.id, Json::Object(fields.collect()));
        }
        scan.after = page.next;
        if scan.after.is_none() {
            return values;
        }
    }
}

/// The values that the installation serves, by id.
async fn online(installation: &Installation) -> BTreeMap<String, Json> {
    let (mut values, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let mut url =
            reqwest::Url::parse(&format!("{}/v1/documents/{COLLECTION}", installation.http_url())).unwrap();
        url.query_pairs_mut().append_pair("limit", "1000");
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let page: Json = reqwest::get(url).await.unwrap().json().await.unwrap();
        for document in page["documents"].as_array().unwrap() {
            let mut fields: Map<String, Json> = document.as_object().unwrap().clone();
            let id = fields.remove("_id").unwrap().as_str().unwrap().to_owned();
            fields.remove("_v");
            values.insert(id, Json::Object(fields));
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return values;
        }
    }
}
