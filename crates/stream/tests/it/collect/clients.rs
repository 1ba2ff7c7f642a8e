//! Clients that nobody here wrote: OpenTelemetry's SDK for Python, its collector, and a browser with our tracker.

use super::{Rig, bus, read_topic, until};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use axum::routing::get;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::Arc;
use tokio::process::{Child, Command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opentelemetrys_python_sdk_exports_its_logs() {
    let rig = Rig::new(|_| {}).await;
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/collect/otlp.py");
    for compression in ["none", "gzip"] {
        let output = Command::new(&python)
            .args([script, &rig.url, compression, "600"])
            .env("no_proxy", "*")
            .output()
            .await
            .unwrap_or_else(|error| panic!("{python}: {error}; run `make setup`"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !errors.contains("ModuleNotFoundError"),
            "{python} lacks a package, run `make setup`: {errors}"
        );
        assert!(output.status.success() && errors.is_empty(), "{errors}");
    }
    let logs = rig.logs().await;
    assert_eq!(logs.len(), 2 * 602);
    assert!(logs.iter().all(|log| log["service"] == "payments"));
    let of = |message: &str| logs.iter().find(|log| log["message"] == message).unwrap();
    let paid = of("paid 599");
    assert_eq!((&paid["severity"], &paid["kind"]), (&json!(9), &json!("app")));
    let kept = &paid["attributes"];
    assert_eq!((&kept["order"], &kept["amount"]), (&json!("o-599"), &json!(599)));
    assert_eq!(
        (&kept["service.version"], &kept["otel.scope.name"]),
        (&json!("1.2.3"), &json!("shop.checkout"))
    );
    let refused = of("card refused");
    assert_eq!((&refused["severity"], &refused["kind"]), (&json!(17), &json!("security")));
    let audit = of(r#"{"who":"admin","did":["login",2]}"#);
    assert_eq!((&audit["severity"], &audit["kind"]), (&json!(13), &json!("audit")));
    assert_eq!(audit["occurred_at"], json!("2025-11-22T08:26:40.123456Z"));
    assert_eq!(audit["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(audit["span_id"], "b7ad6b7169203331");
    let kept = &audit["attributes"];
    assert_eq!((&kept["ratio"], &kept["flags"]), (&json!(0.5), &json!([true, false])));
    rig.stop().await;
}

/// What `docs/collect.md` shows, following a file.
const OTELCOL: &str = r"
receivers:
  filelog:
    include: [FILE]
    start_at: beginning
    poll_interval: 50ms
    resource: {service.name: payments}
    operators:
      - type: regex_parser
        regex: '^(?P<time>[^ ]+) (?P<level>[A-Z]+) (?P<message>.*)$'
        timestamp: {parse_from: attributes.time, layout: '%Y-%m-%dT%H:%M:%S.%fZ'}
        severity: {parse_from: attributes.level}
exporters:
  otlphttp:
    logs_endpoint: URL/v1/logs
    compression: COMPRESSION
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [filelog], exporters: [otlphttp]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opentelemetrys_collector_exports_a_file() {
    let Ok(program) = std::env::var("AFFLUENT_TEST_OTELCOL") else {
        eprintln!("skipped: AFFLUENT_TEST_OTELCOL names no collector; `make interop` builds one");
        return;
    };
    for compression in ["gzip", "zstd"] {
        let rig = Rig::new(|_| {}).await;
        let directory = tempfile::tempdir().unwrap();
        let (file, config) = (directory.path().join("app.log"), directory.path().join("otelcol.yaml"));
        let text = OTELCOL.replace("FILE", file.to_str().unwrap()).replace("URL", &rig.url);
        std::fs::write(&config, text.replace("COMPRESSION", compression)).unwrap();
        let lines = |from: usize| -> String {
            (from..from + 200)
                .map(|n| format!("2026-03-01T10:00:00.{n:06}Z {} order {n}\n", ["INFO", "ERROR"][n % 2]))
                .collect()
        };
        std::fs::write(&file, lines(0)).unwrap();
        let mut collector = Command::new(&program)
            .args(["--config", &format!("file:{}", config.display())])
            .env("no_proxy", "*")
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        until("the first lines", async || rig.logs().await.len() == 200).await;
        let mut appended = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut appended, lines(200).as_bytes()).unwrap();
        until("the lines behind them", async || rig.logs().await.len() == 400).await;
        collector.kill().await.unwrap();
        let by_time: BTreeMap<String, Value> = rig
            .logs()
            .await
            .into_iter()
            .map(|log| (log["occurred_at"].as_str().unwrap().to_owned(), log))
            .collect();
        assert_eq!(by_time.len(), 400);
        for (n, log) in by_time.values().enumerate() {
            let (severity, kind) = [(9, "app"), (17, "error")][n % 2];
            assert_eq!((&log["severity"], &log["kind"]), (&json!(severity), &json!(kind)), "{log}");
            assert_eq!(
                (&log["service"], &log["attributes"]["message"]),
                (&json!("payments"), &json!(format!("order {n}")))
            );
        }
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn otlp_json_is_answered_record_by_record() {
    let rig = Rig::new(|_| {}).await;
    let record =
        |time: &str| json!({"timeUnixNano": time, "severityText": "ERROR", "body": {"stringValue": "down"}});
    let body = json!({"resourceLogs": [{
        "scopeLogs": [{"logRecords": [record("1763800000123456789"), record("9763800000123456789"), 5]}],
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "api"}}]},
    }]});
    let headers = [("content-type", "application/json")];
    // An exporter that lost the answer sends the same bytes again: the same ids.
    for _ in 0..2 {
        let answer = rig.post("/v1/logs", &headers, body.to_string()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["partialSuccess"]["rejectedLogRecords"], "2");
        assert!(answer.json()["partialSuccess"]["errorMessage"].as_str().unwrap().starts_with("clock_ahead"));
    }
    let logs = rig.logs().await;
    assert_eq!((logs.len(), &logs[0]["event_id"]), (2, &logs[1]["event_id"]));
    assert_eq!(
        (&logs[0]["service"], &logs[0]["severity"], &logs[0]["kind"]),
        (&json!("api"), &json!(17), &json!("error"))
    );
    let answer = rig.post("/v1/logs", &headers, "{}").await;
    assert_eq!((answer.status, answer.json()), (200, json!({})));
    let answer = rig.post("/v1/logs", &headers, "{").await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, json!(3)));
    let answer = rig.post("/v1/logs", &[("content-type", "application/x-protobuf")], vec![0xFF]).await;
    assert_eq!((answer.status, answer.body[..2].to_vec()), (400, vec![8, 3]));
    rig.stop().await;
}

