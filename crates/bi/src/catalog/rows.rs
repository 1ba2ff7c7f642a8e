//! The rows of the catalogue's tables, in the order of the columns in `columns_of`.

use super::SETTINGS;
use super::relations::{CATALOG_OID, Class, DATABASE_OID, OWNER, OWNER_OID, Relations};
use super::value::Value;
use crate::types::{Column, columns, name_of};
use postgres_types::{Kind, Type};
use std::collections::HashMap;

/// Types that columns have, and what clients ask for.
pub(super) const TYPES: &[Type] = &[
    Type::BOOL,
    Type::BYTEA,
    Type::CHAR,
    Type::NAME,
    Type::INT8,
    Type::INT2,
    Type::INT4,
    Type::TEXT,
    Type::OID,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::BPCHAR,
    Type::VARCHAR,
    Type::DATE,
    Type::TIME,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::INTERVAL,
    Type::NUMERIC,
    Type::UUID,
    Type::JSON,
    Type::JSONB,
    Type::REGCLASS,
    Type::REGTYPE,
    Type::BOOL_ARRAY,
    Type::BYTEA_ARRAY,
    Type::CHAR_ARRAY,
    Type::NAME_ARRAY,
    Type::INT8_ARRAY,
    Type::INT2_ARRAY,
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::OID_ARRAY,
    Type::FLOAT4_ARRAY,
    Type::FLOAT8_ARRAY,
    Type::BPCHAR_ARRAY,
    Type::VARCHAR_ARRAY,
    Type::DATE_ARRAY,
    Type::TIME_ARRAY,
    Type::TIMESTAMP_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::INTERVAL_ARRAY,
    Type::NUMERIC_ARRAY,
    Type::UUID_ARRAY,
    Type::JSON_ARRAY,
    Type::JSONB_ARRAY,
    Type::UNKNOWN,
    Type::RECORD,
    Type::VOID,
];
/// The method of tables.
const HEAP_OID: i64 = 2;
const DEFAULT_COLLATION: i64 = 100;
const CLASS_OID: i64 = 1259;

type Rows = Vec<Vec<Value>>;

/// Rows by the name of their table; tables that are not named have none.
pub(super) fn all(relations: &Relations, database: &str, users: &[String]) -> HashMap<&'static str, Rows> {
    let name = |text: &str| Value::text(text);
    let (yes, no) = (Value::Bool(true), Value::Bool(false));
    let mut users: Vec<String> = users.to_vec();
    if !users.iter().any(|user| user == OWNER) {
        users.insert(0, OWNER.to_owned());
    }
    let oid_of = |place: usize| Value::Int(OWNER_OID + place as i64);
    let database_row = vec![
        Value::Int(DATABASE_OID),
        name(database),
        Value::Int(OWNER_OID),
        Value::Int(6),
        name("c"),
        no.clone(),
        yes.clone(),
        Value::Int(-1),
        Value::Int(0),
        Value::Int(0),
        Value::Int(1663),
        name("C.UTF-8"),
        name("C.UTF-8"),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Int(0),
    ];
    let roles = users.iter().enumerate().map(|(place, user)| {
        vec![
            oid_of(place),
            name(user),
            no.clone(),
            yes.clone(),
            no.clone(),
            no.clone(),
            yes.clone(),
            no.clone(),
            Value::Int(-1),
            name("********"),
            Value::Null,
            no.clone(),
            Value::Null,
        ]
    });
    let logins = users.iter().enumerate().map(|(place, user)| {
        vec![
            name(user),
            oid_of(place),
            no.clone(),
            no.clone(),
            no.clone(),
            no.clone(),
            name("********"),
            Value::Null,
            Value::Null,
        ]
    });
    let schemas = || relations.namespaces.iter();
    let mut rows = HashMap::from([
        (
            "pg_namespace",
            schemas()
                .map(|(oid, schema)| vec![Value::Int(*oid), name(schema), Value::Int(OWNER_OID), Value::Null])
                .collect::<Rows>(),
        ),
        ("pg_database", vec![database_row]),
        ("pg_roles", roles.collect()),
        ("pg_user", logins.collect()),
        ("pg_am", vec![vec![Value::Int(HEAP_OID), name("heap"), Value::Int(3), name("t")]]),
        (
            "pg_tablespace",
            vec![vec![Value::Int(1663), name("pg_default"), Value::Int(OWNER_OID), Value::Null, Value::Null]],
        ),
        (
            "pg_collation",
            vec![vec![
                Value::Int(DEFAULT_COLLATION),
                name("default"),
                Value::Int(CATALOG_OID),
                Value::Int(OWNER_OID),
                name("d"),
                yes.clone(),
                Value::Int(-1),
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Null,
            ]],
        ),
        ("pg_settings", SETTINGS.iter().map(|(setting, value)| setting_row(setting, value)).collect()),
        ("pg_timezone_names", vec![vec![name("UTC"), name("UTC"), name("00:00:00"), no.clone()]]),
        (
            "pg_description",
            relations
                .comments()
                .map(|(oid, part, text)| {
                    vec![Value::Int(oid), Value::Int(CLASS_OID), Value::Int(part), name(text)]
                })
                .collect(),
        ),
        (
            "schemata",
            schemas()
                .map(|(_, schema)| {
                    vec![
                        name(database),
                        name(schema),
                        name(OWNER),
                        Value::Null,
                        Value::Null,
                        Value::Null,
                        Value::Null,
                    ]
                })
                .collect(),
        ),
        ("enabled_roles", users.iter().map(|user| vec![name(user)]).collect()),
        ("information_schema_catalog_name", vec![vec![name(database)]]),
        ("pg_type", TYPES.iter().map(type_row).collect()),
    ]);
    for class in &relations.classes {
        let columns = class.table.as_ref().map(|table| columns(&table.schema)).unwrap_or_default();
        push(&mut rows, "pg_class", class_row(class, columns.len()));
        let Some(table) = &class.table else { continue };
        let place = [name(&class.namespace), name(&class.name)];
        let owned = [name(OWNER), Value::Null, no.clone(), no.clone(), no.clone(), no.clone()];
        push(&mut rows, "pg_tables", [&place[..], &owned].concat());
        let null = Value::Null;
        let (typed, whose) = (
            [name("BASE TABLE"), null.clone(), null.clone(), null.clone(), null.clone(), null.clone()],
            [name("NO"), name("NO"), null.clone()],
        );
        push(&mut rows, "tables", [&[name(database)][..], &place[..], &typed, &whose].concat());
        for grants in ["table_privileges", "role_table_grants"] {
            for user in &users {
                let who = [name(OWNER), name(user), name(database)];
                let what = [name("SELECT"), name("NO"), name("YES")];
                push(&mut rows, grants, [&who[..], &place, &what].concat());
            }
        }
        for ((column, field), number) in columns.iter().zip(table.schema.fields()).zip(1..) {
            push(&mut rows, "pg_attribute", attribute_row(class.oid, column, number, field.is_nullable()));
            let row = column_row(database, &place, column, number, field.is_nullable());
            push(&mut rows, "columns", row);
        }
    }
    rows
}

