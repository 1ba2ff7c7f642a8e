//! The topic configuration keys that the broker honours; any other key is refused, so that nobody
//! believes in a setting that does nothing.

use crate::log::LogConfig;
use crate::options::BrokerOptions;
use std::collections::BTreeMap;

/// What was set on a topic, by key.
pub(crate) type Overrides = BTreeMap<String, String>;

/// How a value is read. `Only` documents a fixed behaviour that clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer { least: i64, most: i64 },
    Ratio,
    Policy,
    Only(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConfigKey {
    pub name: &'static str,
    pub kind: Kind,
    pub documentation: &'static str,
}

/// Why a configuration is refused; the text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("unknown topic configuration {0}: this broker honours {known}", known = known_keys())]
    Unknown(String),
    #[error("{key} = {value:?}: must be {expected}")]
    Value { key: String, value: String, expected: String },
}

const fn integer(name: &'static str, least: i64, most: i64, documentation: &'static str) -> ConfigKey {
    ConfigKey { name, kind: Kind::Integer { least, most }, documentation }
}

/// Every key, by name.
pub(crate) const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "cleanup.policy",
        kind: Kind::Policy,
        documentation: "delete, compact or both: what happens to old segments",
    },
    ConfigKey {
        name: "compression.type",
        kind: Kind::Only("producer"),
        documentation: "batches are stored as the producer compressed them",
    },
    integer("delete.retention.ms", 0, i64::MAX, "how long compaction keeps a tombstone"),
    integer("max.message.bytes", 0, 512 << 20, "largest record batch, as compressed"),
    ConfigKey {
        name: "message.timestamp.type",
        kind: Kind::Only("CreateTime"),
        documentation: "records keep the producer's timestamp",
    },
    ConfigKey {
        name: "min.cleanable.dirty.ratio",
        kind: Kind::Ratio,
        documentation: "share of a compacted log that is not yet compacted, from which on it is",
    },
    ConfigKey { name: "min.insync.replicas", kind: Kind::Only("1"), documentation: "there is one replica" },
    integer("retention.bytes", -1, i64::MAX, "bytes a partition keeps; -1 is unlimited"),
    integer("retention.ms", -1, i64::MAX, "age of the oldest segment kept; -1 is unlimited"),
    integer("segment.bytes", 4096, 1 << 31, "size at which a new segment file begins"),
    integer("segment.ms", 1, i64::MAX, "age at which a new segment file begins"),
];

impl ConfigKey {
    pub(crate) fn find(name: &str) -> Result<&'static Self, ConfigError> {
        KEYS.iter().find(|key| key.name == name).ok_or_else(|| ConfigError::Unknown(name.to_owned()))
    }

    /// The value when nothing was set.
    pub(crate) fn default_value(&self, options: &BrokerOptions) -> String {
        match (self.name, self.kind) {
            (_, Kind::Only(value)) => value.to_owned(),
            ("cleanup.policy", _) => "delete".to_owned(),
            ("delete.retention.ms", _) => "86400000".to_owned(),
            ("max.message.bytes", _) => options.max_message_bytes.to_string(),
            ("min.cleanable.dirty.ratio", _) => "0.5".to_owned(),
            ("retention.bytes", _) => options.retention_bytes.to_string(),
            ("retention.ms", _) => options.retention_ms.to_string(),
            ("segment.bytes", _) => options.segment_bytes.to_string(),
            _ => "604800000".to_owned(),
        }
    }

    /// Kafka's number for the type of the value.
    pub(crate) fn type_code(&self) -> i8 {
        match self.kind {
            Kind::Integer { .. } => 5,
            Kind::Ratio => 6,
            Kind::Policy => 7,
            Kind::Only(_) => 2,
        }
    }

    fn check(&self, value: &str) -> Result<(), ConfigError> {
        let (good, expected) = match self.kind {
            Kind::Integer { least, most } => {
                let good = value.parse::<i64>().is_ok_and(|v| (least..=most).contains(&v));
                (good, format!("an integer from {least} to {most}"))
            }
            Kind::Ratio => {
                (value.parse::<f64>().is_ok_and(|v| (0.0..=1.0).contains(&v)), "from 0 to 1".into())
            }
            Kind::Policy => {
                let good = value.split(',').map(str::trim).all(|p| matches!(p, "delete" | "compact"));
                (good, "delete, compact or delete,compact".into())
            }
            Kind::Only(only) => (value == only, format!("{only}, which is what this broker does")),
        };
        if good {
            Ok(())
        } else {
            Err(ConfigError::Value { key: self.name.to_owned(), value: value.to_owned(), expected })
        }
    }
}

/// Refuses unknown keys and impossible values.
pub(crate) fn check(overrides: &Overrides) -> Result<(), ConfigError> {
    overrides.iter().try_for_each(|(name, value)| ConfigKey::find(name)?.check(value))
}

/// What the log needs to know, of checked overrides and the broker's defaults.
pub(crate) fn log_config(overrides: &Overrides, options: &BrokerOptions) -> LogConfig {
    let text = |name: &str| -> String {
        let default = || ConfigKey::find(name).map(|key| key.default_value(options)).unwrap_or_default();
        overrides.get(name).cloned().unwrap_or_else(default)
    };
    let number = |name: &str| text(name).parse::<i64>().unwrap_or(-1);
    let policy = text("cleanup.policy");
    LogConfig {
        segment_bytes: number("segment.bytes").max(1) as u64,
        segment_ms: number("segment.ms").max(1) as u64,
        retention_ms: number("retention.ms"),
        retention_bytes: number("retention.bytes"),
        delete: policy.contains("delete"),
        compact: policy.contains("compact"),
        delete_retention_ms: number("delete.retention.ms"),
        min_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
        max_message_bytes: number("max.message.bytes").max(0) as u64,
    }
}

fn known_keys() -> String {
    KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_their_own_check() {
        let options = BrokerOptions::default();
        for key in KEYS {
            key.check(&key.default_value(&options)).unwrap();
        }
        let config = log_config(&Overrides::new(), &options);
        assert!(config.delete && !config.compact && config.segment_bytes == options.segment_bytes);
    }

    #[test]
    fn values_are_checked() {
        let check = |key: &str, value: &str, good: bool| {
            let overrides = Overrides::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(super::check(&overrides).is_ok(), good, "{key}={value}");
        };
        check("cleanup.policy", "compact", true);
        check("cleanup.policy", "compact,delete", true);
        check("cleanup.policy", "shred", false);
        check("retention.ms", "-1", true);
        check("retention.ms", "-2", false);
        check("segment.bytes", "x", false);
        check("compression.type", "producer", true);
        check("compression.type", "lz4", false);
        check("flush.ms", "1", false);
    }
}
