//! A sample of the vectors that were written online, with what is needed to compute them again: collection `features_vectors`.
//!
//! A vector is a function of the events that had been applied. Which those were is in `offsets`: of each partition of the sources'
//! topics, all records below. The raw zone of the lake has the same offsets in `_kafka_partition` and `_kafka_offset`, so that a
//! recomputation sees the same events and has to come to the same bits.

use super::Vector;
use affluent_bus::TopicPartition;
use affluent_documents::{Action, CollectionSpec, Document, Fields, Ttl, VersionedWrite};
use affluent_features::At;
use affluent_model::{Position, Value};
use chrono::DateTime;
use std::collections::BTreeMap;

/// The collection of the sample.
pub const COLLECTION: &str = "features_vectors";
const DAY_S: u64 = 86_400;
/// Fields that follow the vector's.
const TAIL: [&str; 3] = ["source", "order", "offsets"];

/// The collection, whose documents go so many days after they were written.
#[must_use]
pub fn collection(days: u32) -> CollectionSpec {
    let ttl = Some(Ttl { seconds: u64::from(days) * DAY_S, field: None });
    CollectionSpec { ttl, ..CollectionSpec::new(COLLECTION) }
}

/// Of each partition, the first offset that was not applied.
pub type Applied = BTreeMap<TopicPartition, i64>;

/// Whether the vector after the event of this order is logged: a fixed part of all, the same in each process.
#[must_use]
pub fn is_logged(order: u64, share: f64) -> bool {
    // The multiplier spreads numbers that follow each other (Knuth, TAOCP 6.4).
    let spread = order.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11;
    (spread as f64) < share * (1u64 << 53) as f64
}

/// The write of a vector, as it was at `at` after the event of `source`.
#[must_use]
pub fn write(vector: &Vector, source: &str, at: At, applied: &Applied, version: u64) -> VersionedWrite {
    let id = format!("{}/{}/{}/{}", vector.entity, vector.key, at.time, at.order);
    let tail =
        [Value::Text(source.to_owned()), Value::Text(at.order.to_string()), Value::Json(offsets(applied))];
    let mut fields = vector.fields();
    fields.extend(TAIL.iter().zip(tail).map(|(name, value)| ((*name).to_owned(), value)));
    VersionedWrite { id, version: Position::new(version, 0), action: Action::Put(fields) }
}

/// A logged vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub entity: String,
    pub key: String,
    /// The source whose event was the key's newest, and the instant right after it.
    pub source: String,
    pub at: At,
    pub applied: Applied,
    /// Name and version.
    pub features: Vec<(String, u32)>,
    /// In the order of `features`; NaN where there was none.
    pub values: Vec<f64>,
}

impl Logged {
    /// Reads a document of the collection; none where it is not of this form.
    #[must_use]
    pub fn of(document: &Document) -> Option<Self> {
        let text = |name: &str| match document.field(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let Some(Value::TimestampTz(time)) = document.field("as_of") else { return None };
        let Some(Value::Array(versions)) = document.field(super::VERSIONS) else { return None };
        let Some(Value::Json(offsets)) = document.field("offsets") else { return None };
        let known =
            |name: &str| super::HEAD.contains(&name) || TAIL.contains(&name) || name == super::VERSIONS;
        let named: Fields = document.fields.iter().filter(|(name, _)| !known(name)).cloned().collect();
        let mut features = Vec::new();
        let mut values = Vec::new();
        for ((name, value), version) in named.into_iter().zip(versions) {
            let Value::Int(version) = version else { return None };
            features.push((name, u32::try_from(*version).ok()?));
            values.push(if let Value::Float(value) = value { value } else { f64::NAN });
        }
        let at = At { time: *time, order: text("order")?.parse().ok()? };
        let applied = applied(offsets)?;
        let (entity, key, source) = (text("entity")?, text("key")?, text("source")?);
        Some(Logged { entity, key, source, at, applied, features, values })
    }
}

impl Logged {
    /// The same of a document as the HTTP interface gives it.
    #[must_use]
    pub fn of_json(document: &serde_json::Value) -> Option<Self> {
        let object = document.as_object()?;
        let text = |name: &str| object.get(name)?.as_str().map(str::to_owned);
        let time = DateTime::parse_from_rfc3339(&text("as_of")?).ok()?.timestamp_micros();
        let versions = object.get(super::VERSIONS)?.as_array()?;
        let known = |name: &str| {
            super::HEAD.contains(&name)
                || TAIL.contains(&name)
                || name == super::VERSIONS
                || ["_id", "_v"].contains(&name)
        };
        let mut features = Vec::new();
        let mut values = Vec::new();
        for ((name, value), version) in object.iter().filter(|(name, _)| !known(name)).zip(versions) {
            features.push((name.clone(), u32::try_from(version.as_u64()?).ok()?));
            values.push(value.as_f64().unwrap_or(f64::NAN));
        }
        let at = At { time, order: text("order")?.parse().ok()? };
        let applied = applied(&object.get("offsets")?.to_string())?;
        let (entity, key, source) = (text("entity")?, text("key")?, text("source")?);
        Some(Logged { entity, key, source, at, applied, features, values })
    }
}

/// `[["topic", partition, offset], ...]`.
pub(crate) fn offsets(applied: &Applied) -> String {
    let list: Vec<(&str, i32, i64)> =
        applied.iter().map(|(partition, next)| (&*partition.topic, partition.partition, *next)).collect();
    serde_json::to_string(&list).unwrap_or_default()
}

pub(crate) fn applied(text: &str) -> Option<Applied> {
    let list: Vec<(String, i32, i64)> = serde_json::from_str(text).ok()?;
    Some(
        list.into_iter()
            .map(|(topic, partition, next)| (TopicPartition::new(topic, partition), next))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::Vector;

    #[test]
    fn a_logged_vector_comes_back() {
        let features = [("customer_payments_1h".to_owned(), 1), ("customer_velocity".to_owned(), 3)];
        let vector = Vector {
            entity: "customer",
            key: "42",
            as_of: 7,
            is_exact: true,
            features: &features,
            values: &[2.0, f64::NAN],
        };
        let at = At { time: 7, order: u64::MAX - 1 };
        let applied: Applied = [(TopicPartition::new("t", 1), 9)].into();
        let write = write(&vector, "transactions", at, &applied, 3);
        let Action::Put(fields) = write.action else { panic!("a put") };
        let json: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
        let of_json = Logged::of_json(&json.into()).unwrap();
        let logged = Logged::of(&Document { id: write.id, version: write.version, fields }).unwrap();
        assert!(logged.values[1].is_nan() && of_json.values[1].is_nan());
        let expected = Logged {
            entity: "customer".into(),
            key: "42".into(),
            source: "transactions".into(),
            at,
            applied,
            features: features.into(),
            values: vec![2.0],
        };
        assert_eq!(Logged { values: vec![logged.values[0]], ..logged }, expected);
        assert_eq!(Logged { values: vec![of_json.values[0]], ..of_json }, expected);
    }

    #[test]
    fn a_share_is_logged() {
        let logged = (0..100_000u64).filter(|order| is_logged(*order, 0.01)).count();
        assert!((900..1_100).contains(&logged), "{logged} of 100000");
        assert!(is_logged(u64::MAX, 1.0) && !is_logged(0, 0.0));
    }
}
