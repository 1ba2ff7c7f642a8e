//! The order of rows inside data files.
//!
//! A table may declare columns to sort by: ascending, nulls first, the order of Iceberg's own metadata,
//! so that other engines see it. Appends sort what they write; merging ([`SortedMerge`]) keeps the order.
//! Files and row groups then hold narrow ranges, and a query for one value skips the rest by the
//! statistics. Order is a matter of speed alone: a file that is not sorted (older than the declaration,
//! or written by another engine) is read and merged like any other, and just not marked as sorted.

use crate::LakeError;
use crate::read::data_file::FileBatches;
use crate::table::LakeTable;
use crate::values::schema;
use crate::write::commits::Alteration;
use arrow_array::RecordBatch;
use arrow_row::{RowConverter, Rows, SortField};
use arrow_select::interleave::interleave_record_batch;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{
    self, DataFile, DataFileBuilder, NullOrder, PrimitiveType, Schema, SortDirection, SortOrder, Transform,
    Type,
};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};

/// Files that are merged at once into a sorted one. Each is open with its pages in memory.
pub(crate) const MERGE_WAYS: usize = 8;
/// Rows of a row group in sorted tables: what a query for one value reads at least.
pub(crate) const ROW_GROUP_ROWS: usize = 32 * 1024;
/// Rows of a batch that merging returns.
const BATCH_ROWS: usize = 4 * 1024;

/// A table's order, as far as it can be kept here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    id: i32,
    /// Field ids, the first counts first.
    fields: Vec<i32>,
}

impl Order {
    /// The order that the table declares; `None` where it declares none, or one of transforms,
    /// directions or types that are not written here.
    pub(crate) fn of(table: &Table) -> Option<Self> {
        let metadata = table.metadata();
        let order = metadata.default_sort_order();
        let plain = |field: &spec::SortField| {
            field.transform == Transform::Identity
                && field.direction == SortDirection::Ascending
                && field.null_order == NullOrder::First
                && metadata
                    .current_schema()
                    .field_by_id(field.source_id)
                    .is_some_and(|f| sortable(&f.field_type))
        };
        let kept = !order.is_unsorted() && order.fields.iter().all(plain);
        let id = i32::try_from(order.order_id).ok()?;
        kept.then(|| Order { id, fields: order.fields.iter().map(|field| field.source_id).collect() })
    }

    /// The rows of batches that have the columns of `stored`, sorted; equal ones stay in the order in
    /// which they came.
    pub(crate) fn sorted(
        &self,
        stored: &Schema,
        batches: &[RecordBatch],
    ) -> Result<Vec<RecordBatch>, LakeError> {
        let places = self.places(stored);
        let keys = Keys::of(&places, stored)?;
        let keys: Vec<Rows> = batches.iter().map(|batch| keys.rows(batch)).collect::<Result<_, _>>()?;
        let all = keys.iter().enumerate();
        let mut places: Vec<(usize, usize)> =
            all.flat_map(|(batch, keys)| (0..keys.num_rows()).map(move |row| (batch, row))).collect();
        places.sort_by(|a, b| keys[a.0].row(a.1).cmp(&keys[b.0].row(b.1)));
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        places.chunks(BATCH_ROWS).map(|places| Ok(interleave_record_batch(&batches, places)?)).collect()
    }

    /// Where the columns of the order are among those of `stored`.
    fn places(&self, stored: &Schema) -> Vec<usize> {
        let fields = stored.as_struct().fields();
        self.fields.iter().filter_map(|id| fields.iter().position(|field| field.id == *id)).collect()
    }

    /// This order's id in the table.
    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// The file, marked as having this order.
    pub(crate) fn mark(&self, file: &DataFile, partition_spec_id: i32) -> Result<DataFile, LakeError> {
        let marked = DataFileBuilder::default()
            .content(file.content_type())
            .file_path(file.file_path().to_owned())
            .file_format(file.file_format())
            .partition(file.partition().clone())
            .partition_spec_id(partition_spec_id)
            .record_count(file.record_count())
            .file_size_in_bytes(file.file_size_in_bytes())
            .column_sizes(file.column_sizes().clone())
            .value_counts(file.value_counts().clone())
            .null_value_counts(file.null_value_counts().clone())
            .nan_value_counts(file.nan_value_counts().clone())
            .lower_bounds(file.lower_bounds().clone())
            .upper_bounds(file.upper_bounds().clone())
            .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
            .sort_order_id(self.id)
            .build();
        marked.map_err(|error| LakeError::Malformed {
            what: format!("data file {}", file.file_path()),
            error: error.to_string(),
        })
    }
}

