//! From messages of committed transactions to records in Kafka, each once.
//!
//! Every record has a position of its own: a delete and its tombstone take two ordinals, a change of
//! the key three (delete, tombstone, create: as Debezium writes it). Ordinals count all changes of
//! the transaction, also those of tables that are not selected, so they are the same in every run.
//!
//! Invariant: a record is sent only if its position is greater than the last one that its partition
//! holds, and in the order of positions.

use super::CdcError;
use super::acks::{Acks, Committed};
use super::catalog::Catalog;
use super::checkpoint::TableEntry;
use super::connect::replication::POSTGRES_EPOCH_MICROS;
use super::context::{Context, ensure_topic};
use super::decode::pgoutput::{Message, Old, Relation, Tuple};
use super::emit::{Emitter, Origin, Unfit, headers, target_partition};
use super::left_out::{fill, merge, merge_filled};
use super::options::OnRename;
use super::relation::{BadValue, Built, Shape};
use super::resume;
use super::transactions::TransactionRecords;
use affluent_bus::Outgoing;
use affluent_model::{ChangeEvent, Op, Position, Reason, Snapshot, Source, TableId, Transaction};
use affluent_telemetry::traces::{HEADER_TRACE, TraceContext};
use affluent_telemetry::{failpoint, metrics_list};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Changes of one transaction that are followed, at most.
const TRACED_MAX: usize = 64;

/// The transaction that is being published.
struct Open {
    commit_lsn: u64,
    xid: u32,
    ts_us: i64,
    ordinal: u64,
    events: u64,
    collections: BTreeMap<Arc<str>, u64>,
    /// Its changes that are followed, each with its topic.
    traced: Vec<(TraceContext, Arc<str>)>,
}

/// Turns messages into records.
pub(crate) struct Publisher {
    context: Context,
    catalog: Catalog,
    emitter: Emitter,
    acks: Arc<Acks>,
    shapes: HashMap<u32, Option<Arc<Shape>>>,
    delivered: HashMap<Arc<str>, Vec<Option<Position>>>,
    transactions: Option<TransactionRecords>,
    open: Option<Open>,
    /// Sequence number of the last record sent.
    sent: u64,
}

impl Publisher {
    pub(crate) async fn new(
        context: Context,
        catalog: Catalog,
        emitter: Emitter,
        acks: Arc<Acks>,
    ) -> Result<Self, CdcError> {
        let mut topics = BTreeMap::new();
        let transactions = if context.options.transaction_topic {
            let records = TransactionRecords::new(&context.options.source);
            ensure_topic(&context.admin, &context.options, records.topic(), 1).await?;
            topics.insert(Arc::clone(records.topic()), 1);
            Some(records)
        } else {
            None
        };
        // Now, not with the first change of each table, which would wait for it.
        let tables = context.checkpoints.saved().await.tables;
        topics.extend(tables.values().map(|entry| (entry.topic.as_str().into(), entry.partitions)));
        let read = async |(topic, partitions): (Arc<str>, i32)| -> Result<_, CdcError> {
            let last = resume::delivered(&context.admin, &topic, partitions).await?;
            Ok((topic, last))
        };
        let delivered =
            futures::future::try_join_all(topics.into_iter().map(read)).await?.into_iter().collect();
        let shapes = HashMap::new();
        Ok(Publisher {
            context,
            catalog,
            emitter,
            acks,
            shapes,
            delivered,
            transactions,
            open: None,
            sent: 0,
        })
    }

    /// Whether a transaction has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A committed transaction begins. `commit_time` counts from 2000.
    pub(crate) async fn begin(
        &mut self,
        commit_lsn: u64,
        commit_time: i64,
        xid: u32,
    ) -> Result<(), CdcError> {
        let ts_us = commit_time + POSTGRES_EPOCH_MICROS;
        let (collections, traced) = (BTreeMap::new(), Vec::new());
        self.open = Some(Open { commit_lsn, xid, ts_us, ordinal: 0, events: 0, collections, traced });
        if let Some(records) = &self.transactions {
            let position = Position::new(commit_lsn + self.context.shift, 0);
            let record = records.begin(xid, commit_lsn, ts_us, position);
            self.send_in_order(record, position, 1).await?;
        }
        Ok(())
    }

