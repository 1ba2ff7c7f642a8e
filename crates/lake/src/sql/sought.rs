//! The part of a table that may hold certain keys: what bounds and Bloom filters rule out is not read.
//!
//! The engine prunes by the values of a join only where they are very few; thousands of ids without order would make it
//! read the id of every row. Here row groups are chosen before the query is planned. Invariant: no row with one of the
//! keys is left out; others come too, so whoever asks joins with the keys all the same.

use super::session::Session;
use super::{SqlError, files::LiveFile};
use crate::LakeError;
use crate::read::sought::{Groups, Sought};
use crate::table::off_worker;
use arrow_array::{Array, ArrayRef};
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Files that are looked at at once, on as many threads as there are processors.
const WORKERS_MAX: usize = 8;
/// A part is of use where it has at most one of so many rows.
const SHARE: usize = 2;

/// Files by their paths, with the row groups to read; `None`: all of them.
pub(crate) type Chosen = HashMap<String, Option<ParquetAccessPlan>>;

impl Session {
    /// Names the part of the lake's table `table` that may hold one of `keys` (without nulls) in `column`. False, and
    /// nothing is named, where that would be most of the table, where the column or its type is none that can be
    /// sought, and where the session has something of its own under the table's name.
    ///
    /// # Errors
    /// Disk and catalog.
    pub async fn register_sought(
        &self,
        name: &str,
        table: &str,
        column: &str,
        keys: &[ArrayRef],
    ) -> Result<bool, SqlError> {
        let Some(stored) = self.stored(table)? else { return Ok(false) };
        let types: Vec<_> = keys.iter().map(|keys| Some(keys.data_type().clone())).collect();
        if types.is_empty() || types.iter().any(|data_type| *data_type != stored.data_type(column)) {
            return Ok(false);
        }
        let arrays: Vec<&dyn Array> = keys.iter().map(AsRef::as_ref).collect();
        let (Some(id), sought) = (stored.field_id(column), Sought::of(&arrays)?) else { return Ok(false) };
        if matches!(sought, Sought::Any) {
            return Ok(false);
        }
        let files = stored.files(None).await?;
        let rows_all: usize = files.iter().map(rows_of).sum();
        let (chosen, rows) = choose(files, id, sought).await?;
        tracing::debug!(table, column, rows, rows_all, "looked for keys");
        if rows > rows_all / SHARE {
            return Ok(false);
        }
        self.register_part(name, stored.part(chosen));
        Ok(true)
    }

    /// Names the rows of these data files of the lake's table `table`, as `table$files` has their paths; files that are
    /// not of it are none. False, and nothing is named, where there is no such table or the session has something of its
    /// own under its name.
    ///
    /// # Errors
    /// Metadata that is not whole.
    pub fn register_files(
        &self,
        name: &str,
        table: &str,
        paths: impl IntoIterator<Item = String>,
    ) -> Result<bool, SqlError> {
        let Some(stored) = self.stored(table)? else { return Ok(false) };
        let chosen: Chosen = paths.into_iter().map(|path| (path, None)).collect();
        self.register_part(name, stored.part(chosen));
        Ok(true)
    }
}

/// What of the files may hold a value, and how many rows that are.
async fn choose(files: Vec<LiveFile>, id: i32, sought: Sought) -> Result<(Chosen, usize), LakeError> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let (queue, sought) = (Arc::new(Mutex::new(files)), Arc::new(sought));
    let mut working = Vec::with_capacity(workers);
    for _ in 0..workers {
        let (queue, sought) = (Arc::clone(&queue), Arc::clone(&sought));
        working.push(off_worker(move || async move { choose_queued(&queue, id, &sought) }));
    }
    let mut all = (Chosen::new(), 0);
    for worked in futures::future::join_all(working).await {
        let (chosen, rows) = worked?;
        all.0.extend(chosen);
        all.1 += rows;
    }
    Ok(all)
}

fn choose_queued(
    queue: &Mutex<Vec<LiveFile>>,
    id: i32,
    sought: &Sought,
) -> Result<(Chosen, usize), LakeError> {
    let (mut chosen, mut found) = (Chosen::new(), 0);
    loop {
        let Some(file) = queue.lock().pop() else { return Ok((chosen, found)) };
        if !sought.may_be_in(file.file(), id) {
            continue;
        }
        let path = file.file().file_path();
        match sought.groups(path, id)? {
            Some(groups) if groups.hit.is_empty() => {}
            Some(groups) => {
                found += groups.hit.iter().map(|&group| groups.rows[group]).sum::<usize>();
                chosen.insert(path.to_owned(), Some(access(&groups)));
            }
            None => {
                found += rows_of(&file);
                chosen.insert(path.to_owned(), None);
            }
        }
    }
}

fn access(groups: &Groups) -> ParquetAccessPlan {
    let mut access = ParquetAccessPlan::new_none(groups.rows.len());
    groups.hit.iter().for_each(|&group| access.scan(group));
    access
}

fn rows_of(file: &LiveFile) -> usize {
    usize::try_from(file.file().record_count()).unwrap_or(usize::MAX)
}
