//! Taking values out of rows wherever they lie, or the rows that hold them: for erasure.
//!
//! The columns that are looked into are read alone; only a file with hits is written anew, and in its partition. Invariant: rows
//! without a hit come out as they went in, and none is lost: each file's rows are counted on both sides.

use crate::LakeError;
use crate::files::PartitionWriter;
use crate::read::choose::Wanted;
use crate::read::data_file::{Columns, FileBatches};
use crate::read::live::{self, LiveFile};
use crate::read::scan;
use crate::table::{LakeTable, off_worker};
use crate::values::{decode, schema};
use crate::write::append::LEVEL_FRESH;
use crate::write::commits::{Commit, Stored};
use crate::write::overwrite::change;
use affluent_model::{Row, Value};
use affluent_telemetry::failpoint;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use arrow_select::zip::zip;
use iceberg::scan::FileScanTask;
use iceberg::spec::{DataFile, PartitionKey};
use iceberg::table::Table;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Rows of a file that are looked at or copied at once.
const BATCH_ROWS: usize = 16 * 1024;

/// What rows are looked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// By its lake or source name.
    pub column: String,
    /// Of a column with JSON objects: their member of this name.
    pub member: Option<String>,
    /// In the form of [`Value::to_text`].
    pub values: BTreeSet<String>,
}

impl Sought {
    /// Whether a value of the column is what is sought. Null never is.
    #[must_use]
    pub fn hits(&self, value: &Value) -> bool {
        if value.is_null() {
            return false;
        }
        let text = value.to_text();
        let Some(member) = &self.member else { return self.values.contains(&text) };
        let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
        match json.get(member) {
            None | Some(serde_json::Value::Null) => false,
            Some(serde_json::Value::String(text)) => self.values.contains(text),
            Some(other) => self.values.contains(&other.to_string()),
        }
    }
}

/// A change of the rows that hold what is sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub sought: Sought,
    pub change: RowChange,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// It goes.
    Remove,
    /// It stays, with these columns set: to a whole number (in a column of texts, its digits), or to null. A row that has them so already is
    /// left alone.
    Set(Vec<(String, Option<i64>)>),
}

/// What an edit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edited {
    /// Rows that were removed or changed.
    pub rows: u64,
    pub files: usize,
}

/// An edit with its files written.
struct Prepared {
    added: Vec<DataFile>,
    removed: HashSet<String>,
    rows: u64,
}