    /// The transaction ends: once Kafka has it, the slot may go to `end_lsn`.
    pub(crate) async fn commit(&mut self, end_lsn: u64) -> Result<(), CdcError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if let Some(records) = &self.transactions {
            let position = Position::new(open.commit_lsn + self.context.shift, open.ordinal + 1);
            let record =
                records.end(open.xid, open.commit_lsn, open.ts_us, open.events, &open.collections, position);
            self.send_in_order(record, position, 1).await?;
        }
        let Open { ts_us: at_us, events: changes, traced, .. } = open;
        let measured = (changes > 0).then_some(Committed { at_us, changes, traced });
        self.acks.push(self.sent, end_lsn, measured);
        Ok(())
    }

    /// Everything the server had up to here is sent.
    pub(crate) fn idle_at(&self, lsn: u64) {
        self.acks.push(self.sent, lsn, None);
    }

    /// A message of the transaction that has begun. `aborted`: its subtransaction was rolled back.
    pub(crate) async fn message(
        &mut self,
        wal_start: u64,
        message: Message<'_>,
        aborted: bool,
    ) -> Result<(), CdcError> {
        match message {
            Message::Relation(relation) => self.relation(&relation).await,
            _ if aborted => Ok(()),
            Message::Insert { relation, new } => {
                let ordinals = self.take_ordinals(1)?;
                let Some(shape) = self.shape(relation)? else { return Ok(()) };
                self.change(&shape, Op::Create, None, Some(&new), wal_start, ordinals).await
            }
            Message::Update { relation, old, new } => self.update(relation, old, &new, wal_start).await,
            Message::Delete { relation, old } => {
                let ordinals = self.take_ordinals(2)?;
                let Some(shape) = self.shape(relation)? else { return Ok(()) };
                let (Old::Key(old) | Old::Full(old)) = &old;
                self.change(&shape, Op::Delete, Some(old), None, wal_start, ordinals).await
            }
            Message::Truncate { relations } => {
                for relation in relations {
                    let ordinals = self.take_ordinals(1)?;
                    let Some(shape) = self.shape(relation)? else { continue };
                    self.change(&shape, Op::Truncate, None, None, wal_start, ordinals).await?;
                }
                Ok(())
            }
            Message::Logical { .. } | Message::Other => Ok(()),
            Message::Begin { .. }
            | Message::Commit { .. }
            | Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. }
            | Message::StreamAbort { .. } => {
                Err(CdcError::Protocol("the border of a transaction inside of one".into()))
            }
        }
    }

    /// Waits until Kafka has everything that was sent.
    pub(crate) async fn flush(&self, timeout: std::time::Duration) -> Result<(), CdcError> {
        Ok(self.emitter.producer.flush(timeout).await?)
    }

    async fn update(
        &mut self,
        relation: u32,
        old: Option<Old<'_>>,
        new: &Tuple<'_>,
        wal_start: u64,
    ) -> Result<(), CdcError> {
        // Every update with an old row takes the three ordinals of a moved key, whether the key moved
        // or not, so that ordinals do not depend on what the key is.
        let ordinals = self.take_ordinals(if old.is_some() { 3 } else { 1 })?;
        let Some(shape) = self.shape(relation)? else { return Ok(()) };
        let full = matches!(old, Some(Old::Full(_)));
        let old_tuple = old.as_ref().map(|(Old::Key(tuple) | Old::Full(tuple))| tuple);
        let merged = merge(new, old_tuple, full);
        if let Some(old) = old_tuple.filter(|old| shape.key_moved(old, new)) {
            self.change(&shape, Op::Delete, Some(old), None, wal_start, ordinals).await?;
            let filled = fill(&mut self.catalog, &shape, &merged).await?;
            let new = merge_filled(&merged, &filled);
            return self.change(&shape, Op::Create, None, Some(&new), wal_start, ordinals + 2).await;
        }
        let filled =
            if self.must_fill(&shape) { fill(&mut self.catalog, &shape, &merged).await? } else { Vec::new() };
        let new = merge_filled(&merged, &filled);
        self.change(&shape, Op::Update, old_tuple, Some(&new), wal_start, ordinals).await
    }

    /// One event and what belongs to it, from `ordinal` on.
    async fn change(
        &mut self,
        shape: &Arc<Shape>,
        op: Op,
        old: Option<&Tuple<'_>>,
        new: Option<&Tuple<'_>>,
        wal_start: u64,
        ordinal: u64,
    ) -> Result<(), CdcError> {
        let commit_lsn = self.open.as_ref().map_or(0, |open| open.commit_lsn);
        if shape.key.is_empty() && self.context.cuts.covers(shape.oid, commit_lsn).await {
            return Ok(());
        }
        let protector = Arc::clone(&self.context.protector);
        let open =
            self.open.as_mut().ok_or_else(|| CdcError::Protocol("a change outside a transaction".into()))?;
        let position = Position::new(open.commit_lsn + self.context.shift, ordinal);
        open.events += 1;
        let has_room = open.traced.len() < TRACED_MAX;
        let trace = if has_room {
            TraceContext::root(&self.context.source, position.lsn.0, position.ordinal)
        } else {
            None
        };
        let transaction = self.transactions.as_ref().map(|records| {
            let order = open.collections.entry(Arc::clone(&shape.topic)).or_default();
            *order += 1;
            let id = records.id(open.xid, open.commit_lsn);
            Transaction { id, total_order: open.events, data_collection_order: *order }
        });
        let (xid, ts_us) = (open.xid, open.ts_us);
        let build = |tuple: Option<&Tuple<'_>>| tuple.map(|t| shape.build(t, None, &protector)).transpose();
        let (before, after) = match (build(old), build(new)) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(bad), _) | (_, Err(bad)) => {
                let BadValue { reason, .. } = bad;
                let unfit = Unfit { reason, error: bad.to_string() };
                return self.quarantine(shape, op, position, wal_start, new.or(old), &unfit).await;
            }
        };
        let Built { row, unchanged } = after.unwrap_or_default();
        let event = ChangeEvent {
            schema: Arc::clone(&shape.schema),
            op,
            before: before.map(|built| built.row),
            after: new.is_some().then_some(row),
            unchanged,
            source: Source {
                name: Arc::clone(&self.context.source),
                database: Arc::clone(&self.context.database),
                position,
                lsn: wal_start,
                tx_id: Some(xid),
                ts_us,
                snapshot: Snapshot::False,
            },
            ts_us: affluent_model::time::now_micros(),
            transaction,
        };
        let record = match self.emitter.encode(&shape.topic, &event).await {
            Ok(record) => record,
            Err(unfit) => return self.quarantine(shape, op, position, wal_start, new.or(old), &unfit).await,
        };
        let tombstone = op == Op::Delete && self.context.options.tombstones && record.key.is_some();
        let key = record.key.clone();
        let outgoing = |key: Option<Bytes>, value, position| Outgoing {
            topic: Arc::clone(&shape.topic),
            partition: Some(target_partition(key.as_ref(), shape.partitions)),
            key,
            value,
            headers: headers(position, shape.event_type(op)),
            timestamp_ms: None,
        };
        let mut first = outgoing(key.clone(), Some(record.value), position);
        if let Some(trace) = &trace {
            first.headers.push((HEADER_TRACE.to_owned(), Bytes::from(trace.header())));
        }
        if !self.send_in_order(first, position, shape.partitions).await? {
            let unfit = Unfit { reason: Reason::TooLarge, error: "larger than the broker takes".into() };
            return self.quarantine(shape, op, position, wal_start, new.or(old), &unfit).await;
        }
        failpoint("cdc::after_produce");
        if let (Some(trace), Some(open)) = (trace, &mut self.open) {
            open.traced.push((trace, Arc::clone(&shape.topic)));
        }
        if tombstone {
            let position = Position { ordinal: position.ordinal + 1, ..position };
            self.send_in_order(outgoing(key, None, position), position, shape.partitions).await?;
        }
        Ok(())
    }

    /// Sends unless the partition has it; false where the broker takes no record of this size.
    async fn send_in_order(
        &mut self,
        record: Outgoing,
        position: Position,
        partitions: i32,
    ) -> Result<bool, CdcError> {
        let partition = usize::try_from(record.partition.unwrap_or(0)).unwrap_or(0);
        if !self.delivered.contains_key(&record.topic) {
            let found = resume::delivered(&self.context.admin, &record.topic, partitions).await?;
            self.delivered.insert(Arc::clone(&record.topic), found);
        }
        let last = self.delivered.get(&record.topic).and_then(|p| p.get(partition)).copied().flatten();
        if resume::is_delivered(last, position) {
            metrics_list::records("cdc", "bus", "duplicate", 1);
            return Ok(true);
        }
        let sequence = self.emitter.send(record).await?;
        if let Some(sequence) = sequence {
            self.sent = sequence;
            self.acks.count();
        }
        Ok(sequence.is_some())
    }

    async fn quarantine(
        &mut self,
        shape: &Arc<Shape>,
        op: Op,
        position: Position,
        lsn: u64,
        tuple: Option<&Tuple<'_>>,
        unfit: &Unfit,
    ) -> Result<(), CdcError> {
        let row = tuple.map_or(serde_json::Value::Null, |t| shape.raw_json(t, &self.context.protector));
        self.sent = self.emitter.quarantine(&Origin { shape, op, position, lsn }, &row, unfit).await?;
        Ok(())
    }

    /// The first of `count` ordinals for the next change.
    fn take_ordinals(&mut self, count: u64) -> Result<u64, CdcError> {
        let open =
            self.open.as_mut().ok_or_else(|| CdcError::Protocol("a change outside a transaction".into()))?;
        let first = open.ordinal + 1;
        open.ordinal += count;
        Ok(first)
    }

    fn shape(&self, oid: u32) -> Result<Option<Arc<Shape>>, CdcError> {
        let shape = self.shapes.get(&oid).cloned();
        shape
            .ok_or_else(|| CdcError::Protocol(format!("a change of relation {oid}, which was not described")))
    }

    /// A table has a (new) shape from here on.
    async fn relation(&mut self, relation: &Relation) -> Result<(), CdcError> {
        let table = TableId::new(&relation.schema, &relation.name);
        let known = self.context.checkpoints.table(relation.oid).await;
        if known.is_none() && !self.context.options.selects(&relation.schema, &relation.name) {
            self.shapes.insert(relation.oid, None);
            return Ok(());
        }
        let mut entry = self.context.ensure_table(relation.oid, &table).await?;
        if entry.table != table {
            match self.context.options.on_rename {
                OnRename::Keep => tracing::warn!(
                    from = %entry.table, to = %table, topic = entry.topic, "table renamed, its topic stays"
                ),
                OnRename::Follow => {
                    let renamed = self.context.new_entry(&table).await?;
                    tracing::warn!(from = %entry.table, to = %table, topic = renamed.topic, "table renamed, topic follows");
                    entry = TableEntry { snapshot: entry.snapshot.take(), ..renamed };
                    self.context.checkpoints.save_table(relation.oid, entry.clone()).await?;
                }
            }
        }
        let captured = self.context.captured(&entry).await?;
        let primary_key = match relation.replica_identity {
            b'd' | b'i' => Vec::new(),
            _ => self.catalog.primary_key(relation.oid).await?,
        };
        let types = self.catalog.types_for(relation).await?;
        let shape = Shape::new(relation, types, &self.context.protector, &captured, &primary_key)?;
        if let Some(Some(before)) = self.shapes.get(&relation.oid)
            && before.schema != shape.schema
        {
            tracing::info!(table = %table, columns = shape.schema.columns.len(), "table has a new shape");
        }
        self.shapes.insert(relation.oid, Some(Arc::new(shape)));
        Ok(())
    }

    /// Whether sinks may lack the values that an update of this table leaves out: while its snapshot
    /// runs, the row may reach them by its update first, and the snapshot's row is then too old.
    fn must_fill(&self, shape: &Shape) -> bool {
        let until = self.context.fill_until.lock().get(&shape.oid).copied();
        let commit_lsn = self.open.as_ref().map_or(0, |open| open.commit_lsn);
        until.is_some_and(|until| commit_lsn <= until)
    }
}
