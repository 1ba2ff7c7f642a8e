//! Tells a lineage server, by the events of OpenLineage 2-0-2, which tables each task of a run reads and writes.
//!
//! What an event says is pure; sending is at the edge. Invariant: a server that is slow, down or wrong costs a run
//! nothing but a warning: events wait in a bounded queue, each has [`TIMEOUT`] to be taken, after one that was not the
//! server is left alone for [`REST`], and the end of the process waits no longer than [`LAST_WAIT`].

use affluent_model::time::{format_micros, now_micros};
use affluent_schedule::{Interval, Outcome, RunContext, Work, WorkError};
use affluent_warehouse::batch::{BatchOptions, Models};
use async_trait::async_trait;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

/// Events that wait to be sent; what comes on top is dropped.
const QUEUE: usize = 256;
const TIMEOUT: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(30);
const LAST_WAIT: Duration = Duration::from_secs(1);

const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
const NOMINAL_TIME: &str =
    "https://openlineage.io/spec/facets/1-0-1/NominalTimeRunFacet.json#/$defs/NominalTimeRunFacet";
const ERROR_MESSAGE: &str =
    "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet";

enum Message {
    Event(Box<Json>),
    /// Answered once everything before it was sent or dropped.
    Flush(oneshot::Sender<()>),
}

/// Sends events in the background. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Emitter {
    queue: mpsc::Sender<Message>,
    namespace: Arc<str>,
}

impl Emitter {
    /// The emitter of the section `[batch]`, where it names a server.
    pub(crate) fn start(options: &BatchOptions) -> anyhow::Result<Option<Self>> {
        if options.openlineage_url.is_empty() {
            return Ok(None);
        }
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let (queue, messages) = mpsc::channel(QUEUE);
        let (url, token) = (options.openlineage_url.clone(), options.openlineage_token.clone());
        tokio::spawn(send_all(messages, client, url, token));
        Ok(Some(Emitter { queue, namespace: options.openlineage_namespace.as_str().into() }))
    }

    fn emit(&self, event: Json) {
        if self.queue.try_send(Message::Event(Box::new(event))).is_err() {
            tracing::warn!("lineage event dropped, the queue is full");
        }
    }

    /// Waits until what was emitted is sent, but not for long.
    pub(crate) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        let all = async {
            if self.queue.send(Message::Flush(done)).await.is_ok() {
                let _ = sent.await;
            }
        };
        if tokio::time::timeout(LAST_WAIT, all).await.is_err() {
            tracing::warn!("lineage events not delivered in time, left out");
        }
    }
}

async fn send_all(
    mut messages: mpsc::Receiver<Message>,
    client: reqwest::Client,
    url: String,
    token: String,
) {
    let mut resting: Option<Instant> = None;
    while let Some(message) = messages.recv().await {
        let event = match message {
            Message::Event(event) => event,
            Message::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        if resting.is_some_and(|until| Instant::now() < until) {
            continue;
        }
        resting = send(&client, &url, &token, &event).await.err().map(|error| {
            tracing::warn!(
                error,
                rest_s = REST.as_secs(),
                "lineage event not delivered, leaving the server alone"
            );
            Instant::now() + REST
        });
    }
}

async fn send(client: &reqwest::Client, url: &str, token: &str, event: &Json) -> Result<(), String> {
    let mut request = client.post(url).json(event);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    // The address may hold a password, so it is not in the message.
    let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(format!("the server answers {}", answer.status())),
    }
}

/// A pipeline's work, of which each task that writes tables is told.
pub(crate) struct Told {
    work: Arc<dyn Work>,
    pipeline: &'static str,
    models: Arc<Models>,
    emitter: Emitter,
}

impl Told {
    pub(crate) fn new(
        work: Arc<dyn Work>,
        pipeline: &'static str,
        models: Arc<Models>,
        emitter: Emitter,
    ) -> Self {
        Told { work, pipeline, models, emitter }
    }
}

/// What stays the same in the events of one attempt at a task. An attempt that is dropped has been aborted.
struct Attempt<'a> {
    emitter: &'a Emitter,
    run: Uuid,
    job: String,
    interval: Interval,
    reads: BTreeSet<String>,
    writes: BTreeSet<String>,
    ended: bool,
}

