//! The address of the bus and the clients that are made from it.

use crate::{Admin, BusError, Consumer, ConsumerOptions, Producer, ProducerOptions};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where Kafka is, and how to speak to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusOptions {
    /// Comma-separated `host:port`.
    pub bootstrap_servers: String,
    /// Name of this process in the broker's logs and quotas.
    pub client_id: String,
    /// Any librdkafka property for every client: `security.protocol`, `sasl.*`, `ssl.*`, …
    pub properties: BTreeMap<String, String>,
}

impl Default for BusOptions {
    fn default() -> Self {
        BusOptions {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            client_id: "affluent".to_owned(),
            properties: BTreeMap::new(),
        }
    }
}

/// Makes clients of one Kafka cluster. Cheap to clone; holds no connection.
#[derive(Debug, Clone)]
pub struct Bus {
    options: Arc<BusOptions>,
}

impl Bus {
    /// A bus at the address in `options`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BusError::Config`] for an empty address or a property that librdkafka does not know.
    pub fn new(options: BusOptions) -> Result<Self, BusError> {
        if options.bootstrap_servers.trim().is_empty() {
            return Err(BusError::Config("bus.bootstrap_servers is empty: give host:port".to_owned()));
        }
        let bus = Bus { options: Arc::new(options) };
        bus.client_config()
            .create_native_config()
            .map_err(|error| BusError::Config(format!("bus.properties: {error}")))?;
        Ok(bus)
    }

    /// The address as configured.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.options.bootstrap_servers
    }

    /// An idempotent producer (`acks=all`, lz4).
    ///
    /// # Errors
    /// [`BusError::Config`], [`BusError::Kafka`] when librdkafka cannot start.
    pub fn producer(&self, options: ProducerOptions) -> Result<Producer, BusError> {
        Producer::new(self.client_config(), &options)
    }

    /// A member of the consumer group `group`, or a reader without a group.
    ///
    /// # Errors
    /// [`BusError::Config`], [`BusError::Kafka`] when librdkafka cannot start.
    pub fn consumer(&self, group: Option<&str>, options: ConsumerOptions) -> Result<Consumer, BusError> {
        Consumer::new(self.client_config(), group, options)
    }

    /// A client for topics, offsets and short reads.
    ///
    /// # Errors
    /// [`BusError::Kafka`] when librdkafka cannot start.
    pub fn admin(&self) -> Result<Admin, BusError> {
        Admin::new(&self.client_config())
    }

    fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.options.bootstrap_servers)
            .set("client.id", &self.options.client_id)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.nagle.disable", "true")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in &self.options.properties {
            config.set(key, value);
        }
        config
    }
}

/// Forwards librdkafka's log lines and errors; the base of every client's context.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogContext;

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client error");
    }
}

pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // Remarks on our own settings, the same for every client, which no user can act upon.
        _ if facility == "CONFWARN" => tracing::debug!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, line, "librdkafka"),
    }
}
