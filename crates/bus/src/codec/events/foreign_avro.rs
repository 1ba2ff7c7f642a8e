//! Avro records of any schema, as JSON.
//!
//! A schema is compiled once an id; it comes from the registry, so its depth and size are bounded.
//! Instants become RFC 3339 text, decimals text, bytes base64.

use crate::codec::avro::binary::{Malformed, Take};
use crate::codec::avro::compile::{Compiler, Node, fixed_size, kind, parse, symbols};
use crate::codec::numbers;
use crate::registry::Named;
use affluent_model::time::{format_date, format_micros, format_time};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bigdecimal::num_bigint::BigInt;
use serde_json::{Map, Number, Value as Json};

type Outcome<T> = Result<T, Malformed>;

/// How to read what a schema describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Fixed(usize),
    Symbol(Vec<String>),
    Date,
    Time(Unit),
    Instant(Unit),
    /// An instant without a zone; taken as UTC.
    Local(Unit),
    /// Digits after the point, and of a `fixed` the size.
    Decimal(i64, Option<usize>),
    Array(Box<Tree>),
    Map(Box<Tree>),
    Union(Vec<Tree>),
    Record(Vec<(String, Tree)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    fn micros(self, value: i64) -> Outcome<i64> {
        match (self, value) {
            // The infinities stay what they are in any unit.
            (_, i64::MAX | i64::MIN) | (Unit::Micros, _) => Ok(value),
            (Unit::Millis, _) => value.checked_mul(1_000).ok_or(Malformed("time out of range")),
            (Unit::Nanos, _) => Ok(value.div_euclid(1_000)),
        }
    }
}

/// Compiles a schema; says what is wrong with it.
pub(super) fn compile(schema: &str) -> Result<Tree, String> {
    compile_with(schema, &[])
}

/// Compiles a schema that uses the named types of `references`.
pub(super) fn compile_with(schema: &str, references: &[Named]) -> Result<Tree, String> {
    // A union of all of them defines all names; the schema itself is its last branch.
    let branches: Result<Vec<Json>, String> =
        references.iter().map(|reference| &*reference.text).chain([schema]).map(parse).collect();
    let union = Json::Array(branches?);
    let mut compiler = Compiler::new(&union)?;
    let json = union.as_array().and_then(|branches| branches.last()).unwrap_or(&Json::Null);
    tree(&mut compiler, &Node { json, namespace: String::new() }, 0)
}

fn tree<'a>(compiler: &mut Compiler<'a>, node: &Node<'a>, depth: usize) -> Result<Tree, String> {
    let node = compiler.resolve(node, depth)?;
    let child = |json: &'a Json| Node { json, namespace: node.namespace.clone() };
    if let Json::Array(branches) = node.json {
        let branches: Result<_, _> = branches.iter().map(|b| tree(compiler, &child(b), depth + 1)).collect();
        return Ok(Tree::Union(branches?));
    }
    let mut repeated = |key: &str| {
        let items = node.json.get(key).ok_or("container without a type")?;
        let items = tree(compiler, &child(items), depth + 1)?;
        // In a map each has a key.
        if key == "items" && items.may_be_empty() {
            return Err("schema repeats something of no size".to_owned());
        }
        Ok::<_, String>(Box::new(items))
    };
    let logical = node.json.get("logicalType").and_then(Json::as_str).unwrap_or_default();
    let scale = || node.json.get("scale").and_then(Json::as_i64).unwrap_or(0);
    Ok(match (kind(&node), logical) {
        ("null", _) => Tree::Null,
        ("boolean", _) => Tree::Bool,
        ("int", "date") => Tree::Date,
        ("int", "time-millis") => Tree::Time(Unit::Millis),
        ("int", _) => Tree::Int,
        ("long", "time-micros") => Tree::Time(Unit::Micros),
        ("long", "timestamp-millis") => Tree::Instant(Unit::Millis),
        ("long", "timestamp-micros") => Tree::Instant(Unit::Micros),
        ("long", "timestamp-nanos") => Tree::Instant(Unit::Nanos),
        ("long", "local-timestamp-millis") => Tree::Local(Unit::Millis),
        ("long", "local-timestamp-micros") => Tree::Local(Unit::Micros),
        ("long", "local-timestamp-nanos") => Tree::Local(Unit::Nanos),
        ("long", _) => Tree::Long,
        ("float", _) => Tree::Float,
        ("double", _) => Tree::Double,
        ("string", _) => Tree::Text,
        ("bytes", "decimal") => Tree::Decimal(scale(), None),
        ("bytes", _) => Tree::Bytes,
        ("fixed", "decimal") => Tree::Decimal(scale(), Some(fixed_size(&node)?)),
        ("fixed", _) => Tree::Fixed(fixed_size(&node)?),
        ("enum", _) => Tree::Symbol(symbols(&node)?),
        ("array", _) => Tree::Array(repeated("items")?),
        ("map", _) => Tree::Map(repeated("values")?),
        ("record", _) => {
            let fields = compiler.fields(&node)?;
            let fields: Result<_, String> = fields
                .into_iter()
                .map(|(name, _, field)| Ok((name.to_owned(), tree(compiler, &field, depth + 1)?)))
                .collect();
            Tree::Record(fields?)
        }
        (other, _) => return Err(format!("schema has an unknown type {other:?}")),
    })
}

