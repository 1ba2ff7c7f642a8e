//! Rows in place of those with the same key, and rows away by key.
//!
//! Copy on write of the files that hold a key (`judge`); the new rows go into files of their own. Files
//! are judged apart from one another, so after a lost race only those that are new are judged again.
//! Invariant: at the commit every file that may hold a key has been judged.

use crate::read::choose;
use crate::read::live::{self, LiveFile};
use crate::table::{LakeTable, off_worker};
use crate::values::batch::{self, Partitions};
use crate::values::fit::Target;
use crate::write::commits::{self, Stored};
use crate::write::judge::{Judge, Judged, Verdicts};
use crate::write::keys::Keys;
use crate::write::overwrite::change;
use crate::{ColumnRange, Commit, LakeError, Outcome};
use affluent_telemetry::failpoint;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_select::filter::filter_record_batch;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use iceberg::scan::FileScanTask;
use iceberg::spec::DataFile;
use iceberg::table::Table;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Files that are judged at once, on as many threads as there are processors. Each holds a row group.
const WORKERS_MAX: usize = 8;

/// What to put in and take away by key, in one commit.
#[derive(Debug, Clone, Default)]
pub struct Upsert {
    /// Rows that replace those of the same key, or are added. Columns are matched by name to the table's;
    /// missing ones become null, they do not stay as they were. Held in memory with their keys.
    pub rows: Vec<RecordBatch>,
    /// Keys whose rows go, where there are any: batches with the key columns; other columns are ignored.
    pub delete: Vec<RecordBatch>,
    /// The columns of the key, by their lake or source names. No floats or lists; nothing in them is null.
    pub key: Vec<String>,
    /// Of several rows with one key the last by this column counts, the later one where they are equal.
    /// Without it they are refused.
    pub version: Option<String>,
    /// Where the rows that are replaced or deleted can be, if the caller knows: files without rows in
    /// this range are left alone.
    pub range: Option<ColumnRange>,
}

/// What an upsert did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upserted {
    /// The new snapshot; `None` where nothing changed.
    pub snapshot: Option<i64>,
    /// Data files whose rows were looked at: the statistics of the others leave no room for a key.
    pub files_read: usize,
    pub files_rewritten: usize,
    /// Data files that stay as they were.
    pub files_kept: usize,
    /// Keys that were new.
    pub rows_inserted: u64,
    /// Keys whose rows were replaced.
    pub rows_updated: u64,
    /// Keys whose rows went.
    pub rows_deleted: u64,
}

/// The keys and what is written once, whatever races are lost.
struct Prepared {
    schema_id: i32,
    keys: Arc<Keys>,
    places: Vec<usize>,
    parts: Partitions,
}

