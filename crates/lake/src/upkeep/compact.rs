//! Merging small data files of a partition into large ones, beside running appends.
//!
//! A merge is a commit of operation `replace`: it drops the small files from the current snapshot
//! and adds the large one. Older snapshots keep what they refer to. Invariant: rows in equal rows
//! out; a merge whose inputs are no longer live (another process merged them) is thrown away.

use crate::LakeError;
use crate::files::PartitionWriter;
use crate::read::data_file::{Columns, FileBatches};
use crate::read::live::{self, LiveFile};
use crate::table::{LakeTable, off_worker};
use crate::write::commits::{Commit, Stored};
use crate::write::snapshot::{self, Change};
use crate::write::sort::{MERGE_WAYS, Order, SortedMerge};
use affluent_telemetry::failpoint;
use futures::TryStreamExt;
use iceberg::scan::FileScanTask;
use iceberg::spec::{DataFile, Literal, Operation, PartitionKey, PrimitiveLiteral, Struct};
use iceberg::table::Table;
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio_util::sync::CancellationToken;

/// zstd level of files that stay.
const LEVEL_SETTLED: i32 = 3;
/// Rows that are copied at once.
const BATCH_ROWS: usize = 4 * 1024;
/// Files whose sizes differ by less than this factor are merged with one another, so that each
/// row is rewritten a few times at most on its way to the target size.
const TIER_FACTOR: u64 = 8;
/// Files below this size are of the lowest tier.
const TIER_FLOOR: u64 = 256 * 1024;
/// Merges of one table in one round; the rest waits for the next.
const MERGES_A_ROUND: usize = 16;

/// What a round of compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    pub merges: usize,
    pub files_before: usize,
    pub files_after: usize,
    pub rows: u64,
}

/// A live data file, as far as planning looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    path: String,
    bytes: u64,
    rows: u64,
    spec_id: i32,
    partition: Struct,
    /// Days since the epoch, for tables by day.
    day: Option<i32>,
}

/// The merges that are due: of an open partition (`today` or later, or no partition) files of one
/// tier once there are `files_min`; of a closed one everything below target size. No merge is of more
/// than `files_max`.
fn plan(
    files: Vec<Candidate>,
    today: i32,
    (files_min, files_max): (usize, usize),
    target_bytes: u64,
) -> Vec<Vec<Candidate>> {
    let small = target_bytes / 4 * 3;
    let mut partitions: BTreeMap<(i32, String), Vec<Candidate>> = BTreeMap::new();
    for file in files.into_iter().filter(|file| file.bytes < small) {
        partitions.entry((file.spec_id, format!("{:?}", file.partition))).or_default().push(file);
    }
    let mut merges = Vec::new();
    for mut files in partitions.into_values() {
        files.sort_by(|a, b| (a.bytes, &a.path).cmp(&(b.bytes, &b.path)));
        let closed = files.first().and_then(|file| file.day).is_some_and(|day| day < today);
        let mut groups: Vec<Vec<Candidate>> = Vec::new();
        if closed {
            groups.push(files);
        } else {
            let mut tiers: BTreeMap<u32, Vec<Candidate>> = BTreeMap::new();
            for file in files {
                tiers.entry(tier(file.bytes)).or_default().push(file);
            }
            groups.extend(tiers.into_values().filter(|files| files.len() >= files_min));
        }
        merges.extend(groups.into_iter().flat_map(|files| bins(files, files_max, target_bytes)));
    }
    merges
}

fn tier(bytes: u64) -> u32 {
    (bytes / TIER_FLOOR).checked_ilog(TIER_FACTOR).map_or(0, |tier| tier + 1)
}

/// Cuts files into runs of about the target size; runs of one file are no merges.
fn bins(files: Vec<Candidate>, files_max: usize, target_bytes: u64) -> Vec<Vec<Candidate>> {
    let mut bins: Vec<Vec<Candidate>> = Vec::new();
    let mut filled = u64::MAX;
    for file in files {
        let full = bins.last().is_some_and(|bin| bin.len() == files_max);
        if full || filled.saturating_add(file.bytes) > target_bytes {
            bins.push(Vec::new());
            filled = 0;
        }
        filled += file.bytes;
        if let Some(bin) = bins.last_mut() {
            bin.push(file);
        }
    }
    bins.retain(|bin| bin.len() > 1);
    bins
}

