//! Whether data written with one Avro schema can be read with another.
//!
//! The rules are those of the Avro specification, "Schema Resolution", on the types as they are
//! written, with one addition: a logical type is read only as itself (or as its plain physical
//! type), and a decimal only with its own scale. By the specification's letter and in Confluent's
//! registry, `numeric(10,2)` could be followed by `numeric(10,4)`, and a reader with the new schema
//! would silently take 12.34 for 0.1234.
//!
//! `apache-avro` parses the schemas; its own compatibility checker is not used, because it refuses
//! every schema with a decimal and every second use of a named type (0.21, `schema_compatibility.rs`).

use crate::registry::schema::Named;
use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, Name, RecordField};
use std::collections::{HashMap, HashSet};

/// A schema with its named types at hand.
#[derive(Debug, Clone)]
pub(in crate::registry) struct AvroSchema {
    root: Schema,
    named: HashMap<Name, Schema>,
}

impl AvroSchema {
    /// Parses an Avro schema that uses the named types of `references`; says what is wrong with it.
    pub(in crate::registry) fn parse_with(text: &str, references: &[Named]) -> Result<Self, String> {
        let mut named = HashMap::new();
        let root = if references.is_empty() {
            Schema::parse_str(text).map_err(|error| error.to_string())?
        } else {
            let texts: Vec<&str> = references.iter().map(|reference| &*reference.text).collect();
            let (root, others) =
                Schema::parse_str_with_list(text, texts).map_err(|error| error.to_string())?;
            others.iter().for_each(|schema| collect(schema, &mut named));
            root
        };
        collect(&root, &mut named);
        Ok(AvroSchema { root, named })
    }

    fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
        match schema {
            Schema::Ref { name } => self.named.get(name).unwrap_or(schema),
            other => other,
        }
    }
}

fn collect(schema: &Schema, named: &mut HashMap<Name, Schema>) {
    match schema {
        Schema::Record(record) => {
            named.insert(record.name.clone(), schema.clone());
            record.fields.iter().for_each(|field| collect(&field.schema, named));
        }
        Schema::Enum(inner) => {
            named.insert(inner.name.clone(), schema.clone());
        }
        Schema::Fixed(inner) => {
            named.insert(inner.name.clone(), schema.clone());
        }
        Schema::Decimal(decimal) => collect(&decimal.inner, named),
        Schema::Array(array) => collect(&array.items, named),
        Schema::Map(map) => collect(&map.types, named),
        Schema::Union(union) => union.variants().iter().for_each(|branch| collect(branch, named)),
        _ => {}
    }
}

/// Whether data written by `writer` can be read by `reader`; if not, where and why.
pub(in crate::registry) fn can_read(writer: &AvroSchema, reader: &AvroSchema) -> Result<(), String> {
    Check { writer, reader, assumed: HashSet::new() }.schemas(&writer.root, &reader.root)
}

struct Check<'a> {
    writer: &'a AvroSchema,
    reader: &'a AvroSchema,
    /// Pairs of records under comparison, taken to fit where they recur.
    assumed: HashSet<(Name, Name)>,
}

