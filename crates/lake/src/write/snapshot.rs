//! A new snapshot from an old one: files in, files out, small manifests merged.
//!
//! Deciding and writing the manifests only; whether the snapshot becomes the table's is the
//! catalog's compare-and-swap. The files written here are flushed; their directory is with the
//! metadata file, which stands beside them and is written last.

use crate::{LakeError, files};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter, ManifestStatus,
    ManifestWriter, ManifestWriterBuilder, Operation, Snapshot, SnapshotReference, SnapshotRetention,
    SnapshotSummaryCollector, Summary, UNASSIGNED_SEQUENCE_NUMBER,
};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Manifests with this many files are large enough: merging leaves them alone.
const MANIFEST_FILES_FULL: u32 = 4_000;

/// What a snapshot changes.
pub(crate) struct Change {
    pub(crate) operation: Operation,
    pub(crate) added: Vec<DataFile>,
    /// Paths of live data files that the snapshot drops.
    pub(crate) removed: HashSet<String>,
    /// Entries for the snapshot's summary.
    pub(crate) summary: HashMap<String, String>,
}

/// The pieces of a commit.
pub(crate) struct Produced {
    pub(crate) snapshot_id: i64,
    pub(crate) updates: Vec<TableUpdate>,
    written: Vec<String>,
    file_io: FileIO,
}

impl Produced {
    /// Deletes what was written for a snapshot that will not be.
    pub(crate) fn discard(&self) {
        discard(&self.file_io, &self.written);
    }
}

/// Writes manifests and manifest list of `change` on top of the table's current snapshot.
/// `None` when a file to be removed is no longer live: somebody else has replaced it.
pub(crate) async fn produce(
    table: &Table,
    change: &Change,
    manifests_max: usize,
) -> Result<Option<Produced>, LakeError> {
    let mut writer = Writer {
        table,
        snapshot_id: new_snapshot_id(table),
        commit: Uuid::now_v7(),
        counter: 0,
        written: Vec::new(),
    };
    let updates = writer.snapshot(change, manifests_max).await;
    if !matches!(updates, Ok(Some(_))) {
        discard(table.file_io(), &writer.written);
    }
    let file_io = table.file_io().clone();
    Ok(updates?.map(|updates| Produced {
        snapshot_id: writer.snapshot_id,
        updates,
        written: writer.written,
        file_io,
    }))
}

/// What every commit of ours asks of the table it was decided on.
pub(crate) fn requirements(table: &Table) -> Vec<TableRequirement> {
    vec![
        TableRequirement::UuidMatch { uuid: table.metadata().uuid() },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_owned(),
            snapshot_id: table.metadata().current_snapshot_id(),
        },
    ]
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    affluent_model::time::now_micros() / 1_000
}

struct Writer<'a> {
    table: &'a Table,
    snapshot_id: i64,
    commit: Uuid,
    counter: u32,
    written: Vec<String>,
}

