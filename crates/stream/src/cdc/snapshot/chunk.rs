//! One chunk: read in a short transaction, sent, acknowledged, finished.

use super::Job;
use crate::cdc::CdcError;
use crate::cdc::catalog::{Captured, Catalog, sql_name};
use crate::cdc::checkpoint::SnapshotEntry;
use crate::cdc::connect::{quote_ident, quote_literal};
use crate::cdc::context::Context;
use crate::cdc::decode::copy;
use crate::cdc::decode::pgoutput::{Field, Tuple};
use crate::cdc::emit::{Emitter, Origin, Unfit, headers, target_partition};
use crate::cdc::relation::Shape;
use crate::cdc::resume;
use affluent_bus::{Outgoing, TopicPartition};
use affluent_model::names::HEADER_CHUNK;
use affluent_model::{ChangeEvent, Op, Position, Reason, Snapshot, Source, TableId};
use affluent_telemetry::{failpoint, metrics_list};
use bytes::Bytes;
use futures::{TryStreamExt, pin_mut};
use std::collections::HashSet;
use std::sync::Arc;

/// What became of a chunk.
pub(super) enum Outcome {
    Finished,
    /// The table was rewritten (VACUUM FULL, CLUSTER, TRUNCATE): pages mean other rows now.
    Moved,
    /// The snapshot was started over, or the table is gone.
    Superseded,
}

/// Reads chunks, one after the other, on a session of its own.
pub(super) struct ChunkReader {
    pub(super) context: Context,
    pub(super) catalog: Catalog,
    emitter: Emitter,
}

/// What is common to the rows of a chunk.
struct Rows {
    shape: Arc<Shape>,
    source: Source,
    position: Position,
    headers: Vec<(String, Bytes)>,
    /// Keys of the rows that Kafka has from a try before.
    present: HashSet<Vec<u8>>,
    sent: u64,
    last_sequence: u64,
}

/// Rows between two looks at the failpoint.
const STRIDE: u64 = 1000;

impl ChunkReader {
    pub(super) fn new(context: Context, catalog: Catalog, emitter: Emitter) -> Self {
        ChunkReader { context, catalog, emitter }
    }

    pub(super) async fn read(&mut self, job: &Job) -> Result<Outcome, CdcError> {
        let Some(entry) = self.context.checkpoints.table(job.oid).await else {
            return Ok(Outcome::Superseded);
        };
        let captured = self.context.captured(&entry).await?;
        let Some(snapshot) = entry.snapshot.filter(|s| s.generation == job.generation) else {
            return Ok(Outcome::Superseded);
        };
        let publication = self.context.options.publication.clone();
        match &job.snapshot {
            None => self.execute("BEGIN").await?,
            Some(exported) => {
                let name = quote_literal(&exported.name);
                let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT {name}");
                self.execute(&sql).await?;
            }
        }
        let moved = match self.lock(job).await? {
            Some(filenode) => filenode != job.filenode,
            None => return self.leave(Outcome::Moved).await,
        };
        if moved {
            return self.leave(Outcome::Moved).await;
        }
        let Some(relation) = self.catalog.relation(job.oid, &publication).await? else {
            tracing::warn!(table = %captured.table, "the table left the publication, its snapshot ends");
            let (chunks, end) = (snapshot.chunks(), snapshot.lsn);
            let finish = move |s: &mut SnapshotEntry| {
                s.done = vec![(0, chunks)];
                s.complete = Some(end);
            };
            self.context.checkpoints.update_snapshot(job.oid, finish).await?;
            return self.leave(Outcome::Superseded).await;
        };
        let primary_key = self.catalog.primary_key(job.oid).await?;
        let types = self.catalog.types_for(&relation).await?;
        let shape = Shape::new(&relation, types, &self.context.protector, &captured, &primary_key)?;
        let name = format!("{}#{}.{}", captured.table, job.generation, job.chunk);
        let present = self.begin(job, &snapshot, &shape, &name).await?;
        let position = Position::new(snapshot.lsn + self.context.shift, 0);
        let now = affluent_model::time::now_micros();
        let mut rows = Rows {
            headers: headers(position, shape.event_type(Op::Read)),
            source: Source {
                name: Arc::clone(&self.context.source),
                database: Arc::clone(&self.context.database),
                position,
                lsn: snapshot.lsn,
                tx_id: None,
                ts_us: now,
                snapshot: if snapshot.incremental { Snapshot::Incremental } else { Snapshot::True },
            },
            shape: Arc::new(shape),
            position,
            present,
            sent: 0,
            last_sequence: 0,
        };
        rows.headers.push((HEADER_CHUNK.to_owned(), Bytes::from(name)));
        let sql = self.copy_sql(job, &rows, &publication).await?;
        self.copy(&sql, &mut rows).await?;
        self.execute("COMMIT").await?;

        self.emitter.producer.wait_acked(rows.last_sequence).await?;
        failpoint("cdc::chunk_acked");
        let (chunk, generation, sent) = (job.chunk, job.generation, rows.sent);
        let finish = move |s: &mut SnapshotEntry| {
            if s.generation == generation {
                s.finish(chunk);
                s.rows += sent;
            }
        };
        self.context.checkpoints.update_snapshot(job.oid, finish).await?;
        metrics_list::records("cdc", "snapshot", "ok", sent);
        Ok(Outcome::Finished)
    }