impl LakeTable {
    /// Merges what is due. Stops between two batches when `shutdown` is cancelled; what was
    /// committed until then stays.
    ///
    /// # Errors
    /// [`LakeError::Contention`], disk and catalog. The table is as readable as before.
    pub async fn compact(&self, shutdown: CancellationToken) -> Result<Compacted, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.compact_here(&shutdown).await }).await
    }

    async fn compact_here(&self, shutdown: &CancellationToken) -> Result<Compacted, LakeError> {
        let base = self.refreshed().await?;
        let today = i32::try_from(snapshot::now_ms().div_euclid(86_400_000)).unwrap_or(i32::MAX);
        let options = &self.0.options;
        let files_max = if Order::of(&base).is_some() { MERGE_WAYS } else { usize::MAX };
        let merges = plan(
            candidates(&base).await?,
            today,
            (options.maintenance.compact_files_min, files_max),
            options.target_file_bytes,
        );
        let mut done = Compacted::default();
        for merge in merges.into_iter().take(MERGES_A_ROUND) {
            if shutdown.is_cancelled() {
                break;
            }
            if let Some(after) = self.merge(&merge, shutdown).await? {
                done.merges += 1;
                done.files_before += merge.len();
                done.files_after += after;
                done.rows += merge.iter().map(|file| file.rows).sum::<u64>();
            }
        }
        Ok(done)
    }

    /// Rewrites the files as one (or a few); `None` where others were faster or it is shutdown.
    async fn merge(
        &self,
        merge: &[Candidate],
        shutdown: &CancellationToken,
    ) -> Result<Option<usize>, LakeError> {
        let base = self.refreshed().await?;
        let Some(first) = merge.first() else { return Ok(None) };
        let removed: HashSet<String> = merge.iter().map(|file| file.path.clone()).collect();
        let tasks = scan_tasks(&base, &removed).await?;
        if tasks.len() != removed.len() {
            return Ok(None);
        }
        let metadata = base.metadata();
        let partition = match metadata.partition_spec_by_id(first.spec_id) {
            Some(spec) if !spec.is_unpartitioned() => Some(PartitionKey::new(
                spec.as_ref().clone(),
                metadata.current_schema().clone(),
                first.partition.clone(),
            )),
            _ => None,
        };
        let schema = metadata.current_schema();
        let ids = schema.as_struct().fields().iter().map(|field| field.id).collect();
        let columns = Columns::new(schema, ids)?;
        let target = self.0.options.target_file_bytes;
        let mut writer = PartitionWriter::new(&base, partition, target, LEVEL_SETTLED)?;
        let order = Order::of(&base);
        let mut is_sorted = false;
        if let Some(order) = &order {
            let rows = SortedMerge::rows_at_once(tasks.len());
            let files = tasks.iter().map(|task| FileBatches::open(&base, task, &columns, rows, None));
            let mut merged = SortedMerge::open(order, schema, files.collect::<Result<_, _>>()?).await?;
            while let Some(batch) = merged.next().await? {
                writer.write(batch).await?;
                if shutdown.is_cancelled() {
                    return Ok(None);
                }
            }
            is_sorted = merged.is_sorted();
        } else {
            for task in &tasks {
                let mut batches = FileBatches::open(&base, task, &columns, BATCH_ROWS, None)?;
                while let Some(batch) = batches.next().await {
                    writer.write(batch?).await?;
                    if shutdown.is_cancelled() {
                        return Ok(None);
                    }
                }
            }
        }
        let mut written = writer.close().await?;
        if let Some(order) = order.filter(|_| is_sorted) {
            written = written.iter().map(|file| order.mark(file, first.spec_id)).collect::<Result<_, _>>()?;
        }
        let rows_in: u64 = merge.iter().map(|file| file.rows).sum();
        let rows_out: u64 = written.iter().map(DataFile::record_count).sum();
        if rows_in != rows_out {
            self.discard(&written);
            return Err(LakeError::Malformed {
                what: format!("merge of {} files of {}", merge.len(), self.name()),
                error: format!("{rows_in} rows went in and {rows_out} came out"),
            });
        }
        self.sync(&written)?;
        failpoint("lake::after_merge_files");
        let count = written.len();
        let replaced = self.replace(metadata.current_schema_id(), written, removed).await?;
        Ok(replaced.then_some(count))
    }

    /// Commits the exchange. False where a removed file is no longer live, or the columns are others by now.
    async fn replace(
        &self,
        schema_id: i32,
        added: Vec<DataFile>,
        removed: HashSet<String>,
    ) -> Result<bool, LakeError> {
        let decide = async |_: &Table| {
            let (added, removed, summary) = (added.clone(), removed.clone(), HashMap::new());
            Ok(Some(Change { operation: Operation::Replace, added, removed, summary }))
        };
        match self.store(&Commit::default(), schema_id, &mut self.attempts(), decide).await {
            Ok(Stored::Now(_)) => Ok(true),
            Ok(Stored::Before(_) | Stored::Stale) => {
                self.discard(&added);
                Ok(false)
            }
            Err(error) => {
                if error.is_settled() {
                    self.discard(&added);
                }
                Err(error)
            }
        }
    }
}

