//! What stream and snapshot share: where to, under which names, and what is known of the tables.

use super::catalog::Captured;
use super::checkpoint::{Checkpoints, TableEntry};
use super::protect::Protector;
use super::snapshot::Cuts;
use super::{CdcError, CdcOptions};
use affluent_bus::{Admin, TopicSpec};
use affluent_model::TableId;
use affluent_model::names::change_topic;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Until which end of the log (LSN) values that the stream leaves out are read from the table, by
/// table: `u64::MAX` while its snapshot runs.
pub(crate) type FillUntil = Arc<Mutex<HashMap<u32, u64>>>;

/// What stream and snapshot share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) options: Arc<CdcOptions>,
    pub(crate) admin: Admin,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) protector: Arc<Protector>,
    pub(crate) source: Arc<str>,
    pub(crate) database: Arc<str>,
    /// Added to LSNs to make positions.
    pub(crate) shift: u64,
    pub(crate) fill_until: FillUntil,
    pub(crate) cuts: Cuts,
}

impl Context {
    /// The entry of a table, made (with its topic) where it is new.
    pub(crate) async fn ensure_table(&self, oid: u32, table: &TableId) -> Result<TableEntry, CdcError> {
        if let Some(entry) = self.checkpoints.table(oid).await {
            return Ok(entry);
        }
        let entry = self.new_entry(table).await?;
        self.checkpoints.save_table(oid, entry.clone()).await?;
        Ok(entry)
    }

    /// Makes a topic where it does not exist; its partitions.
    pub(crate) async fn make_topic(
        admin: &Admin,
        options: &CdcOptions,
        topic: &str,
    ) -> Result<i32, CdcError> {
        ensure_topic(admin, options, topic, options.partitions).await
    }

    /// An entry for a table with its topic, which is made where it does not exist.
    pub(crate) async fn new_entry(&self, table: &TableId) -> Result<TableEntry, CdcError> {
        let topic = change_topic(&self.options.source, table);
        let partitions = ensure_topic(&self.admin, &self.options, &topic, self.options.partitions).await?;
        Ok(TableEntry { table: table.clone(), topic, partitions, snapshot: None })
    }

    /// Topic and name of a table's events, checked against the topic as it is.
    pub(crate) async fn captured(&self, entry: &TableEntry) -> Result<Captured, CdcError> {
        let partitions = ensure_topic(&self.admin, &self.options, &entry.topic, entry.partitions).await?;
        if partitions != entry.partitions {
            return Err(CdcError::Topic(format!(
                "topic {} has {partitions} partitions, but had {} when it was first written: changes of a row would \
                 lose their order. Bring the topic back to {} partitions, or give the source a new name (cdc.source)",
                entry.topic, entry.partitions, entry.partitions
            )));
        }
        Ok(Captured { table: entry.table.clone(), topic: entry.topic.as_str().into(), partitions })
    }
}

pub(super) async fn ensure_topic(
    admin: &Admin,
    options: &CdcOptions,
    topic: &str,
    partitions: i32,
) -> Result<i32, CdcError> {
    let spec = TopicSpec { replication: options.replication, ..TopicSpec::new(partitions) };
    admin.ensure_topic(topic, &spec).await?;
    Ok(admin.partitions(topic).await?.unwrap_or(partitions))
}
