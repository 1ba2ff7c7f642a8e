//! From a writer's schema to the plan of reading its records.
//!
//! Understands what `schema.rs` writes, and the envelopes of Debezium itself. Schemas come from the
//! registry, so they are checked, and bounded in depth and size, like any other input.

use super::plan::{
    EnvelopeField, EnvelopePlan, Field, Reader, RowPlan, Scalar, ScalarKind, Skip, SourceField,
    TransactionField,
};
use super::schema::{PROPERTY_NAME, PROPERTY_NOT_NULL, VARIABLE_SCALE_DECIMAL};
use affluent_model::{Column, ColumnType};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

const MAX_DEPTH: usize = 24;
/// Named types are expanded where they are used; this bounds the result.
const MAX_NODES: usize = 100_000;

type Outcome<T> = Result<T, String>;

/// The plan of a value's schema; `None` where the schema is valid but no change envelope.
pub(crate) fn envelope(schema: &str) -> Outcome<Option<EnvelopePlan>> {
    let json = parse(schema)?;
    let mut compiler = Compiler::new(&json)?;
    compiler.envelope(&json)
}

/// The columns of a key's schema; `None` where the key is not a record.
pub(crate) fn key_columns(schema: &str) -> Outcome<Option<Vec<String>>> {
    let json = parse(schema)?;
    let mut compiler = Compiler::new(&json)?;
    if json["type"] != "record" {
        return Ok(None);
    }
    let row = compiler.row(&Node { json: &json, namespace: String::new() }, 0)?;
    Ok(Some(row.columns.into_iter().map(|c| c.name).collect()))
}

pub(in crate::codec) fn parse(schema: &str) -> Outcome<Json> {
    serde_json::from_str(schema).map_err(|error| format!("schema is not JSON: {error}"))
}

/// A schema with the namespace that its names are in.
#[derive(Clone)]
pub(in crate::codec) struct Node<'a> {
    pub(in crate::codec) json: &'a Json,
    pub(in crate::codec) namespace: String,
}

pub(in crate::codec) struct Compiler<'a> {
    named: HashMap<String, Node<'a>>,
    nodes: usize,
}

impl<'a> Compiler<'a> {
    pub(in crate::codec) fn new(json: &'a Json) -> Outcome<Self> {
        let mut compiler = Compiler { named: HashMap::new(), nodes: 0 };
        compiler.collect(&Node { json, namespace: String::new() }, 0)?;
        Ok(compiler)
    }