fn push(rows: &mut HashMap<&'static str, Rows>, table: &'static str, row: Vec<Value>) {
    rows.entry(table).or_default().push(row);
}

fn setting_row(setting: &str, value: &str) -> Vec<Value> {
    let (setting, value, null) = (Value::text(setting), Value::text(value), Value::Null);
    let mut row = vec![setting, value.clone()];
    row.extend([null.clone(), Value::text("Affluent"), Value::text(""), null.clone(), Value::text("user")]);
    row.extend([Value::text("string"), Value::text("default"), null.clone(), null.clone(), null.clone()]);
    row.extend([value.clone(), value, null.clone(), null, Value::Bool(false)]);
    row
}

fn class_row(class: &Class, columns: usize) -> Vec<Value> {
    let (int, no, zero) = (Value::Int, Value::Bool(false), Value::Int(0));
    let pages = i64::try_from(class.bytes / 8_192).unwrap_or(i64::MAX).min(i32::MAX.into());
    let kind = if class.table.is_some() || class.namespace == "pg_catalog" { "r" } else { "v" };
    vec![
        int(class.oid),
        Value::text(&class.name),
        int(class.namespace_oid),
        zero.clone(),
        zero.clone(),
        int(OWNER_OID),
        int(HEAP_OID),
        int(class.oid),
        zero.clone(),
        int(pages),
        Value::Float(class.rows as f64),
        zero.clone(),
        zero.clone(),
        no.clone(),
        no.clone(),
        Value::text("p"),
        Value::text(kind),
        int(columns as i64),
        zero.clone(),
        no.clone(),
        no.clone(),
        no.clone(),
        no.clone(),
        no.clone(),
        Value::Bool(true),
        Value::text("d"),
        no,
        zero.clone(),
        zero.clone(),
        zero.clone(),
        Value::Null,
        Value::Null,
        Value::Null,
        int(CLASS_OID),
        zero,
    ]
}

fn attribute_row(oid: i64, column: &Column, number: i64, is_nullable: bool) -> Vec<Value> {
    let (int, no, zero, none) = (Value::Int, Value::Bool(false), Value::Int(0), Value::text(""));
    let dimensions = i64::from(matches!(column.data_type.kind(), Kind::Array(_)));
    vec![
        int(oid),
        Value::text(&column.name),
        int(column.data_type.oid().into()),
        int(-1),
        int(column.size.into()),
        int(number),
        int(dimensions),
        int(-1),
        int(column.modifier.into()),
        Value::Bool((1..=8).contains(&column.size)),
        Value::text("i"),
        Value::text(if column.size < 0 { "x" } else { "p" }),
        none.clone(),
        Value::Bool(!is_nullable),
        no.clone(),
        no.clone(),
        none.clone(),
        none,
        no,
        Value::Bool(true),
        zero,
        int(collation(&column.data_type)),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        int(1249),
    ]
}

fn collation(data_type: &Type) -> i64 {
    if [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::TEXT_ARRAY].contains(data_type) {
        DEFAULT_COLLATION
    } else {
        0
    }
}

