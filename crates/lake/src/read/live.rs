//! The data files of a table's current snapshot, and what happened to them since an older one.

use crate::LakeError;
use iceberg::spec::{DataFile, ManifestContentType, Operation};
use iceberg::table::Table;

/// A live data file.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    pub(crate) file: DataFile,
    pub(crate) spec_id: i32,
}

impl LiveFile {
    pub(crate) fn path(&self) -> &str {
        self.file.file_path()
    }
}

/// The live data files that `wanted` is true for.
pub(crate) async fn live(
    table: &Table,
    wanted: impl Fn(&LiveFile) -> bool,
) -> Result<Vec<LiveFile>, LakeError> {
    let Some(current) = table.metadata().current_snapshot() else { return Ok(Vec::new()) };
    let list = table.manifest_list_reader(current).load().await?;
    let mut files = Vec::new();
    for manifest in list.entries() {
        if manifest.content != ManifestContentType::Data {
            continue;
        }
        let loaded = manifest.load_manifest(table.file_io()).await?;
        let alive = loaded.entries().iter().filter(|entry| entry.is_alive());
        let file = |entry: &iceberg::spec::ManifestEntryRef| LiveFile {
            file: entry.data_file().clone(),
            spec_id: manifest.partition_spec_id,
        };
        files.extend(alive.map(file).filter(&wanted));
    }
    Ok(files)
}

/// Whether the table has come from snapshot `base` by merging files alone: same rows, other files.
pub(crate) fn only_merged_since(table: &Table, base: Option<i64>) -> bool {
    let metadata = table.metadata();
    let mut at = metadata.current_snapshot_id();
    while at != base {
        let snapshot = at.and_then(|id| metadata.snapshot_by_id(id));
        match snapshot {
            Some(snapshot) if snapshot.summary().operation == Operation::Replace => {
                at = snapshot.parent_snapshot_id();
            }
            _ => return false,
        }
    }
    true
}