/// The live data files of the current snapshot, as far as planning looks at them.
async fn candidates(table: &Table) -> Result<Vec<Candidate>, LakeError> {
    let candidate = |live: LiveFile| Candidate {
        path: live.path().to_owned(),
        bytes: live.file.file_size_in_bytes(),
        rows: live.file.record_count(),
        spec_id: live.spec_id,
        partition: live.file.partition().clone(),
        day: day(live.file.partition()),
    };
    Ok(live::live(table, |_| true).await?.into_iter().map(candidate).collect())
}

fn day(partition: &Struct) -> Option<i32> {
    match partition.fields() {
        [Some(Literal::Primitive(PrimitiveLiteral::Int(day)))] => Some(*day),
        _ => None,
    }
}

/// Tasks that read the files. Files with delete files (of other engines) are left out: they are
/// not ours to merge.
async fn scan_tasks(table: &Table, paths: &HashSet<String>) -> Result<Vec<FileScanTask>, LakeError> {
    let mut planned = table.scan().with_concurrency_limit(1).build()?.plan_files().await?;
    let mut tasks = Vec::with_capacity(paths.len());
    while let Some(task) = planned.try_next().await? {
        if paths.contains(&task.data_file_path) && task.deletes.is_empty() {
            tasks.push(task);
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i32 = 20_000;

    fn file(day: i32, bytes: u64, n: usize) -> Candidate {
        Candidate {
            path: format!("{day}-{bytes}-{n}"),
            bytes,
            rows: 1,
            spec_id: 0,
            partition: Struct::from_iter([Some(Literal::date(day))]),
            day: Some(day),
        }
    }

    fn sizes(files: Vec<Candidate>) -> Vec<usize> {
        plan(files, TODAY, (4, 100), 1_000_000).iter().map(Vec::len).collect()
    }

    fn files(day: i32, bytes: u64, count: usize) -> Vec<Candidate> {
        (0..count).map(|n| file(day, bytes, n)).collect()
    }

    #[test]
    fn open_days_merge_by_tier_closed_days_to_the_target() {
        assert_eq!(sizes(files(TODAY, 1_000, 3)), [] as [usize; 0], "too few");
        assert_eq!(sizes(files(TODAY, 1_000, 5)), [5]);
        let mixed = [files(TODAY, 1_000, 3), files(TODAY, 300_000, 3)].concat();
        assert_eq!(sizes(mixed.clone()), [] as [usize; 0], "two tiers, too few of each");
        let closed = mixed.into_iter().map(|f| file(TODAY - 1, f.bytes, f.path.len())).collect();
        assert_eq!(sizes(closed), [6], "a closed day is merged whole");
        assert_eq!(sizes(files(TODAY - 1, 400_000, 7)), [2, 2, 2], "cut at the target");
        assert_eq!(sizes(files(TODAY - 1, 800_000, 9)), [] as [usize; 0], "large enough");
        let few = |files| plan(files, TODAY, (4, 8), 1_000_000).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(few(files(TODAY, 1_000, 20)), [8, 8, 4], "cut at what is merged at once");
        let days = [files(TODAY - 1, 1_000, 1), files(TODAY - 2, 1_000, 1)].concat();
        assert_eq!(sizes(days), [] as [usize; 0], "partitions are not mixed");
    }
}
