//! Whether a file or a manifest may hold rows that a filter wants, from what is noted of it: bounds of
//! columns, partition values, counts of nulls.
//!
//! Pure decisions; the engine's own pruning evaluates any filter over these facts. Invariant: a bound that
//! is not known for certain is no bound. Bounds of floats count only where no NaN is, because the
//! engine sorts NaN above every number and Iceberg leaves it out of the bounds.

use crate::values::types::MICROS_A_DAY;
use arrow_array::{ArrayRef, BooleanArray, UInt64Array};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use iceberg::spec::{
    DataFile, Datum, ManifestFile, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, TableMetadata,
    Transform, Type,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A column that has bounds: a primitive one at the top of the schema.
#[derive(Debug, Clone)]
pub(crate) struct BoundedColumn {
    pub(crate) id: i32,
    primitive: PrimitiveType,
    arrow: DataType,
}

/// The columns of a table that have bounds, by name.
#[derive(Debug)]
pub(crate) struct BoundedColumns(HashMap<String, BoundedColumn>);

/// Least and greatest value, where they are known.
pub(crate) type Ends = (Option<ScalarValue>, Option<ScalarValue>);

impl BoundedColumns {
    pub(crate) fn new(schema: &Schema, arrow: &SchemaRef) -> Self {
        let fields = schema.as_struct().fields().iter().zip(arrow.fields());
        let column = |(field, arrow): (&Arc<iceberg::spec::NestedField>, &arrow_schema::FieldRef)| {
            let Type::Primitive(primitive) = field.field_type.as_ref() else { return None };
            let (primitive, arrow) = (primitive.clone(), arrow.data_type().clone());
            Some((field.name.clone(), BoundedColumn { id: field.id, primitive, arrow }))
        };
        BoundedColumns(fields.filter_map(column).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&BoundedColumn> {
        self.0.get(name)
    }
}

impl BoundedColumn {
    /// The ends of the column in a file: as its writer noted them, else as its partition implies.
    pub(crate) fn in_file(&self, file: &DataFile, spec: Option<&PartitionSpec>) -> Ends {
        if self.may_hide_nan() && file.nan_value_counts().get(&self.id) != Some(&0) {
            return (None, None);
        }
        let noted = |bounds: &HashMap<i32, Datum>| self.scalar(bounds.get(&self.id)?.literal());
        let (low, high) = (noted(file.lower_bounds()), noted(file.upper_bounds()));
        if low.is_some() && high.is_some() {
            return (low, high);
        }
        let implied = spec.and_then(|spec| {
            let fields = spec.fields().iter().zip(file.partition().fields());
            let mut spans = fields.filter_map(|(field, value)| {
                let value = value.as_ref()?.as_primitive_literal()?;
                (field.source_id == self.id).then(|| self.span(field.transform, &value)).flatten()
            });
            spans.next()
        });
        let (from, to) = implied.unzip();
        (low.or_else(|| self.scalar(from.as_ref()?)), high.or_else(|| self.scalar(to.as_ref()?)))
    }

    /// The ends of the column in all files of a manifest, as their partitions imply.
    fn in_manifest(&self, manifest: &ManifestFile, spec: Option<&PartitionSpec>) -> Ends {
        let known = || {
            let (spec, summaries) = (spec?, manifest.partitions.as_ref()?);
            let mut fields = spec.fields().iter().zip(summaries);
            let (field, summary) = fields.find(|(field, _)| field.source_id == self.id)?;
            let source = Type::Primitive(self.primitive.clone());
            let Ok(Type::Primitive(stored)) = field.transform.result_type(&source) else { return None };
            let end = |bytes: &[u8]| {
                let datum = Datum::try_from_bytes(bytes, stored.clone()).ok()?;
                self.span(field.transform, datum.literal())
            };
            let low = summary.lower_bound.as_ref().and_then(|bytes| end(bytes));
            let high = summary.upper_bound.as_ref().and_then(|bytes| end(bytes));
            Some((low.and_then(|(from, _)| self.scalar(&from)), high.and_then(|(_, to)| self.scalar(&to))))
        };
        if self.may_hide_nan() { (None, None) } else { known().unwrap_or((None, None)) }
    }

    /// Nulls of the column in a file.
    pub(crate) fn nulls(&self, file: &DataFile) -> Option<u64> {
        file.null_value_counts().get(&self.id).copied()
    }

    fn may_hide_nan(&self) -> bool {
        matches!(self.primitive, PrimitiveType::Float | PrimitiveType::Double)
    }

    /// First and last value of the column that the transform turns into `value`.
    fn span(
        &self,
        transform: Transform,
        value: &PrimitiveLiteral,
    ) -> Option<(PrimitiveLiteral, PrimitiveLiteral)> {
        if transform == Transform::Identity {
            return Some((value.clone(), value.clone()));
        }
        let PrimitiveLiteral::Int(number) = *value else { return None };
        let days =
            |day: i32| if self.primitive == PrimitiveType::Date { Some(i64::from(day)) } else { micros(day) };
        let (from, to) = match transform {
            Transform::Day => (days(number)?, days(number.checked_add(1)?)?),
            Transform::Month => (days(first_day(number)?)?, days(first_day(number.checked_add(1)?)?)?),
            Transform::Year => {
                let month = number.checked_mul(12)?;
                (days(first_day(month)?)?, days(first_day(month.checked_add(12)?)?)?)
            }
            Transform::Hour => {
                let hour = MICROS_A_DAY / 24;
                (i64::from(number).checked_mul(hour)?, (i64::from(number) + 1).checked_mul(hour)?)
            }
            Transform::Identity
            | Transform::Bucket(_)
            | Transform::Truncate(_)
            | Transform::Void
            | Transform::Unknown => return None,
        };
        match self.primitive {
            PrimitiveType::Date => {
                let day = |days: i64| i32::try_from(days).ok().map(PrimitiveLiteral::Int);
                Some((day(from)?, day(to - 1)?))
            }
            PrimitiveType::Timestamp | PrimitiveType::Timestamptz => {
                Some((PrimitiveLiteral::Long(from), PrimitiveLiteral::Long(to - 1)))
            }
            _ => None,
        }
    }

    /// The value in the type of the column, which may be wider than the one it was noted in.
    fn scalar(&self, value: &PrimitiveLiteral) -> Option<ScalarValue> {
        Some(match (value, &self.arrow) {
            (PrimitiveLiteral::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
            (PrimitiveLiteral::Int(value), DataType::Int32) => ScalarValue::Int32(Some(*value)),
            (PrimitiveLiteral::Int(value), DataType::Int64) => ScalarValue::Int64(Some((*value).into())),
            (PrimitiveLiteral::Int(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
            (PrimitiveLiteral::Long(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
            (PrimitiveLiteral::Long(value), DataType::Time64(TimeUnit::Microsecond)) => {
                ScalarValue::Time64Microsecond(Some(*value))
            }
            (PrimitiveLiteral::Long(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
                ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
            }
            (PrimitiveLiteral::Float(value), DataType::Float32) => ScalarValue::Float32(Some(value.0)),
            (PrimitiveLiteral::Float(value), DataType::Float64) => ScalarValue::Float64(Some(value.0.into())),
            (PrimitiveLiteral::Double(value), DataType::Float64) => ScalarValue::Float64(Some(value.0)),
            (PrimitiveLiteral::String(value), DataType::Utf8) => ScalarValue::Utf8(Some(value.clone())),
            (PrimitiveLiteral::Int128(value), DataType::Decimal128(precision, scale)) => {
                ScalarValue::Decimal128(Some(*value), *precision, *scale)
            }
            _ => return None,
        })
    }
}

/// Microseconds from the epoch to the start of the day.
fn micros(day: i32) -> Option<i64> {
    i64::from(day).checked_mul(MICROS_A_DAY)
}

/// The day on which the month begins; both count from 1970-01.
fn first_day(month: i32) -> Option<i32> {
    let year = 1970 + month.div_euclid(12);
    let first = chrono::NaiveDate::from_ymd_opt(year, month.rem_euclid(12).unsigned_abs() + 1, 1)?;
    i32::try_from(first.signed_duration_since(chrono::NaiveDate::default()).num_days()).ok()
}

/// What is noted of some files.
pub(crate) struct FileFacts<'a> {
    pub(crate) columns: &'a BoundedColumns,
    pub(crate) metadata: &'a TableMetadata,
    /// With the id of the partition spec they were written under.
    pub(crate) files: &'a [(&'a DataFile, i32)],
}

/// What is noted of some manifests.
pub(crate) struct ManifestFacts<'a> {
    pub(crate) columns: &'a BoundedColumns,
    pub(crate) metadata: &'a TableMetadata,
    pub(crate) manifests: &'a [ManifestFile],
}

impl FileFacts<'_> {
    fn ends(&self, column: &Column) -> Option<(&DataType, impl Iterator<Item = Ends>)> {
        let column = self.columns.get(column.name())?;
        let spec = |id: i32| self.metadata.partition_spec_by_id(id).map(AsRef::as_ref);
        let ends = self.files.iter().map(move |(file, id)| column.in_file(file, spec(*id)));
        Some((&column.arrow, ends))
    }
}

impl PruningStatistics for FileFacts<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        let (data_type, ends) = self.ends(column)?;
        array(data_type, ends.map(|(low, _)| low))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        let (data_type, ends) = self.ends(column)?;
        array(data_type, ends.map(|(_, high)| high))
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let column = self.columns.get(column.name())?;
        let nulls: UInt64Array = self.files.iter().map(|(file, _)| column.nulls(file)).collect();
        Some(Arc::new(nulls))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows: UInt64Array = self.files.iter().map(|(file, _)| Some(file.record_count())).collect();
        Some(Arc::new(rows))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

impl ManifestFacts<'_> {
    fn ends(&self, column: &Column) -> Option<(&DataType, impl Iterator<Item = Ends>)> {
        let column = self.columns.get(column.name())?;
        let ends = self.manifests.iter().map(move |manifest| {
            let spec = self.metadata.partition_spec_by_id(manifest.partition_spec_id);
            column.in_manifest(manifest, spec.map(AsRef::as_ref))
        });
        Some((&column.arrow, ends))
    }
}

impl PruningStatistics for ManifestFacts<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        let (data_type, ends) = self.ends(column)?;
        array(data_type, ends.map(|(low, _)| low))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        let (data_type, ends) = self.ends(column)?;
        array(data_type, ends.map(|(_, high)| high))
    }

    fn num_containers(&self) -> usize {
        self.manifests.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

fn array(data_type: &DataType, ends: impl Iterator<Item = Option<ScalarValue>>) -> Option<ArrayRef> {
    let unknown = ScalarValue::try_from(data_type).ok()?;
    ScalarValue::iter_to_array(ends.map(|end| end.unwrap_or_else(|| unknown.clone()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(primitive: PrimitiveType, arrow: DataType) -> BoundedColumn {
        BoundedColumn { id: 1, primitive, arrow }
    }

    #[test]
    fn a_partition_tells_the_ends_of_its_column() {
        let micro = DataType::Timestamp(TimeUnit::Microsecond, None);
        let at = column(PrimitiveType::Timestamp, micro);
        let date = column(PrimitiveType::Date, DataType::Date32);
        let day = MICROS_A_DAY;
        let long = |from, to| Some((PrimitiveLiteral::Long(from), PrimitiveLiteral::Long(to)));
        let int = |from, to| Some((PrimitiveLiteral::Int(from), PrimitiveLiteral::Int(to)));
        for (column, transform, value, expected) in [
            (&at, Transform::Day, 1, long(day, 2 * day - 1)),
            (&at, Transform::Day, -1, long(-day, -1)),
            (&at, Transform::Hour, 25, long(day + day / 24, day + day / 12 - 1)),
            (&at, Transform::Month, 1, long(31 * day, 59 * day - 1)),
            (&at, Transform::Year, 2, long(730 * day, 1096 * day - 1)),
            (&date, Transform::Day, 7, int(7, 7)),
            (&date, Transform::Month, -1, int(-31, -1)),
            (&date, Transform::Identity, 7, int(7, 7)),
            (&at, Transform::Bucket(8), 3, None),
            (&at, Transform::Day, i32::MAX, None),
        ] {
            assert_eq!(
                column.span(transform, &PrimitiveLiteral::Int(value)),
                expected,
                "{transform} {value}"
            );
        }
    }

    #[test]
    fn bounds_follow_widened_columns_and_other_types_have_none() {
        let long = column(PrimitiveType::Long, DataType::Int64);
        assert_eq!(long.scalar(&PrimitiveLiteral::Int(7)), Some(ScalarValue::Int64(Some(7))));
        let wide = PrimitiveType::Decimal { precision: 20, scale: 4 };
        let decimal = column(wide, DataType::Decimal128(20, 4));
        let expected = ScalarValue::Decimal128(Some(70_000), 20, 4);
        assert_eq!(decimal.scalar(&PrimitiveLiteral::Int128(70_000)), Some(expected));
        assert_eq!(long.scalar(&PrimitiveLiteral::String("7".to_owned())), None);
    }
}