impl LakeTable {
    /// Changes the rows that hold what is sought, in one commit that is on disk and visible to every reader when this returns.
    /// Rows that others append meanwhile are not looked at. Older snapshots keep what they refer to: see [`LakeTable::forget`].
    ///
    /// # Errors
    /// [`LakeError::NoColumn`]; [`LakeError::Malformed`] for a number in a column of neither whole numbers nor texts; [`LakeError::Contention`], disk and
    /// catalog: nothing was stored.
    pub async fn edit(&self, edit: Edit) -> Result<Edited, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.edit_here(&edit).await }).await
    }

    async fn edit_here(&self, edit: &Edit) -> Result<Edited, LakeError> {
        let mut attempts = self.attempts();
        loop {
            let base = self.refreshed().await?;
            let Prepared { added, removed, rows } = self.edited_files(&base, edit).await?;
            if removed.is_empty() {
                return Ok(Edited::default());
            }
            failpoint("erase::after_files");
            let files = removed.len();
            let decide = async |_: &Table| Ok(Some(change(added.clone(), removed.clone())));
            let schema_id = base.metadata().current_schema_id();
            match self.store(&Commit::default(), schema_id, &mut attempts, decide).await {
                Ok(Stored::Now(_) | Stored::Before(_)) => return Ok(Edited { rows, files }),
                // A file was merged, or columns were added: look again.
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

    async fn edited_files(&self, base: &Table, edit: &Edit) -> Result<Prepared, LakeError> {
        let mut prepared = Prepared { added: Vec::new(), removed: HashSet::new(), rows: 0 };
        let Some(snapshot) = base.metadata().current_snapshot() else { return Ok(prepared) };
        let tasks = scan::tasks(base, snapshot, Wanted::default()).await?;
        let files = live::live(base, |_| true).await?;
        let files: HashMap<&str, &LiveFile> = files.iter().map(|live| (live.path(), live)).collect();
        for task in &tasks {
            let Some(live) = files.get(task.data_file_path.as_str()) else { continue };
            let hits = self.hits(base, task, edit).await?;
            let count = hits.iter().filter(|hit| **hit).count();
            if count == 0 {
                continue;
            }
            let written = self.rewritten(base, live, task, &hits, &edit.change).await;
            let written = written.inspect_err(|_| self.discard(&prepared.added))?;
            prepared.added.extend(written);
            prepared.removed.insert(live.path().to_owned());
            prepared.rows += count as u64;
        }
        self.sync(&prepared.added)?;
        Ok(prepared)
    }

    fn place(&self, base: &Table, name: &str) -> Result<(usize, i32), LakeError> {
        let fields = base.metadata().current_schema().as_struct().fields();
        let no_column = || LakeError::NoColumn { table: self.name(), column: name.to_owned() };
        let field = schema::named(fields, name).ok_or_else(no_column)?;
        let place = fields.iter().position(|other| other.id == field.id).ok_or_else(no_column)?;
        Ok((place, field.id))
    }

    /// Of each row of the file, whether it holds what is sought and is not what it is to become already.
    async fn hits(&self, base: &Table, task: &FileScanTask, edit: &Edit) -> Result<Vec<bool>, LakeError> {
        let mut ids = vec![self.place(base, &edit.sought.column)?.1];
        let set: &[(String, Option<i64>)] = match &edit.change {
            RowChange::Remove => &[],
            RowChange::Set(columns) => columns,
        };
        // A column may be sought and set: it is read once.
        let mut places = Vec::new();
        for (name, to) in set {
            let (_, id) = self.place(base, name)?;
            let known = ids.iter().position(|known| *known == id);
            places
                .push((known.unwrap_or(ids.len()), to.map(|number| number.to_string()).unwrap_or_default()));
            if known.is_none() {
                ids.push(id);
            }
        }
        let is_due = |row: &Row| {
            let is_other = |(place, to): &(usize, String)| row[*place].to_text() != *to;
            edit.sought.hits(&row[0]) && (edit.change == RowChange::Remove || places.iter().any(is_other))
        };
        let columns = Columns::new(base.metadata().current_schema(), ids)?;
        let mut batches = FileBatches::open(base, task, &columns, BATCH_ROWS, None)?;
        let mut hits = Vec::new();
        while let Some(batch) = batches.next().await {
            hits.extend(decode::rows(&batch?)?.iter().map(is_due));
        }
        Ok(hits)
    }

    /// Writes the file's rows, changed where there is a hit, into new files of its partition.
    async fn rewritten(
        &self,
        base: &Table,
        live: &LiveFile,
        task: &FileScanTask,
        hits: &[bool],
        change: &RowChange,
    ) -> Result<Vec<DataFile>, LakeError> {
        let metadata = base.metadata();
        let schema = metadata.current_schema();
        let partition = match metadata.partition_spec_by_id(live.spec_id) {
            Some(spec) if !spec.is_unpartitioned() => {
                Some(PartitionKey::new(spec.as_ref().clone(), schema.clone(), live.file.partition().clone()))
            }
            _ => None,
        };
        let ids = schema.as_struct().fields().iter().map(|field| field.id).collect();
        let columns = Columns::new(schema, ids)?;
        let mut writer =
            PartitionWriter::new(base, partition, self.0.options.target_file_bytes, LEVEL_FRESH)?;
        let mut batches = FileBatches::open(base, task, &columns, BATCH_ROWS, None)?;
        let (mut read, mut kept) = (0, 0_u64);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let Some(hits) = hits.get(read..read + batch.num_rows()) else {
                return Err(changed(live, hits.len()));
            };
            read += batch.num_rows();
            let batch = match change {
                RowChange::Remove => {
                    let mask: BooleanArray = hits.iter().map(|hit| Some(!hit)).collect();
                    filter_record_batch(&batch, &mask)?
                }
                RowChange::Set(columns) => {
                    let mask: BooleanArray = hits.iter().map(|hit| Some(*hit)).collect();
                    let places = columns.iter().map(|(name, to)| Ok((self.place(base, name)?.0, *to)));
                    set(&batch, &mask, &places.collect::<Result<Vec<_>, LakeError>>()?)?
                }
            };
            kept += batch.num_rows() as u64;
            if batch.num_rows() > 0 {
                writer.write(batch).await?;
            }
        }
        let written = writer.close().await?;
        let stored: u64 = written.iter().map(DataFile::record_count).sum();
        if read != hits.len() || stored != kept {
            self.discard(&written);
            return Err(changed(live, hits.len()));
        }
        Ok(written)
    }
}

/// The batch with these columns, by place, set in the rows of the mask.
fn set(
    batch: &RecordBatch,
    mask: &BooleanArray,
    columns: &[(usize, Option<i64>)],
) -> Result<RecordBatch, LakeError> {
    let mut arrays = batch.columns().to_vec();
    for &(place, to) in columns {
        let old = Arc::clone(&arrays[place]);
        let new: ArrayRef = match to {
            None => new_null_array(old.data_type(), batch.num_rows()),
            Some(number) if *old.data_type() == DataType::Int64 => {
                Arc::new(Int64Array::from(vec![number; batch.num_rows()]))
            }
            Some(number) if *old.data_type() == DataType::Utf8 => {
                Arc::new(StringArray::from(vec![number.to_string(); batch.num_rows()]))
            }
            Some(_) => {
                return Err(LakeError::Malformed {
                    what: format!("edit of column {}", batch.schema_ref().field(place).name()),
                    error: format!("a whole number does not go into {}", old.data_type()),
                });
            }
        };
        arrays[place] = zip(mask, &new, &old)?;
    }
    Ok(RecordBatch::try_new(batch.schema(), arrays)?)
}

fn changed(live: &LiveFile, expected: usize) -> LakeError {
    LakeError::Malformed {
        what: format!("edit of {}", live.path()),
        error: format!("its rows are not the {expected} that were counted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    #[test]
    fn a_value_is_found_as_it_is_and_as_a_member_of_json() {
        let sought = |member: Option<&str>| Sought {
            column: "c".to_owned(),
            member: member.map(str::to_owned),
            values: BTreeSet::from(["42".to_owned()]),
        };
        assert!(sought(None).hits(&Value::Int(42)) && sought(None).hits(&Value::Text("42".to_owned())));
        assert!(!sought(None).hits(&Value::Text("421".to_owned())) && !sought(None).hits(&Value::Null));
        for (json, expected) in [
            (r#"{"id": 42}"#, true),
            (r#"{"id": "42"}"#, true),
            (r#"{"id": 421, "other": 42}"#, false),
            (r#"{"id": null}"#, false),
            ("42", false),
            ("no json", false),
        ] {
            assert_eq!(sought(Some("id")).hits(&Value::Json(json.to_owned())), expected, "{json}");
        }
    }

    #[test]
    fn columns_are_set_in_the_rows_of_the_mask_alone() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap();
        let mask = BooleanArray::from(vec![false, true, false]);
        let done = set(&batch, &mask, &[(0, Some(-7)), (1, None)]).unwrap();
        let ids: Vec<Option<i64>> = done.column(0).as_primitive::<Int64Type>().iter().collect();
        let names: Vec<Option<&str>> = done.column(1).as_string::<i32>().iter().collect();
        assert_eq!((ids, names), (vec![Some(1), Some(-7), None], vec![Some("a"), None, Some("c")]));
        let done = set(&batch, &mask, &[(1, Some(-7))]).unwrap();
        assert_eq!(done.column(1).as_string::<i32>().value(1), "-7");
        let flags: ArrayRef = Arc::new(mask.clone());
        let flags = RecordBatch::try_from_iter_with_nullable([("flag", flags, true)]).unwrap();
        set(&flags, &mask, &[(0, Some(1))]).unwrap_err();
    }
}
