//! What an operator may set; checked once, before anything is opened.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// When `acks=all` is answered and when a record becomes visible to consumers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flush {
    /// After an fsync that many requests share: a power cut loses nothing that was acknowledged.
    #[default]
    Group,
    /// From the page cache, as Apache Kafka does: survives the death of the process, not of the machine.
    Relaxed,
}

/// The options of the embedded broker. Sizes are bytes, durations milliseconds, `-1` means no limit
/// where Kafka has it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerOptions {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// `host:port` told to clients; the address they connected to when absent.
    pub advertised: Option<String>,
    /// Everything the broker keeps.
    pub data_dir: PathBuf,
    pub flush: Flush,
    /// Group fsyncs begin at least this far apart.
    pub group_flush_ms: u64,
    /// Partitions of a topic created without a number of its own.
    pub default_partitions: i32,
    /// Default `retention.ms` of a topic.
    pub retention_ms: i64,
    /// Default `retention.bytes` of one partition.
    pub retention_bytes: i64,
    /// Default `segment.bytes`.
    pub segment_bytes: u64,
    /// Default `max.message.bytes`: the largest record batch, as compressed.
    pub max_message_bytes: u64,
    /// How often retention and compaction look at every partition.
    pub housekeeping_ms: u64,
    pub max_connections: usize,
    /// Larger requests close the connection.
    pub max_request_bytes: usize,
    /// Ceiling of one fetch response.
    pub max_fetch_bytes: usize,
    /// Requests being received and answered hold at most this much memory, fetch responses as much again.
    pub max_buffer_bytes: usize,
    /// All partitions of all topics.
    pub max_partitions: usize,
    /// Whether asking for the metadata of an unknown topic creates it.
    pub auto_create_topics: bool,
    /// How long the first rebalance of an empty group waits for more members.
    pub group_initial_rebalance_delay_ms: u64,
    /// Committed offsets of a group without members are forgotten after this long.
    pub offsets_retention_ms: i64,
    /// State of an idempotent producer that has been silent for this long is forgotten.
    pub producer_expiration_ms: i64,
    /// Connections without a request for this long are closed.
    pub connection_idle_ms: u64,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            advertised: None,
            data_dir: PathBuf::from("data/broker"),
            flush: Flush::Group,
            group_flush_ms: 5,
            default_partitions: 4,
            retention_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            segment_bytes: 256 << 20,
            max_message_bytes: 1_048_588,
            housekeeping_ms: 15_000,
            max_connections: 1024,
            max_request_bytes: 32 << 20,
            max_fetch_bytes: 8 << 20,
            max_buffer_bytes: 128 << 20,
            max_partitions: 4096,
            auto_create_topics: true,
            group_initial_rebalance_delay_ms: 100,
            offsets_retention_ms: 7 * 24 * 3600 * 1000,
            producer_expiration_ms: 24 * 3600 * 1000,
            connection_idle_ms: 10 * 60 * 1000,
        }
    }
}

impl BrokerOptions {
    /// Refuses values that could not work, naming the key.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |key: &'static str, reason: &'static str| Err(Error::Option { key, reason });
        if !(1..=1024).contains(&self.default_partitions) {
            return refuse("default_partitions", "must be between 1 and 1024");
        }
        if !(4096..=(1 << 31)).contains(&self.segment_bytes) {
            return refuse("segment_bytes", "must be between 4096 and 2147483648");
        }
        if !(1024..=(512 << 20)).contains(&self.max_request_bytes) {
            return refuse("max_request_bytes", "must be between 1024 and 536870912");
        }
        if self.max_message_bytes as usize > self.max_request_bytes {
            return refuse("max_message_bytes", "must not exceed max_request_bytes");
        }
        if self.max_buffer_bytes < self.max_request_bytes || self.max_buffer_bytes < self.max_fetch_bytes {
            return refuse("max_buffer_bytes", "must hold one request and one fetch response");
        }
        if self.max_buffer_bytes > (1 << 31) {
            return refuse("max_buffer_bytes", "must be at most 2147483648");
        }
        if self.max_fetch_bytes < 4096 {
            return refuse("max_fetch_bytes", "must be at least 4096");
        }
        if self.max_connections == 0 {
            return refuse("max_connections", "must be at least 1");
        }
        if self.housekeeping_ms == 0 {
            return refuse("housekeeping_ms", "must be at least 1");
        }
        if let Some(advertised) = &self.advertised
            && split_host_port(advertised).is_none()
        {
            return refuse("advertised", "must be host:port");
        }
        Ok(())
    }
}

/// `host:port`, the host possibly an IPv6 address in brackets.
pub(crate) fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return None;
    }
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_unknown_keys_are_refused() {
        BrokerOptions::default().check().unwrap();
        let options: BrokerOptions = serde_json::from_str(r#"{"flush":"relaxed"}"#).unwrap();
        assert_eq!(options.flush, Flush::Relaxed);
        let wrong = serde_json::from_str::<BrokerOptions>(r#"{"fluhs":"relaxed"}"#).unwrap_err();
        assert!(wrong.to_string().contains("fluhs"));
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let check = |options: BrokerOptions, key: &str| {
            assert!(options.check().unwrap_err().to_string().contains(key));
        };
        check(BrokerOptions { default_partitions: 0, ..Default::default() }, "default_partitions");
        check(BrokerOptions { advertised: Some("nowhere".into()), ..Default::default() }, "advertised");
        check(BrokerOptions { max_buffer_bytes: 1, ..Default::default() }, "max_buffer_bytes");
    }
}
