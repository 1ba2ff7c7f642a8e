//! Of the bus: a topic that is made, written, read and deleted, the groups, the schema registry.

use super::Trial;
use crate::config::Config;
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Bus, BusError, Outgoing, ProducerOptions, TopicPartition, TopicSpec};
use bytes::Bytes;
use std::slice;
use std::time::Duration;

const PART: &str = "bus";
const REGISTRY: &str = "registry";
/// How long a record may take.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

pub(super) async fn bus(config: &Config) -> Vec<Trial> {
    if config.bus.bootstrap_servers.is_empty() {
        return vec![Trial::skipped(PART, "the embedded broker, which starts with the platform")];
    }
    let servers = &config.bus.bootstrap_servers;
    vec![match tried(config).await {
        Ok(what) => Trial::ok(PART, format!("{servers}: {what}")),
        Err((what, error)) => {
            let remedy = if error.is_passing() {
                "is a broker listening there, and does [bus.properties] say how it is spoken to (security.protocol, sasl.*, ssl.*)?"
            } else {
                "grant this user CREATE, DESCRIBE, READ and WRITE on its topics, READ on its groups and IDEMPOTENT_WRITE on the cluster, see \
                 docs/operations.md; cdc.replication may not exceed the number of brokers"
            };
            Trial::failed(PART, format!("{servers}: {what}: {error}"), remedy)
        }
    }]
}

/// What a source and a sink do, with one record in a topic of our own; what was done, or what failed.
async fn tried(config: &Config) -> Result<String, (&'static str, BusError)> {
    let bus = Bus::new(config.bus.clone()).map_err(|error| ("options", error))?;
    let admin = bus.admin().map_err(|error| ("client", error))?;
    let topics = admin.topics().await.map_err(|error| ("list topics", error))?.len();
    let topic = format!("{}.check", config.cdc.source);
    let spec = TopicSpec { replication: config.cdc.replication, ..TopicSpec::new(1) };
    admin.ensure_topic(&topic, &spec).await.map_err(|error| ("make a topic", error))?;
    let producer = bus.producer(ProducerOptions::default()).map_err(|error| ("client", error))?;
    let record = Outgoing {
        topic: topic.as_str().into(),
        partition: Some(0),
        key: None,
        value: Some(Bytes::from_static(b"affluent config check")),
        headers: Vec::new(),
        timestamp_ms: None,
    };
    producer.send(record).await.map_err(|error| ("write", error))?;
    producer.flush(ACKNOWLEDGED).await.map_err(|error| ("write", error))?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    admin.read_last(&partition).await.map_err(|error| ("read", error))?;
    for group in groups(config) {
        let offsets = admin.committed(group, slice::from_ref(&partition)).await;
        offsets.map_err(|error| ("read offsets of a group", error))?;
    }
    let left = match admin.delete_topic(&topic).await {
        Ok(()) => "deleted again",
        // Nothing else of ours deletes topics.
        Err(_) => "which stays, as it may not be deleted",
    };
    Ok(format!("{topics} topics; {topic} made, written and read, {left}"))
}

/// The groups that this configuration reads with.
fn groups(config: &Config) -> [&str; 5] {
    [
        &config.sink_documents.group,
        &config.sink_events.group,
        &config.sink_lake.group,
        &config.features.consume.group,
        &config.score.consume.group,
    ]
}

pub(super) async fn registry(config: &Config) -> Vec<Trial> {
    let Some(url) = &config.registry.url else {
        return vec![Trial::skipped(REGISTRY, "the built-in one, which starts with the platform")];
    };
    let asked = match RegistryClient::new(config.registry.clone()) {
        Ok(client) => client.subjects().await,
        Err(error) => Err(error),
    };
    vec![match asked {
        Ok(subjects) => Trial::ok(REGISTRY, format!("{url}: {} subjects", subjects.len())),
        Err(error) => Trial::failed(
            REGISTRY,
            format!("{url}: {error}"),
            "does registry.url name a registry with Confluent's REST interface, and are registry.user, password and ca_file right?",
        ),
    }]
}
