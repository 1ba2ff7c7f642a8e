//! Appending rows, and writing rows as data files.
//!
//! Invariant: what no commit refers to is deleted, unless a commit may refer to it yet.

use crate::files::{self, PartitionWriter};
use crate::table::{LakeTable, off_worker};
use crate::values::batch::{self, Incoming, Partitions};
use crate::write::commits::{Commit, Stored};
use crate::write::overwrite::change;
use crate::write::sort::Order;
use crate::{Advance, LakeError, Offsets};
use affluent_model::{Column, Row};
use affluent_telemetry::failpoint;
use arrow_array::RecordBatch;
use futures::future::BoxFuture;
use iceberg::spec::{DataFile, PartitionKey};
use iceberg::table::Table;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

/// zstd level of files that live until the next compaction.
pub(crate) const LEVEL_FRESH: i32 = 1;
/// Partitions that are written at once, on as many threads as there are processors. Each holds a row group.
const WRITERS_MAX: usize = 8;

/// Rows to append: one value a column each.
#[derive(Debug, Clone, Default)]
pub struct RowBatch {
    pub columns: Arc<[Column]>,
    pub rows: Vec<Row>,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The new snapshot; `None` where there were no rows and only offsets moved.
    pub snapshot: Option<i64>,
    pub rows: usize,
    pub files: usize,
}

