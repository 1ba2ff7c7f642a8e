//! What the running platform tells of itself: traces of changes to a receiver, metrics of every part, the lag of other people's
//! groups, and its own log lines in its own pipeline.

use crate::installation::{Installation, turn};
use crate::load::Load;
use affluent_bus::{
    BatchLimits, Bus, ConsumerOptions, Outgoing, Polled, ProducerOptions, TopicPartition, TopicSpec,
};
use affluent_telemetry::metrics_list::METRICS;
use affluent_testkit::{Postgres, unique};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

type Spans = Arc<Mutex<Vec<Value>>>;

/// A receiver of OTLP over HTTP: where it is, and the spans that it was told.
async fn receiver() -> (String, Spans) {
    async fn take(State(spans): State<Spans>, Json(told): Json<Value>) -> Json<Value> {
        for resource in told["resourceSpans"].as_array().unwrap() {
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "affluent");
            for scope in resource["scopeSpans"].as_array().unwrap() {
                spans.lock().unwrap().extend(scope["spans"].as_array().unwrap().iter().cloned());
            }
        }
        Json(serde_json::json!({}))
    }
    let spans = Spans::default();
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

/// The spans of each trace, by their names.
fn traces(spans: &[Value]) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut traces: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for span in spans {
        let text = |key: &str| span[key].as_str().unwrap().to_owned();
        traces.entry(text("traceId")).or_default().insert(text("name"), span.clone());
    }
    traces
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_followed_from_its_commit_to_score_and_stores() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, 40, 17).await;
    let (url, spans) = receiver().await;
    let mut installation = Installation::new(&database, "");
    installation.set("telemetry.traces_url", Some(&url));
    installation.set("telemetry.sample", Some("1.0"));
    installation.set("telemetry.stores_interval_s", Some("1"));
    installation.start(None);
    installation.wait_ready().await;

    let wanted = ["capture", "sink-documents", "sink-lake", "features", "score", "write back"];
    let deadline = Instant::now() + PATIENCE;
    let trace = loop {
        let traces = traces(&spans.lock().unwrap());
        let whole = traces.values().find(|trace| wanted.iter().all(|name| trace.contains_key(*name)));
        if let Some(trace) = whole {
            break trace.clone();
        }
        let seen: BTreeSet<Vec<String>> =
            traces.values().map(|trace| trace.keys().cloned().collect()).collect();
        assert!(Instant::now() < deadline, "no trace has them all: {seen:?}\n{}", installation.tail());
        tokio::time::sleep(POLL).await;
    };
    assert!(trace["capture"].get("parentSpanId").is_none(), "a trace begins at the commit");
    for (name, parent) in [
        ("sink-documents", "capture"),
        ("sink-lake", "capture"),
        ("features", "capture"),
        ("score", "capture"),
        ("write back", "score"),
    ] {
        assert_eq!(trace[name]["parentSpanId"], trace[parent]["spanId"], "{name}");
        assert_eq!(trace[name].get("status"), None, "{name}");
    }
    for (name, span) in &trace {
        let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{name}");
    }

    // What every part tells, and nothing that is not in the table.
    let parts = [
        "affluent_pipeline_latency_seconds_bucket",
        "affluent_trace_spans_total{outcome=\"sent\"}",
        "kafka_consumergroup_group_lag_seconds",
        "affluent_replication_slot_limit_bytes",
        "affluent_documents_store_bytes",
        "affluent_lake_table_files{table=\"raw.",
        "affluent_table_freshness_seconds",
        "affluent_batch_overdue_seconds{pipeline=\"raw-to-dwh\"} 0",
        "affluent_http_request_seconds_bucket",
        "affluent_role_ready{role=\"cdc\"} 1",
        "affluent_disk_free_bytes{volume=\"lake\"}",
        "process_cpu_seconds_total",
        "affluent_build_info",
    ];
    installation
        .wait_page("/metrics", PATIENCE, |_, page| parts.iter().all(|part| page.contains(part)))
        .await;
    let (_, page) = installation.get("/metrics").await.unwrap();
    for line in page.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name} is not in the table");
    }
    let told = scraped(&format!("{}/metrics", installation.http_url())).await;
    assert!(told.ends_with("# EOF\n"), "{told}");
    for stop in [
        "{pipeline=\"cdc\",stop=\"bus\",",
        "{pipeline=\"cdc\",stop=\"documents\",",
        "{pipeline=\"cdc\",stop=\"lake_visible\",",
        "{pipeline=\"score\",stop=\"end_to_end\",",
        "affluent_inference_seconds_bucket{",
    ] {
        let has_exemplar = |line: &str| line.contains(stop) && line.contains(" # {trace_id=\"");
        assert!(told.lines().any(has_exemplar), "no exemplar of {stop}: {told}");
    }
    load.stop().await;
    installation.terminate(PATIENCE).await;
}

