//! Reading a table at one snapshot, batch by batch.
//!
//! Invariant: a stream reads the snapshot it began with, whatever is appended, merged or dropped
//! meanwhile; its files stay for the grace period at least. Memory: a few Arrow batches.

use crate::LakeError;
use crate::read::choose::{self, ColumnRange, Wanted};
use crate::read::data_file::{Columns, FileBatches};
use crate::table::{LakeTable, columns_of};
use crate::values::decode;
use crate::values::schema;
use affluent_model::{Column, Row};
use arrow_array::RecordBatch;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use iceberg::scan::FileScanTask;
use iceberg::spec::SnapshotRef;
use iceberg::table::Table;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// Rows of a batch.
const BATCH_ROWS: usize = 8 * 1024;
/// Manifests that are read at once.
const FILES_AT_ONCE: usize = 2;
/// Batches that are read before anybody asks for them.
const BATCHES_AHEAD: usize = 2;

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Columns by their lake or source names, in the order wanted; empty means all.
    pub columns: Vec<String>,
    /// A kept snapshot; default the current one.
    pub snapshot: Option<i64>,
    /// Leaves out files that hold no row in this range. Rows outside it may come all the same.
    pub range: Option<ColumnRange>,
    /// Leaves out files that were there at the snapshot with this sequence number. Rows that were
    /// there may come all the same, from files that were merged since.
    pub since: Option<i64>,
}

/// The rows of a scan, batch by batch, in no particular order.
#[derive(Debug)]
pub struct RowStream {
    columns: Vec<Column>,
    snapshot: Option<i64>,
    batches: mpsc::Receiver<Result<RecordBatch, LakeError>>,
}

impl RowStream {
    /// The columns of the rows.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The snapshot that is read; `None` for a table without one.
    #[must_use]
    pub fn snapshot(&self) -> Option<i64> {
        self.snapshot
    }

    /// The next rows; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, LakeError>> {
        let batch = self.next_batch().await?;
        Some(batch.and_then(|batch| decode::rows(&batch)))
    }

    /// The next rows as an Arrow batch.
    pub async fn next_batch(&mut self) -> Option<Result<RecordBatch, LakeError>> {
        self.batches.recv().await
    }
}

impl LakeTable {
    /// Reads the table at one snapshot.
    ///
    /// # Errors
    /// [`LakeError::NoSnapshot`], [`LakeError::NoColumn`], disk and catalog.
    pub fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<RowStream, LakeError>> {
        Box::pin(self.start_scan(scan))
    }

    async fn start_scan(&self, scan: Scan) -> Result<RowStream, LakeError> {
        let table = self.refreshed().await?;
        let metadata = table.metadata();
        let snapshot = match scan.snapshot {
            Some(id) => Some(
                metadata
                    .snapshot_by_id(id)
                    .ok_or_else(|| LakeError::NoSnapshot { table: self.name(), snapshot: id })?,
            ),
            None => metadata.current_snapshot(),
        };
        // Columns are the newest schema's: what was added after the snapshot is null there.
        let current = metadata.current_schema();
        let fields = current.as_struct().fields();
        let wanted: Vec<_> = if scan.columns.is_empty() {
            fields.iter().collect()
        } else {
            let named = |name: &String| {
                schema::named(fields, name)
                    .ok_or_else(|| LakeError::NoColumn { table: self.name(), column: name.clone() })
            };
            scan.columns.iter().map(named).collect::<Result<_, _>>()?
        };
        let projected = Columns::new(current, wanted.iter().map(|field| field.id).collect())?;
        let columns = columns_of(&wanted.into_iter().cloned().collect::<Vec<_>>());
        let (send, receive) = mpsc::channel(BATCHES_AHEAD);
        let id = snapshot.map(|snapshot| snapshot.snapshot_id());
        if let Some(snapshot) = snapshot {
            let wanted = Wanted { range: scan.range.as_ref(), since: scan.since };
            let tasks = tasks(&table, snapshot, wanted).await?;
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || {
                runtime.block_on(async {
                    if let Err(error) = read_files(&table, &tasks, &projected, &send).await {
                        // Where nobody listens any more, there is nobody to tell.
                        let _ = send.send(Err(error)).await;
                    }
                });
            });
        }
        Ok(RowStream { columns, snapshot: id, batches: receive })
    }
}

/// What reads the files of `snapshot` that may hold what is wanted.
pub(crate) async fn tasks(
    table: &Table,
    snapshot: &SnapshotRef,
    wanted: Wanted<'_>,
) -> Result<Vec<FileScanTask>, LakeError> {
    let chosen = choose::files(table, snapshot, wanted).await?;
    if chosen.as_ref().is_some_and(HashSet::is_empty) {
        return Ok(Vec::new());
    }
    let id = snapshot.snapshot_id();
    let plan = table.scan().snapshot_id(id).with_concurrency_limit(FILES_AT_ONCE).build()?;
    let mut tasks: Vec<_> = plan.plan_files().await?.try_collect().await?;
    if let Some(chosen) = chosen {
        tasks.retain(|task: &FileScanTask| chosen.contains(&task.data_file_path));
    }
    Ok(tasks)
}

/// Sends every batch of the files, until the reader is gone.
async fn read_files(
    table: &Table,
    tasks: &[FileScanTask],
    columns: &Columns,
    send: &mpsc::Sender<Result<RecordBatch, LakeError>>,
) -> Result<(), LakeError> {
    for task in tasks {
        let mut batches = FileBatches::open(table, task, columns, BATCH_ROWS, None)?;
        while let Some(batch) = batches.next().await {
            if send.send(Ok(batch?)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
