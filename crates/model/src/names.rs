//! Names that several parts share: topics, collections, tables, headers.

use crate::{Op, TableId};

/// Header with the [`crate::Position`] of a change in its text form.
pub const HEADER_POSITION: &str = "position";
/// Header with the event's name, `transaction_created`.
pub const HEADER_EVENT_TYPE: &str = "event_type";
/// Header of snapshot rows: the chunk that read them, `schema.table#17`.
pub const HEADER_CHUNK: &str = "chunk";
/// Quarantined records.
pub const TOPIC_DEAD_LETTERS: &str = "dead-letters";
/// What needs a person, by rule.
pub const TOPIC_ALERTS: &str = "ops.alerts";
/// Clicks of app and web.
pub const TOPIC_CLICKS: &str = "clickstream.events";
/// Log lines of services.
pub const TOPIC_LOGS: &str = "logs.events";
/// Payments that people have confirmed as fraud or cleared: disputes, in the form of changes, in the raw table of the disputes.
pub const TOPIC_LABELS: &str = "labels.public.disputes";
/// Scores of payments.
pub const TOPIC_SCORES: &str = "fraud.scores";
/// Payments that are not approved.
pub const TOPIC_FRAUD_ALERTS: &str = "fraud.alerts";
/// Collection of the scores of record, by payment.
pub const COLLECTION_SCORES: &str = "fraud_events";
/// Collection of the same labels, by payment.
pub const COLLECTION_LABELS: &str = "fraud_labels";
/// Collection of clicks, by event id.
pub const COLLECTION_CLICKS: &str = "clickstream_events";
/// Collection of log lines, by event id.
pub const COLLECTION_LOGS: &str = "logs";
/// Collection of error records, counted by service and fingerprint.
pub const COLLECTION_ERROR_GROUPS: &str = "logs_error_groups";
/// Schema registry state, compacted.
pub const TOPIC_SCHEMAS: &str = "_schemas";
/// Iceberg namespace of untouched records.
pub const NAMESPACE_RAW: &str = "raw";
/// Iceberg namespace of the platform's own tables.
pub const NAMESPACE_OPS: &str = "ops";
/// Raw log lines in the lake.
pub const TABLE_LOGS: &str = "logs";
/// Quarantined records in the lake, beside the topic.
pub const TABLE_QUARANTINE: &str = "quarantine";

/// `oltp.public.transactions` for the source `oltp`.
#[must_use]
pub fn change_topic(source: &str, table: &TableId) -> String {
    format!("{source}.{}.{}", table.schema, table.name)
}

/// `transaction_created` for table `transactions`.
#[must_use]
pub fn event_type(table: &str, op: Op) -> String {
    format!("{}_{}", singular(table), op.verb())
}

/// `mirrors.transactions` for any topic whose last part is `transactions`. Tables outside the
/// schema `public` keep their schema's name: `mirrors.audit_entries` is `audit.entries`.
#[must_use]
pub fn mirror_collection(topic: &str) -> String {
    format!("mirrors.{}", table_of_topic(topic))
}

/// The name of the raw lake table of a topic: `transactions` for `oltp.public.transactions`.
#[must_use]
pub fn table_of_topic(topic: &str) -> String {
    let parts: Vec<&str> = topic.split('.').collect();
    let tail = match parts.as_slice() {
        [_, "public", table] => (*table).to_owned(),
        [_, rest @ ..] if !rest.is_empty() => rest.join("_"),
        _ => topic.to_owned(),
    };
    tail.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_")
}

fn singular(table: &str) -> String {
    if let Some(stem) = table.strip_suffix("ies") {
        format!("{stem}y")
    } else if let Some(stem) = table.strip_suffix('s').filter(|s| !s.ends_with('s')) {
        stem.to_owned()
    } else {
        table.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contracts() {
        let table = TableId::new("public", "transactions");
        assert_eq!(change_topic("oltp", &table), "oltp.public.transactions");
        for (table, op, expected) in [
            ("transactions", Op::Create, "transaction_created"),
            ("disputes", Op::Create, "dispute_created"),
            ("customers", Op::Update, "customer_updated"),
            ("countries", Op::Delete, "country_deleted"),
            ("address", Op::Delete, "address_deleted"),
            ("pgbench_history", Op::Read, "pgbench_history_read"),
        ] {
            assert_eq!(event_type(table, op), expected);
        }
        for (topic, expected) in [
            ("oltp.public.transactions", "transactions"),
            ("oltp.audit.entries", "audit_entries"),
            ("clickstream.events", "events"),
            ("dead-letters", "dead_letters"),
        ] {
            assert_eq!(table_of_topic(topic), expected, "{topic}");
        }
    }
}