/// What a scraper that takes OpenMetrics is told.
async fn scraped(url: &str) -> String {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = reqwest::Client::new().get(url).header("accept", accept).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    answer.text().await.unwrap()
}

fn bus(installation: &Installation) -> Bus {
    Bus::new(installation.bus()).unwrap()
}

/// A record of a topic's only partition.
fn record(topic: &str, value: &'static [u8]) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: Some(0),
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp_ms: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_of_other_peoples_groups_is_told() {
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    installation.set("telemetry.groups", Some("all"));
    installation.set("telemetry.groups_interval_s", Some("1"));
    installation.start(None);
    installation.wait_ready().await;
    let (bus, topic, group) = (bus(&installation), unique("theirs"), unique("reports"));
    bus.admin().unwrap().ensure_topic(&topic, &TopicSpec::new(1)).await.unwrap();
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for _ in 0..5 {
        producer.send(record(&topic, b"theirs")).await.unwrap();
    }
    producer.flush(PATIENCE).await.unwrap();
    let mut consumer = bus.consumer(Some(&group), ConsumerOptions::default()).unwrap();
    consumer.subscribe(std::slice::from_ref(&topic)).unwrap();
    let limits = BatchLimits { max_records: 10, max_bytes: 1 << 20, linger: POLL };
    let deadline = Instant::now() + PATIENCE;
    while !matches!(consumer.poll_batch(limits).await.unwrap(), Polled::Records(found) if !found.is_empty()) {
        assert!(Instant::now() < deadline, "nothing is read");
    }
    consumer.commit(&[(TopicPartition::new(topic.as_str(), 0), 2)]).await.unwrap();
    consumer.close().await;
    let sample = |name: &str, page: &str| {
        let labels = [format!("consumergroup=\"{group}\""), format!("topic=\"{topic}\"")];
        let mut lines = page.lines().filter(|line| line.starts_with(name));
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label.as_str())))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    let is_told = |_: u16, page: &str| {
        sample("kafka_consumergroup_lag", page) == Some(3.0)
            && sample("kafka_consumergroup_group_lag_seconds", page).is_some_and(|seconds| seconds > 0.0)
    };
    installation.wait_page("/metrics", PATIENCE, is_told).await;
    installation.terminate(PATIENCE).await;
}

/// Messages and targets of what the platform has logged into its own pipeline.
async fn own_lines(installation: &Installation) -> Vec<(String, String)> {
    let Some((200, page)) = installation.get("/v1/documents/logs?limit=1000").await else {
        return Vec::new();
    };
    let page: Value = serde_json::from_str(&page).unwrap();
    let lines = page["documents"].as_array().unwrap().iter().filter(|line| line["service"] == "affluent");
    lines.map(|line| (line["message"].as_str().unwrap().to_owned(), line["attributes"].to_string())).collect()
}

async fn wait_own(installation: &Installation, message: &str, count: usize) -> Vec<(String, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lines = own_lines(installation).await;
        if lines.iter().filter(|(text, _)| text == message).count() >= count {
            return lines;
        }
        assert!(
            Instant::now() < deadline,
            "{message:?} does not arrive {count} times: {lines:?}\n{}",
            installation.tail()
        );
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_log_lines_arrive_and_cause_no_others() {
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    installation.set("telemetry.own_logs", Some("true"));
    installation.start(None);
    installation.wait_ready().await;
    wait_own(&installation, "every role is ready", 1).await;

    // What cannot be read is told by what carries log lines: were that fed, it would tell of itself for ever.
    let producer = bus(&installation).producer(ProducerOptions::default()).unwrap();
    producer.send(record("logs.events", b"not a log line")).await.unwrap();
    producer.flush(PATIENCE).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !installation.log().contains("record quarantined") {
        assert!(Instant::now() < deadline, "nothing is quarantined\n{}", installation.tail());
        tokio::time::sleep(POLL).await;
    }

    // A second start says so after everything before it.
    installation.terminate(PATIENCE).await;
    installation.start(None);
    installation.wait_ready().await;
    let lines = wait_own(&installation, "every role is ready", 2).await;
    for (message, attributes) in &lines {
        assert_ne!(message, "record quarantined");
        assert!(!attributes.contains("affluent_stream::consume"), "{message}: {attributes}");
    }
    assert!(lines.len() < 500, "{} lines of two starts", lines.len());
    installation.terminate(PATIENCE).await;
}
