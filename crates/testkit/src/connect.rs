//! A Kafka Connect worker, from the jars that `interop/connect.sh` has fetched, and its REST interface.

use crate::java::{Java, Running};
use crate::{free_ports, unique};
use anyhow::Context as _;
use reqwest::Method;
use serde_json::Value as Json;
use std::time::{Duration, Instant};

const JARS: &str = "AFFLUENT_TEST_CONNECT";
const PLUGINS: &str = "AFFLUENT_TEST_CONNECT_PLUGINS";
const HEAP_MB: u32 = 768;
/// Of the worker's start and of a connector's. Its first look at every jar takes its time.
const START_LIMIT: Duration = Duration::from_secs(180);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);

/// The programs of Kafka Connect, of Kafka's tools and of its examples, where a script has fetched them.
#[must_use]
pub fn jars() -> Option<Java> {
    Java::named_by(JARS)
}

/// A worker. Dropping it kills it.
#[derive(Debug)]
pub struct ConnectWorker {
    running: Running,
    url: String,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl ConnectWorker {
    /// Starts a worker (distributed mode, a group of its own) on the Kafka at `bootstrap`, with JSON without schemas
    /// where a connector says nothing else; returns once it takes connectors. Connectors are those of `java` and of
    /// the directory that `AFFLUENT_TEST_CONNECT_PLUGINS` names.
    ///
    /// # Errors
    /// What keeps it from starting, with the end of its log.
    pub async fn start(java: &Java, bootstrap: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("affluent-connect_").tempdir()?;
        let ([port], name) = (free_ports(), unique("connect"));
        let plugins = std::env::var(PLUGINS).map(|path| format!("plugin.path={path}\n")).unwrap_or_default();
        let settings = format!(
            "bootstrap.servers={bootstrap}
group.id={name}
config.storage.topic={name}_configs
config.storage.replication.factor=1
offset.storage.topic={name}_offsets
offset.storage.replication.factor=1
offset.storage.partitions=2
status.storage.topic={name}_status
status.storage.replication.factor=1
status.storage.partitions=1
listeners=http://127.0.0.1:{port}
{plugins}offset.flush.interval.ms=1000
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
"
        );
        let file = directory.path().join("worker.properties");
        std::fs::write(&file, settings)?;
        let mut command = java.program("org.apache.kafka.connect.cli.ConnectDistributed", HEAP_MB);
        let running = Running::start(command.arg(&file), &directory.path().join("log"))?;
        let client = reqwest::Client::builder().timeout(REQUEST_LIMIT).build()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut worker = ConnectWorker { running, url, client, _directory: directory };
        worker.until("the worker starts", Method::GET, "/connectors", None, |_| true).await?;
        Ok(worker)
    }

    /// Creates the connector, or gives it another configuration, and waits until it and a task of it run.
    ///
    /// # Errors
    /// Where it does not come to run, with what the worker says.
    pub async fn configure(&mut self, name: &str, config: &Json) -> anyhow::Result<()> {
        let path = format!("/connectors/{name}/config");
        self.until(name, Method::PUT, &path, Some(config), |_| true).await?;
        let path = format!("/connectors/{name}/status");
        let is = |state: &Json, expected: &str| state["state"] == expected;
        let settled = |status: &Json| {
            let tasks = status["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
            let has_failed =
                is(&status["connector"], "FAILED") || tasks.iter().any(|task| is(task, "FAILED"));
            let runs = is(&status["connector"], "RUNNING") && tasks.iter().any(|task| is(task, "RUNNING"));
            has_failed || runs
        };
        let status = self.until(name, Method::GET, &path, None, settled).await?;
        anyhow::ensure!(
            !status.to_string().contains("FAILED"),
            "{name} has failed: {status}\n{}",
            self.running.log_end()
        );
        Ok(())
    }

    /// Ends the connector's tasks; it is resumed where it was.
    ///
    /// # Errors
    /// What the worker answers.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.until(name, Method::PUT, &format!("/connectors/{name}/stop"), None, |_| true).await?;
        let has_stopped = |status: &Json| {
            let tasks = status["tasks"].as_array().map_or(0, Vec::len);
            status["connector"]["state"] == "STOPPED" && tasks == 0
        };
        self.until(name, Method::GET, &format!("/connectors/{name}/status"), None, has_stopped).await?;
        Ok(())
    }

    /// Has a stopped connector go on; returns at once.
    ///
    /// # Errors
    /// What the worker answers.
    pub async fn resume(&mut self, name: &str) -> anyhow::Result<()> {
        self.until(name, Method::PUT, &format!("/connectors/{name}/resume"), None, |_| true).await?;
        Ok(())
    }

    /// The last lines that the worker printed.
    #[must_use]
    pub fn log_end(&self) -> String {
        self.running.log_end()
    }

    /// The worker's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.running.process_id()
    }

    /// What the worker has against a configuration, `key: message` each.
    ///
    /// # Errors
    /// Where it knows no such connector.
    pub async fn problems(&mut self, config: &Json) -> anyhow::Result<Vec<String>> {
        let class = config["connector.class"].as_str().context("a configuration names connector.class")?;
        let path = format!("/connector-plugins/{class}/config/validate");
        let answer = self.until(class, Method::PUT, &path, Some(config), |_| true).await?;
        let mut problems = Vec::new();
        for entry in answer["configs"].as_array().context("the worker answers with configs")? {
            let value = &entry["value"];
            for error in value["errors"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                problems.push(format!("{}: {error}", value["name"].as_str().unwrap_or_default()));
            }
        }
        Ok(problems)
    }

    /// Takes the connector away.
    ///
    /// # Errors
    /// What the worker answers.
    pub async fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.until(name, Method::DELETE, &format!("/connectors/{name}"), None, |_| true).await?;
        Ok(())
    }

    /// Asks until the answer is a good one. While the worker starts or its group rebalances it refuses.
    async fn until(
        &mut self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Json>,
        is_good: impl Fn(&Json) -> bool,
    ) -> anyhow::Result<Json> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
            if let Some(body) = body {
                request = request.json(body);
            }
            let said = match request.send().await {
                Ok(answer) => {
                    let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
                    let json = serde_json::from_str(&text).unwrap_or_default();
                    if status.is_success() && is_good(&json) {
                        return Ok(json);
                    }
                    anyhow::ensure!(status.as_u16() != 400, "{what}: {text}");
                    format!("{status} {text}")
                }
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.running.ended()? {
                anyhow::bail!("{what}: the worker ended with {status}\n{}", self.running.log_end());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{what}: not within {START_LIMIT:?}: {said}\n{}",
                self.running.log_end()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}
