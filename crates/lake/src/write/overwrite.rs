//! Removing files and adding rows in one commit: replaced partitions or tables, removals, appends.
//!
//! Copy on write, as a snapshot of Iceberg's operation `overwrite` (`delete` where nothing is added, `append`
//! where nothing is removed). Invariant: the removed partitions are at the commit as they were when the
//! plan was made. Where another writer has changed them since, the plan is asked for again; a merge of
//! their files changes no rows and does not count.

use crate::read::live::{self, LiveFile};
use crate::table::{LakeTable, off_worker};
use crate::values::batch::{self, day_place, day_value};
use crate::values::fit::Target;
use crate::write::commits::{self, Attempts, Stored};
use crate::write::snapshot::Change;
use crate::{Commit, LakeError, Offsets, Outcome};
use affluent_telemetry::failpoint;
use arrow_array::RecordBatch;
use iceberg::spec::{DataFile, Operation, Struct};
use iceberg::table::Table;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A change of rows.
#[derive(Debug, Clone, Default)]
pub struct Overwrite {
    pub remove: Remove,
    /// Rows to add, wherever they belong: also outside of what is removed. Columns are matched by name
    /// to the table's; missing ones are null, types are widened.
    pub rows: Vec<RecordBatch>,
}

/// Which rows go. All of them are replaced by the rows that are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Remove {
    #[default]
    Nothing,
    Table,
    /// The partitions that the added rows belong to; without rows none. Of a table that is not divided: all.
    PartitionsOfRows,
    /// UTC days, in days since the epoch, of a table divided by day.
    Days(BTreeSet<i32>),
}

/// What an overwrite did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overwritten {
    /// The new snapshot; `None` where there was nothing to remove and nothing to add.
    pub snapshot: Option<i64>,
    pub files_added: usize,
    pub files_removed: usize,
    pub rows_added: u64,
    pub rows_removed: u64,
}

/// The files that a removal touches.
enum Touched {
    Nothing,
    All,
    Partitions(HashSet<Struct>),
}

impl Touched {
    fn holds(&self, live: &LiveFile) -> bool {
        match self {
            Touched::Nothing => false,
            Touched::All => true,
            Touched::Partitions(values) => values.contains(live.file.partition()),
        }
    }
}

/// An overwrite with its files written.
struct Prepared {
    base: Option<i64>,
    schema_id: i32,
    touched: Touched,
    /// The touched files at `base`.
    removed: HashSet<String>,
    added: Vec<DataFile>,
}

impl LakeTable {
    /// Removes and adds in one commit that is on disk and visible to every reader when this returns.
    /// The last writer wins: rows that others put into the removed partitions meanwhile go as well.
    /// Where the new rows were computed from the table's own, use [`LakeTable::rewrite`].
    ///
    /// # Errors
    /// As [`LakeTable::rewrite`].
    pub async fn overwrite(
        &self,
        commit: Commit,
        overwrite: Overwrite,
    ) -> Result<Outcome<Overwritten>, LakeError> {
        self.rewrite(commit, async move |_| Ok(overwrite.clone())).await
    }

    /// The same for rows that are computed from the table: `plan` is given the snapshot to read, and is
    /// asked again where what it removes was changed since by another writer.
    ///
    /// # Errors
    /// Those of `plan`; [`LakeError::NoColumn`], [`LakeError::Incompatible`] and [`LakeError::Value`] for
    /// rows that do not fit, [`LakeError::Options`] for days of a table without days,
    /// [`LakeError::OffsetConflict`], [`LakeError::Contention`], faults of disk and catalog: nothing was
    /// stored. After [`LakeError::Unsettled`] repeat it with the same key.
    pub async fn rewrite(
        &self,
        commit: Commit,
        plan: impl AsyncFn(Option<i64>) -> Result<Overwrite, LakeError> + Send + 'static,
    ) -> Result<Outcome<Overwritten>, LakeError> {
        commit.check()?;
        let table = self.clone();
        off_worker(move || async move { table.rewrite_here(&commit, &plan).await }).await
    }

