//! Which data files a reader has to open, judged by their age and the statistics in the manifests.
//!
//! Invariant: a file is left out only where it cannot hold what is wanted; where nothing is known
//! of it, it is read.

use crate::LakeError;
use crate::values::schema;
use iceberg::spec::{DataFile, Datum, ManifestContentType, PrimitiveLiteral, SnapshotRef};
use iceberg::table::Table;
use std::collections::HashSet;

/// Values of a whole-number or time column (microseconds UTC), both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRange {
    /// By its lake or source name.
    pub column: String,
    pub from: i64,
    pub to: i64,
}

/// What a reader wants of a snapshot's files.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) range: Option<&'a ColumnRange>,
    /// Only files that were added after the snapshot with this sequence number.
    pub(crate) since: Option<i64>,
}

/// Paths of the files of `snapshot` that may hold what is wanted; `None`: all of them.
pub(crate) async fn files(
    table: &Table,
    snapshot: &SnapshotRef,
    wanted: Wanted<'_>,
) -> Result<Option<HashSet<String>>, LakeError> {
    if wanted.range.is_none() && wanted.since.is_none() {
        return Ok(None);
    }
    let range = wanted.range.map(|range| bounds(table, range)).transpose()?;
    let since = wanted.since.unwrap_or(i64::MIN);
    let list = table.manifest_list_reader(snapshot).load().await?;
    let mut paths = HashSet::new();
    for manifest in list.entries() {
        if manifest.content != ManifestContentType::Data || manifest.sequence_number <= since {
            continue;
        }
        let loaded = manifest.load_manifest(table.file_io()).await?;
        for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
            // An entry without a number of its own was added with its manifest.
            let added = entry.sequence_number().unwrap_or(manifest.sequence_number);
            if added > since && range.is_none_or(|range| may_hold(entry.data_file(), range)) {
                paths.insert(entry.file_path().to_owned());
            }
        }
    }
    Ok(Some(paths))
}

/// Field id and ends of a range.
pub(crate) type Bounds = (i32, i64, i64);

pub(crate) fn bounds(table: &Table, range: &ColumnRange) -> Result<Bounds, LakeError> {
    let fields = table.metadata().current_schema().as_struct().fields();
    let field = schema::named(fields, &range.column).ok_or_else(|| LakeError::NoColumn {
        table: table.identifier().to_string(),
        column: range.column.clone(),
    })?;
    Ok((field.id, range.from, range.to))
}

pub(crate) fn may_hold(file: &DataFile, (id, from, to): Bounds) -> bool {
    let lowest = file.lower_bounds().get(&id).and_then(whole);
    let highest = file.upper_bounds().get(&id).and_then(whole);
    lowest.is_none_or(|lowest| lowest <= to) && highest.is_none_or(|highest| highest >= from)
}

fn whole(datum: &Datum) -> Option<i64> {
    match datum.literal() {
        PrimitiveLiteral::Int(value) => Some((*value).into()),
        PrimitiveLiteral::Long(value) => Some(*value),
        _ => None,
    }
}