impl LakeTable {
    /// Replaces, adds and deletes rows by key in one commit that is on disk and visible to every reader
    /// when this returns. Memory: the rows given and their keys, and a row group a processor.
    ///
    /// # Errors
    /// [`LakeError::DuplicateKey`]; [`LakeError::NoColumn`], [`LakeError::Incompatible`] and
    /// [`LakeError::Value`] for rows that do not fit and keys that are null, [`LakeError::Options`] for columns
    /// that are no keys, [`LakeError::OffsetConflict`], [`LakeError::Contention`], faults of disk and catalog:
    /// nothing was stored. After [`LakeError::Unsettled`] repeat it with the same key of the commit.
    pub fn upsert(
        &self,
        commit: Commit,
        upsert: Upsert,
    ) -> BoxFuture<'_, Result<Outcome<Upserted>, LakeError>> {
        Box::pin(self.upsert_apart(commit, upsert))
    }

    async fn upsert_apart(&self, commit: Commit, upsert: Upsert) -> Result<Outcome<Upserted>, LakeError> {
        commit.check()?;
        let table = self.clone();
        off_worker(move || async move { table.upsert_here(&commit, &upsert).await }).await
    }

    /// Deletes the rows with these keys: an upsert without rows.
    ///
    /// # Errors
    /// As [`LakeTable::upsert`].
    pub async fn delete_keys(
        &self,
        commit: Commit,
        keys: Vec<RecordBatch>,
        columns: &[&str],
    ) -> Result<Outcome<Upserted>, LakeError> {
        let key = columns.iter().map(|&column| column.to_owned()).collect();
        self.upsert(commit, Upsert { delete: keys, key, ..Upsert::default() }).await
    }

    async fn upsert_here(&self, commit: &Commit, upsert: &Upsert) -> Result<Outcome<Upserted>, LakeError> {
        let mut attempts = self.attempts();
        loop {
            let base = self.refreshed().await?;
            if let Some(snapshot) = commits::committed(&base, commit)? {
                return Ok(Outcome::AlreadyCommitted(snapshot));
            }
            let mut prepared = self.prepare_upsert(&base, upsert)?;
            let parts = std::mem::take(&mut prepared.parts);
            failpoint("lake::before_overwrite_files");
            let writing = {
                let (table, base) = (self.clone(), base.clone());
                off_worker(move || async move { table.write_parts(&base, parts).await })
            };
            let mut verdicts = Verdicts::new();
            let judging = self.judge_all(&base, &prepared, upsert.range.as_ref(), &mut verdicts);
            let (added, judged) = tokio::join!(writing, judging);
            let added = match (added, judged) {
                (Ok(added), Ok(())) => added,
                (added, judged) => {
                    self.discard(&added.as_ref().cloned().unwrap_or_default());
                    self.discard_verdicts(verdicts.into_values());
                    judged?;
                    added?;
                    continue;
                }
            };
            failpoint("lake::after_overwrite_files");
            let stored =
                self.store_upsert(commit, upsert, &prepared, (&added, &mut verdicts), &mut attempts).await;
            match stored {
                Ok((Stored::Now(snapshot), mut done)) => {
                    done.snapshot = snapshot;
                    return Ok(Outcome::Committed(done));
                }
                Ok((Stored::Before(snapshot), _)) => {
                    self.discard(&added);
                    self.discard_verdicts(verdicts.into_values());
                    return Ok(Outcome::AlreadyCommitted(snapshot));
                }
                // Only another schema gets here.
                Ok((Stored::Stale, _)) => {
                    self.discard(&added);
                    self.discard_verdicts(verdicts.into_values());
                    self.again(&mut attempts).await?;
                }
                Err(error) => {
                    if error.is_settled() {
                        self.discard(&added);
                        self.discard_verdicts(verdicts.into_values());
                    }
                    return Err(error);
                }
            }
        }
    }

    fn prepare_upsert(&self, base: &Table, upsert: &Upsert) -> Result<Prepared, LakeError> {
        let name = self.name();
        if upsert.key.is_empty() {
            return Err(LakeError::Options(format!("an upsert into {name} without key columns")));
        }
        let metadata = base.metadata();
        let target = Target::new(&name, metadata.current_schema())?;
        let places: Vec<usize> =
            upsert.key.iter().map(|column| target.place(column)).collect::<Result<_, _>>()?;
        let rows: Vec<_> = upsert.rows.iter().map(|batch| target.fitted(batch)).collect::<Result<_, _>>()?;
        let keyed = |batch: &RecordBatch| batch.project(&places).map_err(LakeError::from);
        let row_keys: Vec<_> = rows.iter().map(keyed).collect::<Result<_, _>>()?;
        let deleted: Vec<_> =
            upsert.delete.iter().map(|batch| target.keys(batch, &places)).collect::<Result<_, _>>()?;
        let version = upsert.version.as_ref().map(|column| target.place(column)).transpose()?;
        let versions: Option<Vec<ArrayRef>> =
            version.map(|place| rows.iter().map(|batch| Arc::clone(batch.column(place))).collect());
        let (keys, masks) = Keys::new(&name, (&target, &places), (&row_keys, &deleted), versions.as_deref())?;
        let counting = rows.iter().zip(&masks).map(|(batch, mask)| {
            Ok(if mask.true_count() == mask.len() {
                batch.clone()
            } else {
                filter_record_batch(batch, mask)?
            })
        });
        let parts = batch::partitions(base, counting.collect::<Result<_, LakeError>>()?)?;
        Ok(Prepared { schema_id: metadata.current_schema_id(), keys: Arc::new(keys), places, parts })
    }

    /// Stores what was judged; judges the files that came meanwhile, as long as any do.
    async fn store_upsert(
        &self,
        commit: &Commit,
        upsert: &Upsert,
        prepared: &Prepared,
        (added, verdicts): (&[DataFile], &mut Verdicts),
        attempts: &mut commits::Attempts,
    ) -> Result<(Stored, Upserted), LakeError> {
        loop {
            let mut done = Upserted::default();
            let mut used = HashSet::new();
            let decide = async |now: &Table| {
                let all = live::live(now, |_| true).await?;
                let range = upsert.range.as_ref().map(|range| choose::bounds(now, range)).transpose()?;
                let unjudged = |live: &&LiveFile| {
                    may_hit(&prepared.keys, range, live) && !verdicts.contains_key(live.path())
                };
                if all.iter().any(|live| unjudged(&live)) {
                    return Ok(None);
                }
                let judged: Vec<(&str, &Judged)> =
                    all.iter().filter_map(|live| Some((live.path(), verdicts.get(live.path())?))).collect();
                done = report(&prepared.keys, all.len(), &judged);
                let mut files = added.to_vec();
                let mut removed = HashSet::new();
                used = judged.iter().map(|(path, _)| (*path).to_owned()).collect();
                for (path, judged) in judged {
                    if let Some(rewritten) = &judged.rewritten {
                        removed.insert(path.to_owned());
                        files.extend(rewritten.iter().cloned());
                    }
                }
                Ok(Some(change(files, removed)))
            };
            let stored = self.store(commit, prepared.schema_id, attempts, decide).await?;
            if let Stored::Now(_) = stored {
                // What was rewritten of files that somebody else has replaced is of no use.
                let unused = verdicts.extract_if(|path, _| !used.contains(path));
                self.discard_verdicts(unused.map(|(_, judged)| judged));
            }
            let now = self.known();
            if !matches!(stored, Stored::Stale) || now.metadata().current_schema_id() != prepared.schema_id {
                return Ok((stored, done));
            }
            self.again(attempts).await?;
            let now = self.refreshed().await?;
            self.judge_all(&now, prepared, upsert.range.as_ref(), verdicts).await?;
        }
    }

    /// Judges the files of `table` that may hold a key and have not been.
    async fn judge_all(
        &self,
        table: &Table,
        prepared: &Prepared,
        range: Option<&ColumnRange>,
        verdicts: &mut Verdicts,
    ) -> Result<(), LakeError> {
        let range = range.map(|range| choose::bounds(table, range)).transpose()?;
        let wanted =
            |live: &LiveFile| may_hit(&prepared.keys, range, live) && !verdicts.contains_key(live.path());
        let mut files = live::live(table, wanted).await?;
        if files.is_empty() {
            return Ok(());
        }
        // Small ones last, so that the workers end together.
        files.sort_by_key(|live| live.file.file_size_in_bytes());
        let mut tasks = tasks(table).await?;
        let queue: Vec<(LiveFile, FileScanTask)> =
            files.into_iter().filter_map(|live| tasks.remove(live.path()).map(|task| (live, task))).collect();
        let workers =
            std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX).min(queue.len());
        let judge =
            Arc::new(Judge::new(self.clone(), table.clone(), Arc::clone(&prepared.keys), &prepared.places)?);
        let queue = Arc::new(Mutex::new(queue));
        let mut working = Vec::with_capacity(workers);
        for _ in 0..workers {
            let (judge, queue) = (Arc::clone(&judge), Arc::clone(&queue));
            working.push(off_worker(move || async move { Ok(judge.work(&queue).await) }));
        }
        let mut outcome = Ok(());
        for worked in futures::future::join_all(working).await {
            let (done, ended) = worked?;
            verdicts.extend(done);
            outcome = outcome.and(ended);
        }
        outcome
    }

    fn discard_verdicts(&self, verdicts: impl Iterator<Item = Judged>) {
        for judged in verdicts {
            self.discard(&judged.rewritten.unwrap_or_default());
        }
    }
}