impl LakeTable {
    /// Declares the order where the table has none.
    ///
    /// # Errors
    /// [`LakeError::NoColumn`], [`LakeError::Options`] for a type that has no order here.
    pub(crate) async fn declare_order(&self, sort_by: &[&str]) -> Result<(), LakeError> {
        let unsorted = |table: &Table| table.metadata().default_sort_order().is_unsorted();
        if sort_by.is_empty() || !unsorted(&self.known()) {
            return Ok(());
        }
        let decide = |base: &Table| {
            if !unsorted(base) {
                return Ok(None);
            }
            let sort_order = declared(&self.name(), base.metadata().current_schema(), sort_by)?;
            let default_sort_order_id = base.metadata().default_sort_order_id();
            Ok(Some(Alteration {
                requirements: vec![TableRequirement::DefaultSortOrderIdMatch { default_sort_order_id }],
                updates: vec![
                    TableUpdate::AddSortOrder { sort_order },
                    TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
                ],
            }))
        };
        self.alter(decide).await.map(drop)
    }
}

fn declared(table: &str, stored: &Schema, sort_by: &[&str]) -> Result<SortOrder, LakeError> {
    let fields = stored.as_struct().fields();
    let mut order = SortOrder::builder();
    for &column in sort_by {
        let field = schema::find(fields, column).map(|index| &fields[index]);
        let field = field
            .ok_or_else(|| LakeError::NoColumn { table: table.to_owned(), column: column.to_owned() })?;
        if !sortable(&field.field_type) {
            return Err(LakeError::Options(format!(
                "{table}: rows are not sorted by {column}, a {}",
                field.field_type
            )));
        }
        order.with_sort_field(spec::SortField {
            source_id: field.id,
            transform: Transform::Identity,
            direction: SortDirection::Ascending,
            null_order: NullOrder::First,
        });
    }
    Ok(order.build(stored)?)
}

fn sortable(stored: &Type) -> bool {
    match stored {
        Type::Primitive(primitive) => matches!(
            primitive,
            PrimitiveType::Boolean
                | PrimitiveType::Int
                | PrimitiveType::Long
                | PrimitiveType::Date
                | PrimitiveType::Time
                | PrimitiveType::Timestamp
                | PrimitiveType::Timestamptz
                | PrimitiveType::String
        ),
        Type::Struct(_) | Type::List(_) | Type::Map(_) => false,
    }
}

/// Makes of each row bytes that compare as Iceberg orders its rows: null first, then by number or by the
/// text's bytes.
struct Keys {
    converter: RowConverter,
    /// Places of the columns of the order in the batches.
    places: Vec<usize>,
}

impl Keys {
    fn of(places: &[usize], stored: &Schema) -> Result<Self, LakeError> {
        let arrow = schema_to_arrow_schema(stored)?;
        let column = |place: &usize| SortField::new(arrow.field(*place).data_type().clone());
        let converter = RowConverter::new(places.iter().map(column).collect())?;
        Ok(Keys { converter, places: places.to_vec() })
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows, LakeError> {
        Ok(self.converter.convert_columns(batch.project(&self.places)?.columns())?)
    }
}

/// Several sorted files as one sorted run of batches. What is not sorted comes out in some order.
pub(crate) struct SortedMerge {
    keys: Keys,
    cursors: Vec<Cursor>,
    /// Batches that `picked` refers to.
    batches: Vec<RecordBatch>,
    picked: Vec<(usize, usize)>,
    is_sorted: bool,
}

/// Where one file is read.
struct Cursor {
    file: FileBatches,
    /// Of the current batch.
    keys: Rows,
    row: usize,
    /// The current batch's index in [`SortedMerge::batches`].
    batch: usize,
}

impl SortedMerge {
    /// The rows a file should be read by, so that `files` of them stay small together.
    pub(crate) fn rows_at_once(files: usize) -> usize {
        (2 * BATCH_ROWS / files.max(1)).clamp(256, BATCH_ROWS)
    }