impl Writer<'_> {
    /// `None` when a file to be removed is not live.
    async fn snapshot(
        &mut self,
        change: &Change,
        manifests_max: usize,
    ) -> Result<Option<Vec<TableUpdate>>, LakeError> {
        let metadata = self.table.metadata();
        let mut summary = SnapshotSummaryCollector::default();
        let (schema, spec) = (metadata.current_schema(), metadata.default_partition_spec());

        let mut manifests = Vec::new();
        if let Some(current) = metadata.current_snapshot() {
            let list = self.table.manifest_list_reader(current).load().await?;
            let live = |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
            manifests.extend(list.consume_entries().into_iter().filter(live));
        }
        if !change.removed.is_empty() {
            match self.without(manifests, &change.removed, &mut summary).await? {
                Some(rest) => manifests = rest,
                None => return Ok(None),
            }
        }
        if manifests.len() >= manifests_max {
            manifests = self.merged(manifests).await?;
        }
        if !change.added.is_empty() {
            let mut manifest = self.manifest(metadata.default_partition_spec_id())?;
            for file in &change.added {
                summary.add_file(file, schema.clone(), spec.clone());
                manifest.add_file(file.clone(), UNASSIGNED_SEQUENCE_NUMBER)?;
            }
            manifests.push(manifest.write_manifest_file().await?);
        }

        let list = self.list(manifests).await?;
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(now_ms().max(metadata.last_updated_ms()))
            .with_manifest_list(list)
            .with_summary(Summary {
                operation: change.operation.clone(),
                additional_properties: totals(self.table, change, summary.build()),
            })
            .with_schema_id(metadata.current_schema_id())
            .build();
        let reference = SnapshotReference::new(self.snapshot_id, SnapshotRetention::branch(None, None, None));
        Ok(Some(vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
        ]))
    }

    fn manifest(&mut self, spec_id: i32) -> Result<ManifestWriter, LakeError> {
        let metadata = self.table.metadata();
        let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| LakeError::Malformed {
            what: format!("metadata of {}", self.table.identifier()),
            error: format!("no partition spec {spec_id}"),
        })?;
        let path = format!("{}/metadata/{}-m{}.avro", metadata.location(), self.commit, self.counter);
        self.counter += 1;
        self.written.push(path.clone());
        let output = self.table.file_io().new_output(path)?;
        let builder = ManifestWriterBuilder::new(
            output,
            Some(self.snapshot_id),
            metadata.current_schema().clone(),
            spec.as_ref().clone(),
        );
        Ok(builder.build_v2_data())
    }

    /// The manifests without the removed files: untouched ones as they are, the others rewritten.
    /// `None` when one of the files is not live.
    async fn without(
        &mut self,
        manifests: Vec<ManifestFile>,
        removed: &HashSet<String>,
        summary: &mut SnapshotSummaryCollector,
    ) -> Result<Option<Vec<ManifestFile>>, LakeError> {
        let metadata = self.table.metadata();
        let mut rest = Vec::with_capacity(manifests.len());
        let mut found = 0;
        for manifest in manifests {
            let loaded = manifest.load_manifest(self.table.file_io()).await?;
            let hit = |entry: &&iceberg::spec::ManifestEntryRef| {
                entry.is_alive() && removed.contains(entry.file_path())
            };
            if manifest.content != ManifestContentType::Data || !loaded.entries().iter().any(|e| hit(&e)) {
                rest.push(manifest);
                continue;
            }
            let spec = metadata.partition_spec_by_id(manifest.partition_spec_id);
            let mut writer = self.manifest(manifest.partition_spec_id)?;
            for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
                let sequence = entry.sequence_number().unwrap_or(manifest.sequence_number);
                let file = entry.data_file().clone();
                if hit(&entry) {
                    found += 1;
                    if let Some(spec) = spec {
                        summary.remove_file(&file, metadata.current_schema().clone(), spec.clone());
                    }
                    writer.add_delete_file(file, sequence, entry.file_sequence_number)?;
                } else {
                    let added_by = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                    writer.add_existing_file(file, added_by, sequence, entry.file_sequence_number)?;
                }
            }
            rest.push(writer.write_manifest_file().await?);
        }
        Ok((found == removed.len()).then_some(rest))
    }

    /// The small manifests of each partition spec in one; entries of files deleted before this
    /// snapshot are dropped, those that this very snapshot deletes keep their manifest.
    async fn merged(&mut self, manifests: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, LakeError> {
        let small = |manifest: &ManifestFile| {
            let files = manifest.added_files_count.unwrap_or(0) + manifest.existing_files_count.unwrap_or(0);
            manifest.content == ManifestContentType::Data
                && files < MANIFEST_FILES_FULL
                && manifest.added_snapshot_id != self.snapshot_id
        };
        let (small, mut rest): (Vec<_>, Vec<_>) = manifests.into_iter().partition(small);
        let mut specs: Vec<i32> = small.iter().map(|manifest| manifest.partition_spec_id).collect();
        specs.sort_unstable();
        specs.dedup();
        for spec in specs {
            let mut writer = self.manifest(spec)?;
            for manifest in small.iter().filter(|manifest| manifest.partition_spec_id == spec) {
                let loaded = manifest.load_manifest(self.table.file_io()).await?;
                for entry in loaded.entries().iter().filter(|e| e.status() != ManifestStatus::Deleted) {
                    writer.add_existing_file(
                        entry.data_file().clone(),
                        entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
                        entry.sequence_number().unwrap_or(manifest.sequence_number),
                        entry.file_sequence_number,
                    )?;
                }
            }
            rest.push(writer.write_manifest_file().await?);
        }
        Ok(rest)
    }

    async fn list(&mut self, manifests: Vec<ManifestFile>) -> Result<String, LakeError> {
        let metadata = self.table.metadata();
        let path =
            format!("{}/metadata/snap-{}-0-{}.avro", metadata.location(), self.snapshot_id, self.commit);
        self.written.push(path.clone());
        let output = self.table.file_io().new_output(&path)?.writer().await?;
        let mut list = ManifestListWriter::v2(
            output,
            self.snapshot_id,
            metadata.current_snapshot_id(),
            metadata.next_sequence_number(),
        );
        list.add_manifests(manifests.into_iter())?;
        list.close().await?;
        Ok(path)
    }
}

fn discard(file_io: &FileIO, written: &[String]) {
    files::discard(file_io, written.iter().map(String::as_str));
}

/// The summary with the table's totals after the change, as every Iceberg writer keeps them.
fn totals(table: &Table, change: &Change, counted: HashMap<String, String>) -> HashMap<String, String> {
    let number = |map: &HashMap<String, String>, key: &str| {
        map.get(key).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
    };
    let empty = HashMap::new();
    let before = table
        .metadata()
        .current_snapshot()
        .map_or(&empty, |snapshot| &snapshot.summary().additional_properties);
    let mut summary = change.summary.clone();
    for (total, added, removed) in [
        ("total-data-files", "added-data-files", "deleted-data-files"),
        ("total-records", "added-records", "deleted-records"),
        ("total-files-size", "added-files-size", "removed-files-size"),
        ("total-delete-files", "added-delete-files", "removed-delete-files"),
        ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
        ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
    ] {
        let value = number(before, total) + number(&counted, added) - number(&counted, removed);
        summary.insert(total.to_owned(), value.max(0).to_string());
    }
    summary.extend(counted);
    summary
}

fn new_snapshot_id(table: &Table) -> i64 {
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let id = i64::try_from((high ^ low) >> 1).unwrap_or(i64::MAX);
        if table.metadata().snapshot_by_id(id).is_none() {
            return id;
        }
    }
}