    /// Has the table emptied downstream, just before the position that its rows are going to have.
    pub(super) async fn clear(&mut self, oid: u32) -> Result<(), CdcError> {
        let Some(entry) = self.context.checkpoints.table(oid).await else { return Ok(()) };
        let captured = self.context.captured(&entry).await?;
        let Some(snapshot) = entry.snapshot else { return Ok(()) };
        let Some(relation) = self.catalog.relation(oid, &self.context.options.publication).await? else {
            return Ok(());
        };
        let types = self.catalog.types_for(&relation).await?;
        let shape = Shape::new(&relation, types, &self.context.protector, &captured, &[])?;
        let position = Position::new((snapshot.lsn + self.context.shift).saturating_sub(1), 0);
        let now = affluent_model::time::now_micros();
        let event = ChangeEvent {
            schema: Arc::clone(&shape.schema),
            op: Op::Truncate,
            before: None,
            after: None,
            unchanged: Vec::new(),
            source: Source {
                name: Arc::clone(&self.context.source),
                database: Arc::clone(&self.context.database),
                position,
                lsn: snapshot.lsn,
                tx_id: None,
                ts_us: now,
                snapshot: Snapshot::True,
            },
            ts_us: now,
            transaction: None,
        };
        let record = match self.emitter.encode(&shape.topic, &event).await {
            Ok(record) => record,
            Err(unfit) => {
                tracing::warn!(table = %shape.table, error = unfit.error, "rows that are gone stay downstream");
                return Ok(());
            }
        };
        let mut headers = headers(position, shape.event_type(Op::Truncate));
        let name = format!("{}#{}.clear", captured.table, snapshot.generation);
        headers.push((HEADER_CHUNK.to_owned(), Bytes::from(name)));
        let outgoing = Outgoing {
            topic: Arc::clone(&shape.topic),
            partition: Some(0),
            key: None,
            value: Some(record.value),
            headers,
            timestamp_ms: None,
        };
        if let Some(sequence) = self.emitter.send(outgoing).await? {
            self.emitter.producer.wait_acked(sequence).await?;
        }
        Ok(())
    }

    /// Whether the rows of the table can be told apart. A table that is gone or not published any more
    /// counts as one with a key: nothing is read of it.
    pub(super) async fn has_key(&mut self, table: &TableId, oid: u32) -> Result<bool, CdcError> {
        let Some(relation) = self.catalog.relation(oid, &self.context.options.publication).await? else {
            return Ok(true);
        };
        let primary_key = self.catalog.primary_key(oid).await?;
        let types = self.catalog.types_for(&relation).await?;
        let captured = Captured { table: table.clone(), topic: "".into(), partitions: 0 };
        let shape = Shape::new(&relation, types, &self.context.protector, &captured, &primary_key)?;
        Ok(!shape.key.is_empty())
    }

    async fn leave(&mut self, outcome: Outcome) -> Result<Outcome, CdcError> {
        self.execute("ROLLBACK").await?;
        Ok(outcome)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), CdcError> {
        let done = self.catalog.client().await?.batch_execute(sql).await;
        done.map_err(|e| CdcError::sql("read a chunk", &e))
    }