    /// A merge of files that are read in all columns of `stored`.
    pub(crate) async fn open(
        order: &Order,
        stored: &Schema,
        files: Vec<FileBatches>,
    ) -> Result<Self, LakeError> {
        let mut merge = SortedMerge {
            keys: Keys::of(&order.places(stored), stored)?,
            cursors: Vec::with_capacity(files.len()),
            batches: Vec::new(),
            picked: Vec::with_capacity(BATCH_ROWS),
            is_sorted: true,
        };
        for file in files {
            let keys = merge.keys.converter.empty_rows(0, 0);
            let mut cursor = Cursor { file, keys, row: 0, batch: 0 };
            if merge.load(&mut cursor).await? {
                merge.cursors.push(cursor);
            }
        }
        Ok(merge)
    }

    /// The next batch; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        while self.picked.len() < BATCH_ROWS {
            let least = |a: &&mut Cursor, b: &&mut Cursor| a.keys.row(a.row).cmp(&b.keys.row(b.row));
            let Some(cursor) = self.cursors.iter_mut().min_by(least) else { break };
            self.picked.push((cursor.batch, cursor.row));
            cursor.row += 1;
            if cursor.row == cursor.keys.num_rows() {
                self.turn().await?;
            }
        }
        if self.picked.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let merged = interleave_record_batch(&batches, &self.picked)?;
        self.picked.clear();
        // Only the batches that are being read stay.
        let mut kept = Vec::with_capacity(self.cursors.len());
        for cursor in &mut self.cursors {
            kept.push(self.batches[cursor.batch].clone());
            cursor.batch = kept.len() - 1;
        }
        self.batches = kept;
        Ok(Some(merged))
    }

    /// Whether every file was in order as far as it was read, and with them what came out.
    pub(crate) fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// Goes on in the file whose batch is used up.
    async fn turn(&mut self) -> Result<(), LakeError> {
        let used_up = |cursor: &Cursor| cursor.row == cursor.keys.num_rows();
        let Some(index) = self.cursors.iter().position(used_up) else { return Ok(()) };
        let mut cursor = self.cursors.swap_remove(index);
        if self.load(&mut cursor).await? {
            self.cursors.push(cursor);
        }
        Ok(())
    }

    /// The file's next batch; false after the last.
    async fn load(&mut self, cursor: &mut Cursor) -> Result<bool, LakeError> {
        while let Some(batch) = cursor.file.next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = self.keys.rows(&batch)?;
            let run = cursor.keys.iter().next_back().into_iter().chain(keys.iter());
            self.is_sorted &= run.is_sorted();
            cursor.keys = keys;
            cursor.row = 0;
            cursor.batch = self.batches.len();
            self.batches.push(batch);
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{Column, ColumnType};
    use arrow_array::{ArrayRef, StringArray};
    use std::sync::Arc;

    #[test]
    fn nulls_come_first_and_texts_go_by_their_bytes() {
        let columns = [Column { name: "service".to_owned(), column_type: ColumnType::Text, nullable: true }];
        let stored = schema::create("t", &columns).unwrap();
        let order = Order { id: 1, fields: vec![1] };
        let batch = |texts: Vec<Option<&str>>| {
            let array: ArrayRef = Arc::new(StringArray::from(texts));
            RecordBatch::try_from_iter([("service", array)]).unwrap()
        };
        let batches = [batch(vec![Some("b"), None]), batch(vec![Some("B"), Some("ä"), Some("")])];
        let sorted = order.sorted(&stored, &batches).unwrap();
        assert_eq!(sorted, [batch(vec![None, Some(""), Some("B"), Some("b"), Some("ä")])]);
    }

    #[test]
    fn only_columns_with_a_plain_order_are_declared() {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
        let columns = [
            column("service", ColumnType::Text),
            column("at", ColumnType::TimestampTz),
            column("share", ColumnType::Float64),
        ];
        let stored = schema::create("t", &columns).unwrap();
        let order = declared("t", &stored, &["service", "at"]).unwrap();
        assert_eq!(order.fields.iter().map(|field| field.source_id).collect::<Vec<_>>(), [1, 2]);
        for (sort_by, expected) in [("share", "not sorted by share"), ("none", "none")] {
            let error = declared("t", &stored, &[sort_by]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
