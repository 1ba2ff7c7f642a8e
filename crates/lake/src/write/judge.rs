//! Looking for keys in data files, and writing anew those that hold any, without their rows.
//!
//! The key columns of a file are read alone; only a file with hits is read whole, batch by batch.
//! Invariant: the rows that are written are those that were read less the hits, or it is an error.

use crate::LakeError;
use crate::files::PartitionWriter;
use crate::read::data_file::{self, Columns, FileBatches};
use crate::read::live::LiveFile;
use crate::read::sought::Groups;
use crate::table::LakeTable;
use crate::write::append::LEVEL_FRESH;
use crate::write::keys::Keys;
use crate::write::sort::Order;
use arrow_array::BooleanArray;
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_select::filter::filter_record_batch;
use iceberg::scan::FileScanTask;
use iceberg::spec::{DataFile, PartitionKey};
use iceberg::table::Table;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of a file that are looked at or copied at once.
const BATCH_ROWS: usize = 16 * 1024;

/// What is known of a file.
pub(crate) struct Judged {
    pub(crate) is_read: bool,
    /// Numbers of the keys that it holds.
    pub(crate) hits: Vec<u32>,
    /// The files with its other rows; `None` where it holds no key.
    pub(crate) rewritten: Option<Vec<DataFile>>,
}

/// What is known of files, by their paths.
pub(crate) type Verdicts = HashMap<String, Judged>;

/// Looks for keys in files and rewrites those that hold any.
pub(crate) struct Judge {
    lake: LakeTable,
    table: Table,
    keys: Arc<Keys>,
    key_columns: Columns,
    all_columns: Columns,
    order: Option<Order>,
}

impl Judge {
    /// Places are those of the key's columns in the table.
    pub(crate) fn new(
        lake: LakeTable,
        table: Table,
        keys: Arc<Keys>,
        places: &[usize],
    ) -> Result<Self, LakeError> {
        let schema = table.metadata().current_schema();
        let ids: Vec<i32> = schema.as_struct().fields().iter().map(|field| field.id).collect();
        let key_ids = places.iter().map(|&place| ids[place]).collect();
        let (key_columns, all_columns) = (Columns::new(schema, key_ids)?, Columns::new(schema, ids)?);
        let order = Order::of(&table);
        Ok(Judge { lake, table, keys, key_columns, all_columns, order })
    }

    /// Judges files until the queue is empty or one fails; what was judged until then is returned too.
    pub(crate) async fn work(
        &self,
        queue: &Mutex<Vec<(LiveFile, FileScanTask)>>,
    ) -> (Verdicts, Result<(), LakeError>) {
        let mut verdicts = Verdicts::new();
        loop {
            let Some((live, task)) = queue.lock().pop() else { return (verdicts, Ok(())) };
            match self.judge(&live, &task).await {
                Ok(judged) => {
                    verdicts.insert(live.path().to_owned(), judged);
                }
                Err(error) => {
                    queue.lock().clear();
                    return (verdicts, Err(error));
                }
            }
        }
    }

    async fn judge(&self, live: &LiveFile, task: &FileScanTask) -> Result<Judged, LakeError> {
        let groups = match self.keys.leading() {
            Some((id, sought)) if task.deletes.is_empty() => {
                sought.groups(&data_file::source(&self.table, task)?, id)?
            }
            _ => None,
        };
        let unhit = |is_read| Judged { is_read, hits: Vec::new(), rewritten: None };
        if groups.as_ref().is_some_and(|groups| groups.hit.is_empty()) {
            return Ok(unhit(false));
        }
        let chosen = groups.as_ref().map(|groups| groups.hit.clone());
        let mut batches = FileBatches::open(&self.table, task, &self.key_columns, BATCH_ROWS, chosen)?;
        let mut hits = Vec::new();
        let mut kept = BooleanBufferBuilder::new(0);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let from = kept.len();
            kept.append_n(batch.num_rows(), true);
            self.keys.find(batch.columns(), |place, number| {
                kept.set_bit(from + place, false);
                hits.push(number);
            })?;
        }
        if hits.is_empty() {
            return Ok(unhit(true));
        }
        let mut kept = kept.finish();
        // A reader that cannot choose row groups has read them all.
        let chosen = |groups: &Groups| groups.hit.iter().map(|&group| groups.rows[group]).sum::<usize>();
        if let Some(groups) = groups.filter(|groups| chosen(groups) == kept.len()) {
            kept = spread(&kept, &groups.hit, &groups.rows);
        }
        let rewritten = Some(self.rewrite(live, task, &kept).await?);
        Ok(Judged { is_read: true, hits, rewritten })
    }

    /// Writes the rows that are kept into new files of the same partition.
    async fn rewrite(
        &self,
        live: &LiveFile,
        task: &FileScanTask,
        kept: &BooleanBuffer,
    ) -> Result<Vec<DataFile>, LakeError> {
        let metadata = self.table.metadata();
        let partition = match metadata.partition_spec_by_id(live.spec_id) {
            Some(spec) if !spec.is_unpartitioned() => Some(PartitionKey::new(
                spec.as_ref().clone(),
                metadata.current_schema().clone(),
                live.file.partition().clone(),
            )),
            _ => None,
        };
        let target = self.lake.0.options.target_file_bytes;
        let mut writer = PartitionWriter::new(&self.table, partition, target, LEVEL_FRESH)?;
        let mut batches = FileBatches::open(&self.table, task, &self.all_columns, BATCH_ROWS, None)?;
        let mut read = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let rows = batch.num_rows();
            if read + rows > kept.len() {
                return Err(changed(live, kept.len()));
            }
            let mask = BooleanArray::new(kept.slice(read, rows), None);
            read += rows;
            match mask.true_count() {
                0 => {}
                count if count == rows => writer.write(batch).await?,
                _ => writer.write(filter_record_batch(&batch, &mask)?).await?,
            }
        }
        if read != kept.len() {
            return Err(changed(live, kept.len()));
        }
        let mut written = writer.close().await?;
        let order = self.order.as_ref().filter(|order| live.file.sort_order_id() == Some(order.id()));
        if let Some(order) = order {
            written = written.iter().map(|file| order.mark(file, live.spec_id)).collect::<Result<_, _>>()?;
        }
        let rows: u64 = written.iter().map(DataFile::record_count).sum();
        if rows != u64::try_from(kept.count_set_bits()).unwrap_or(u64::MAX) {
            self.lake.discard(&written);
            return Err(changed(live, kept.count_set_bits()));
        }
        self.lake.sync(&written)?;
        Ok(written)
    }
}

fn changed(live: &LiveFile, expected: usize) -> LakeError {
    LakeError::Malformed {
        what: format!("rewrite of {}", live.path()),
        error: format!("its rows are not the {expected} that were counted"),
    }
}

/// The mask over all row groups from the mask over those that were read; the others are kept whole.
fn spread(mask: &BooleanBuffer, read: &[usize], rows: &[usize]) -> BooleanBuffer {
    let mut whole = BooleanBufferBuilder::new(rows.iter().sum());
    let mut from = 0;
    for (group, &rows) in rows.iter().enumerate() {
        if read.binary_search(&group).is_ok() {
            whole.append_buffer(&mask.slice(from, rows));
            from += rows;
        } else {
            whole.append_n(rows, true);
        }
    }
    whole.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_groups_that_were_not_read_are_kept() {
        let mask = BooleanBuffer::from(vec![true, false, false, true]);
        let whole = spread(&mask, &[1, 3], &[2, 1, 1, 3]);
        assert_eq!(whole, BooleanBuffer::from(vec![true, true, true, true, false, false, true]));
    }
}
