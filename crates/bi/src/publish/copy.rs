//! Rows as `COPY … FROM STDIN` reads them in its text format.

use super::PublishError;
use crate::types::write_text;
use arrow_array::{Array, RecordBatch};

/// What stands for the character of code 0, which no text of PostgreSQL can hold.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Adds the rows to `out`, one a line, columns between tabs, `\N` for null.
///
/// # Errors
/// [`PublishError::Value`].
pub(crate) fn write_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), PublishError> {
    let mut value = Vec::new();
    for row in 0..batch.num_rows() {
        for (place, array) in batch.columns().iter().enumerate() {
            if place > 0 {
                out.push(b'\t');
            }
            if array.is_null(row) {
                out.extend_from_slice(b"\\N");
                continue;
            }
            value.clear();
            write_text(array.as_ref(), row, &mut value).map_err(|error| PublishError::Value {
                column: batch.schema_ref().field(place).name().clone(),
                message: error.to_string(),
            })?;
            escape(&value, out);
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Adds a value so that `COPY` takes it for one.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0 => out.extend_from_slice(REPLACEMENT),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn values_are_told_from_separators_and_null_from_texts() {
        let texts = [Some("a\tb\nc\\.\r"), None, Some("\\N"), Some(""), Some("nil\0")];
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4, -5])) as ArrayRef),
            ("text", Arc::new(StringArray::from(texts.to_vec()))),
        ])
        .unwrap();
        let mut out = Vec::new();
        write_rows(&batch, &mut out).unwrap();
        let expected = "1\ta\\tb\\nc\\\\.\\r\n2\t\\N\n3\t\\\\N\n4\t\n-5\tnil\u{FFFD}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
