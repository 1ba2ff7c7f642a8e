//! What both kinds of staged tables share: names, and the columns that lead back to Kafka.

use affluent_model::{Column, ColumnType, EventKind};
use std::sync::Arc;

/// Iceberg namespace of the staged zone.
pub(super) const NAMESPACE: &str = "staged";
/// The column by whose UTC day staged tables are divided.
pub(super) const DAY: &str = "received_at";
/// The column by which an event is known again.
pub(super) const KEY: &str = "event_id";

/// Where the record stood in Kafka, and when it arrived there; the last columns of raw and staged rows.
pub(super) const KAFKA: &[&str] = &["_kafka_topic", "_kafka_partition", "_kafka_offset", "_kafka_ts"];

/// A topic of events and the raw table that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub kind: EventKind,
    pub topic: Arc<str>,
    /// Namespace and name of its raw table.
    pub raw: (String, String),
}

/// Columns of a staged table: its own, then [`KAFKA`].
pub(super) fn columns(own: impl Iterator<Item = (&'static str, ColumnType)>) -> Vec<Column> {
    let kafka = [ColumnType::Text, ColumnType::Int32, ColumnType::Int64, ColumnType::TimestampTz];
    own.chain(KAFKA.iter().copied().zip(kafka))
        .map(|(name, column_type)| Column { name: name.to_owned(), column_type, nullable: true })
        .collect()
}