impl Check<'_> {
    fn schemas(&mut self, writer: &Schema, reader: &Schema) -> Result<(), String> {
        let (writer, reader) = (self.writer.resolve(writer), self.reader.resolve(reader));
        match (writer, reader) {
            (Schema::Union(union), _) => {
                union.variants().iter().try_for_each(|branch| self.schemas(branch, reader))
            }
            (_, Schema::Union(union)) => {
                let mut problems = Vec::new();
                for branch in union.variants() {
                    match self.schemas(writer, branch) {
                        Ok(()) => return Ok(()),
                        Err(problem) => problems.push(problem),
                    }
                }
                // Of an optional type, what is wrong with the type says more than the whole union.
                match problems.as_slice() {
                    [_, problem] if union.is_nullable() => Err(problem.clone()),
                    _ => Err(format!("{} is in no branch of the reader's union", name_of(writer))),
                }
            }
            (Schema::Record(from), Schema::Record(to)) => {
                if from.name.name != to.name.name {
                    return Err(different(writer, reader));
                }
                if !self.assumed.insert((from.name.clone(), to.name.clone())) {
                    return Ok(());
                }
                let fits = to.fields.iter().try_for_each(|field| self.field(&from.fields, field));
                if fits.is_err() {
                    self.assumed.remove(&(from.name.clone(), to.name.clone()));
                }
                fits
            }
            (Schema::Array(from), Schema::Array(to)) => self.schemas(&from.items, &to.items),
            (Schema::Map(from), Schema::Map(to)) => self.schemas(&from.types, &to.types),
            (Schema::Enum(from), Schema::Enum(to)) => enums(from, to),
            (Schema::Fixed(from), Schema::Fixed(to)) => {
                let fits = from.name.name == to.name.name && from.size == to.size;
                if fits { Ok(()) } else { Err(different(writer, reader)) }
            }
            (Schema::Decimal(from), Schema::Decimal(to)) if from.scale != to.scale => {
                Err(format!("decimal of scale {} read as scale {}", from.scale, to.scale))
            }
            (Schema::Decimal(from), Schema::Decimal(to)) => self.schemas(&from.inner, &to.inner),
            (Schema::Decimal(from), _) => self.schemas(&from.inner, reader),
            (_, Schema::Decimal(to)) => self.schemas(writer, &to.inner),
            _ if promotes(writer, reader) => Ok(()),
            _ => Err(different(writer, reader)),
        }
    }

    fn field(&mut self, from: &[RecordField], to: &RecordField) -> Result<(), String> {
        let is_named = |field: &&RecordField| {
            field.name == to.name || to.aliases.iter().flatten().any(|alias| *alias == field.name)
        };
        match from.iter().find(is_named) {
            Some(field) => {
                // Nested fields read as one path: `field after.amount: …`.
                let place = |problem: String| match problem.strip_prefix("field ") {
                    Some(nested) => format!("field {}.{nested}", to.name),
                    None => format!("field {}: {problem}", to.name),
                };
                self.schemas(&field.schema, &to.schema).map_err(place)
            }
            None if to.default.is_some() => Ok(()),
            None => Err(format!("field {} is new and has no default", to.name)),
        }
    }
}

fn enums(from: &EnumSchema, to: &EnumSchema) -> Result<(), String> {
    let missing = from.symbols.iter().find(|symbol| !to.symbols.contains(symbol));
    match missing {
        Some(symbol) if to.default.is_none() => {
            Err(format!("symbol {symbol} is gone and there is no default"))
        }
        _ if from.name.name != to.name.name => {
            Err(format!("enum {} read as {}", from.name.name, to.name.name))
        }
        _ => Ok(()),
    }
}

/// Equal types without parts, and the promotions of the specification.
fn promotes(writer: &Schema, reader: &Schema) -> bool {
    use Schema::{Bytes, Double, Float, Int, Long};
    let (from, to) = (physical(writer), physical(reader));
    let is_logical =
        |schema: &Schema| std::mem::discriminant(schema) != std::mem::discriminant(physical(schema));
    if is_logical(writer) && is_logical(reader) {
        return std::mem::discriminant(writer) == std::mem::discriminant(reader);
    }
    match (from, to) {
        (Int, Long | Float | Double) | (Long, Float | Double) | (Float, Double) => true,
        (Schema::String, Bytes) | (Bytes, Schema::String) => true,
        (Schema::Ref { .. }, _) | (_, Schema::Ref { .. }) => false,
        _ => std::mem::discriminant(from) == std::mem::discriminant(to) && is_plain(from),
    }
}

fn physical(schema: &Schema) -> &Schema {
    match schema {
        Schema::Date | Schema::TimeMillis => &Schema::Int,
        Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => &Schema::Long,
        Schema::Uuid => &Schema::String,
        Schema::BigDecimal => &Schema::Bytes,
        other => other,
    }
}

fn is_plain(schema: &Schema) -> bool {
    matches!(
        schema,
        Schema::Null
            | Schema::Boolean
            | Schema::Int
            | Schema::Long
            | Schema::Float
            | Schema::Double
            | Schema::Bytes
            | Schema::String
            | Schema::Duration
    )
}

fn different(writer: &Schema, reader: &Schema) -> String {
    format!("{} read as {}", name_of(writer), name_of(reader))
}

