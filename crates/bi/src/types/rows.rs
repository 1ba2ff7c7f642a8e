//! Rows of a batch as the fields of a row's message.

use super::binary::write_binary;
use super::{EncodeError, type_of, write_text};
use crate::error::{PgError, code};
use crate::wire::Format;
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::{BufMut, BytesMut};
use postgres_types::Type;

/// Writes rows of one result.
#[derive(Debug, Clone)]
pub(crate) struct RowEncoder {
    columns: Vec<(Type, Format)>,
}

impl RowEncoder {
    /// For rows of this schema; one format a column.
    pub(crate) fn new(schema: &Schema, formats: Vec<Format>) -> Self {
        let types = schema.fields().iter().map(|field| type_of(field));
        RowEncoder { columns: types.zip(formats).collect() }
    }

    /// Whether rows are of the types that clients were told, as their binary forms have to be.
    ///
    /// # Errors
    /// XX000: they are of others.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<(), PgError> {
        let schema = batch.schema();
        for ((told, format), field) in self.columns.iter().zip(schema.fields()) {
            let made = type_of(field);
            // A text is the text of whatever there is.
            let is_text = *format == Format::Text || *told == Type::TEXT || field.data_type().is_null();
            if !is_text && made != *told {
                let message = format!("column {:?} is {made} and was said to be {told}", field.name());
                return Err(PgError::new(code::INTERNAL, message));
            }
        }
        Ok(())
    }

    /// Appends, for every column, the length of its value (-1: null) and its bytes.
    ///
    /// # Errors
    /// A value that the type it has for clients cannot hold; what is left in `out` is then of no use.
    pub(crate) fn row(&self, batch: &RecordBatch, row: usize, out: &mut BytesMut) -> Result<(), PgError> {
        for ((data_type, format), array) in self.columns.iter().zip(batch.columns()) {
            if array.is_null(row) || array.data_type().is_null() {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            match format {
                Format::Text => write_text(array.as_ref(), row, out)?,
                Format::Binary => write_binary(array.as_ref(), row, data_type, out)?,
            }
            let length = i32::try_from(out.len() - start - 4)
                .map_err(|_| PgError::new(code::LIMIT_EXCEEDED, "a value is longer than a message may be"))?;
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }
}

impl From<EncodeError> for PgError {
    fn from(error: EncodeError) -> Self {
        PgError::new(code::OUT_OF_RANGE, error.to_string())
    }
}
