//! A Parquet file of anybody's: some of its columns, row by row. Tables of the lake are read elsewhere (`scan`, [`crate::sql`]).
//!
//! Invariant: a value is read exactly, or its type is refused.

use crate::LakeError;
use crate::read::source::Source;
use crate::values::decode;
use affluent_model::Row;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::CastOptions;
use arrow_cast::display::FormatOptions;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::path::Path;
use std::sync::Arc;

/// What does not fit is an error, not null.
const EXACT: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };
/// Rows that are read at once.
const BATCH_ROWS: usize = 8 * 1024;

/// The rows of a file, batch by batch, in the order in which they stand in it. Reading blocks.
#[derive(Debug)]
pub struct ParquetFile {
    batches: ParquetRecordBatchReader,
    columns: Vec<String>,
}

impl ParquetFile {
    /// Opens a file of this machine for these columns, in this order.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Malformed`] for what is no Parquet file, [`LakeError::NoColumn`].
    pub fn open(path: &Path, columns: &[&str]) -> Result<Self, LakeError> {
        let shown = path.display().to_string();
        let source = Source::on_disk(path)?;
        let unreadable = |error| source.unreadable(&error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(source.clone()).map_err(unreadable)?;
        let fields = builder.schema().fields();
        let place = |column: &&str| {
            let found = fields.iter().position(|field| field.name() == column);
            found.ok_or_else(|| LakeError::NoColumn { table: shown.clone(), column: (*column).to_owned() })
        };
        let places = columns.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let batches =
            builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
        Ok(ParquetFile { batches, columns: columns.iter().map(|&column| column.to_owned()).collect() })
    }

    /// Names of the columns, and how many rows there are.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Malformed`] for what is no Parquet file.
    pub fn describe(path: &Path) -> Result<(Vec<String>, u64), LakeError> {
        let source = Source::on_disk(path)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(source.clone())
            .map_err(|error| source.unreadable(&error))?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let fields = builder.schema().fields();
        Ok((fields.iter().map(|field| field.name().clone()).collect(), rows))
    }

    /// The batch in the order that was asked for, in types that the lake has.
    fn arranged(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
        for name in &self.columns {
            let place = batch.schema_ref().index_of(name)?;
            let array = match widened(batch.column(place).data_type()) {
                Some(wider) => arrow_cast::cast_with_options(batch.column(place), &wider, &EXACT)?,
                None => Arc::clone(batch.column(place)),
            };
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
}

impl Iterator for ParquetFile {
    type Item = Result<Vec<Row>, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let arranged = batch.map_err(LakeError::from).and_then(|batch| self.arranged(&batch));
        Some(arranged.and_then(|batch| decode::rows(&batch)))
    }
}

/// The lake's type that holds every value of a type which it does not have itself.
fn widened(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            Some(DataType::Int64)
        }
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        // All others are read as they are, or refused by name.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::Value;
    use arrow_array::{Int8Array, StringArray, TimestampMillisecondArray, TimestampNanosecondArray};
    use parquet::arrow::ArrowWriter;

    #[test]
    fn columns_come_in_the_order_asked_for_and_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.parquet");
        let columns: [(&str, ArrayRef); 4] = [
            ("fraud", Arc::new(Int8Array::from(vec![Some(1), None]))),
            ("left_out", Arc::new(StringArray::from(vec!["a", "b"]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![7, 8]))),
            ("too_fine", Arc::new(TimestampNanosecondArray::from(vec![1, 2]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let rows: Vec<Row> =
            ParquetFile::open(&path, &["at", "fraud"]).unwrap().flat_map(Result::unwrap).collect();
        let expected =
            [vec![Value::Timestamp(7_000), Value::Int(1)], vec![Value::Timestamp(8_000), Value::Null]];
        assert_eq!(rows, expected);
        let (names, count) = ParquetFile::describe(&path).unwrap();
        assert_eq!((names.join(" ").as_str(), count), ("fraud left_out at too_fine", 2));
        let error = ParquetFile::open(&path, &["on"]).unwrap_err().to_string();
        assert!(error.contains("f.parquet") && error.contains("column on"), "{error}");
        let error = ParquetFile::open(&path, &["too_fine"]).unwrap().next().unwrap().unwrap_err();
        assert!(error.to_string().contains("too_fine"), "{error}");
        std::fs::write(&path, "no such thing").unwrap();
        ParquetFile::open(&path, &["at"]).unwrap_err();
    }
}