fn may_hit(keys: &Keys, range: Option<choose::Bounds>, live: &LiveFile) -> bool {
    range.is_none_or(|range| choose::may_hold(&live.file, range)) && keys.may_be_in(&live.file)
}

fn report(keys: &Keys, files: usize, judged: &[(&str, &Judged)]) -> Upserted {
    let mut hit = BooleanBufferBuilder::new(keys.len());
    hit.append_n(keys.len(), false);
    for (_, judged) in judged {
        for &number in &judged.hits {
            hit.set_bit(number as usize, true);
        }
    }
    let hit = hit.finish();
    let mut done = Upserted::default();
    for number in hit.set_indices() {
        if u32::try_from(number).is_ok_and(|number| keys.is_row(number)) {
            done.rows_updated += 1;
        } else {
            done.rows_deleted += 1;
        }
    }
    done.rows_inserted = u64::try_from(keys.rows_len()).unwrap_or(u64::MAX) - done.rows_updated;
    done.files_read = judged.iter().filter(|(_, judged)| judged.is_read).count();
    done.files_rewritten = judged.iter().filter(|(_, judged)| judged.rewritten.is_some()).count();
    done.files_kept = files - done.files_rewritten;
    done
}

/// What reads each live file.
async fn tasks(table: &Table) -> Result<HashMap<String, FileScanTask>, LakeError> {
    let planned = table.scan().with_concurrency_limit(1).build()?.plan_files().await?;
    planned.map_ok(|task| (task.data_file_path.clone(), task)).try_collect().await.map_err(LakeError::from)
}