fn type_row(data_type: &Type) -> Vec<Value> {
    let (int, no, zero) = (Value::Int, Value::Bool(false), Value::Int(0));
    let array = TYPES.iter().find(|other| matches!(other.kind(), Kind::Array(item) if item == data_type));
    let item = if let Kind::Array(item) = data_type.kind() { i64::from(item.oid()) } else { 0 };
    let kind = if [Type::RECORD, Type::UNKNOWN, Type::VOID].contains(data_type) { "p" } else { "b" };
    let category = match *data_type {
        _ if item != 0 => "A",
        Type::BOOL => "B",
        Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => "D",
        Type::INTERVAL => "T",
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC | Type::OID => "N",
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => "S",
        _ => "U",
    };
    let size = crate::types::size(data_type);
    let mut row = vec![
        int(data_type.oid().into()),
        Value::text(data_type.name()),
        int(CATALOG_OID),
        int(OWNER_OID),
        int(size.into()),
        Value::Bool((1..=8).contains(&size)),
        Value::text(kind),
        Value::text(category),
        no.clone(),
        Value::Bool(true),
        Value::text(","),
        zero.clone(),
        zero.clone(),
        int(item),
        int(array.map_or(0, |array| array.oid().into())),
    ];
    // Functions: `array_recv` is how some clients know arrays.
    let (input, receive) = if item == 0 { ("in", "recv") } else { ("array_in", "array_recv") };
    row.extend([Value::text(input), Value::text("out"), Value::text(receive), Value::text("send")]);
    row.extend([
        zero.clone(),
        zero.clone(),
        zero.clone(),
        Value::text("i"),
        Value::text("p"),
        no,
        zero.clone(),
    ]);
    row.extend([int(-1), zero, int(collation(data_type)), Value::Null, Value::Null, Value::Null]);
    row
}

fn column_row(
    database: &str,
    place: &[Value],
    column: &Column,
    number: i64,
    is_nullable: bool,
) -> Vec<Value> {
    let (text, null) = (|text: &str| Value::text(text), Value::Null);
    let whole = match column.data_type {
        Type::INT2 => Some(16),
        Type::INT4 => Some(32),
        Type::INT8 => Some(64),
        _ => None,
    };
    let optional = |number: Option<i64>| number.map_or(Value::Null, Value::Int);
    // As `numeric.c` packs them.
    let packed =
        (column.data_type == Type::NUMERIC && column.modifier >= 4).then(|| i64::from(column.modifier) - 4);
    let precision = packed.map(|packed| packed >> 16).or(whole);
    let scale = packed.map(|packed| ((packed & 0x7ff) ^ 1024) - 1024).or(whole.map(|_| 0));
    let radix = packed.map(|_| 10).or(whole.map(|_| 2));
    let is_time =
        [Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::TIME, Type::INTERVAL].contains(&column.data_type);
    let shown = match column.data_type.kind() {
        Kind::Array(_) => "ARRAY".to_owned(),
        _ => name_of(&column.data_type, -1),
    };
    let mut row = vec![text(database)];
    row.extend_from_slice(place);
    row.extend([
        text(&column.name),
        Value::Int(number),
        null.clone(),
        text(if is_nullable { "YES" } else { "NO" }),
    ]);
    row.extend([
        text(&shown),
        null.clone(),
        null.clone(),
        optional(precision),
        optional(radix),
        optional(scale),
    ]);
    row.extend([
        optional(is_time.then_some(6)),
        null.clone(),
        null.clone(),
        null.clone(),
        null.clone(),
        null.clone(),
    ]);
    row.extend([text(database), text("pg_catalog"), text(column.data_type.name()), null.clone()]);
    row.extend([
        text(&number.to_string()),
        text("NO"),
        text("NO"),
        null.clone(),
        text("NEVER"),
        null,
        text("NO"),
    ]);
    row
}

#[cfg(test)]
mod tests {
    use super::super::columns_of::{COLUMNS, INFORMATION_SCHEMA};
    use super::super::relations::parsed;
    use super::*;
    use affluent_lake::sql::DescribedTable;
    use arrow_schema::{DataType, Field, Schema};
    use std::sync::Arc;

    #[test]
    fn every_row_has_the_columns_of_its_table() {
        let schema = Schema::new(vec![Field::new("amount", DataType::Decimal128(18, 4), false)]);
        let table = DescribedTable {
            namespace: "dwh".to_owned(),
            name: "fact".to_owned(),
            schema: Arc::new(schema),
            comment: Some("facts".to_owned()),
            column_comments: vec![Some("money".to_owned())],
            rows: 3,
            bytes: 1_000_000,
        };
        let relations = Relations::new(vec![table], "affluent", &[]);
        let rows = all(&relations, "affluent", &["ana".to_owned()]);
        let known: Vec<_> = COLUMNS.iter().chain(INFORMATION_SCHEMA).collect();
        for (table, rows) in rows {
            let (_, columns) = known.iter().find(|(name, _)| *name == table).unwrap();
            assert!(!rows.is_empty(), "{table}");
            for row in rows {
                assert_eq!(row.len(), parsed(columns).len(), "{table}: {row:?}");
            }
        }
    }
}
