//! The data files of a snapshot that may hold what a query wants.
//!
//! Manifests never change, so those that were read are kept, up to a bound. Invariant: a snapshot with
//! live delete files is refused; read without them it would show deleted rows.

use super::SqlError;
use super::bounds::{BoundedColumns, FileFacts, ManifestFacts};
use crate::LakeError;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile,
    SnapshotRef,
};
use iceberg::table::Table;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Manifests that are read at once.
const MANIFESTS_AT_ONCE: usize = 4;

/// A data file of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    entry: ManifestEntryRef,
    /// The partition spec it was written under.
    pub(crate) spec_id: i32,
    /// The snapshot that added it, where that is noted.
    pub(crate) added_by: Option<i64>,
}

impl LiveFile {
    pub(crate) fn file(&self) -> &DataFile {
        self.entry.data_file()
    }
}

/// Manifests that were read, least recently used first out.
#[derive(Debug)]
pub(crate) struct ManifestCache {
    kept: Mutex<Kept>,
    entries_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    manifests: HashMap<String, (Arc<Manifest>, u64)>,
    entries: usize,
    clock: u64,
}

impl ManifestCache {
    pub(crate) fn new(entries_max: usize) -> Self {
        ManifestCache { kept: Mutex::default(), entries_max }
    }

    async fn load(&self, table: &Table, manifest: &ManifestFile) -> Result<Arc<Manifest>, LakeError> {
        if let Some(found) = self.kept.lock().get(&manifest.manifest_path) {
            return Ok(found);
        }
        let loaded = Arc::new(manifest.load_manifest(table.file_io()).await?);
        self.kept.lock().put(manifest.manifest_path.clone(), Arc::clone(&loaded), self.entries_max);
        Ok(loaded)
    }
}

impl Kept {
    fn get(&mut self, path: &str) -> Option<Arc<Manifest>> {
        self.clock += 1;
        let clock = self.clock;
        let (manifest, used) = self.manifests.get_mut(path)?;
        *used = clock;
        Some(Arc::clone(manifest))
    }

    fn put(&mut self, path: String, manifest: Arc<Manifest>, entries_max: usize) {
        let size = manifest.entries().len();
        if size > entries_max || self.manifests.contains_key(&path) {
            return;
        }
        while self.entries + size > entries_max {
            let oldest =
                self.manifests.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            let Some((dropped, _)) = oldest.and_then(|path| self.manifests.remove(&path)) else { break };
            self.entries -= dropped.entries().len();
        }
        self.clock += 1;
        self.entries += size;
        self.manifests.insert(path, (manifest, self.clock));
    }
}

/// The data files of `snapshot` that may hold rows for which `wanted` is true; without it, all.
pub(crate) async fn live_files(
    table: &Table,
    snapshot: &SnapshotRef,
    cache: &ManifestCache,
    columns: &BoundedColumns,
    wanted: Option<&PruningPredicate>,
) -> Result<Vec<LiveFile>, SqlError> {
    let list = table.manifest_list_reader(snapshot).load().await.map_err(LakeError::from)?;
    let live = |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
    let mut manifests: Vec<ManifestFile> = list.consume_entries().into_iter().filter(live).collect();
    if manifests.iter().any(|manifest| manifest.content != ManifestContentType::Data) {
        return Err(SqlError::DeleteFiles(table.identifier().to_string()));
    }
    let metadata = table.metadata();
    if let Some(wanted) = wanted {
        let facts = ManifestFacts { columns, metadata, manifests: &manifests };
        let keep = wanted.prune(&facts)?;
        retain(&mut manifests, &keep);
    }
    let loaded: Vec<Vec<LiveFile>> = stream::iter(manifests)
        .map(|manifest| async move {
            let loaded = cache.load(table, &manifest).await?;
            Ok::<_, LakeError>(alive(&loaded, &manifest))
        })
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await?;
    let mut files: Vec<LiveFile> = loaded.into_iter().flatten().collect();
    if let Some(wanted) = wanted {
        let noted: Vec<(&DataFile, i32)> = files.iter().map(|file| (file.file(), file.spec_id)).collect();
        let keep = wanted.prune(&FileFacts { columns, metadata, files: &noted })?;
        retain(&mut files, &keep);
    }
    readable(table, &files)?;
    Ok(files)
}

fn alive(manifest: &Manifest, listed: &ManifestFile) -> Vec<LiveFile> {
    let entries = manifest.entries().iter().filter(|entry| entry.is_alive());
    let file = |entry: &ManifestEntryRef| LiveFile {
        entry: Arc::clone(entry),
        spec_id: listed.partition_spec_id,
        added_by: entry.snapshot_id().or(Some(listed.added_snapshot_id)),
    };
    entries.map(file).collect()
}

/// What is kept of `things`; where the engine tells nothing, all.
fn retain<T>(things: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    things.retain(|_| keep.next().copied().unwrap_or(true));
}

fn readable(table: &Table, files: &[LiveFile]) -> Result<(), SqlError> {
    for file in files.iter().map(LiveFile::file) {
        if file.content_type() != DataContentType::Data {
            return Err(SqlError::DeleteFiles(table.identifier().to_string()));
        }
        if file.file_format() != DataFileFormat::Parquet {
            return Err(SqlError::FileFormat {
                table: table.identifier().to_string(),
                path: file.file_path().to_owned(),
                format: file.file_format().to_string(),
            });
        }
    }
    Ok(())
}