impl Tree {
    /// Whether a value of it may take no byte.
    fn may_be_empty(&self) -> bool {
        match self {
            Tree::Null | Tree::Fixed(0) => true,
            Tree::Record(fields) => fields.iter().all(|(_, field)| field.may_be_empty()),
            Tree::Bool
            | Tree::Int
            | Tree::Long
            | Tree::Float
            | Tree::Double
            | Tree::Text
            | Tree::Bytes
            | Tree::Fixed(_)
            | Tree::Symbol(_)
            | Tree::Date
            | Tree::Time(_)
            | Tree::Instant(_)
            | Tree::Local(_)
            | Tree::Decimal(..)
            | Tree::Array(_)
            | Tree::Map(_)
            | Tree::Union(_) => false,
        }
    }
}

/// Reads a whole record; bytes after it are an error.
pub(super) fn read(body: &[u8], tree: &Tree) -> Outcome<Json> {
    let mut take = Take(body);
    let value = value(&mut take, tree)?;
    if take.0.is_empty() { Ok(value) } else { Err(Malformed("bytes after the end")) }
}

fn value(take: &mut Take<'_>, tree: &Tree) -> Outcome<Json> {
    Ok(match tree {
        Tree::Null => Json::Null,
        Tree::Bool => Json::Bool(take.bool()?),
        Tree::Int => take.int()?.into(),
        Tree::Long => take.long()?.into(),
        Tree::Float => float(f64::from(f32::from_le_bytes(take.array()?))),
        Tree::Double => float(f64::from_le_bytes(take.array()?)),
        Tree::Text => take.text()?.into(),
        Tree::Bytes => BASE64_STANDARD.encode(take.bytes()?).into(),
        Tree::Fixed(size) => BASE64_STANDARD.encode(take.raw(*size)?).into(),
        Tree::Symbol(symbols) => {
            let symbol = usize::try_from(take.int()?).ok().and_then(|index| symbols.get(index));
            symbol.ok_or(Malformed("enum has no such symbol"))?.as_str().into()
        }
        Tree::Date => format_date(take.int()?).into(),
        Tree::Time(unit) => format_time(unit.micros(take.long()?)?).into(),
        Tree::Instant(unit) | Tree::Local(unit) => format_micros(unit.micros(take.long()?)?, true).into(),
        Tree::Decimal(scale, size) => {
            let bytes = match size {
                Some(size) => take.raw(*size)?,
                None => take.bytes()?,
            };
            let decimal = numbers::bounded(BigInt::from_signed_bytes_be(bytes), *scale);
            decimal.ok_or(Malformed("decimal out of bounds"))?.to_plain_string().into()
        }
        Tree::Array(items) => {
            let mut found = Vec::new();
            blocks(take, |take| {
                found.push(value(take, items)?);
                Ok(())
            })?;
            Json::Array(found)
        }
        Tree::Map(values) => {
            let mut found = Map::new();
            blocks(take, |take| {
                let key = take.text()?.to_owned();
                found.insert(key, value(take, values)?);
                Ok(())
            })?;
            Json::Object(found)
        }
        Tree::Union(branches) => {
            let branch = usize::try_from(take.long()?).ok().and_then(|index| branches.get(index));
            value(take, branch.ok_or(Malformed("union has no such branch"))?)?
        }
        Tree::Record(fields) => {
            let mut found = Map::with_capacity(fields.len());
            for (name, field) in fields {
                found.insert(name.clone(), value(take, field)?);
            }
            Json::Object(found)
        }
    })
}

fn blocks(take: &mut Take<'_>, mut item: impl FnMut(&mut Take<'_>) -> Outcome<()>) -> Outcome<()> {
    loop {
        match take.block()? {
            0 => return Ok(()),
            count => {
                for _ in 0..count {
                    item(take)?;
                }
            }
        }
    }
}

/// JSON has no NaN and no infinities: they become text.
fn float(value: f64) -> Json {
    Number::from_f64(value).map_or_else(|| value.to_string().into(), Json::Number)
}