    /// Keeps the leaf from being rewritten while it is read; its filenode, none where it is gone.
    async fn lock(&mut self, job: &Job) -> Result<Option<u32>, CdcError> {
        let client = self.catalog.client().await?;
        let failed = |e: tokio_postgres::Error| CdcError::sql("read a chunk", &e);
        let sql = "SELECT n.nspname::text, c.relname::text FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
        let Some(row) = client.query_opt(sql, &[&job.leaf]).await.map_err(failed)? else { return Ok(None) };
        let leaf = affluent_model::TableId::new(row.get::<_, String>(0), row.get::<_, String>(1));
        client
            .batch_execute(&format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", sql_name(&leaf)))
            .await
            .map_err(failed)?;
        let row = client.query_one("SELECT pg_relation_filenode($1::oid::regclass)", &[&job.leaf]).await;
        Ok(row.map_err(failed)?.get(0))
    }

    /// Notes that the chunk is begun, or finds what a try before has sent.
    async fn begin(
        &self,
        job: &Job,
        snapshot: &SnapshotEntry,
        shape: &Shape,
        name: &str,
    ) -> Result<HashSet<Vec<u8>>, CdcError> {
        if let Some(offsets) = snapshot.begun.get(&job.chunk) {
            let present = resume::chunk_rows(&self.context.admin, &shape.topic, name, offsets).await?;
            tracing::info!(chunk = name, present = present.len(), "chunk is read again");
            return Ok(present);
        }
        let mut offsets = Vec::new();
        for partition in 0..shape.partitions {
            let partition = TopicPartition::new(Arc::clone(&shape.topic), partition);
            offsets.push(self.context.admin.watermarks(&partition).await?.1);
        }
        let (chunk, generation) = (job.chunk, job.generation);
        let begin = move |s: &mut SnapshotEntry| {
            if s.generation == generation {
                s.begun.insert(chunk, offsets);
            }
        };
        self.context.checkpoints.update_snapshot(job.oid, begin).await?;
        Ok(HashSet::new())
    }

    async fn copy_sql(&mut self, job: &Job, rows: &Rows, publication: &str) -> Result<String, CdcError> {
        let client = self.catalog.client().await?;
        let failed = |e: tokio_postgres::Error| CdcError::sql("read a chunk", &e);
        let name = client.query_one("SELECT $1::oid::regclass::text", &[&job.leaf]).await.map_err(failed)?;
        let name: String = name.get(0);
        // Publications have row filters since version 15.
        let sql = "SELECT to_jsonb(t) ->> 'rowfilter' FROM pg_publication_tables t \
                   WHERE t.pubname = $1 AND t.schemaname = $2 AND t.tablename = $3";
        let table = &rows.shape.table;
        let filter =
            client.query_opt(sql, &[&publication, &table.schema, &table.name]).await.map_err(failed)?;
        let filter = filter.and_then(|row| row.get::<_, Option<String>>(0)).map(|f| format!(" AND ({f})"));
        let columns: Vec<String> = rows.shape.fields.iter().map(|f| quote_ident(&f.name)).collect();
        let end = job.to_page.map(|page| format!(" AND ctid < '({page},0)'::tid")).unwrap_or_default();
        Ok(format!(
            "COPY (SELECT {} FROM ONLY {name} WHERE ctid >= '({},0)'::tid{end}{}) TO STDOUT",
            columns.join(", "),
            job.from_page,
            filter.unwrap_or_default()
        ))
    }

    async fn copy(&mut self, sql: &str, rows: &mut Rows) -> Result<(), CdcError> {
        let failed = |e: tokio_postgres::Error| CdcError::sql("read a chunk", &e);
        let stream = self.catalog.client().await?.copy_out(sql).await.map_err(failed)?;
        pin_mut!(stream);
        let mut count = 0;
        while let Some(data) = stream.try_next().await.map_err(failed)? {
            // The server sends every row in a message of its own.
            let lines = data.strip_suffix(b"\n").unwrap_or(&data);
            for line in lines.split(|&b| b == b'\n') {
                send_row(&mut self.emitter, &self.context, rows, line).await?;
                count += 1;
                if count % STRIDE == 0 {
                    failpoint("cdc::mid_snapshot");
                }
            }
        }
        Ok(())
    }
}

async fn send_row(
    emitter: &mut Emitter,
    context: &Context,
    rows: &mut Rows,
    line: &[u8],
) -> Result<(), CdcError> {
    let fields: Vec<_> = copy::fields(line).collect();
    let tuple: Tuple<'_> =
        fields.iter().map(|field| field.as_deref().map_or(Field::Null, Field::Text)).collect();
    let built = match rows.shape.build(&tuple, None, &context.protector) {
        Ok(built) => built,
        Err(bad) => {
            let unfit = Unfit { reason: bad.reason, error: bad.to_string() };
            return quarantine(emitter, context, rows, &tuple, &unfit).await;
        }
    };
    let event = ChangeEvent {
        schema: Arc::clone(&rows.shape.schema),
        op: Op::Read,
        before: None,
        after: Some(built.row),
        unchanged: Vec::new(),
        source: rows.source.clone(),
        ts_us: rows.source.ts_us,
        transaction: None,
    };
    let record = match emitter.encode(&rows.shape.topic, &event).await {
        Ok(record) => record,
        Err(unfit) => return quarantine(emitter, context, rows, &tuple, &unfit).await,
    };
    if record.key.as_ref().is_some_and(|key| rows.present.contains(key.as_ref())) {
        return Ok(());
    }
    let outgoing = Outgoing {
        topic: Arc::clone(&rows.shape.topic),
        partition: Some(target_partition(record.key.as_ref(), rows.shape.partitions)),
        key: record.key,
        value: Some(record.value),
        headers: rows.headers.clone(),
        timestamp_ms: None,
    };
    match emitter.send(outgoing).await? {
        Some(sequence) => {
            rows.last_sequence = sequence;
            rows.sent += 1;
            Ok(())
        }
        None => {
            let unfit = Unfit { reason: Reason::TooLarge, error: "larger than the broker takes".into() };
            quarantine(emitter, context, rows, &tuple, &unfit).await
        }
    }
}

async fn quarantine(
    emitter: &mut Emitter,
    context: &Context,
    rows: &mut Rows,
    tuple: &Tuple<'_>,
    unfit: &Unfit,
) -> Result<(), CdcError> {
    let row = rows.shape.raw_json(tuple, &context.protector);
    let origin = Origin { shape: &rows.shape, op: Op::Read, position: rows.position, lsn: rows.source.lsn };
    rows.last_sequence = emitter.quarantine(&origin, &row, unfit).await?;
    Ok(())
}