    async fn rewrite_here(
        &self,
        commit: &Commit,
        plan: &impl AsyncFn(Option<i64>) -> Result<Overwrite, LakeError>,
    ) -> Result<Outcome<Overwritten>, LakeError> {
        let mut attempts = self.attempts();
        loop {
            let base = self.refreshed().await?;
            if let Some(snapshot) = commits::committed(&base, commit)? {
                return Ok(Outcome::AlreadyCommitted(snapshot));
            }
            Offsets::of(base.metadata().properties())?.advanced(&commit.advance)?;
            let planned = plan(base.metadata().current_snapshot_id()).await?;
            failpoint("lake::before_overwrite_files");
            let prepared = self.prepare(&base, &planned).await?;
            failpoint("lake::after_overwrite_files");
            match self.store_overwrite(commit, &prepared, &mut attempts).await {
                Ok((Stored::Now(snapshot), mut done)) => {
                    done.snapshot = snapshot;
                    return Ok(Outcome::Committed(done));
                }
                Ok((Stored::Before(snapshot), _)) => {
                    self.discard(&prepared.added);
                    return Ok(Outcome::AlreadyCommitted(snapshot));
                }
                Ok((Stored::Stale, _)) => {
                    self.discard(&prepared.added);
                    self.again(&mut attempts).await?;
                }
                Err(error) => {
                    if error.is_settled() {
                        self.discard(&prepared.added);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Writes the rows and notes what is to be removed.
    async fn prepare(&self, base: &Table, planned: &Overwrite) -> Result<Prepared, LakeError> {
        let metadata = base.metadata();
        let name = self.name();
        let target = Target::new(&name, metadata.current_schema())?;
        let rows = planned.rows.iter().map(|batch| target.fitted(batch)).collect::<Result<Vec<_>, _>>()?;
        let is_empty = rows.iter().all(|batch| batch.num_rows() == 0);
        let parts = batch::partitions(base, rows)?;
        let touched = match &planned.remove {
            Remove::Nothing => Touched::Nothing,
            Remove::Table => Touched::All,
            Remove::PartitionsOfRows if is_empty => Touched::Nothing,
            Remove::PartitionsOfRows if day_place(base)?.is_none() => Touched::All,
            Remove::PartitionsOfRows => {
                let values = parts.iter().filter_map(|(key, _)| Some(key.as_ref()?.data().clone()));
                Touched::Partitions(values.collect())
            }
            Remove::Days(_) if day_place(base)?.is_none() => {
                return Err(LakeError::Options(format!("{name} is not divided by day: no days to remove")));
            }
            Remove::Days(days) => Touched::Partitions(days.iter().map(|&day| day_value(Some(day))).collect()),
        };
        let removed = touched_files(base, &touched).await?.into_iter().map(|live| live.path().to_owned());
        let removed = removed.collect();
        let added = self.write_parts(base, parts).await?;
        let (base, schema_id) = (metadata.current_snapshot_id(), metadata.current_schema_id());
        Ok(Prepared { base, schema_id, touched, removed, added })
    }

    async fn store_overwrite(
        &self,
        commit: &Commit,
        prepared: &Prepared,
        attempts: &mut Attempts,
    ) -> Result<(Stored, Overwritten), LakeError> {
        let mut done = Overwritten {
            files_added: prepared.added.len(),
            rows_added: prepared.added.iter().map(DataFile::record_count).sum(),
            ..Overwritten::default()
        };
        let decide = async |now: &Table| {
            let files = touched_files(now, &prepared.touched).await?;
            done.files_removed = files.len();
            done.rows_removed = files.iter().map(|live| live.file.record_count()).sum();
            let removed: HashSet<String> = files.iter().map(|live| live.path().to_owned()).collect();
            let same = removed == prepared.removed || live::only_merged_since(now, prepared.base);
            Ok(same.then(|| change(prepared.added.clone(), removed)))
        };
        let stored = self.store(commit, prepared.schema_id, attempts, decide).await?;
        Ok((stored, done))
    }
}

/// The change of these files, under the operation that Iceberg's readers expect of it.
pub(crate) fn change(added: Vec<DataFile>, removed: HashSet<String>) -> Change {
    let operation = match (added.is_empty(), removed.is_empty()) {
        (_, true) => Operation::Append,
        (true, false) => Operation::Delete,
        (false, false) => Operation::Overwrite,
    };
    Change { operation, added, removed, summary: HashMap::new() }
}

async fn touched_files(table: &Table, touched: &Touched) -> Result<Vec<LiveFile>, LakeError> {
    match touched {
        Touched::Nothing => Ok(Vec::new()),
        Touched::All | Touched::Partitions(_) => live::live(table, |live| touched.holds(live)).await,
    }
}
