//! The collector against a real bus: what was answered as accepted is in the topic, and nothing else.

mod clients;
mod events;
mod limits;
mod outages;

use crate::broker::bus;
use affluent_bus::codec::EventFormat;
use affluent_bus::registry::{RegistryClient, RegistryOptions, RegistryServer, RegistryServerOptions};
use affluent_bus::{Bus, Incoming, TopicPartition};
use affluent_stream::collect::{CollectOptions, Collector};
use affluent_telemetry::health::{Health, State};
use affluent_testkit::unique;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running collector with topics of its own.
pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) health: Health,
    pub(crate) events_topic: String,
    pub(crate) logs_topic: String,
    pub(crate) registry: Option<RegistryClient>,
    bus: Bus,
    shutdown: CancellationToken,
    role: JoinHandle<()>,
    server: JoinHandle<()>,
}

/// A body and the status it came with.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Rig {
    pub(crate) async fn new(change: impl FnOnce(&mut CollectOptions)) -> Self {
        let rig = Rig::start(bus(), change).await;
        rig.is_ready().await;
        rig
    }

    /// At this bus. Does not wait until it is ready.
    pub(crate) async fn start(bus: Bus, change: impl FnOnce(&mut CollectOptions)) -> Self {
        Rig::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), bus, change).await
    }

    /// With a schema registry, which ends with the token.
    pub(crate) async fn with_registry(format: EventFormat) -> (Self, CancellationToken) {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = RegistryServerOptions { listen, ..RegistryServerOptions::default() };
        let server = RegistryServer::new(options, bus()).bind().await.unwrap();
        let url = Some(format!("http://{}", server.address()));
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        let registry = RegistryClient::new(RegistryOptions { url, ..RegistryOptions::default() }).unwrap();
        let rig = Rig::start_with(listen, bus(), Some(registry), |options| options.format = format).await;
        rig.is_ready().await;
        (rig, stop)
    }

    /// As [`Rig::start`], listening there.
    pub(crate) async fn start_at(
        listen: SocketAddr,
        bus: Bus,
        change: impl FnOnce(&mut CollectOptions),
    ) -> Self {
        Rig::start_with(listen, bus, None, change).await
    }

    async fn start_with(
        listen: SocketAddr,
        bus: Bus,
        registry: Option<RegistryClient>,
        change: impl FnOnce(&mut CollectOptions),
    ) -> Self {
        affluent_telemetry::logs::init("off", affluent_telemetry::logs::LogFormat::Text, false);
        let mut options = CollectOptions {
            events_topic: unique("clicks"),
            logs_topic: unique("logs"),
            partitions: 2,
            format: EventFormat::Json,
            ..CollectOptions::default()
        };
        change(&mut options);
        let (events_topic, logs_topic) = (options.events_topic.clone(), options.logs_topic.clone());
        let health = Health::default();
        let collector = Collector::new(options, bus.clone(), registry.clone(), health.clone()).unwrap();
        let router = collector.router();
        let shutdown = CancellationToken::new();
        let role = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { collector.run(shutdown).await.unwrap() }
        });
        let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await.unwrap();
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Rig { url, http, health, events_topic, logs_topic, registry, bus, shutdown, role, server }
    }

    pub(crate) async fn is_ready(&self) {
        until("ready", async || self.health.snapshot().get("collect") == Some(&State::Ready)).await;
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answered {
        let mut request = self.http.post(format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let retry_after =
            response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        Answered { status, retry_after, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn events(&self) -> Vec<Value> {
        read_topic(&self.bus, &self.events_topic).await.into_iter().map(|(_, value)| value).collect()
    }

    pub(crate) async fn logs(&self) -> Vec<Value> {
        read_topic(&self.bus, &self.logs_topic).await.into_iter().map(|(_, value)| value).collect()
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.role).await.unwrap();
        assert_eq!(self.health.snapshot().get("collect"), Some(&State::Stopped));
        let after = self.post("/collect/events", &[], r#"{"event_type":"x"}"#).await;
        assert_eq!((after.status, after.retry_after.as_deref()), (503, Some("1")));
        self.server.abort();
    }
}

/// Everything in a topic, from its beginning.
pub(crate) async fn raw_topic(bus: &Bus, topic: &str) -> Vec<Incoming> {
    let admin = bus.admin().unwrap();
    let mut records = Vec::new();
    for partition in 0..admin.partitions(topic).await.unwrap().unwrap() {
        let partition = TopicPartition::new(topic, partition);
        let (low, high) = admin.watermarks(&partition).await.unwrap();
        records.extend(admin.read_range(&partition, low, high).await.unwrap());
    }
    records
}

/// Keys and values of a topic whose values are JSON.
pub(crate) async fn read_topic(bus: &Bus, topic: &str) -> Vec<(String, Value)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let records = raw_topic(bus, topic).await;
    let pair = |record: &Incoming| {
        let value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        (text(record.key.as_deref().unwrap_or_default()), value)
    };
    records.iter().map(pair).collect()
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