    fn collect(&mut self, node: &Node<'a>, depth: usize) -> Outcome<()> {
        self.count(depth)?;
        match node.json {
            Json::Array(branches) => {
                for json in branches {
                    self.collect(&Node { json, namespace: node.namespace.clone() }, depth + 1)?;
                }
            }
            Json::Object(object) => {
                let kind = object.get("type").and_then(Json::as_str);
                if let Some("record" | "enum" | "fixed") = kind {
                    let inner = Node { json: node.json, namespace: inner_namespace(node) };
                    self.named.insert(full_name(node), inner);
                }
                let namespace =
                    if kind == Some("record") { inner_namespace(node) } else { node.namespace.clone() };
                for field in object.get("fields").and_then(Json::as_array).into_iter().flatten() {
                    self.collect(&Node { json: &field["type"], namespace: namespace.clone() }, depth + 1)?;
                }
                for key in ["type", "items", "values"] {
                    if let Some(json @ (Json::Object(_) | Json::Array(_))) = object.get(key) {
                        self.collect(&Node { json, namespace: namespace.clone() }, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(in crate::codec) fn count(&mut self, depth: usize) -> Outcome<()> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err("schema is too deep or too large".to_owned());
        }
        Ok(())
    }

    /// Follows names and `{"type": {…}}` wrappings to the definition.
    pub(in crate::codec) fn resolve(&mut self, node: &Node<'a>, depth: usize) -> Outcome<Node<'a>> {
        self.count(depth)?;
        match node.json {
            Json::String(name) if !is_primitive(name) => {
                let full = if name.contains('.') || node.namespace.is_empty() {
                    name.clone()
                } else {
                    format!("{}.{name}", node.namespace)
                };
                let found = self.named.get(&full).or_else(|| self.named.get(name));
                found.cloned().ok_or_else(|| format!("schema names an unknown type {name:?}"))
            }
            Json::Object(object) => match object.get("type") {
                Some(json @ (Json::Object(_) | Json::Array(_))) => {
                    self.resolve(&Node { json, namespace: node.namespace.clone() }, depth + 1)
                }
                Some(json @ Json::String(name)) if !is_complex(name) && !is_primitive(name) => {
                    self.resolve(&Node { json, namespace: node.namespace.clone() }, depth + 1)
                }
                Some(Json::String(name)) if name == "record" => {
                    Ok(Node { json: node.json, namespace: inner_namespace(node) })
                }
                _ => Ok(node.clone()),
            },
            _ => Ok(node.clone()),
        }
    }

    /// The one branch that is not null, and the index of null. Other unions are refused.
    fn optional(&mut self, node: &Node<'a>, depth: usize) -> Outcome<(Option<i64>, Node<'a>)> {
        let node = self.resolve(node, depth)?;
        let Json::Array(branches) = node.json else { return Ok((None, node)) };
        let branch = |json: &'a Json| Node { json, namespace: node.namespace.clone() };
        let (null, other) = match branches.as_slice() {
            [null, other] if null == "null" => (Some(0), other),
            [other, null] if null == "null" => (Some(1), other),
            [other] => return Err(format!("schema has a union of one: {other}")),
            _ => return Err("schema has a union other than of null and one type".to_owned()),
        };
        Ok((null, self.resolve(&branch(other), depth + 1)?))
    }

    pub(in crate::codec) fn fields(&self, record: &Node<'a>) -> Outcome<Vec<(&'a str, &'a Json, Node<'a>)>> {
        let fields = record.json.get("fields").and_then(Json::as_array).ok_or("record without fields")?;
        fields
            .iter()
            .map(|field| {
                let name = field.get("name").and_then(Json::as_str).ok_or("field without a name")?;
                let json = field.get("type").ok_or("field without a type")?;
                Ok((name, field, Node { json, namespace: record.namespace.clone() }))
            })
            .collect()
    }

    fn envelope(&mut self, json: &'a Json) -> Outcome<Option<EnvelopePlan>> {
        let root = self.resolve(&Node { json, namespace: String::new() }, 0)?;
        if kind(&root) != "record" {
            return Ok(None);
        }
        let fields = self.fields(&root)?;
        let has = |name: &str| fields.iter().any(|(n, ..)| *n == name);
        if !(has("op") && has("source") && has("before") && has("after")) {
            return Ok(None);
        }
        let mut rows = Vec::new();
        let mut plan = Vec::with_capacity(fields.len());
        for (name, _, node) in fields {
            plan.push(match name {
                "before" | "after" => {
                    let (null, record) = self.optional(&node, 1)?;
                    rows.push(self.row(&record, 2)?);
                    if name == "before" { EnvelopeField::Before(null) } else { EnvelopeField::After(null) }
                }
                "source" => {
                    let record = self.resolve(&node, 1)?;
                    EnvelopeField::Source(self.scalars(&record, source_field)?)
                }
                "transaction" => {
                    let (null, record) = self.optional(&node, 1)?;
                    EnvelopeField::Transaction(null, self.scalars(&record, transaction_field)?)
                }
                "op" => EnvelopeField::Op(self.scalar(&node, 1)?),
                "ts_ms" => EnvelopeField::TsMs(self.scalar(&node, 1)?),
                "ts_us" => EnvelopeField::TsUs(self.scalar(&node, 1)?),
                "unchanged" => {
                    let (null, array) = self.optional(&node, 1)?;
                    if kind(&array) != "array" || array.json["items"] != "string" {
                        return Err("field unchanged is not an array of strings".to_owned());
                    }
                    EnvelopeField::Unchanged(null)
                }
                _ => EnvelopeField::Skip(self.skip(&node, 1)?),
            });
        }
        match (rows.pop(), rows.pop()) {
            (Some(row), Some(other)) if row.columns == other.columns => {
                Ok(Some(EnvelopePlan { fields: plan, row: Arc::new(row) }))
            }
            _ => Err("before and after differ in their columns".to_owned()),
        }
    }

    fn scalars<F>(&mut self, record: &Node<'a>, field: fn(&str) -> F) -> Outcome<Vec<(F, Scalar)>> {
        let fields = self.fields(record)?;
        fields.into_iter().map(|(name, _, node)| Ok((field(name), self.scalar(&node, 3)?))).collect()
    }

    fn scalar(&mut self, node: &Node<'a>, depth: usize) -> Outcome<Scalar> {
        let Ok((null, value)) = self.optional(node, depth) else {
            return Ok(Scalar { null: None, kind: ScalarKind::Skip(self.skip(node, depth)?) });
        };
        let kind = match kind(&value) {
            "string" => ScalarKind::Text,
            "long" | "int" => ScalarKind::Long,
            _ => return Ok(Scalar { null: None, kind: ScalarKind::Skip(self.skip(node, depth)?) }),
        };
        Ok(Scalar { null, kind })
    }

    fn row(&mut self, record: &Node<'a>, depth: usize) -> Outcome<RowPlan> {
        let record = self.resolve(record, depth)?;
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for (name, field, node) in self.fields(&record)? {
            let (column_type, plan) = self.field(&node, depth + 1)?;
            columns.push(Column {
                name: field.get(PROPERTY_NAME).and_then(Json::as_str).unwrap_or(name).to_owned(),
                column_type,
                nullable: plan.null.is_some() && field.get(PROPERTY_NOT_NULL) != Some(&Json::Bool(true)),
            });
            fields.push(plan);
        }
        Ok(RowPlan { columns, fields })
    }

    fn field(&mut self, node: &Node<'a>, depth: usize) -> Outcome<(ColumnType, Field)> {
        let (null, value) = self.optional(node, depth)?;
        let (column_type, reader) = self.reader(&value, depth + 1)?;
        Ok((column_type, Field { null, reader }))
    }

    fn reader(&mut self, node: &Node<'a>, depth: usize) -> Outcome<(ColumnType, Reader)> {
        self.count(depth)?;
        let property = |name: &str| node.json.get(name).and_then(Json::as_str).unwrap_or_default();
        let number = |name: &str| node.json.get(name).and_then(Json::as_u64);
        let decimal = || {
            let scale = u32::try_from(number("scale").unwrap_or(0)).map_err(|_| "impossible scale")?;
            let precision = number("precision").and_then(|p| u32::try_from(p).ok());
            let precision = precision.filter(|&p| p > 0 && p >= scale).ok_or("impossible precision")?;
            if precision > 1_000 {
                return Err("impossible precision");
            }
            Ok::<_, &str>((ColumnType::Decimal { precision, scale }, i64::from(scale)))
        };
        let logical = property("logicalType");
        Ok(match (kind(node), property("connect.name"), logical) {
            ("boolean", ..) => (ColumnType::Bool, Reader::Bool),
            ("int", "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", _)
            | ("int", _, "date") => (ColumnType::Date, Reader::Date),
            ("int", "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time", _)
            | ("int", _, "time-millis") => (ColumnType::Time, Reader::Time(1_000)),
            ("int", ..) if property("connect.type") == "int16" => (ColumnType::Int16, Reader::Int),
            ("int", ..) => (ColumnType::Int32, Reader::Int),
            ("long", _, "timestamp-micros") => (ColumnType::TimestampTz, Reader::TimestampTz(1)),
            ("long", "io.debezium.time.MicroTimestamp", _) | ("long", _, "local-timestamp-micros") => {
                (ColumnType::Timestamp, Reader::Timestamp(1))
            }
            ("long", "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp", _)
            | ("long", _, "local-timestamp-millis") => (ColumnType::Timestamp, Reader::Timestamp(1_000)),
            ("long", _, "timestamp-millis") => (ColumnType::TimestampTz, Reader::TimestampTz(1_000)),
            ("long", "io.debezium.time.MicroTime", _) | ("long", _, "time-micros") => {
                (ColumnType::Time, Reader::Time(1))
            }
            ("long", ..) => (ColumnType::Int64, Reader::Long),
            ("float", ..) => (ColumnType::Float32, Reader::Float),
            ("double", ..) => (ColumnType::Float64, Reader::Double),
            ("bytes", _, "decimal") => {
                let (column_type, scale) = decimal()?;
                (column_type, Reader::Decimal { scale })
            }
            ("fixed", _, "decimal") => {
                let (column_type, scale) = decimal()?;
                (column_type, Reader::DecimalFixed { scale, size: fixed_size(node)? })
            }
            ("bytes", ..) => (ColumnType::Bytes, Reader::Bytes),
            ("fixed", ..) => (ColumnType::Bytes, Reader::Fixed(fixed_size(node)?)),
            ("enum", ..) => (ColumnType::Text, Reader::Symbol(symbols(node)?)),
            ("string", "io.debezium.data.Uuid", _) | ("string", _, "uuid") => {
                (ColumnType::Uuid, Reader::Uuid)
            }
            ("string", "io.debezium.data.Json", _) => (ColumnType::Json, Reader::Json),
            ("string", "io.debezium.time.ZonedTimestamp", _) => (ColumnType::TimestampTz, Reader::ZonedText),
            ("string", ..) => (ColumnType::Text, Reader::Text),
            ("array", ..) => {
                let items = node.json.get("items").ok_or("array without items")?;
                let items = Node { json: items, namespace: node.namespace.clone() };
                let (item_type, field) = self.field(&items, depth + 1)?;
                (ColumnType::Array(Box::new(item_type)), Reader::Array(Box::new(field)))
            }
            ("record", ..) if is_variable_scale(node) => (ColumnType::Numeric, Reader::VariableScale),
            (other, ..) => return Err(format!("schema has a column of type {other:?}")),
        })
    }

    fn skip(&mut self, node: &Node<'a>, depth: usize) -> Outcome<Skip> {
        let node = self.resolve(node, depth)?;
        let child = |json: &'a Json| Node { json, namespace: node.namespace.clone() };
        if let Json::Array(branches) = node.json {
            let branches: Outcome<_> = branches.iter().map(|b| self.skip(&child(b), depth + 1)).collect();
            return Ok(Skip::Union(branches?));
        }
        let mut repeated = |key: &str| {
            let items =
                self.skip(&child(node.json.get(key).ok_or("container without a type")?), depth + 1)?;
            if items.may_be_empty() {
                return Err("schema repeats something of no size".to_owned());
            }
            Ok(Box::new(items))
        };
        Ok(match kind(&node) {
            "null" => Skip::Nothing,
            "boolean" => Skip::Fixed(1),
            "int" | "long" | "enum" => Skip::Varint,
            "float" => Skip::Fixed(4),
            "double" => Skip::Fixed(8),
            "bytes" | "string" => Skip::Bytes,
            "fixed" => Skip::Fixed(fixed_size(&node)?),
            "array" => Skip::Array(repeated("items")?),
            "map" => Skip::Map(repeated("values")?),
            "record" => {
                let fields = self.fields(&node)?;
                let fields: Outcome<_> = fields.iter().map(|(.., f)| self.skip(f, depth + 1)).collect();
                Skip::Record(fields?)
            }
            other => return Err(format!("schema has an unknown type {other:?}")),
        })
    }
}

fn source_field(name: &str) -> SourceField {
    match name {
        "name" => SourceField::Name,
        "db" => SourceField::Database,
        "snapshot" => SourceField::Snapshot,
        "ts_ms" => SourceField::TsMs,
        "ts_us" => SourceField::TsUs,
        "schema" => SourceField::Schema,
        "table" => SourceField::Table,
        "txId" => SourceField::TxId,
        "lsn" => SourceField::Lsn,
        "position" => SourceField::Position,
        _ => SourceField::Other,
    }
}

fn transaction_field(name: &str) -> TransactionField {
    match name {
        "id" => TransactionField::Id,
        "total_order" => TransactionField::TotalOrder,
        "data_collection_order" => TransactionField::DataCollectionOrder,
        _ => TransactionField::Other,
    }
}

/// The Avro type of a resolved schema.
pub(in crate::codec) fn kind<'a>(node: &Node<'a>) -> &'a str {
    match node.json {
        Json::String(name) => name,
        Json::Object(object) => object.get("type").and_then(Json::as_str).unwrap_or_default(),
        Json::Array(_) => "union",
        _ => "",
    }
}

fn is_primitive(name: &str) -> bool {
    matches!(name, "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string")
}

fn is_complex(name: &str) -> bool {
    matches!(name, "record" | "enum" | "fixed" | "array" | "map")
}

fn inner_namespace(node: &Node<'_>) -> String {
    let name = node.json.get("name").and_then(Json::as_str).unwrap_or_default();
    match (name.rsplit_once('.'), node.json.get("namespace").and_then(Json::as_str)) {
        (Some((namespace, _)), _) => namespace.to_owned(),
        (None, Some(namespace)) => namespace.to_owned(),
        (None, None) => node.namespace.clone(),
    }
}

fn full_name(node: &Node<'_>) -> String {
    let name = node.json.get("name").and_then(Json::as_str).unwrap_or_default();
    let namespace = inner_namespace(node);
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn is_variable_scale(node: &Node<'_>) -> bool {
    node.json.get("connect.name").and_then(Json::as_str) == Some(VARIABLE_SCALE_DECIMAL)
        && node.json["fields"][0]["name"] == "scale"
        && node.json["fields"][0]["type"] == "int"
        && node.json["fields"][1]["name"] == "value"
        && node.json["fields"][1]["type"] == "bytes"
        && node.json["fields"].as_array().is_some_and(|fields| fields.len() == 2)
}

pub(in crate::codec) fn fixed_size(node: &Node<'_>) -> Outcome<usize> {
    let size = node.json.get("size").and_then(Json::as_u64).and_then(|size| usize::try_from(size).ok());
    size.filter(|&size| size > 0).ok_or_else(|| "fixed without a size".to_owned())
}

pub(in crate::codec) fn symbols(node: &Node<'_>) -> Outcome<Vec<String>> {
    let symbols = node.json.get("symbols").and_then(Json::as_array).ok_or("enum without symbols")?;
    Ok(symbols.iter().filter_map(|s| s.as_str().map(ToOwned::to_owned)).collect())
}
