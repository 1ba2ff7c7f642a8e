//! Column types of the platform and of Iceberg.
//!
//! | model | Iceberg | |
//! |---|---|---|
//! | `Decimal` to 38 digits | `decimal(p,s)` | exact |
//! | wider `Decimal`, `Numeric` | `string` | exact text; also holds NaN and the infinities |
//! | `Int16`, `Int32` / `Int64` | `int` / `long` | |
//! | `Timestamp` / `TimestampTz` | `timestamp` / `timestamptz` | microseconds |
//! | `Uuid`, `Json`, `Text` | `string` | every reader understands it |
//! | `Bytes` | `binary` | |
//! | `Array` | `list` | elements nullable |

use affluent_model::ColumnType;
use iceberg::spec::{ListType, NestedField, PrimitiveType, Type};

pub(crate) const MICROS_A_DAY: i64 = 86_400_000_000;

/// Digits that a decimal of Iceberg and Arrow holds.
pub(crate) const DECIMAL_DIGITS_MAX: u32 = 38;

/// The Iceberg type of a column; `next_id` numbers the elements of lists.
pub(crate) fn iceberg_type(column_type: &ColumnType, next_id: &mut impl FnMut() -> i32) -> Type {
    let primitive = match column_type {
        ColumnType::Bool => PrimitiveType::Boolean,
        ColumnType::Int16 | ColumnType::Int32 => PrimitiveType::Int,
        ColumnType::Int64 => PrimitiveType::Long,
        ColumnType::Float32 => PrimitiveType::Float,
        ColumnType::Float64 => PrimitiveType::Double,
        &ColumnType::Decimal { precision, scale }
            if (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision =>
        {
            PrimitiveType::Decimal { precision, scale }
        }
        ColumnType::Decimal { .. }
        | ColumnType::Numeric
        | ColumnType::Text
        | ColumnType::Uuid
        | ColumnType::Json => PrimitiveType::String,
        ColumnType::Bytes => PrimitiveType::Binary,
        ColumnType::Date => PrimitiveType::Date,
        ColumnType::Time => PrimitiveType::Time,
        ColumnType::Timestamp => PrimitiveType::Timestamp,
        ColumnType::TimestampTz => PrimitiveType::Timestamptz,
        ColumnType::Array(element) => {
            let id = next_id();
            let element = iceberg_type(element, next_id);
            let field = NestedField::list_element(id, element, false);
            return Type::List(ListType::new(field.into()));
        }
    };
    Type::Primitive(primitive)
}

/// The column type under which rows of a stored column are read back. `None` for types that this
/// platform never writes (structs, maps, fixed).
pub(crate) fn column_type(stored: &Type) -> Option<ColumnType> {
    let primitive = match stored {
        Type::Primitive(primitive) => primitive,
        Type::List(list) => {
            return Some(ColumnType::Array(Box::new(column_type(&list.element_field.field_type)?)));
        }
        _ => return None,
    };
    Some(match primitive {
        PrimitiveType::Boolean => ColumnType::Bool,
        PrimitiveType::Int => ColumnType::Int32,
        PrimitiveType::Long => ColumnType::Int64,
        PrimitiveType::Float => ColumnType::Float32,
        PrimitiveType::Double => ColumnType::Float64,
        &PrimitiveType::Decimal { precision, scale } => ColumnType::Decimal { precision, scale },
        PrimitiveType::String => ColumnType::Text,
        PrimitiveType::Binary => ColumnType::Bytes,
        PrimitiveType::Date => ColumnType::Date,
        PrimitiveType::Time => ColumnType::Time,
        PrimitiveType::Timestamp => ColumnType::Timestamp,
        PrimitiveType::Timestamptz => ColumnType::TimestampTz,
        PrimitiveType::Uuid => ColumnType::Uuid,
        _ => return None,
    })
}

/// The type of a column that holds values of both types, if a lake column can: the wider one.
#[must_use]
pub fn widened(stored: &ColumnType, wanted: &ColumnType) -> Option<ColumnType> {
    let of = |column_type| iceberg_type(column_type, &mut || 0);
    match fit(&of(stored), &of(wanted)) {
        Fit::AsIs => Some(stored.clone()),
        Fit::Promote => Some(wanted.clone()),
        Fit::Never => None,
    }
}

/// How a stored type and the type of new values relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// New values go into the column as it is (same type, or a narrower one).
    AsIs,
    /// The column can be promoted to the new type (Iceberg's promotions).
    Promote,
    Never,
}

/// Compares by meaning; field ids of list elements do not matter.
pub(crate) fn fit(stored: &Type, wanted: &Type) -> Fit {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (stored, wanted) {
        (Type::Primitive(stored), Type::Primitive(wanted)) => {
            match (stored, wanted) {
                _ if stored == wanted => Fit::AsIs,
                (Long, Int) | (Double, Float) => Fit::AsIs,
                (Int, Long) | (Float, Double) => Fit::Promote,
                (Decimal { precision: a, scale: s }, Decimal { precision: b, scale: t }) if s == t => {
                    if a >= b { Fit::AsIs } else { Fit::Promote }
                }
                _ => Fit::Never,
            }
        }
        (Type::List(stored), Type::List(wanted)) => {
            fit(&stored.element_field.field_type, &wanted.element_field.field_type)
        }
        _ => Fit::Never,
    }
}

/// `stored` promoted to `wanted`, keeping the field ids of list elements.
pub(crate) fn promoted(stored: &Type, wanted: &Type) -> Type {
    match (stored, wanted) {
        (Type::List(stored), Type::List(wanted)) => {
            let mut element = (*stored.element_field).clone();
            element.field_type = Box::new(promoted(&element.field_type, &wanted.element_field.field_type));
            Type::List(ListType::new(element.into()))
        }
        _ => wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(column_type: &ColumnType) -> Type {
        let mut id = 100;
        iceberg_type(column_type, &mut || {
            id += 1;
            id
        })
    }

    #[test]
    fn widening_promotes_and_the_rest_does_not_fit() {
        let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
        let array = |element| ColumnType::Array(Box::new(element));
        for (stored, wanted, expected) in [
            (ColumnType::Int16, ColumnType::Int32, Fit::AsIs),
            (ColumnType::Int32, ColumnType::Int64, Fit::Promote),
            (ColumnType::Int64, ColumnType::Int32, Fit::AsIs),
            (ColumnType::Float32, ColumnType::Float64, Fit::Promote),
            (decimal(18, 4), decimal(20, 4), Fit::Promote),
            (decimal(18, 4), decimal(12, 4), Fit::AsIs),
            (decimal(18, 4), decimal(18, 2), Fit::Never),
            (decimal(18, 4), ColumnType::Numeric, Fit::Never),
            (decimal(50, 4), ColumnType::Numeric, Fit::AsIs),
            (ColumnType::Text, ColumnType::Json, Fit::AsIs),
            (ColumnType::Int64, ColumnType::Text, Fit::Never),
            (ColumnType::Timestamp, ColumnType::TimestampTz, Fit::Never),
            (array(ColumnType::Int32), array(ColumnType::Int64), Fit::Promote),
            (array(ColumnType::Int32), ColumnType::Int32, Fit::Never),
        ] {
            assert_eq!(fit(&of(&stored), &of(&wanted)), expected, "{stored:?} -> {wanted:?}");
        }
    }
}