impl LakeTable {
    /// Appends the rows and advances the offsets, both or neither, in one commit that is on disk
    /// and visible to every reader when this returns. Columns that the table lacks are added.
    /// With no rows only the offsets move.
    ///
    /// Repeating a batch that was stored before is refused as [`LakeError::OffsetConflict`], as
    /// long as it advances an offset.
    ///
    /// # Errors
    /// [`LakeError::OffsetConflict`], [`LakeError::Incompatible`], [`LakeError::Value`],
    /// [`LakeError::Contention`], faults of disk and catalog: nothing was stored. After
    /// [`LakeError::Unsettled`] the offsets tell.
    pub fn append(
        &self,
        batch: Arc<RowBatch>,
        advance: Vec<Advance>,
    ) -> BoxFuture<'_, Result<Appended, LakeError>> {
        Box::pin(self.append_rows(batch, advance))
    }

    async fn append_rows(&self, batch: Arc<RowBatch>, advance: Vec<Advance>) -> Result<Appended, LakeError> {
        if !batch.rows.is_empty() {
            self.evolve(&batch.columns).await?;
        }
        self.append_incoming(Incoming::Rows(batch), advance).await
    }

    /// The same for Arrow batches. Their columns are found by name, in any order; those that a batch
    /// lacks are null. The table has to have all of them: see [`Lake::ensure_table`].
    ///
    /// # Errors
    /// As [`LakeTable::append`], and [`LakeError::NoColumn`].
    pub async fn append_batches(
        &self,
        batches: Vec<RecordBatch>,
        advance: Vec<Advance>,
    ) -> Result<Appended, LakeError> {
        self.append_incoming(Incoming::Batches(batches), advance).await
    }

    async fn append_incoming(
        &self,
        incoming: Incoming,
        advance: Vec<Advance>,
    ) -> Result<Appended, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.append_here(&incoming, advance).await }).await
    }

    async fn append_here(&self, incoming: &Incoming, advance: Vec<Advance>) -> Result<Appended, LakeError> {
        let commit = Commit { advance, ..Commit::default() };
        let mut attempts = self.attempts();
        loop {
            let base = self.expecting(&commit.advance).await?;
            let added = self.write(&base, incoming).await?;
            failpoint("lake::after_data_files");
            let schema_id = base.metadata().current_schema_id();
            let decide = async |_: &Table| Ok(Some(change(added.clone(), HashSet::new())));
            match self.store(&commit, schema_id, &mut attempts, decide).await {
                Ok(Stored::Now(snapshot)) => {
                    return Ok(Appended { snapshot, rows: incoming.rows(), files: added.len() });
                }
                // Without a key this does not happen.
                Ok(Stored::Before(snapshot)) => {
                    self.discard(&added);
                    return Ok(Appended { snapshot, rows: 0, files: 0 });
                }
                // Another writer changed the schema: the rows are written again under it.
                Ok(Stored::Stale) => {
                    self.discard(&added);
                    self.again(&mut attempts).await?;
                }
                Err(error) => {
                    if error.is_settled() {
                        self.discard(&added);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The table as this process knows it, or as it is now where the offsets say that it has moved.
    async fn expecting(&self, advance: &[Advance]) -> Result<Table, LakeError> {
        let known = self.known();
        if Offsets::of(known.metadata().properties())?.advanced(advance).is_ok() {
            return Ok(known);
        }
        let now = self.refreshed().await?;
        Offsets::of(now.metadata().properties())?.advanced(advance)?;
        Ok(now)
    }

    /// Writes the rows as data files of `table`'s current schema, flushed with their directories.
    async fn write(&self, table: &Table, incoming: &Incoming) -> Result<Vec<DataFile>, LakeError> {
        if incoming.rows() == 0 {
            return Ok(Vec::new());
        }
        let batches = incoming.batches(&self.name(), table.metadata().current_schema())?;
        self.write_parts(table, batch::partitions(table, batches)?).await
    }

    /// Writes the batches of each partition as data files of `table`'s current schema, flushed with their
    /// directories; after an error nothing is left of them. Several partitions are written at once.
    pub(crate) async fn write_parts(
        &self,
        table: &Table,
        parts: Partitions,
    ) -> Result<Vec<DataFile>, LakeError> {
        let workers =
            std::thread::available_parallelism().map_or(1, usize::from).min(WRITERS_MAX).min(parts.len());
        let queue = Arc::new(Mutex::new(parts));
        let mut working = Vec::with_capacity(workers);
        for _ in 0..workers {
            let (lake, table, queue) = (self.clone(), table.clone(), Arc::clone(&queue));
            working.push(off_worker(move || async move { Ok(lake.write_queued(&table, &queue).await) }));
        }
        let mut written = Vec::new();
        let mut outcome = Ok(());
        for worked in futures::future::join_all(working).await {
            match worked {
                Ok((files, ended)) => {
                    written.extend(files);
                    outcome = outcome.and(ended);
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        if let Err(error) = outcome.and_then(|()| self.sync(&written)) {
            self.discard(&written);
            return Err(error);
        }
        // In the order of their days, as if one had written them: readers follow it.
        written.sort_by(|a, b| a.file_path().cmp(b.file_path()));
        Ok(written)
    }

    /// Writes partitions until the queue is empty or one fails; what was written until then is returned too.
    async fn write_queued(
        &self,
        table: &Table,
        queue: &Mutex<Partitions>,
    ) -> (Vec<DataFile>, Result<(), LakeError>) {
        let mut written = Vec::new();
        loop {
            let Some((partition, batches)) = queue.lock().pop() else { return (written, Ok(())) };
            match self.write_partition(table, partition, batches).await {
                Ok(files) => written.extend(files),
                Err(error) => {
                    queue.lock().clear();
                    return (written, Err(error));
                }
            }
        }
    }

    async fn write_partition(
        &self,
        table: &Table,
        partition: Option<PartitionKey>,
        mut batches: Vec<RecordBatch>,
    ) -> Result<Vec<DataFile>, LakeError> {
        let order = Order::of(table);
        if let Some(order) = &order {
            batches = order.sorted(table.metadata().current_schema(), &batches)?;
        }
        let target = self.0.options.target_file_bytes;
        let mut writer = PartitionWriter::new(table, partition, target, LEVEL_FRESH)?;
        for batch in batches {
            writer.write(batch).await?;
        }
        let spec_id = table.metadata().default_partition_spec_id();
        let written = writer.close().await?;
        match order {
            Some(order) => written.iter().map(|file| order.mark(file, spec_id)).collect(),
            None => Ok(written),
        }
    }

    /// Flushes the directories of data files.
    pub(crate) fn sync(&self, written: &[DataFile]) -> Result<(), LakeError> {
        let table = self.known();
        let location = table.metadata().location();
        files::sync_parents(location, written.iter().map(DataFile::file_path), &self.0.directories)
    }

    /// Deletes data files that no commit will refer to; what stays behind is found as unreferenced.
    pub(crate) fn discard(&self, written: &[DataFile]) {
        files::discard(self.known().file_io(), written.iter().map(DataFile::file_path));
    }
}
