//! Reading one data file in the columns of a newer schema.
//!
//! Columns are found by field id: missing ones are null, promoted ones are cast. The crate's own
//! reader does the same but for lists, which it cannot fill with nulls; it still reads the files
//! that only it understands: those with delete files, and those of other engines without ids.

use crate::LakeError;
use crate::read::source::Source;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::SchemaRef;
use futures::StreamExt;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::scan::{ArrowRecordBatchStream, FileScanTask};
use iceberg::spec::Schema;
use iceberg::table::Table;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::HashMap;
use std::sync::Arc;

/// The columns wanted of each file.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    ids: Vec<i32>,
    arrow: SchemaRef,
    schema: Arc<Schema>,
}

impl Columns {
    /// The columns with these field ids, in this order, as `schema` has them.
    pub(crate) fn new(schema: &Arc<Schema>, ids: Vec<i32>) -> Result<Self, LakeError> {
        let all = schema_to_arrow_schema(schema)?;
        let places: HashMap<i32, usize> =
            schema.as_struct().fields().iter().enumerate().map(|(place, field)| (field.id, place)).collect();
        let wanted: Vec<usize> = ids.iter().filter_map(|id| places.get(id).copied()).collect();
        Ok(Columns { ids, arrow: Arc::new(all.project(&wanted)?), schema: Arc::clone(schema) })
    }
}

/// The batches of one file. Reading blocks: only on threads that may.
pub(crate) enum FileBatches {
    Own(OwnReader),
    Foreign(ArrowRecordBatchStream),
}

impl FileBatches {
    /// Opens the file of `task`; `groups`: only these row groups of it, where it is one of ours.
    ///
    /// # Errors
    /// The file cannot be read or is no Parquet file.
    pub(crate) fn open(
        table: &Table,
        task: &FileScanTask,
        columns: &Columns,
        batch_rows: usize,
        groups: Option<Vec<usize>>,
    ) -> Result<Self, LakeError> {
        if task.deletes.is_empty()
            && let Some(reader) = OwnReader::open(source(table, task)?, columns, batch_rows, groups)?
        {
            return Ok(FileBatches::Own(reader));
        }
        let mut task = task.clone();
        task.schema = Arc::clone(&columns.schema);
        task.project_field_ids.clone_from(&columns.ids);
        let reader = table.reader_builder().with_data_file_concurrency_limit(1).with_batch_size(batch_rows);
        let scanned = reader.build().read(futures::stream::iter([Ok(task)]).boxed())?;
        Ok(FileBatches::Foreign(scanned.stream()))
    }

    /// The next batch; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch, LakeError>> {
        match self {
            FileBatches::Own(reader) => reader.next(),
            FileBatches::Foreign(batches) => batches.next().await.map(|batch| batch.map_err(LakeError::from)),
        }
    }
}

/// A file of which every column has its field id.
pub(crate) struct OwnReader {
    batches: parquet::arrow::arrow_reader::ParquetRecordBatchReader,
    source: Source,
    /// Where each wanted column is in the batches.
    places: Vec<Option<usize>>,
    arrow: SchemaRef,
}

impl OwnReader {
    /// `None` for a file without field ids.
    fn open(
        source: Source,
        columns: &Columns,
        batch_rows: usize,
        groups: Option<Vec<usize>>,
    ) -> Result<Option<Self>, LakeError> {
        let unreadable = |error| source.unreadable(&error);
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(source.clone()).map_err(unreadable)?;
        if let Some(groups) = groups {
            builder = builder.with_row_groups(groups);
        }
        let id =
            |field: &arrow_schema::FieldRef| field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok();
        let Some(stored): Option<Vec<i32>> = builder.schema().fields().iter().map(id).collect() else {
            return Ok(None);
        };
        let found: Vec<Option<usize>> =
            columns.ids.iter().map(|id| stored.iter().position(|stored| stored == id)).collect();
        let mut roots: Vec<usize> = found.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        let places = found.iter().map(|root| root.and_then(|root| roots.binary_search(&root).ok())).collect();
        let batches =
            builder.with_projection(mask).with_batch_size(batch_rows).build().map_err(unreadable)?;
        let arrow = Arc::clone(&columns.arrow);
        Ok(Some(OwnReader { batches, source, places, arrow }))
    }

    fn arranged(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.places.len());
        for (place, field) in self.places.iter().zip(self.arrow.fields()) {
            arrays.push(match place {
                None => new_null_array(field.data_type(), batch.num_rows()),
                Some(place) if batch.column(*place).data_type() == field.data_type() => {
                    Arc::clone(batch.column(*place))
                }
                Some(place) => arrow_cast::cast(batch.column(*place), field.data_type())?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.arrow), arrays, &options)?)
    }
}

/// The data file of `task`.
pub(crate) fn source(table: &Table, task: &FileScanTask) -> Result<Source, LakeError> {
    Source::open(table.file_io(), &task.data_file_path, task.file_size_in_bytes)
}

impl Iterator for OwnReader {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let read = batch.map_err(|error| self.source.failure().unwrap_or_else(|| error.into()));
        Some(read.and_then(|batch| self.arranged(&batch)))
    }
}
