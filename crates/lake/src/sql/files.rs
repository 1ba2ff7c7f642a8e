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
        let keep = wanted.prune(&facts).unwrap_or_default();
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
        let keep = wanted.prune(&FileFacts { columns, metadata, files: &noted }).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Engine, EngineOptions, Pins};
    use crate::write::snapshot;
    use crate::{Lake, LakeOptions, LakeTable, Partition, RowBatch};
    use affluent_model::{Column, ColumnType, Value};
    use iceberg::TableUpdate;
    use iceberg::spec::{
        DataFileBuilder, MAIN_BRANCH, ManifestListWriter, ManifestWriterBuilder, Operation, Snapshot,
        SnapshotReference, SnapshotRetention, Summary,
    };

    async fn numbers(lake: &Lake, rows: std::ops::Range<i64>) -> LakeTable {
        let columns = [Column { name: "n".to_owned(), column_type: ColumnType::Int64, nullable: true }];
        let table = lake.ensure_table("raw", "numbers", &columns, &Partition::None).await.unwrap();
        let rows = rows.map(|n| vec![Value::Int(n)]).collect();
        table.append(Arc::new(RowBatch { columns: columns.into(), rows }), vec![]).await.unwrap();
        table
    }

    /// Commits a snapshot with a delete file beside the data, as another engine would.
    async fn delete(table: &LakeTable) {
        let base = table.refreshed().await.unwrap();
        let metadata = base.metadata();
        let current = metadata.current_snapshot().unwrap();
        let path = |name: &str| format!("{}/metadata/{name}", metadata.location());
        let output = |name: &str| base.file_io().new_output(path(name)).unwrap();
        let (schema, spec) =
            (metadata.current_schema().clone(), metadata.default_partition_spec().as_ref().clone());
        let mut deletes =
            ManifestWriterBuilder::new(output("deletes.avro"), Some(7), schema, spec).build_v2_deletes();
        let file = DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_path(path("deletes.parquet"))
            .file_format(DataFileFormat::Parquet)
            .record_count(1)
            .file_size_in_bytes(1)
            .build()
            .unwrap();
        deletes.add_file(file, metadata.next_sequence_number()).unwrap();
        let deletes = deletes.write_manifest_file().await.unwrap();
        let data = base.manifest_list_reader(current).load().await.unwrap().consume_entries();
        let writer = output("list.avro").writer().await.unwrap();
        let sequence = metadata.next_sequence_number();
        let mut list = ManifestListWriter::v2(writer, 7, Some(current.snapshot_id()), sequence);
        list.add_manifests(data.into_iter().chain([deletes])).unwrap();
        list.close().await.unwrap();
        let summary = Summary { operation: Operation::Delete, additional_properties: HashMap::new() };
        let snapshot = Snapshot::builder()
            .with_snapshot_id(7)
            .with_parent_snapshot_id(Some(current.snapshot_id()))
            .with_sequence_number(sequence)
            .with_timestamp_ms(snapshot::now_ms().max(metadata.last_updated_ms()))
            .with_manifest_list(path("list.avro"))
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id())
            .build();
        let reference = SnapshotReference::new(7, SnapshotRetention::branch(None, None, None));
        let updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
        ];
        table.0.catalog.commit(&base, &snapshot::requirements(&base), updates).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn deleted_rows_are_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let options = LakeOptions { warehouse: dir.path().to_owned(), ..LakeOptions::default() };
        let lake = Lake::open(options).await.unwrap();
        let table = numbers(&lake, 0..10).await;
        let engine = Engine::new(lake, EngineOptions::default()).unwrap();
        let before = engine.session(Pins::default()).await.unwrap();
        delete(&table).await;
        let after = engine.session(Pins::default()).await.unwrap();
        let count = "select count(*) from raw.numbers where n >= 0";
        before.collect(count).await.unwrap();
        let refused = after.collect(count).await.unwrap_err();
        assert!(matches!(refused, SqlError::DeleteFiles(table) if table == "raw.numbers"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_manifests_are_kept_than_there_is_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let options = LakeOptions { warehouse: dir.path().to_owned(), ..LakeOptions::default() };
        let lake = Lake::open(options).await.unwrap();
        for part in 0..4 {
            numbers(&lake, part * 10..(part + 1) * 10).await;
        }
        let options = EngineOptions { manifest_entries_max: 2, ..EngineOptions::default() };
        let engine = Engine::new(lake, options).unwrap();
        let session = engine.session(Pins::default()).await.unwrap();
        let rows = async |text| {
            let batches = session.collect(text).await.unwrap();
            batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>()
        };
        for _ in 0..3 {
            assert_eq!(rows("select n from raw.numbers where n > 3").await, 36);
        }
        assert_eq!(rows("select path from raw.numbers$files").await, 4);
    }
}
