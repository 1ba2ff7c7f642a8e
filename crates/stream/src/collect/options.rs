//! Section `[collect]`: what is taken in, how much at once, from whom, and what becomes of addresses.

use affluent_bus::ProducerOptions;
use affluent_bus::codec::EventFormat;
use affluent_model::names::{TOPIC_CLICKS, TOPIC_LOGS};
use serde::{Deserialize, Serialize};

/// Configuration of the collector.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectOptions {
    /// Topic of clicks.
    pub events_topic: String,
    /// Topic of log lines.
    pub logs_topic: String,
    /// Partitions of a new topic. An existing topic keeps its count for good.
    pub partitions: i32,
    /// Replicas of a new topic; -1: the broker's default.
    pub replication: i32,
    /// Encoding of the records; Avro and Protobuf register their schemas.
    pub format: EventFormat,
    /// What keeps clicks together in one partition.
    pub partition_by: PartitionBy,
    /// Largest body as it is sent, bytes.
    pub body_bytes_max: usize,
    /// Largest body once it is decompressed, bytes.
    pub decoded_bytes_max: usize,
    /// Largest item, bytes.
    pub item_bytes_max: usize,
    /// Items of one request; those beyond are rejected.
    pub items_max: usize,
    /// Levels of nested JSON in an item.
    pub json_depth_max: usize,
    /// How long a client may take to send a body, milliseconds.
    pub body_timeout_ms: u64,
    /// Bytes of bodies, sent and decompressed, of all requests under way. Beyond: 429.
    pub inflight_bytes_max: usize,
    /// Requests under way. Beyond: 429.
    pub requests_max: usize,
    /// How long a request waits for the bus before it is answered with 503, milliseconds.
    pub ack_timeout_ms: u64,
    /// An item from further ahead of the clock here is rejected, seconds.
    pub ahead_max_s: u64,
    /// An item that occurred longer ago is flagged as late, seconds.
    pub late_after_s: u64,
    /// What is kept of an address.
    pub ip: IpPolicy,
    /// Secret key of `ip = "hash"`.
    #[serde(skip_serializing)]
    pub ip_key: Option<String>,
    /// Trusted proxies in front: the client is the address that the outermost of them appended to
    /// `X-Forwarded-For`. 0: the peer of the connection.
    pub proxies: usize,
    /// Origins of web pages that may send (`https://shop.example`), or `*`.
    pub origins: Vec<String>,
    /// Bearer tokens; with at least one, every request needs one.
    pub tokens: Vec<CollectToken>,
    /// The queue in front of the bus.
    pub producer: ProducerOptions,
}

/// Who may send, and how fast.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CollectToken {
    /// For the logs, instead of the token.
    pub name: String,
    #[serde(skip_serializing)]
    pub token: String,
    /// Items a second in the long run; 0: no limit.
    #[serde(default)]
    pub items_per_s: u64,
}

/// What the key of a click is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// The user, else the anonymous visitor, else the event: a visitor's events stay in order.
    #[default]
    User,
    /// The day on which it occurred (UTC): all events of a day are in one partition.
    Date,
}

/// What is kept of a visitor's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpPolicy {
    /// All of it.
    Keep,
    /// Its network: /24 of IPv4, /48 of IPv6.
    #[default]
    Truncate,
    /// A keyed hash.
    Hash,
    /// Nothing.
    Drop,
}

/// A shorter token or key could be guessed.
const SECRET_CHARS_MIN: usize = 16;

impl Default for CollectOptions {
    fn default() -> Self {
        CollectOptions {
            events_topic: TOPIC_CLICKS.to_owned(),
            logs_topic: TOPIC_LOGS.to_owned(),
            partitions: 6,
            replication: -1,
            format: EventFormat::Avro,
            partition_by: PartitionBy::User,
            body_bytes_max: 4 << 20,
            decoded_bytes_max: 32 << 20,
            item_bytes_max: 256 << 10,
            items_max: 100_000,
            json_depth_max: 32,
            body_timeout_ms: 10_000,
            inflight_bytes_max: 64 << 20,
            requests_max: 256,
            ack_timeout_ms: 5_000,
            ahead_max_s: 86_400,
            late_after_s: 86_400,
            ip: IpPolicy::Truncate,
            ip_key: None,
            proxies: 0,
            origins: Vec::new(),
            tokens: Vec::new(),
            producer: ProducerOptions::default(),
        }
    }
}

