//! Arrow batches of a caller in the columns of a table.
//!
//! Columns are matched by name; what the batch lacks is null. Invariant: a value arrives exactly as
//! it was or not at all: types are only widened, and a number that its column cannot hold is an error.

use crate::values::schema;
use crate::{LakeError, Misfit};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::CastOptions;
use arrow_cast::display::FormatOptions;
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::Schema;
use std::sync::Arc;

/// The columns of a table that batches are to be brought into.
pub(crate) struct Target<'a> {
    table: &'a str,
    stored: &'a Schema,
    arrow: SchemaRef,
}

impl<'a> Target<'a> {
    pub(crate) fn new(table: &'a str, stored: &'a Schema) -> Result<Self, LakeError> {
        Ok(Target { table, stored, arrow: Arc::new(schema_to_arrow_schema(stored)?) })
    }

    /// The batch in the columns of the table, in their order.
    ///
    /// # Errors
    /// [`LakeError::NoColumn`] for a column that the table lacks, [`LakeError::Incompatible`] for one of
    /// another type, [`LakeError::Value`] for a value that does not fit.
    pub(crate) fn fitted(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let all: Vec<usize> = (0..self.arrow.fields().len()).collect();
        self.columns(batch, &all)
    }

    /// The columns of the batch that the table has at `places`, in that order; the batch may have others.
    ///
    /// # Errors
    /// As [`Target::fitted`]; a column that the batch lacks is null.
    pub(crate) fn keys(&self, batch: &RecordBatch, places: &[usize]) -> Result<RecordBatch, LakeError> {
        let wanted = |name: &str| self.place(name).is_ok_and(|place| places.contains(&place));
        let fields = batch.schema_ref().fields();
        let own: Vec<usize> = (0..fields.len()).filter(|&index| wanted(fields[index].name())).collect();
        self.columns(&batch.project(&own)?, places)
    }

