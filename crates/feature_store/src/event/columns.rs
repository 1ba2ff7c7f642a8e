//! Rows of a query as the mapping reads them: cells from columns of Arrow.

use super::{Cell, Mapping, OPTIONAL};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use std::borrow::Cow;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The fields of a mapping in a batch of rows.
#[derive(Debug)]
pub struct Columns {
    /// None for an optional field that the query does not have.
    fields: Vec<Option<ArrayRef>>,
    rows: usize,
}

impl Columns {
    /// Finds the fields by their names.
    ///
    /// # Errors
    /// A message that names the first missing one.
    pub fn new(mapping: &Mapping, batch: &RecordBatch) -> Result<Self, String> {
        let find = |name: &String| match batch.column_by_name(name) {
            Some(column) => Ok(Some(column.clone())),
            None if OPTIONAL.contains(&name.as_str()) => Ok(None),
            None => Err(format!("the query has no column {name}")),
        };
        let fields = mapping.fields().iter().map(find).collect::<Result<_, _>>()?;
        Ok(Columns { fields, rows: batch.num_rows() })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Writes the cells of a row, in the order of [`Mapping::fields`].
    pub fn row<'a>(&'a self, row: usize, into: &mut Vec<Cell<'a>>) {
        into.clear();
        into.extend(
            self.fields.iter().map(|field| field.as_ref().map_or(Cell::Null, |array| cell(array, row))),
        );
    }
}

/// One value of a column.
#[must_use]
pub fn cell(array: &ArrayRef, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Null;
    }
    let text = |text| Cell::Text(Cow::Borrowed(text));
    match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Cell::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Cell::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => Cell::Int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Cell::Int(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => Cell::Int(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => {
            let unscaled = array.as_primitive::<UInt64Type>().value(row).into();
            Cell::Decimal { unscaled, scale: 0 }
        }
        DataType::Float32 => Cell::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            match u32::try_from(*scale) {
                Ok(scale) => Cell::Decimal { unscaled, scale },
                Err(_) => Cell::Other("a decimal of negative scale"),
            }
        }
        DataType::Utf8 => text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(array.as_string_view().value(row)),
        DataType::Date32 => {
            Cell::Time(i64::from(array.as_primitive::<Date32Type>().value(row)).saturating_mul(DAY))
        }
        DataType::Timestamp(unit, _) => Cell::Time(match unit {
            TimeUnit::Second => {
                array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000_000)
            }
            TimeUnit::Millisecond => {
                array.as_primitive::<TimestampMillisecondType>().value(row).saturating_mul(1_000)
            }
            TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
            TimeUnit::Nanosecond => {
                array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000)
            }
        }),
        _ => Cell::Other("a value of another type"),
    }
}
