//! The part of a table that may hold certain keys: what bounds and Bloom filters rule out is not read.
//!
//! The engine prunes by the values of a join only where they are very few; thousands of ids without order would make it
//! read the id of every row. Here rows are chosen before the query is planned: row groups by their filters, and of these
//! the rows that hold a key, for which the keys' column alone is read. Invariant: no row with one of the keys is left out;
//! others may come too, so whoever asks joins with the keys all the same.

use super::looked_up::{Answer, Asked};
use super::session::Session;
use super::table::SnapshotTable;
use super::{SqlError, files::LiveFile};
use crate::LakeError;
use crate::read::members::Members;
use crate::read::sought::{Groups, Sought};
use crate::read::source::Source;
use crate::table::off_worker;
use arrow_array::{Array, ArrayRef};
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use iceberg::io::FileIO;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Files that are looked at at once, on as many threads as there are processors.
const WORKERS_MAX: usize = 8;
/// A part is of use where it has at most one of so many rows.
const SHARE: usize = 2;

/// A file, and which of its row groups may hold a value.
type Candidate = (LiveFile, Option<Groups>);

/// Files by their paths, with the rows to read; `None`: all of them.
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
        let sought = Arc::new(Sought::of(&arrays)?);
        let (Some(id), Some(members)) = (stored.field_id(column), Members::of(&sought)) else {
            return Ok(false);
        };
        let snapshot = stored.snapshot_id();
        let asked = Asked { table: table.to_owned(), snapshot, column: id, sought: Arc::clone(&sought) };
        let answer = if let Some(known) = self.looked_up().get(&asked) {
            known
        } else {
            let answer = look_up(&stored, id, &sought, members).await?;
            self.looked_up().put(asked, answer.clone());
            answer
        };
        match answer {
            Answer::Part(chosen) => {
                self.register_part(name, stored.part(chosen));
                Ok(true)
            }
            Answer::Most => Ok(false),
        }
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

/// What of the table holds a value.
async fn look_up(
    stored: &SnapshotTable,
    id: i32,
    sought: &Arc<Sought>,
    members: Members,
) -> Result<Answer, SqlError> {
    let files = stored.files(None).await?;
    let rows_all: usize = files.iter().map(rows_of).sum();
    let (candidates, rows) = by_filters(stored.file_io(), files, id, sought).await?;
    tracing::debug!(column = id, keys = sought.len(), rows, rows_all, "looked for keys");
    if rows > rows_all / SHARE {
        return Ok(Answer::Most);
    }
    Ok(Answer::Part(by_rows(stored.file_io(), candidates, id, members).await?))
}

/// Files that may hold a value with their row groups that may; `None`: the file does not tell. And how many rows that are.
async fn by_filters(
    file_io: FileIO,
    files: Vec<LiveFile>,
    id: i32,
    sought: &Arc<Sought>,
) -> Result<(Vec<Candidate>, usize), LakeError> {
    let sought = Arc::clone(sought);
    let candidates = each(files, move |file: LiveFile| {
        if !sought.may_be_in(file.file(), id) {
            return Ok(None);
        }
        let groups = sought.groups(&source(&file_io, &file)?, id)?;
        let is_out = groups.as_ref().is_some_and(|groups| groups.hit.is_empty());
        Ok((!is_out).then_some((file, groups)))
    })
    .await?;
    let rows = candidates.iter().map(|(file, groups)| match groups {
        Some(groups) => groups.hit.iter().map(|&group| groups.rows[group]).sum::<usize>(),
        None => rows_of(file),
    });
    let rows = rows.sum();
    Ok((candidates, rows))
}

/// Of these files the rows that hold a value; where a file does not tell, what may.
async fn by_rows(
    file_io: FileIO,
    candidates: Vec<Candidate>,
    id: i32,
    members: Members,
) -> Result<Chosen, LakeError> {
    let chosen = each(candidates, move |(file, groups): Candidate| {
        let path = file.file().file_path();
        let Some(groups) = groups else { return Ok(Some((path.to_owned(), None))) };
        let mut access = ParquetAccessPlan::new_none(groups.rows.len());
        match members.rows(&source(&file_io, &file)?, id, &groups)? {
            Some(found) => {
                if found.is_empty() {
                    return Ok(None);
                }
                for found in found {
                    access.set(found.group, RowGroupAccess::Selection(found.rows));
                }
            }
            None => groups.hit.iter().for_each(|&group| access.scan(group)),
        }
        Ok(Some((path.to_owned(), Some(access))))
    });
    Ok(chosen.await?.into_iter().collect())
}

/// What `work` makes of each thing, on as many threads as there are processors.
async fn each<T, R, W>(things: Vec<T>, work: W) -> Result<Vec<R>, LakeError>
where
    T: Send + 'static,
    R: Send + 'static,
    W: Fn(T) -> Result<Option<R>, LakeError> + Send + Sync + 'static,
{
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let workers = workers.min(things.len());
    let (queue, work) = (Arc::new(Mutex::new(things)), Arc::new(work));
    let mut working = Vec::with_capacity(workers);
    for _ in 0..workers {
        let (queue, work) = (Arc::clone(&queue), Arc::clone(&work));
        working.push(off_worker(move || async move {
            let mut made = Vec::new();
            loop {
                let Some(thing) = queue.lock().pop() else { return Ok(made) };
                made.extend(work(thing)?);
            }
        }));
    }
    let mut all = Vec::new();
    for worked in futures::future::join_all(working).await {
        all.extend(worked?);
    }
    Ok(all)
}

fn source(file_io: &FileIO, file: &LiveFile) -> Result<Source, LakeError> {
    let data = file.file();
    Source::open(file_io, data.file_path(), data.file_size_in_bytes())
}

fn rows_of(file: &LiveFile) -> usize {
    usize::try_from(file.file().record_count()).unwrap_or(usize::MAX)
}
