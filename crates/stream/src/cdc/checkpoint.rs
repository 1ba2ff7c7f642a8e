//! What a source remembers, in the compacted topic `affluent.cdc.<source>`: identity, position,
//! tables, snapshot chunks. JSON, one key a fact.
//!
//! Invariant: the topic is written by the holder of the slot only, and in order; what `save_*`
//! has returned from is durable.

use super::CdcError;
use super::identity::Identity;
use affluent_bus::{Admin, Outgoing, Producer, TopicPartition, TopicSpec};
use affluent_model::TableId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Everything that is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Saved {
    pub(crate) identity: Option<Identity>,
    /// LSN up to which Kafka has everything.
    pub(crate) acked: u64,
    pub(crate) tables: BTreeMap<u32, TableEntry>,
}

/// A captured table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableEntry {
    /// The name under which it was first captured.
    pub(crate) table: TableId,
    pub(crate) topic: String,
    pub(crate) partitions: i32,
    pub(crate) snapshot: Option<SnapshotEntry>,
}

/// A table's snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SnapshotEntry {
    /// Counts begun snapshots of the table; part of the chunks' names.
    pub(crate) generation: u32,
    /// Position of its rows, LSN.
    pub(crate) lsn: u64,
    /// Taken of a table that was added while streaming went on.
    pub(crate) incremental: bool,
    /// Rows that are not read any more are to go: the table is truncated downstream, just before
    /// the position of the rows.
    #[serde(default)]
    pub(crate) clear: bool,
    pub(crate) leaves: Vec<Leaf>,
    /// Finished chunks as ranges, first and past the last.
    pub(crate) done: Vec<(u64, u64)>,
    /// Begun chunks: the next offset of every partition when they began.
    pub(crate) begun: BTreeMap<u64, Vec<i64>>,
    pub(crate) rows: u64,
    /// Set when all chunks are done: the end of the log then. Until the stream has passed it,
    /// values it leaves out are read from the table.
    pub(crate) complete: Option<u64>,
}

/// A table or partition with pages of its own, and how they are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    pub(crate) oid: u32,
    /// `pg_relation_filenode`: another one means the rows have moved and the plan is void.
    pub(crate) filenode: u32,
    pub(crate) pages: u32,
    pub(crate) pages_per_chunk: u32,
}

impl Leaf {
    /// Chunks of the leaf; the last one is open-ended, an empty leaf has one too.
    pub(crate) fn chunks(&self) -> u64 {
        u64::from(self.pages.div_ceil(self.pages_per_chunk.max(1)).max(1))
    }
}

impl SnapshotEntry {
    pub(crate) fn chunks(&self) -> u64 {
        self.leaves.iter().map(Leaf::chunks).sum()
    }

    pub(crate) fn is_done(&self, chunk: u64) -> bool {
        self.done.iter().any(|&(from, to)| (from..to).contains(&chunk))
    }

    /// Notes a finished chunk, joining ranges.
    pub(crate) fn finish(&mut self, chunk: u64) {
        self.begun.remove(&chunk);
        self.done.push((chunk, chunk + 1));
        self.done.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.done.len());
        for &(from, to) in &self.done {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        self.done = joined;
    }
}

#[derive(Serialize, Deserialize)]
struct AckedRecord {
    lsn: u64,
}

/// The topic of a source's memory.
pub(crate) fn topic(source: &str) -> String {
    format!("affluent.cdc.{source}")
}

/// Reads the memory; empty where there is none.
pub(crate) async fn load(admin: &Admin, source: &str, replication: i32) -> Result<Saved, CdcError> {
    let topic = topic(source);
    let spec = TopicSpec { replication, ..TopicSpec::new(1) }
        .set("cleanup.policy", "compact")
        .set("segment.bytes", "8388608");
    admin.ensure_topic(&topic, &spec).await?;
    read(admin, source).await
}

/// Reads the memory of a source whose topic exists.
pub(crate) async fn read(admin: &Admin, source: &str) -> Result<Saved, CdcError> {
    let topic = topic(source);
    let partition = TopicPartition::new(topic.as_str(), 0);
    let (low, high) = admin.watermarks(&partition).await?;
    let mut latest: BTreeMap<Vec<u8>, Option<bytes::Bytes>> = BTreeMap::new();
    let mut from = low;
    while from < high {
        let to = (from + 10_000).min(high);
        for record in admin.read_range(&partition, from, to).await? {
            latest.insert(record.key.unwrap_or_default().to_vec(), record.value);
        }
        from = to;
    }
    let mut saved = Saved::default();
    for (key, value) in latest {
        let Some(value) = value else { continue };
        let wrong = |e: serde_json::Error| {
            CdcError::Checkpoint(format!("{topic}: key `{}`: {e}", String::from_utf8_lossy(&key)))
        };
        match key.as_slice() {
            b"identity" => saved.identity = Some(serde_json::from_slice(&value).map_err(wrong)?),
            b"acked" => saved.acked = serde_json::from_slice::<AckedRecord>(&value).map_err(wrong)?.lsn,
            key => {
                let oid =
                    key.strip_prefix(b"table/").and_then(|oid| std::str::from_utf8(oid).ok()?.parse().ok());
                if let Some(oid) = oid {
                    saved.tables.insert(oid, serde_json::from_slice(&value).map_err(wrong)?);
                }
            }
        }
    }
    Ok(saved)
}