impl Attempt<'_> {
    fn event(&self, kind: &str, at: i64, error: Option<&str>) -> Json {
        let producer = concat!("urn:affluent:", env!("CARGO_PKG_VERSION"));
        let namespace = &*self.emitter.namespace;
        let named = |tables: &BTreeSet<String>| {
            let dataset = |name| json!({"namespace": namespace, "name": name});
            Json::Array(tables.iter().map(dataset).collect())
        };
        let time = |micros| format_micros(micros, true);
        let mut facets = json!({"nominalTime": {
            "_producer": producer, "_schemaURL": NOMINAL_TIME,
            "nominalStartTime": time(self.interval.from_us()), "nominalEndTime": time(self.interval.to_us()),
        }});
        if let Some(error) = error {
            facets["errorMessage"] = json!({
                "_producer": producer, "_schemaURL": ERROR_MESSAGE, "message": error, "programmingLanguage": "Rust",
            });
        }
        json!({
            "eventType": kind, "eventTime": time(at), "producer": producer, "schemaURL": SCHEMA,
            "run": {"runId": self.run, "facets": facets},
            "job": {"namespace": namespace, "name": self.job},
            "inputs": named(&self.reads), "outputs": named(&self.writes),
        })
    }

    fn tell(&self, kind: &str, error: Option<&str>) {
        self.emitter.emit(self.event(kind, now_micros(), error));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell("ABORT", None);
        }
    }
}

#[async_trait]
impl Work for Told {
    async fn run(&self, task: &str, interval: Interval, context: &RunContext) -> Result<Outcome, WorkError> {
        let (reads, writes) = self.models.lineage_of(task);
        if writes.is_empty() {
            return self.work.run(task, interval, context).await;
        }
        let job = format!("{}.{task}", self.pipeline);
        let emitter = &self.emitter;
        let mut attempt =
            Attempt { emitter, run: Uuid::now_v7(), job, interval, reads, writes, ended: false };
        attempt.tell("START", None);
        let end = self.work.run(task, interval, context).await;
        match &end {
            Ok(_) => attempt.tell("COMPLETE", None),
            Err(_) if context.cancelled().is_cancelled() => attempt.tell("ABORT", None),
            Err(error) => attempt.tell("FAIL", Some(&error.message)),
        }
        attempt.ended = true;
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_schedule::{Clock, Ledger, Pipeline, Reason, Request, RunEnd, Runner, ScheduleOptions};
    use affluent_warehouse::batch::TASKS;
    use axum::http::{HeaderMap, StatusCode};
    use parking_lot::Mutex;
    use tokio_util::sync::CancellationToken;

    /// Rebuilds every event by the classes that OpenLineage publishes, which check what they are given, and
    /// compares what these write with what came.
    const SCRIPT: &str = "
import json, sys
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import error_message_run, nominal_time_run
from openlineage.client.serde import Serde
CLASSES = {'nominalTime': nominal_time_run.NominalTimeRunFacet, 'errorMessage': error_message_run.ErrorMessageRunFacet}
for event in json.load(sys.stdin):
    facets = {}
    for name, facet in event['run']['facets'].items():
        own = {key: value for key, value in facet.items() if not key.startswith('_')}
        facets[name] = CLASSES[name](producer=facet['_producer'], **own)
    built = RunEvent(
        eventType=RunState[event['eventType']], eventTime=event['eventTime'], producer=event['producer'],
        run=Run(runId=event['run']['runId'], facets=facets), job=Job(**event['job']),
        inputs=[InputDataset(**one) for one in event['inputs']], outputs=[OutputDataset(**one) for one in event['outputs']])
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if one not in ({}, None)}
        return [plain(one) for one in value] if isinstance(value, list) else value
    written = plain(Serde.to_dict(built))
    assert written == plain(event), (written, event)
";

    /// Does nothing, but fails at `load`.
    struct Failing;

