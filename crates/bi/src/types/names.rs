//! Which type of PostgreSQL stands for a type of Arrow.
//!
//! | Arrow | PostgreSQL |
//! |---|---|
//! | Boolean | boolean |
//! | Int8, Int16, UInt8 | smallint |
//! | Int32, UInt16 | integer |
//! | Int64, UInt32, UInt64 | bigint (more than fits is an error) |
//! | Float16, Float32; Float64 | real; double precision |
//! | Decimal(p, s) | numeric(p,s) |
//! | Utf8 | text |
//! | Binary | bytea |
//! | Date; Time | date; time |
//! | Timestamp without and with zone | timestamp; timestamptz (shown in UTC) |
//! | Interval, Duration | interval |
//! | List | array |
//! | Struct, Map | json |

use arrow_schema::{DataType, Field, IntervalUnit, Schema};
use postgres_types::{Kind, Type};

/// Key of a field's metadata: the type it has for clients, where Arrow has none such; a name as `pg_type` has it.
pub(crate) const PG_TYPE: &str = "pg_type";

/// A column of a result as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data_type: Type,
    /// Bytes of a value; -1: they differ.
    pub(crate) size: i16,
    /// Precision and scale of a numeric; -1: there is none.
    pub(crate) modifier: i32,
}

/// The columns of rows of this schema.
pub(crate) fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &arrow_schema::FieldRef| {
        let data_type = type_of(field);
        Column {
            name: field.name().clone(),
            size: size(&data_type),
            modifier: modifier(field.data_type()),
            data_type,
        }
    };
    schema.fields().iter().map(column).collect()
}

/// The type that clients are told of a field.
pub(crate) fn type_of(field: &Field) -> Type {
    let named = match field.metadata().get(PG_TYPE).map(String::as_str) {
        Some("char") => Some(Type::CHAR),
        Some("name") => Some(Type::NAME),
        Some("oid") => Some(Type::OID),
        Some("_char") => Some(Type::CHAR_ARRAY),
        Some("_name") => Some(Type::NAME_ARRAY),
        Some("_oid") => Some(Type::OID_ARRAY),
        Some(_) | None => None,
    };
    named.unwrap_or_else(|| of_arrow(field.data_type()))
}

/// The type that stands for a type of Arrow.
fn of_arrow(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Type::INT8,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Type::BYTEA
        }
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano)
        | DataType::Duration(_) => Type::INTERVAL,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            array_of(&of_arrow(item.data_type()))
        }
        DataType::Struct(_) | DataType::Map(..) => Type::JSON,
        DataType::Dictionary(_, value) => of_arrow(value),
        // Text, and what has no form of its own: unions, runs, lists as views.
        _ => Type::TEXT,
    }
}

/// The array of such items; an array of arrays is one of texts.
pub(super) fn array_of(item: &Type) -> Type {
    match *item {
        Type::BOOL => Type::BOOL_ARRAY,
        Type::INT2 => Type::INT2_ARRAY,
        Type::INT4 => Type::INT4_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::FLOAT4 => Type::FLOAT4_ARRAY,
        Type::FLOAT8 => Type::FLOAT8_ARRAY,
        Type::NUMERIC => Type::NUMERIC_ARRAY,
        Type::BYTEA => Type::BYTEA_ARRAY,
        Type::DATE => Type::DATE_ARRAY,
        Type::TIME => Type::TIME_ARRAY,
        Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
        Type::INTERVAL => Type::INTERVAL_ARRAY,
        Type::JSON => Type::JSON_ARRAY,
        _ => Type::TEXT_ARRAY,
    }
}

/// `pg_type.typlen`: bytes of a value, -1 where they differ.
pub(crate) fn size(data_type: &Type) -> i16 {
    match *data_type {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::OID | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        Type::NAME => 64,
        _ => -1,
    }
}

/// `pg_attribute.atttypmod`: precision and scale of a numeric as `numeric.c` packs them, else -1.
pub(crate) fn modifier(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            modifier(item.data_type())
        }
        _ => -1,
    }
}

/// The type as DDL writes it and `\d` shows it.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    name_of(&of_arrow(data_type), modifier(data_type))
}

/// `format_type`: the name of a type with its modifier.
pub(crate) fn name_of(data_type: &Type, modifier: i32) -> String {
    if let Kind::Array(item) = data_type.kind() {
        return name_of(item, modifier) + "[]";
    }
    let name = match *data_type {
        Type::BOOL => "boolean",
        Type::CHAR => "\"char\"",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIME => "time without time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::VARCHAR => "character varying",
        Type::BPCHAR => "character",
        Type::NUMERIC if modifier >= 4 => {
            // The scale has 11 bits, the highest its sign.
            let (packed, scale) = (modifier - 4, (modifier - 4) & 0x7ff);
            let scale = (scale ^ 1024) - 1024;
            return format!("numeric({},{scale})", packed >> 16);
        }
        ref other => return other.name().to_owned(),
    };
    name.to_owned()
}