/// The memory while the source runs.
#[derive(Clone)]
pub(crate) struct Checkpoints {
    producer: Producer,
    topic: Arc<str>,
    saved: Arc<Mutex<Saved>>,
}

impl Checkpoints {
    pub(crate) fn new(producer: Producer, source: &str, saved: Saved) -> Self {
        Checkpoints { producer, topic: topic(source).into(), saved: Arc::new(Mutex::new(saved)) }
    }

    /// A copy of everything.
    pub(crate) async fn saved(&self) -> Saved {
        self.saved.lock().await.clone()
    }

    /// One table.
    pub(crate) async fn table(&self, oid: u32) -> Option<TableEntry> {
        self.saved.lock().await.tables.get(&oid).cloned()
    }

    pub(crate) async fn save_identity(&self, identity: Identity, acked: u64) -> Result<(), CdcError> {
        let value = json(&identity)?;
        let mut saved = self.saved.lock().await;
        (saved.identity, saved.acked) = (Some(identity), acked);
        let first = self.send("acked".into(), json(&AckedRecord { lsn: acked })?).await?;
        let second = self.send("identity".into(), value).await?;
        drop(saved);
        Ok(self.producer.wait_acked(first.max(second)).await?)
    }

    pub(crate) async fn save_acked(&self, lsn: u64) -> Result<(), CdcError> {
        let mut saved = self.saved.lock().await;
        saved.acked = lsn;
        let sequence = self.send("acked".into(), json(&AckedRecord { lsn })?).await?;
        drop(saved);
        Ok(self.producer.wait_acked(sequence).await?)
    }

    /// Inserts or replaces a table.
    pub(crate) async fn save_table(&self, oid: u32, entry: TableEntry) -> Result<(), CdcError> {
        let value = json(&entry)?;
        let mut saved = self.saved.lock().await;
        saved.tables.insert(oid, entry);
        let sequence = self.send(format!("table/{oid}"), value).await?;
        drop(saved);
        Ok(self.producer.wait_acked(sequence).await?)
    }

    /// Changes a table's snapshot; nothing happens where it has none.
    pub(crate) async fn update_snapshot(
        &self,
        oid: u32,
        change: impl FnOnce(&mut SnapshotEntry),
    ) -> Result<(), CdcError> {
        let mut saved = self.saved.lock().await;
        let Some(entry) = saved.tables.get_mut(&oid) else { return Ok(()) };
        let Some(snapshot) = &mut entry.snapshot else { return Ok(()) };
        change(snapshot);
        let value = json(entry)?;
        let sequence = self.send(format!("table/{oid}"), value).await?;
        drop(saved);
        Ok(self.producer.wait_acked(sequence).await?)
    }

    async fn send(&self, key: String, value: bytes::Bytes) -> Result<u64, CdcError> {
        let record = Outgoing {
            topic: Arc::clone(&self.topic),
            partition: Some(0),
            key: Some(key.into()),
            value: Some(value),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        Ok(self.producer.send(record).await?)
    }
}

fn json<T: Serialize>(value: &T) -> Result<bytes::Bytes, CdcError> {
    serde_json::to_vec(value).map(Into::into).map_err(|e| CdcError::Checkpoint(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finished_chunks_are_remembered_as_few_ranges(order in Just((0_u64..40).collect::<Vec<_>>()).prop_shuffle(), count in 0_usize..40) {
            let mut entry = SnapshotEntry {
                generation: 1, lsn: 0, incremental: false, clear: false, leaves: vec![], done: vec![], begun: BTreeMap::new(),
                rows: 0, complete: None,
            };
            for &chunk in &order[..count] {
                entry.begun.insert(chunk, vec![]);
                entry.finish(chunk);
            }
            for chunk in 0..40 {
                prop_assert_eq!(entry.is_done(chunk), order[..count].contains(&chunk));
            }
            prop_assert!(entry.begun.is_empty());
            prop_assert!(entry.done.windows(2).all(|w| w[0].1 < w[1].0));
        }
    }
}
