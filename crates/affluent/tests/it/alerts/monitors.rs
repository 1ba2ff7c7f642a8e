//! Real monitoring beside an installation: Prometheus and Alertmanager with the shipped rules, and somebody who takes their messages.
//!
//! Everything in the rules that takes time is shortened by [`SHORTER`], in the text of the shipped files: what stands in `[…]`, behind `offset`
//! and behind the keys that name a time. Thresholds stay.

use affluent_testkit::free_ports;
use axum::Json;
use axum::extract::{Path as Asked, State};
use axum::routing::post;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// An hour of the rules takes a minute.
pub(super) const SHORTER: f64 = 60.0;

/// What came in, by the path that it was sent to.
pub(super) type Messages = Arc<Mutex<Vec<(String, Value)>>>;

pub(super) struct Monitors {
    prometheus: String,
    messages: Messages,
    hooks: u16,
    _directory: TempDir,
    _children: Vec<Child>,
}

/// Where messages are taken: `http://127.0.0.1:PORT/NAME`.
pub(super) async fn take_messages() -> (u16, Messages) {
    let messages = Messages::default();
    let keep = |State(messages): State<Messages>, Asked(name): Asked<String>, Json(message): Json<Value>| async move {
        messages.lock().unwrap().push((name, message));
    };
    let router = axum::Router::new().route("/{name}", post(keep)).with_state(Arc::clone(&messages));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, messages)
}

impl Monitors {
    /// Starts both, watching the installation at `http://HOST:PORT`.
    pub(super) fn start(installation: &str, hooks: u16, messages: Messages) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [prometheus, alertmanager] = free_ports();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus");
        let shipped = |name: &str| shorter(&std::fs::read_to_string(shipped.join(name)).unwrap());
        let write = |name: &str, text: String| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        for name in ["rules/slo.yml", "rules/platform.yml"] {
            write(name, shipped(name));
        }
        let target = installation.trim_start_matches("http://");
        // A scrape may take its time on a busy machine.
        let config = shipped("prometheus.yml").replace("scrape_interval: 250ms", "scrape_interval: 1s");
        let config = config.replace("127.0.0.1:8080", target);
        let config =
            write("prometheus.yml", config.replace("127.0.0.1:9093", &format!("127.0.0.1:{alertmanager}")));
        let routes = shipped("alertmanager.yml").replace("127.0.0.1:9095", &format!("127.0.0.1:{hooks}"));
        let routes = write("alertmanager.yml", routes);
        let start = |program: &str, arguments: &[String]| {
            let log = std::fs::File::create(directory.path().join(format!("{program}.log"))).unwrap();
            // The child dies with the thread that starts it: the test's.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", program]).args(arguments).current_dir(directory.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
            command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; see `make setup`"))
        };
        let children = vec![
            start(
                "prometheus",
                &[
                    format!("--config.file={}", config.display()),
                    format!("--web.listen-address=127.0.0.1:{prometheus}"),
                    "--storage.tsdb.path=data".to_owned(),
                ],
            ),
            start(
                "prometheus-alertmanager",
                &[
                    format!("--config.file={}", routes.display()),
                    format!("--web.listen-address=127.0.0.1:{alertmanager}"),
                    "--cluster.listen-address=".to_owned(),
                    "--storage.path=alerts".to_owned(),
                ],
            ),
        ];
        let prometheus = format!("http://127.0.0.1:{prometheus}");
        Monitors { prometheus, messages, hooks, _directory: directory, _children: children }
    }

    /// What a query gives now: its series.
    ///
    /// # Errors
    /// What Prometheus says of a query that it does not understand, or why it does not answer.
    pub(super) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let url = format!("{}/api/v1/query", self.prometheus);
        let answer =
            client.get(url).query(&[("query", query)]).send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        if answer["status"] != "success" {
            return Err(answer.to_string());
        }
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a query gives something.
    pub(super) async fn until_data(&self, query: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.query(query).await;
            if found.as_ref().is_ok_and(|series| !series.is_empty()) {
                return;
            }
            assert!(Instant::now() < deadline, "{query}: {found:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits for Alertmanager's message to `receiver` that an alert is `firing` or `resolved`.
    pub(super) async fn until_managed(&self, receiver: &str, alert: &str, status: &str, limit: Duration) {
        let told = |message: &Value| {
            let alerts = message["alerts"].as_array().cloned().unwrap_or_default();
            alerts.iter().any(|found| found["labels"]["alertname"] == alert && found["status"] == status)
        };
        self.until_told(receiver, &format!("{alert} {status}"), limit, told).await;
    }

    /// Waits for the platform's own message that an alert (`NAME (STATE)`) begins or ends.
    pub(super) async fn until_own(&self, title: &str, limit: Duration) {
        let told = |message: &Value| titles(message).iter().any(|found| found == title);
        self.until_told("self", title, limit, told).await;
    }

    async fn until_told(&self, receiver: &str, what: &str, limit: Duration, told: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + limit;
        loop {
            let messages = self.messages.lock().unwrap().clone();
            if messages.iter().any(|(name, message)| name == receiver && told(message)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "nobody tells {receiver} at port {} of {what}: {messages:#?}",
                self.hooks
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The platform's own messages, in their order.
    pub(super) fn own(&self) -> Vec<Value> {
        let messages = self.messages.lock().unwrap();
        messages.iter().filter(|(name, _)| name == "self").map(|(_, message)| message.clone()).collect()
    }

    /// Their titles.
    pub(super) fn own_titles(&self) -> Vec<String> {
        self.own().iter().flat_map(titles).collect()
    }
}

fn titles(message: &Value) -> Vec<String> {
    let attachments = message["attachments"].as_array().cloned().unwrap_or_default();
    attachments.iter().filter_map(|one| Some(one["title"].as_str()?.to_owned())).collect()
}

/// The text with every time shortened.
fn shorter(text: &str) -> String {
    let keys = ["for: ", "interval: ", "group_wait: "];
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        for opening in ["[", "offset "].iter().chain(&keys) {
            let mut from = 0;
            while let Some(at) = line[from..].find(opening) {
                let begin = from + at + opening.len();
                let end = line[begin..]
                    .find(|c: char| !c.is_ascii_alphanumeric())
                    .map_or(line.len(), |end| begin + end);
                if let Some(short) = shortened(&line[begin..end]) {
                    line.replace_range(begin..end, &short);
                }
                from = begin;
            }
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// `5m` as `5000ms`; what is no time, or is in milliseconds already, stays.
fn shortened(time: &str) -> Option<String> {
    let number: f64 = time.get(..time.len().checked_sub(1)?)?.parse().ok()?;
    let seconds = match time.as_bytes().last()? {
        b's' => 1.0,
        b'm' => 60.0,
        b'h' => 3600.0,
        b'd' => 86_400.0,
        _ => return None,
    };
    Some(format!("{}ms", (number * seconds * 1000.0 / SHORTER).round().max(1.0)))
}

#[test]
fn only_times_are_shortened() {
    let text = "a:1h > 3 and rate(x{le=~\"3([.]0)?\"}[5m]) offset 10m\n  for: 2m\n  keep_firing_for: 1h\ninterval: 15s\n";
    let short = "a:1h > 3 and rate(x{le=~\"3([.]0)?\"}[5000ms]) offset 10000ms\n  for: 2000ms\n  keep_firing_for: 60000ms\ninterval: 250ms\n";
    assert_eq!(shorter(text), short);
}