impl CollectOptions {
    /// Checks what can be checked without a server.
    ///
    /// # Errors
    /// The key, what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |key: &str, problem: &str| Err(format!("collect.{key}: {problem}"));
        let topic_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        for (key, topic) in [("events_topic", &self.events_topic), ("logs_topic", &self.logs_topic)] {
            if topic.is_empty() || topic.len() > 249 || !topic.chars().all(topic_safe) {
                return wrong(key, "must be of letters, digits, `.`, `_` and `-`, at most 249");
            }
        }
        if self.partitions < 1 || self.replication == 0 || self.replication < -1 {
            return wrong("partitions", "must be at least 1; replication at least 1, or -1");
        }
        if self.body_bytes_max == 0 || self.decoded_bytes_max < self.body_bytes_max {
            return wrong("body_bytes_max", "must be at least 1, decoded_bytes_max no less than it");
        }
        if self.inflight_bytes_max < self.decoded_bytes_max {
            return wrong("inflight_bytes_max", "must hold one whole request: at least decoded_bytes_max");
        }
        if self.item_bytes_max == 0 || self.items_max == 0 || self.requests_max == 0 {
            return wrong("item_bytes_max", "item_bytes_max, items_max and requests_max must be at least 1");
        }
        if !(1..=127).contains(&self.json_depth_max) {
            return wrong("json_depth_max", "must be 1 to 127");
        }
        if self.body_timeout_ms == 0 || self.ack_timeout_ms == 0 {
            return wrong("ack_timeout_ms", "ack_timeout_ms and body_timeout_ms must be at least 1");
        }
        let short = |secret: &str| secret.chars().count() < SECRET_CHARS_MIN;
        if self.ip == IpPolicy::Hash && self.ip_key.as_deref().is_none_or(short) {
            return wrong(
                "ip_key",
                "ip = \"hash\" needs a secret key of at least 16 characters, for example \
                 ip_key = \"${file:/etc/affluent/ip.key}\"",
            );
        }
        if let Some(token) = self.tokens.iter().find(|token| short(&token.token)) {
            let problem = format!(
                "the token {:?} is shorter than {SECRET_CHARS_MIN} characters; make one with `openssl rand -hex 32`",
                token.name
            );
            return wrong("tokens", &problem);
        }
        for origin in &self.origins {
            let whole = origin.starts_with("https://") || origin.starts_with("http://");
            if origin != "*" && (!whole || origin.matches('/').count() != 2) {
                let problem = format!("`{origin}` is no origin: write https://shop.example, without a path");
                return wrong("origins", &problem);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        assert_eq!(CollectOptions::default().check(), Ok(()));
        type Spoil = fn(&mut CollectOptions);
        let cases: Vec<(&str, Spoil)> = vec![
            ("collect.events_topic", |o| o.events_topic = "a b".into()),
            ("collect.partitions", |o| o.partitions = 0),
            ("collect.body_bytes_max", |o| o.decoded_bytes_max = 1),
            ("collect.inflight_bytes_max", |o| o.inflight_bytes_max = 1 << 20),
            ("collect.json_depth_max", |o| o.json_depth_max = 500),
            ("collect.ip_key", |o| o.ip = IpPolicy::Hash),
            ("collect.tokens", |o| {
                o.tokens = vec![CollectToken { name: "web".into(), token: "short".into(), items_per_s: 0 }];
            }),
            ("collect.origins", |o| o.origins = vec!["https://shop.example/".into()]),
            ("collect.origins", |o| o.origins = vec!["shop.example".into()]),
        ];
        for (key, spoil) in cases {
            let mut options = CollectOptions::default();
            spoil(&mut options);
            let error = options.check().expect_err(key);
            assert!(error.starts_with(key), "{error}");
        }
    }
}