    #[async_trait]
    impl Work for Failing {
        async fn run(&self, task: &str, _: Interval, _: &RunContext) -> Result<Outcome, WorkError> {
            match task {
                "load" => Err(WorkError::lasting("no room")),
                _ => Ok(Outcome::default()),
            }
        }
    }

    /// One run of [`Failing`] that is told to the server at `url`; how long it took.
    async fn run_told(url: &str, directory: &std::path::Path) -> Duration {
        let options = BatchOptions {
            openlineage_url: url.to_owned(),
            openlineage_token: "secret".to_owned(),
            ..BatchOptions::default()
        };
        let emitter = Emitter::start(&options).unwrap().unwrap();
        let models = Arc::new(Models::load(None).unwrap());
        let told = Arc::new(Told::new(Arc::new(Failing), "raw-to-dwh", models, emitter.clone()));
        let options = ScheduleOptions::default();
        let pipeline = Pipeline::new("raw-to-dwh", TASKS, options.raw_to_dwh.clone(), "UTC", told).unwrap();
        let ledger = Ledger::open(&directory.join("runs.db"), Clock::system()).await.unwrap();
        let interval = Interval::new(1_795_305_600_000_000, 1_795_306_500_000_000).unwrap();
        let request =
            Request { interval, only: None, fresh: true, reason: Reason::Manual, wait: Duration::ZERO };
        let begun = Instant::now();
        let end =
            Runner::new(ledger, options).run(&pipeline, &request, &CancellationToken::new()).await.unwrap();
        assert!(matches!(&end, RunEnd::Failed { task, .. } if task == "load"), "{end:?}");
        emitter.flush().await;
        begun.elapsed()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_is_told_what_every_task_reads_and_writes() {
        let events: Arc<Mutex<Vec<Json>>> = Arc::default();
        let taken = Arc::clone(&events);
        let receive = move |headers: HeaderMap, axum::Json(event): axum::Json<Json>| async move {
            assert_eq!(headers["authorization"], "Bearer secret");
            taken.lock().push(event);
            StatusCode::CREATED
        };
        let app = axum::Router::new().route("/api/v1/lineage", axum::routing::post(receive));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/lineage", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let directory = tempfile::tempdir().unwrap();
        run_told(&url, directory.path()).await;

        let events = events.lock().clone();
        let said: Vec<(&str, &str)> = events
            .iter()
            .map(|event| (event["job"]["name"].as_str().unwrap(), event["eventType"].as_str().unwrap()))
            .collect();
        assert_eq!(
            said,
            [
                ("raw-to-dwh.clean", "START"),
                ("raw-to-dwh.clean", "COMPLETE"),
                ("raw-to-dwh.deduplicate", "START"),
                ("raw-to-dwh.deduplicate", "COMPLETE"),
                ("raw-to-dwh.enrich", "START"),
                ("raw-to-dwh.enrich", "COMPLETE"),
                ("raw-to-dwh.load", "START"),
                ("raw-to-dwh.load", "FAIL"),
            ]
        );
        for pair in events.chunks(2) {
            assert_eq!(pair[0]["run"]["runId"], pair[1]["run"]["runId"]);
        }
        let names = |event: &Json, side: &str| {
            let all = event[side].as_array().unwrap().iter();
            all.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(names(&events[0], "inputs").contains(&"raw.transactions".to_owned()));
        assert!(names(&events[0], "outputs").contains(&"staged.transactions".to_owned()));
        assert!(names(&events[0], "outputs").contains(&"ops.rejected".to_owned()));
        assert!(names(&events[7], "outputs").contains(&"dwh.fact_transactions".to_owned()));
        assert_eq!(events[7]["run"]["facets"]["errorMessage"]["message"], "no room");
        check_by_openlineage(&events);
    }

    fn check_by_openlineage(events: &[Json]) {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut command = Command::new(&python);
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(events).unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{python}: {said}\n(no openlineage? run `make setup`)");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_down_or_hangs_delays_nothing() {
        let directory = tempfile::tempdir().unwrap();
        // Taken, and given back: nobody listens there.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for address in [gone, silent.local_addr().unwrap()] {
            let took = run_told(&format!("http://{address}/api/v1/lineage"), directory.path()).await;
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
    }
}
