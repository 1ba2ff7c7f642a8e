//! The bus against a real broker: the embedded one, or the Apache Kafka that `AFFLUENT_TEST_KAFKA`
//! names.

#![allow(clippy::unwrap_used)] // a helper of a test may fail the test, too

mod alerts;
mod codec;
mod consumer;
mod events;
mod external_registry;
mod interop;
mod producer;
mod registry;

use affluent_bus::registry::{RegistryClient, RegistryOptions, RegistryServer, RegistryServerOptions};
use affluent_bus::{
    Bus, BusOptions, Consumer, ConsumerOptions, Incoming, Outgoing, Polled, TopicPartition, TopicSpec,
};
use affluent_testkit::broker::Broker;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);

fn bus() -> Bus {
    bus_at(Broker::shared().bootstrap_servers())
}

fn bus_at(bootstrap_servers: &str) -> Bus {
    // What librdkafka says: AFFLUENT_TEST_KAFKA_DEBUG=cgrp,topic,metadata,fetch RUST_LOG=debug.
    affluent_telemetry::logs::init("off", affluent_telemetry::logs::LogFormat::Text, false);
    let debug = std::env::var("AFFLUENT_TEST_KAFKA_DEBUG").ok();
    let properties = debug.into_iter().map(|debug| ("debug".to_owned(), debug)).collect();
    let options =
        BusOptions { bootstrap_servers: bootstrap_servers.to_owned(), properties, ..BusOptions::default() };
    Bus::new(options).unwrap()
}

/// A fresh topic.
async fn topic(bus: &Bus, name: &str, partitions: i32) -> String {
    let topic = affluent_testkit::unique(name);
    bus.admin().unwrap().ensure_topic(&topic, &TopicSpec::new(partitions)).await.unwrap();
    topic
}

/// A record of now: an old one would be past its retention at once.
fn message(topic: &str, partition: i32, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: Some(partition),
        key: Some(value.to_owned().into()),
        value: Some(value.to_owned().into()),
        headers: vec![("event_type".to_owned(), "tested".into())],
        timestamp_ms: Some(affluent_model::time::now_micros() / 1_000),
    }
}

fn limits(linger_ms: u64) -> affluent_bus::BatchLimits {
    affluent_bus::BatchLimits {
        max_records: 500,
        max_bytes: 1 << 20,
        linger: Duration::from_millis(linger_ms),
    }
}

/// Polls until `count` records are there; rebalance events are passed over.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<Incoming> {
    let started = Instant::now();
    let mut records = Vec::new();
    while records.len() < count {
        assert!(started.elapsed() < DEADLINE, "{} of {count} records", records.len());
        if let Polled::Records(more) = consumer.poll_batch(limits(200)).await.unwrap() {
            records.extend(more);
        }
    }
    records
}

/// Everything in a topic, from its beginning.
async fn read_topic(bus: &Bus, topic: &str) -> Vec<Incoming> {
    let admin = bus.admin().unwrap();
    let mut records = Vec::new();
    for partition in 0..admin.partitions(topic).await.unwrap().unwrap() {
        let partition = TopicPartition::new(topic, partition);
        let (low, high) = admin.watermarks(&partition).await.unwrap();
        records.extend(admin.read_range(&partition, low, high).await.unwrap());
    }
    records
}

/// Waits until `holds`.
async fn wait_until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A running registry.
struct Registry {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Registry {
    async fn start(bus: &Bus) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = RegistryServerOptions { listen, ..RegistryServerOptions::default() };
        let bound = RegistryServer::new(options, bus.clone()).bind().await.unwrap();
        let (address, shutdown) = (bound.address(), CancellationToken::new());
        let task = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { bound.run(shutdown).await.unwrap() }
        });
        Registry { address, shutdown, task }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn client(&self) -> RegistryClient {
        RegistryClient::new(RegistryOptions { url: Some(self.url()), ..RegistryOptions::default() }).unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

fn consumer(bus: &Bus, group: &str) -> Consumer {
    bus.consumer(Some(group), ConsumerOptions::default()).unwrap()
}