    fn columns(&self, batch: &RecordBatch, places: &[usize]) -> Result<RecordBatch, LakeError> {
        let mut given: Vec<Option<&ArrayRef>> = vec![None; self.arrow.fields().len()];
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if given[self.place(field.name())?].replace(array).is_some() {
                return Err(LakeError::Malformed {
                    what: format!("batch for {}", self.table),
                    error: format!("column {} appears twice", field.name()),
                });
            }
        }
        let rows = batch.num_rows();
        let mut arrays = Vec::with_capacity(places.len());
        for &place in places {
            let field = self.arrow.field(place);
            let array = match given[place] {
                Some(array) => self.cast(array, field)?,
                None => new_null_array(field.data_type(), rows),
            };
            if !field.is_nullable() && array.null_count() > 0 {
                let row = (0..rows).find(|&row| array.is_null(row)).unwrap_or(0);
                return Err(value(row, field, Misfit::Null));
            }
            arrays.push(array);
        }
        let schema = Arc::new(self.arrow.project(places)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    /// Where the table has the column of this lake or source name.
    ///
    /// # Errors
    /// [`LakeError::NoColumn`].
    pub(crate) fn place(&self, name: &str) -> Result<usize, LakeError> {
        let fields = self.stored.as_struct().fields();
        let found = schema::named(fields, name)
            .and_then(|wanted| fields.iter().position(|field| field.id == wanted.id));
        found.ok_or_else(|| LakeError::NoColumn { table: self.table.to_owned(), column: name.to_owned() })
    }

    /// The id of the field at `place`.
    pub(crate) fn id(&self, place: usize) -> i32 {
        self.stored.as_struct().fields()[place].id
    }

    /// The table's columns as Arrow has them.
    pub(crate) fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    pub(crate) fn field(&self, place: usize) -> &Field {
        self.arrow.field(place)
    }

    fn cast(&self, array: &ArrayRef, field: &Field) -> Result<ArrayRef, LakeError> {
        let (from, to) = (array.data_type(), field.data_type());
        if from == to {
            return Ok(Arc::clone(array));
        }
        if !widens(from, to) {
            return Err(LakeError::Incompatible {
                table: self.table.to_owned(),
                column: field.name().clone(),
                stored: to.to_string(),
                wanted: from.to_string(),
            });
        }
        // A value that does not fit becomes null, which shows its row; inside lists it is an error at once.
        let safe = !matches!(to, DataType::List(_));
        let options = CastOptions { safe, format_options: FormatOptions::default() };
        let cast = arrow_cast::cast_with_options(array, to, &options)?;
        let lost = |&row: &usize| cast.is_null(row) && !array.is_null(row);
        if safe
            && *from != DataType::Null
            && cast.null_count() != array.logical_null_count()
            && let Some(row) = (0..array.len()).find(lost)
        {
            return Err(value(row, field, Misfit::Range { kind: "value", target: to.to_string() }));
        }
        Ok(cast)
    }
}

fn value(row: usize, field: &Field, misfit: Misfit) -> LakeError {
    LakeError::Value { row, column: field.name().clone(), misfit }
}

/// Whether every value of `from` is one of `to`, or at least is found out where it is not.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Decimal32, Decimal64, Decimal128, Decimal256, Dictionary,
        FixedSizeBinary, Float32, Float64, Int32, Int64, LargeBinary, LargeList, LargeUtf8, List, Null,
        Time32, Time64, Timestamp, Utf8, Utf8View,
    };
    if from == to {
        return true;
    }
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, from), to) => widens(from, to),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8)
        | (Binary | LargeBinary | BinaryView, Binary | LargeBinary)
        | (Binary | LargeBinary | BinaryView, FixedSizeBinary(_))
        | (Float32, Float64)
        | (Time32(_), Time64(TimeUnit::Microsecond))
        | (Date32, Date32) => true,
        (from, Int32 | Int64 | Decimal128(..)) if from.is_integer() => true,
        (
            Decimal32(_, from) | Decimal64(_, from) | Decimal128(_, from) | Decimal256(_, from),
            Decimal128(_, to),
        ) => from <= to,
        (Timestamp(unit, from), Timestamp(TimeUnit::Microsecond, to)) => {
            from.is_some() == to.is_some() && *unit != TimeUnit::Nanosecond
        }
        (List(from) | LargeList(from), List(to)) => widens(from.data_type(), to.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{Column, ColumnType};
    use arrow_array::{
        Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray, TimestampMillisecondArray,
        TimestampNanosecondArray,
    };

    fn stored() -> Schema {
        let column =
            |name: &str, column_type| Column { name: name.into(), column_type, nullable: name != "id" };
        let columns = [
            column("id", ColumnType::Int64),
            column("text", ColumnType::Text),
            column("amount", ColumnType::Decimal { precision: 9, scale: 2 }),
            column("at", ColumnType::TimestampTz),
        ];
        schema::create("t", &columns).unwrap()
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    #[test]
    fn columns_are_matched_by_name_and_widened() {
        let stored = stored();
        let target = Target::new("t", &stored).unwrap();
        let decimal = Decimal128Array::from(vec![15]).with_precision_and_scale(30, 1).unwrap();
        let given = batch(vec![
            ("at", Arc::new(TimestampMillisecondArray::from(vec![7]).with_timezone("UTC"))),
            ("amount", Arc::new(decimal)),
            ("text", Arc::new(StringViewArray::from(vec!["a"]))),
            ("id", Arc::new(Int32Array::from(vec![1]))),
        ]);
        let fitted = target.fitted(&given).unwrap();
        let expected = Decimal128Array::from(vec![150]).with_precision_and_scale(9, 2).unwrap();
        assert_eq!(fitted.column(2).as_ref(), &expected as &dyn Array);
        assert_eq!(fitted.column(0).as_ref(), &Int64Array::from(vec![1]) as &dyn Array);
        let at = arrow_cast::cast(fitted.column(3), &DataType::Int64).unwrap();
        assert_eq!(at.as_ref(), &Int64Array::from(vec![7_000]) as &dyn Array);
        let sparse = target.fitted(&batch(vec![("id", Arc::new(Int64Array::from(vec![1, 2])))])).unwrap();
        assert_eq!(sparse.column(1).null_count(), 2);
    }

    #[test]
    fn what_does_not_fit_exactly_is_refused() {
        let stored = stored();
        let target = Target::new("t", &stored).unwrap();
        let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let large = Decimal128Array::from(vec![1, 99_999_999_999]).with_precision_and_scale(20, 2).unwrap();
        let fine = Decimal128Array::from(vec![1, 1]).with_precision_and_scale(9, 3).unwrap();
        let cases: [(&str, ArrayRef, &str); 6] = [
            ("amount", Arc::new(large), "row 1, column amount"),
            ("amount", Arc::new(fine), "cannot become"),
            ("amount", Arc::new(Float64Array::from(vec![1.0, 2.0])), "cannot become"),
            (
                "at",
                Arc::new(TimestampNanosecondArray::from(vec![1, 2]).with_timezone("UTC")),
                "cannot become",
            ),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![1, 2])), "cannot become"),
            ("other", Arc::clone(&id), "no column other"),
        ];
        for (name, array, expected) in cases {
            let error = target.fitted(&batch(vec![("id", Arc::clone(&id)), (name, array)])).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}: {error}");
        }
        let null = batch(vec![("id", Arc::new(Int64Array::from(vec![Some(1), None])))]);
        let error = target.fitted(&null).unwrap_err().to_string();
        assert!(error.contains("row 1, column id: null"), "{error}");
    }
}
