//! The optional topic `<source>.transaction`: begin and end of every transaction, in Debezium's JSON.

use affluent_bus::Outgoing;
use affluent_model::names::HEADER_POSITION;
use affluent_model::{Lsn, Position};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes the records.
pub(crate) struct TransactionRecords {
    topic: Arc<str>,
}

impl TransactionRecords {
    pub(crate) fn new(source: &str) -> Self {
        TransactionRecords { topic: format!("{source}.transaction").into() }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Debezium's form: transaction id and commit LSN.
    pub(crate) fn id(&self, xid: u32, commit_lsn: u64) -> String {
        format!("{xid}:{}", Lsn(commit_lsn).0)
    }

    pub(crate) fn begin(&self, xid: u32, commit_lsn: u64, ts_us: i64, position: Position) -> Outgoing {
        let id = self.id(xid, commit_lsn);
        let value = json!({"status": "BEGIN", "id": id, "event_count": null, "data_collections": null,
            "ts_ms": ts_us / 1000});
        self.record(id, &value, position)
    }

    pub(crate) fn end(
        &self,
        xid: u32,
        commit_lsn: u64,
        ts_us: i64,
        events: u64,
        collections: &BTreeMap<Arc<str>, u64>,
        position: Position,
    ) -> Outgoing {
        let id = self.id(xid, commit_lsn);
        let collections: Vec<_> = collections
            .iter()
            .map(|(name, count)| json!({"data_collection": name.as_ref(), "event_count": count}))
            .collect();
        let value = json!({"status": "END", "id": id, "event_count": events, "data_collections": collections,
            "ts_ms": ts_us / 1000});
        self.record(id, &value, position)
    }

    fn record(&self, id: String, value: &serde_json::Value, position: Position) -> Outgoing {
        Outgoing {
            topic: Arc::clone(&self.topic),
            partition: Some(0),
            key: Some(Bytes::from(json!({"id": id}).to_string())),
            value: Some(Bytes::from(value.to_string())),
            headers: vec![(HEADER_POSITION.to_owned(), Bytes::from(position.to_string()))],
            timestamp_ms: None,
        }
    }
}