/// The first page: consent, content, a cart left alone; all while nothing answers.
const PAGE_ONE: &str = r#"<!doctype html><title>one</title><script src="/affluent.js"></script>
<div data-affluent-content="article-7" style="height:100px">seven</div>
<script>
affluent.init({ url: COLLECT, token: "web-0123456789abcdef", consent: false, cartIdleMs: 1500 });
affluent.track("before_consent");
affluent.consent(true);
affluent.identify("u-1");
affluent.track("content_viewed", { content_id: "by hand" });
affluent.track("cart_updated", { items: 2, value: "30.00" });
history.pushState({}, "", "/one?step=2");
var queue = function () { return JSON.parse(localStorage.getItem("affluent.queue")) || []; };
var has = function (type) { return queue().some(function (event) { return event.event_type === type; }); };
var asked = setInterval(function () {
  var auto = queue().some(function (event) { return event.properties.content_id === "article-7"; });
  if (!has("cart_abandoned") || !auto) return;
  clearInterval(asked);
  fetch("/said/offline?waiting=" + queue().length);
  setInterval(function () { if (!queue().length) location.href = "/two"; }, 50);
}, 50);
</script>"#;

/// The second page: a conversion ends a cart; the page is left before anything was sent.
const PAGE_TWO: &str = r#"<!doctype html><title>two</title><script src="/affluent.js"></script><script>
affluent.init({ url: COLLECT, token: "web-0123456789abcdef", cartIdleMs: 1500 });
affluent.track("cart_updated", { items: 1 });
affluent.track("conversion", { order: "o-1", value: "30.00" });
setTimeout(function () { location.href = "/three"; }, 0);
</script>"#;

