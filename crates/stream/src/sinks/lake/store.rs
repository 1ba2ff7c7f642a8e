//! The two ways in which the raw zone is written, behind one door.

use super::layout::TableKind;
use super::rows::ARRIVED;
use affluent_lake::{Advance, JsonLake, Lake, LakeError, LakeFormat, Offsets, Partition, RowBatch};
use affluent_model::names::{
    NAMESPACE_OPS, NAMESPACE_RAW, TABLE_LOGS, TABLE_QUARANTINE, TOPIC_DEAD_LETTERS, TOPIC_LOGS,
    table_of_topic,
};
use affluent_model::{Column, EventKind};
use std::sync::Arc;

/// Namespace and name of the table of a topic: `raw.transactions` for `oltp.public.transactions`,
/// `raw.clickstream_events` for `clickstream.events`, `raw.logs` for `logs.events`, `ops.quarantine` for
/// the dead letters.
#[must_use]
pub fn table_of(topic: &str) -> (&'static str, String) {
    if topic == TOPIC_DEAD_LETTERS {
        return (NAMESPACE_OPS, TABLE_QUARANTINE.to_owned());
    }
    if topic == TOPIC_LOGS {
        return (NAMESPACE_RAW, TABLE_LOGS.to_owned());
    }
    // A topic of two parts names no table: all of it tells one stream from another.
    let name = if topic.split('.').count() >= 3 {
        table_of_topic(topic)
    } else {
        topic.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_")
    };
    (NAMESPACE_RAW, name)
}

/// Where raw tables are written.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Iceberg(Lake),
    Json(JsonLake),
}

impl Store {
    pub(super) fn new(lake: Lake) -> Self {
        match lake.options().format {
            LakeFormat::Iceberg => Store::Iceberg(lake),
            LakeFormat::Json => Store::Json(JsonLake::new(&lake.options().warehouse)),
        }
    }

    /// How far the table of `topic` has read; nothing where there is no table yet.
    pub(super) async fn offsets(&self, topic: &str) -> Result<Offsets, LakeError> {
        let (namespace, name) = table_of(topic);
        match self {
            Store::Iceberg(lake) => match lake.table(namespace, &name).await {
                Ok(table) => table.offsets().await,
                Err(LakeError::NotFound(_)) => Ok(Offsets::default()),
                Err(error) => Err(error),
            },
            Store::Json(lake) => lake.table(namespace, &name).offsets(),
        }
    }

    /// The columns that the table of `topic` has, under the source's names.
    pub(super) async fn columns(&self, topic: &str) -> Result<Vec<Column>, LakeError> {
        let (namespace, name) = table_of(topic);
        match self {
            Store::Iceberg(lake) => match lake.table(namespace, &name).await {
                Ok(table) => table.source_columns().await,
                Err(LakeError::NotFound(_)) => Ok(Vec::new()),
                Err(error) => Err(error),
            },
            Store::Json(_) => Ok(Vec::new()),
        }
    }

    /// Appends and advances, both or neither; the table is created where it is missing, its files
    /// sorted by `sort_by` (Iceberg alone: a line of NDJSON has no statistics to skip it by).
    pub(super) async fn append(
        &self,
        topic: &str,
        batch: Arc<RowBatch>,
        sort_by: &[&str],
        advance: Vec<Advance>,
    ) -> Result<(), LakeError> {
        let (namespace, name) = table_of(topic);
        match self {
            Store::Iceberg(lake) => {
                let partition = Partition::Day(ARRIVED.to_owned());
                let columns = &batch.columns;
                let table = lake.ensure_sorted_table(namespace, &name, columns, &partition, sort_by).await?;
                table.append(batch, advance).await.map(drop)
            }
            Store::Json(lake) => lake.table(namespace, &name).append(batch, ARRIVED, advance).await,
        }
    }
}

/// What the table of a topic holds: events where the options say so, else judged by its first record.
pub(super) fn kind_of(topic: &str, events: Option<EventKind>, is_change: bool) -> TableKind {
    match events {
        _ if topic == TOPIC_DEAD_LETTERS => TableKind::Quarantine,
        Some(EventKind::Clicks) => TableKind::Clicks,
        Some(EventKind::Logs) => TableKind::Logs,
        None if is_change => TableKind::Changes,
        None => TableKind::Records,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_has_its_table() {
        for (topic, expected) in [
            ("oltp.public.transactions", ("raw", "transactions")),
            ("oltp.audit.entries", ("raw", "audit_entries")),
            ("clickstream.events", ("raw", "clickstream_events")),
            ("logs.events", ("raw", "logs")),
            ("dead-letters", ("ops", "quarantine")),
        ] {
            assert_eq!(table_of(topic), (expected.0, expected.1.to_owned()), "{topic}");
        }
    }
}
