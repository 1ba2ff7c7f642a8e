//! Reading a table at one snapshot, batch by batch.
//!
//! Invariant: a stream reads the snapshot it began with, whatever is appended, merged or dropped
//! meanwhile; its files stay for the grace period at least. Memory: a few Arrow batches.

use crate::table::{LakeTable, columns_of};
use crate::{LakeError, decode, schema};
use affluent_model::{Column, Row, Value};
use arrow_array::RecordBatch;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

/// Rows of a batch.
const BATCH_ROWS: usize = 8 * 1024;
/// Data files that are read at once.
const FILES_AT_ONCE: usize = 2;

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Columns by their lake or source names, in the order wanted; empty means all.
    pub columns: Vec<String>,
    /// A kept snapshot; default the current one.
    pub snapshot: Option<i64>,
}

/// The rows of a scan, batch by batch, in no particular order.
pub struct RowStream {
    columns: Vec<Column>,
    /// Where each wanted column is in the batches; `None` for one that the snapshot lacks.
    places: Vec<Option<usize>>,
    snapshot: Option<i64>,
    batches: BoxStream<'static, Result<RecordBatch, LakeError>>,
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
        let batch = self.batches.next().await?;
        Some(batch.and_then(|batch| decode::rows(&batch)).map(|rows| self.arranged(rows)))
    }

    /// The Arrow batches instead of rows; columns that the snapshot lacks are absent.
    #[must_use]
    pub fn into_batches(self) -> BoxStream<'static, Result<RecordBatch, LakeError>> {
        self.batches
    }

    fn arranged(&self, rows: Vec<Row>) -> Vec<Row> {
        if self.places.iter().enumerate().all(|(index, place)| *place == Some(index)) {
            return rows;
        }
        let arrange = |row: Row| {
            self.places.iter().map(|place| place.map_or(Value::Null, |at| row[at].clone())).collect()
        };
        rows.into_iter().map(arrange).collect()
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
        // A column that was added after the snapshot is null there.
        let current = metadata.current_schema();
        let old = snapshot.map(|snapshot| snapshot.schema(metadata)).transpose()?;
        let old = old.as_ref().unwrap_or(current);
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
        let mut select = Vec::new();
        let mut places = Vec::with_capacity(wanted.len());
        for field in &wanted {
            places.push(old.name_by_field_id(field.id).map(|name| {
                select.push(name.to_owned());
                select.len() - 1
            }));
        }
        let columns = columns_of(&wanted.into_iter().cloned().collect::<Vec<_>>());
        let snapshot = snapshot.map(|snapshot| snapshot.snapshot_id());
        let batches = match snapshot {
            None => futures::stream::empty().boxed(),
            Some(id) => {
                let plan = table
                    .scan()
                    .snapshot_id(id)
                    .select(select)
                    .with_batch_size(Some(BATCH_ROWS))
                    .with_concurrency_limit(FILES_AT_ONCE)
                    .build()?;
                plan.to_arrow().await?.map_err(LakeError::from).boxed()
            }
        };
        Ok(RowStream { columns, places, snapshot, batches })
    }
}