/// The third page: everything is sent, then consent is withdrawn.
const PAGE_THREE: &str = r#"<!doctype html><title>three</title><script src="/affluent.js"></script><script>
affluent.init({ url: COLLECT, token: "web-0123456789abcdef", cartIdleMs: 1500 });
var asked = setInterval(function () {
  if (localStorage.getItem("affluent.queue")) return;
  clearInterval(asked);
  // Long enough for a cart of the second page to be reported, were it still there.
  setTimeout(function () {
    affluent.consent(false);
    affluent.track("after_refusal");
    fetch("/said/done?kept=" + Object.keys(localStorage).join(","));
  }, 2000);
}, 50);
</script>"#;

/// What the pages told the test: topic, then parameters.
type Said = Arc<Mutex<BTreeMap<String, HashMap<String, String>>>>;

async fn pages(said: Said, collect: String) -> String {
    let page = move |html: &str| Html(html.replace("COLLECT", &format!("\"{collect}/collect/events\"")));
    let (one, two, three) = (page(PAGE_ONE), page(PAGE_TWO), page(PAGE_THREE));
    let script =
        ([("content-type", "text/javascript")], include_str!("../../../../../deploy/tracker/affluent.js"));
    let router = Router::new()
        .route("/", get(async || one))
        .route("/two", get(async || two))
        .route("/three", get(async || three))
        .route("/affluent.js", get(async move || script))
        .route("/said/{topic}", get(tell))
        .with_state(said);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn tell(
    State(said): State<Said>,
    Path(topic): Path<String>,
    Query(what): Query<HashMap<String, String>>,
) {
    said.lock().insert(topic, what);
}

fn browser(url: &str, profile: &std::path::Path) -> Option<Child> {
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-proxy-server",
        "--remote-debugging-port=0",
        "--mute-audio",
    ];
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|name| {
        let mut command = Command::new(name);
        command.args(arguments).arg(format!("--user-data-dir={}", profile.display())).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().ok()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tracker_in_a_browser_loses_nothing() {
    let said = Said::default();
    // Nothing listens there yet: the visitor is offline.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shop = pages(Arc::clone(&said), format!("http://{address}")).await;
    let profile = tempfile::tempdir().unwrap();
    let Some(mut browser) = browser(&shop, profile.path()) else {
        eprintln!("skipped: no chromium found; run `make setup`");
        return;
    };
    until("the page has everything in its queue", async || said.lock().contains_key("offline")).await;
    assert_eq!(said.lock()["offline"]["waiting"], "6");

    let rig = Rig::start_at(address, bus(), |options| {
        options.origins = vec![shop.clone()];
        let token = "web-0123456789abcdef".to_owned();
        options.tokens =
            vec![affluent_stream::collect::CollectToken { name: "web".to_owned(), token, items_per_s: 100 }];
    })
    .await;
    until("the last page is done", async || said.lock().contains_key("done")).await;
    assert_eq!(said.lock()["done"]["kept"], "affluent.consent");
    browser.kill().await.unwrap();

    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    for (key, event) in read_topic(&bus(), &rig.events_topic).await {
        assert_eq!(key, event["user_id"].as_str().or(event["anonymous_id"].as_str()).unwrap());
        by_id.insert(event["event_id"].as_str().unwrap().to_owned(), event);
    }
    let events: Vec<&Value> = by_id.values().collect();
    let mut types: Vec<&str> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(
        types,
        [
            "cart_abandoned",
            "cart_updated",
            "cart_updated",
            "content_viewed",
            "content_viewed",
            "conversion",
            "page_view",
            "page_view",
            "page_view",
            "page_view",
        ]
    );
    let of = |name: &str| *events.iter().find(|event| event["event_type"] == name).unwrap();
    assert_eq!(of("cart_abandoned")["properties"], json!({"items": 2, "value": "30.00"}));
    assert_eq!(of("conversion")["properties"], json!({"order": "o-1", "value": "30.00"}));
    // One visitor, one session, signed in after the first page view; a headless browser is a bot.
    for name in ["anonymous_id", "session_id", "user_agent", "device"] {
        assert!(
            events.iter().all(|event| event[name].is_string() && event[name] == events[0][name]),
            "{name}"
        );
    }
    assert!(events.iter().all(|event| event["is_bot"] == true && event["is_late"] == false));
    assert_eq!(of("conversion")["user_id"], "u-1");
    assert_eq!(events.iter().filter(|event| event["user_id"].is_null()).count(), 1);
    rig.stop().await;
}
