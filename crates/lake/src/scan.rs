//! Reading a table at one snapshot, batch by batch.
//!
//! Invariant: a stream reads the snapshot it began with, whatever is appended, merged or dropped
//! meanwhile; its files stay for the grace period at least. Memory: a few Arrow batches.

use crate::read::{Columns, FileBatches};
use crate::table::{LakeTable, columns_of};
use crate::{LakeError, decode, schema};
use affluent_model::{Column, Row};
use arrow_array::RecordBatch;
use futures::TryStreamExt;
use iceberg::scan::FileScanTask;
use iceberg::table::Table;
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
    pub async fn scan(&self, scan: Scan) -> Result<RowStream, LakeError> {
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
            let find = |name: &String| {
                let index = schema::find(fields, name)
                    .or_else(|| fields.iter().position(|field| field.name == *name));
                index
                    .map(|index| &fields[index])
                    .ok_or_else(|| LakeError::NoColumn { table: self.name(), column: name.clone() })
            };
            scan.columns.iter().map(find).collect::<Result<_, _>>()?
        };
        let projected = Columns::new(current, wanted.iter().map(|field| field.id).collect())?;
        let columns = columns_of(&wanted.into_iter().cloned().collect::<Vec<_>>());
        let snapshot = snapshot.map(|snapshot| snapshot.snapshot_id());
        let (send, receive) = mpsc::channel(BATCHES_AHEAD);
        if let Some(id) = snapshot {
            let plan = table.scan().snapshot_id(id).with_concurrency_limit(FILES_AT_ONCE).build()?;
            let tasks: Vec<_> = plan.plan_files().await?.try_collect().await?;
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
        Ok(RowStream { columns, snapshot, batches: receive })
    }
}

/// Sends every batch of the files, until the reader is gone.
async fn read_files(
    table: &Table,
    tasks: &[FileScanTask],
    columns: &Columns,
    send: &mpsc::Sender<Result<RecordBatch, LakeError>>,
) -> Result<(), LakeError> {
    for task in tasks {
        let mut batches = FileBatches::open(table, task, columns, BATCH_ROWS)?;
        while let Some(batch) = batches.next().await {
            if send.send(Ok(batch?)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
