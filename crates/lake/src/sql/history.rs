//! What a table tells of itself: `namespace.table$snapshots` and `namespace.table$files`.

use super::files::LiveFile;
use super::pins::Pinned;
use crate::LakeError;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use std::sync::Arc;

/// What can be asked about a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Snapshots,
    Files,
}

impl About {
    /// By what stands behind the `$`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "snapshots" => Some(About::Snapshots),
            "files" => Some(About::Files),
            _ => None,
        }
    }
}

/// The kept snapshots, oldest first.
pub(crate) fn snapshots(pinned: &Pinned) -> Result<Arc<dyn TableProvider>, LakeError> {
    let metadata = pinned.table.metadata();
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let seen = pinned.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id());
    let total = |key: &str| {
        let number = |snapshot: &&iceberg::spec::SnapshotRef| {
            snapshot.summary().additional_properties.get(key).and_then(|text| text.parse::<i64>().ok())
        };
        snapshots.iter().map(number).collect::<Int64Array>()
    };
    let committed = snapshots.iter().map(|snapshot| Some(snapshot.timestamp_ms().saturating_mul(1_000)));
    let committed = committed.collect::<TimestampMicrosecondArray>().with_timezone("+00:00");
    let operations = snapshots.iter().map(|snapshot| Some(snapshot.summary().operation.as_str()));
    table(vec![
        ("snapshot_id", int64(snapshots.iter().map(|snapshot| Some(snapshot.snapshot_id())))),
        ("parent_id", int64(snapshots.iter().map(|snapshot| snapshot.parent_snapshot_id()))),
        ("sequence_number", int64(snapshots.iter().map(|snapshot| Some(snapshot.sequence_number())))),
        ("committed_at", Arc::new(committed)),
        ("operation", Arc::new(operations.collect::<StringArray>())),
        ("rows", Arc::new(total("total-records"))),
        ("files", Arc::new(total("total-data-files"))),
        ("bytes", Arc::new(total("total-files-size"))),
        ("added_rows", Arc::new(total("added-records"))),
        ("read_here", {
            let read = snapshots.iter().map(|snapshot| Some(Some(snapshot.snapshot_id()) == seen));
            Arc::new(read.collect::<BooleanArray>())
        }),
    ])
}

/// The data files of the pinned snapshot.
pub(crate) fn files(files: &[LiveFile]) -> Result<Arc<dyn TableProvider>, LakeError> {
    let number = |number: u64| i64::try_from(number).ok();
    let data = || files.iter().map(LiveFile::file);
    table(vec![
        ("path", Arc::new(data().map(|file| Some(file.file_path())).collect::<StringArray>())),
        ("rows", int64(data().map(|file| number(file.record_count())))),
        ("bytes", int64(data().map(|file| number(file.file_size_in_bytes())))),
        ("sort_order", int64(data().map(|file| file.sort_order_id().map(i64::from)))),
        ("added_by", int64(files.iter().map(|file| file.added_by))),
    ])
}

fn int64(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<Arc<dyn TableProvider>, LakeError> {
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    let table = MemTable::try_new(schema, vec![vec![batch]]);
    Ok(Arc::new(table.map_err(|error| LakeError::Malformed {
        what: "table metadata".to_owned(),
        error: error.to_string(),
    })?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, TimeUnit};

    #[test]
    fn only_what_there_is_can_be_asked() {
        assert_eq!(About::named("snapshots"), Some(About::Snapshots));
        assert_eq!(About::named("files"), Some(About::Files));
        assert_eq!(About::named("Files"), None);
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("+00:00"));
        let schema = table(vec![("at", column)]).unwrap().schema();
        let expected = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        assert_eq!(schema.field(0).data_type(), &expected);
    }
}