fn name_of(schema: &Schema) -> String {
    match schema.name() {
        Some(name) => name.fullname(None),
        None => format!("{:?}", apache_avro::schema::SchemaKind::from(schema)).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(writer: &str, reader: &str) -> Result<(), String> {
        can_read(&AvroSchema::parse_with(writer, &[]).unwrap(), &AvroSchema::parse_with(reader, &[]).unwrap())
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn follows_the_specification() {
        let decimal =
            |p, s| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{p},"scale":{s}}}"#);
        let (int, text) = (r#""int""#.to_owned(), r#""string""#.to_owned());
        let micros = r#"{"type":"long","logicalType":"timestamp-micros"}"#.to_owned();
        let local = r#"{"type":"long","logicalType":"local-timestamp-micros"}"#.to_owned();
        let optional = |schema: &str| format!(r#"["null",{schema}]"#);
        for (writer, reader, fits) in [
            (int.clone(), r#""long""#.to_owned(), true),
            (r#""long""#.to_owned(), int.clone(), false),
            (text.clone(), r#""bytes""#.to_owned(), true),
            (int.clone(), text.clone(), false),
            (int.clone(), optional(&int), true),
            (optional(&int), int.clone(), false),
            (optional(&int), optional(r#""long""#), true),
            (decimal(10, 2), decimal(12, 2), true),
            (decimal(10, 2), decimal(12, 4), false),
            (decimal(10, 2), r#""bytes""#.to_owned(), true),
            (micros.clone(), micros.clone(), true),
            (micros.clone(), local, false),
            (micros, r#""long""#.to_owned(), true),
            (
                r#"{"type":"enum","name":"E","symbols":["a","b"]}"#.to_owned(),
                r#"{"type":"enum","name":"E","symbols":["a"]}"#.to_owned(),
                false,
            ),
            (
                r#"{"type":"enum","name":"E","symbols":["a","b"]}"#.to_owned(),
                r#"{"type":"enum","name":"E","symbols":["a"],"default":"a"}"#.to_owned(),
                true,
            ),
        ] {
            assert_eq!(reads(&writer, &reader).is_ok(), fits, "{writer} read as {reader}");
        }
    }

    #[test]
    fn says_where_it_does_not_fit() {
        let inner = |t: &str| {
            format!(
                r#"{{"name":"x","type":["null",{{"type":"record","name":"I","fields":[{{"name":"y","type":"{t}"}}]}}],"default":null}}"#
            )
        };
        assert_eq!(
            reads(&record(&inner("int")), &record(&inner("string"))),
            Err("field x.y: int read as string".to_owned())
        );
        assert_eq!(
            reads(&record(""), &record(r#"{"name":"a","type":"int"}"#)),
            Err("field a is new and has no default".to_owned())
        );
        assert_eq!(reads(&record(r#"{"name":"a","type":"int"}"#), &record("")), Ok(()));
    }

    #[test]
    fn a_named_type_may_move_to_another_field() {
        let defined = r#"{"type":"record","name":"V","fields":[{"name":"s","type":"int"}]}"#;
        let both = record(&format!(r#"{{"name":"a","type":{defined}}},{{"name":"b","type":"V"}}"#));
        let second = record(&format!(r#"{{"name":"b","type":{defined}}}"#));
        assert_eq!(reads(&both, &second), Ok(()));
    }

    #[test]
    fn recursive_types_end() {
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        assert_eq!(reads(list, list), Ok(()));
    }

    #[test]
    fn references_are_followed() {
        let inner = |t: &str| {
            let text = format!(r#"{{"type":"record","name":"a.I","fields":[{{"name":"y","type":"{t}"}}]}}"#);
            [Named { name: "a.I".to_owned(), text: text.into() }]
        };
        let outer = record(r#"{"name":"x","type":"a.I"}"#);
        let (int, text) = (inner("int"), inner("string"));
        let parse = |references: &[Named]| AvroSchema::parse_with(&outer, references).unwrap();
        assert_eq!(can_read(&parse(&int), &parse(&int)), Ok(()));
        assert_eq!(can_read(&parse(&int), &parse(&text)), Err("field x.y: int read as string".to_owned()));
        assert!(AvroSchema::parse_with(&outer, &[]).is_err());
    }
}
