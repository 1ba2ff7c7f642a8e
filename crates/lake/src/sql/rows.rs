//! The rows of a query, batch by batch, within its limits.
//!
//! Invariant: a decimal that has more digits than its type is an error, never handed on: kernels check the
//! range of their integers, not of the type.

use super::SqlError;
use super::session::within;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Decimal256Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

/// The rows of a query. Dropping them ends it.
pub struct Rows {
    stream: SendableRecordBatchStream,
    deadline: Option<(Instant, Duration)>,
    left: Option<u64>,
    truncated: bool,
    /// No more rows are handed on: the limit was passed, or there was an error.
    ended: bool,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn new(
        stream: SendableRecordBatchStream,
        deadline: Option<(Instant, Duration)>,
        rows: Option<u64>,
    ) -> Self {
        Rows { stream, deadline, left: rows, truncated: false, ended: false }
    }

    /// Rows that are there already.
    #[must_use]
    pub fn of_batch(batch: RecordBatch) -> Self {
        let schema = batch.schema();
        let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]));
        Rows::new(Box::pin(stream), None, None)
    }

    /// The columns of the rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// True once rows were left out because of [`super::Limits::rows`].
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The next rows; `None` after the last. After an error there are no more.
    pub async fn next_batch(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        loop {
            if self.ended {
                return None;
            }
            let stream = &mut self.stream;
            let next = within(self.deadline, async { Ok(stream.next().await) }).await;
            let batch = match next {
                Ok(next) => next?.map_err(SqlError::from),
                Err(late) => Err(late),
            };
            let batch = match batch.and_then(|batch| digits_fit(&batch).map(|()| batch)) {
                Ok(batch) => batch,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            let batch = self.cut(batch);
            if batch.num_rows() > 0 {
                return Some(Ok(batch));
            }
        }
    }

    /// Every row that is left, in memory.
    ///
    /// # Errors
    /// What goes wrong while rows are made.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next_batch().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// The part of the batch that is within the limit.
    fn cut(&mut self, batch: RecordBatch) -> RecordBatch {
        let Some(left) = &mut self.left else { return batch };
        let rows = batch.num_rows() as u64;
        if rows <= *left {
            *left -= rows;
            return batch;
        }
        (self.truncated, self.ended) = (true, true);
        batch.slice(0, usize::try_from(*left).unwrap_or(usize::MAX))
    }
}

/// Refuses decimals with more digits than their type has.
fn digits_fit(batch: &RecordBatch) -> Result<(), SqlError> {
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let fits = match array.data_type() {
            DataType::Decimal128(precision, _) => {
                array.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision)
            }
            DataType::Decimal256(precision, _) => {
                array.as_primitive::<Decimal256Type>().validate_decimal_precision(*precision)
            }
            _ => Ok(()),
        };
        fits.map_err(|_| {
            let data_type = array.data_type();
            SqlError::Overflow(format!("column {} overflows its type {data_type}", field.name()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Decimal128Array, Int32Array};
    use arrow_schema::{Field, Schema};
    use std::sync::Arc;

    fn numbers(rows: i32) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int32, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from_iter_values(0..rows))]).unwrap()
    }

    async fn limited(batches: Vec<RecordBatch>, rows: u64) -> (usize, bool) {
        let schema = numbers(0).schema();
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        let stream = RecordBatchStreamAdapter::new(schema, stream);
        let mut rows = Rows::new(Box::pin(stream), None, Some(rows));
        let mut seen = 0;
        while let Some(batch) = rows.next_batch().await {
            seen += batch.unwrap().num_rows();
        }
        (seen, rows.truncated())
    }

    #[tokio::test]
    async fn no_more_rows_than_wanted_and_word_of_it() {
        assert_eq!(limited(vec![numbers(3), numbers(4)], 5).await, (5, true));
        assert_eq!(limited(vec![numbers(3), numbers(2)], 5).await, (5, false));
        assert_eq!(limited(vec![numbers(3), numbers(2), numbers(1)], 5).await, (5, true));
        assert_eq!(limited(vec![], 5).await, (0, false));
        assert_eq!(limited(vec![numbers(1)], 0).await, (0, true));
    }

    #[test]
    fn a_39_digit_value_in_38_digits_is_an_error() {
        let batch = |value: i128| {
            let array =
                Decimal128Array::from(vec![Some(value), None]).with_data_type(DataType::Decimal128(38, 2));
            RecordBatch::try_from_iter([("total", Arc::new(array) as _)]).unwrap()
        };
        digits_fit(&batch(10_i128.pow(38) - 1)).unwrap();
        let error = digits_fit(&batch(10_i128.pow(38))).unwrap_err();
        assert!(error.to_string().contains("total"), "{error}");
    }
}
