//! The Avro schemas of a table: `<topic>.Key`, `<topic>.Value` and the `<topic>.Envelope` around
//! it, with Debezium's names.
//!
//! Columns outside the key are always optional, whatever the table says: a delete's `before` has
//! only the key, an unchanged column has no value, and a column added as NOT NULL must not break
//! the readers of what was written before. That the table says NOT NULL is kept in the field's
//! property `affluent.not_null`, a column name that Avro cannot spell in `affluent.name`.

use affluent_model::{Column, ColumnType, TableSchema};
use serde_json::{Map, Value as Json, json};
use std::collections::HashSet;

pub(crate) const PROPERTY_NAME: &str = "affluent.name";
pub(crate) const PROPERTY_NOT_NULL: &str = "affluent.not_null";
pub(crate) const VARIABLE_SCALE_DECIMAL: &str = "io.debezium.data.VariableScaleDecimal";

/// The schema of the topic's values, as JSON text.
pub(crate) fn value_schema(topic: &str, schema: &TableSchema) -> String {
    let namespace = namespace(topic);
    let row = json!({
        "type": "record",
        "name": "Value",
        "fields": Json::Array(fields(&schema.columns, &schema.key)),
        "connect.name": format!("{namespace}.Value"),
    });
    json!({
        "type": "record",
        "name": "Envelope",
        "namespace": namespace,
        "fields": [
            {"name": "before", "type": ["null", row], "default": null},
            {"name": "after", "type": ["null", "Value"], "default": null},
            {"name": "source", "type": source()},
            {"name": "transaction", "type": ["null", transaction()], "default": null},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"], "default": null},
            {"name": "ts_us", "type": ["null", "long"], "default": null},
            {"name": "unchanged", "type": ["null", {"type": "array", "items": "string"}], "default": null},
        ],
        "connect.version": 1,
        "connect.name": format!("{namespace}.Envelope"),
    })
    .to_string()
}

/// The schema of the topic's keys, as JSON text; `None` for a table without a key.
pub(crate) fn key_schema(topic: &str, schema: &TableSchema) -> Option<String> {
    if schema.key.is_empty() {
        return None;
    }
    let columns: Vec<Column> = schema.key_columns().cloned().collect();
    let all: Vec<usize> = (0..columns.len()).collect();
    let namespace = namespace(topic);
    let key = json!({
        "type": "record",
        "name": "Key",
        "namespace": namespace,
        "fields": Json::Array(fields(&columns, &all)),
        "connect.name": format!("{namespace}.Key"),
    });
    Some(key.to_string())
}

fn fields(columns: &[Column], key: &[usize]) -> Vec<Json> {
    let (mut taken, mut defined) = (HashSet::new(), false);
    let mut fields = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let mut name = identifier(&column.name);
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        let mut field = Map::new();
        field.insert("name".to_owned(), name.clone().into());
        let column_type = type_schema(&column.column_type, &mut defined);
        if key.contains(&index) {
            field.insert("type".to_owned(), column_type);
        } else {
            field.insert("type".to_owned(), json!(["null", column_type]));
            field.insert("default".to_owned(), Json::Null);
            if !column.nullable {
                field.insert(PROPERTY_NOT_NULL.to_owned(), true.into());
            }
        }
        if name != column.name {
            field.insert(PROPERTY_NAME.to_owned(), column.name.clone().into());
        }
        fields.push(Json::Object(field));
    }
    fields
}

/// The schema of one type; `defined` says whether the record of unbounded decimals is named already.
fn type_schema(column_type: &ColumnType, defined: &mut bool) -> Json {
    let semantic = |physical: &str, logical: Option<&str>, name: &str| {
        let mut schema = json!({"type": physical, "connect.version": 1, "connect.name": name});
        if let Some(logical) = logical {
            schema["logicalType"] = logical.into();
        }
        schema
    };
    match column_type {
        ColumnType::Bool => json!("boolean"),
        ColumnType::Int16 => json!({"type": "int", "connect.type": "int16"}),
        ColumnType::Int32 => json!("int"),
        ColumnType::Int64 => json!("long"),
        ColumnType::Float32 => json!("float"),
        ColumnType::Float64 => json!("double"),
        ColumnType::Decimal { precision, scale } => json!({
            "type": "bytes",
            "scale": scale,
            "precision": precision,
            "connect.version": 1,
            "connect.parameters": {
                "scale": scale.to_string(),
                "connect.decimal.precision": precision.to_string(),
            },
            "connect.name": "org.apache.kafka.connect.data.Decimal",
            "logicalType": "decimal",
        }),
        ColumnType::Numeric if *defined => json!(VARIABLE_SCALE_DECIMAL),
        ColumnType::Numeric => {
            *defined = true;
            json!({
                "type": "record",
                "name": "VariableScaleDecimal",
                "namespace": "io.debezium.data",
                "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
                "connect.doc": "Variable scaled decimal",
                "connect.version": 1,
                "connect.name": VARIABLE_SCALE_DECIMAL,
            })
        }
        ColumnType::Text => json!("string"),
        ColumnType::Bytes => json!("bytes"),
        ColumnType::Date => semantic("int", Some("date"), "io.debezium.time.Date"),
        ColumnType::Time => semantic("long", Some("time-micros"), "io.debezium.time.MicroTime"),
        ColumnType::Timestamp => {
            semantic("long", Some("local-timestamp-micros"), "io.debezium.time.MicroTimestamp")
        }
        ColumnType::TimestampTz => {
            semantic("long", Some("timestamp-micros"), "io.debezium.time.MicroTimestamp")
        }
        ColumnType::Uuid => semantic("string", None, "io.debezium.data.Uuid"),
        ColumnType::Json => semantic("string", None, "io.debezium.data.Json"),
        ColumnType::Array(items) => json!({"type": "array", "items": ["null", type_schema(items, defined)]}),
    }
}

fn source() -> Json {
    let snapshot = json!({
        "type": "string",
        "connect.version": 1,
        "connect.parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},
        "connect.default": "false",
        "connect.name": "io.debezium.data.Enum",
    });
    json!({
        "type": "record",
        "name": "Source",
        "namespace": "io.debezium.connector.postgresql",
        "fields": [
            {"name": "version", "type": "string"},
            {"name": "connector", "type": "string"},
            {"name": "name", "type": "string"},
            {"name": "ts_ms", "type": "long"},
            {"name": "snapshot", "type": [snapshot, "null"], "default": "false"},
            {"name": "db", "type": "string"},
            {"name": "sequence", "type": ["null", "string"], "default": null},
            {"name": "ts_us", "type": ["null", "long"], "default": null},
            {"name": "schema", "type": "string"},
            {"name": "table", "type": "string"},
            {"name": "txId", "type": ["null", "long"], "default": null},
            {"name": "lsn", "type": ["null", "long"], "default": null},
            {"name": "position", "type": ["null", "string"], "default": null},
        ],
        "connect.name": "io.debezium.connector.postgresql.Source",
    })
}

fn transaction() -> Json {
    json!({
        "type": "record",
        "name": "block",
        "namespace": "event",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "total_order", "type": "long"},
            {"name": "data_collection_order", "type": "long"},
        ],
        "connect.version": 1,
        "connect.name": "event.block",
    })
}

/// The topic's name as an Avro namespace.
fn namespace(topic: &str) -> String {
    topic.split('.').map(identifier).collect::<Vec<_>>().join(".")
}

/// The name as Avro spells names: `[A-Za-z_][A-Za-z0-9_]*`.
fn identifier(name: &str) -> String {
    let mut identifier: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if !identifier.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        identifier.insert(0, '_');
    }
    identifier
}
