//! A schema as clients register it: its type, its text, what it refers to; and what makes two of
//! them the same.
//!
//! Pure. Whether one may follow another is `compatibility`; which ids they have is `state`.

use super::compatibility::{avro::AvroSchema, json::JsonSchema, protobuf::ProtobufSchema};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The languages that schemas are written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchemaType {
    #[default]
    Avro,
    Protobuf,
    /// JSON Schema.
    Json,
}

impl SchemaType {
    /// In the order in which Confluent's registry lists them.
    pub(crate) const ALL: [SchemaType; 3] = [SchemaType::Json, SchemaType::Protobuf, SchemaType::Avro];

    /// Confluent leaves the type of Avro schemas out.
    pub(super) fn is_avro(&self) -> bool {
        *self == SchemaType::Avro
    }
}

/// Another subject's version that a schema uses, by the name that it uses for it: an Avro full name,
/// a `.proto` file to import, a `$ref`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SchemaReference {
    pub name: String,
    pub subject: String,
    pub version: i32,
}

/// A schema of any type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schema {
    #[serde(rename = "schemaType", default, skip_serializing_if = "SchemaType::is_avro")]
    pub schema_type: SchemaType,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<SchemaReference>,
    /// For Protobuf the `.proto` file, or in base64 its compiled `FileDescriptorProto`.
    #[serde(rename = "schema")]
    pub text: Arc<str>,
}

impl Schema {
    /// A schema that refers to no other.
    #[must_use]
    pub fn new(schema_type: SchemaType, text: impl Into<Arc<str>>) -> Self {
        Schema { schema_type, references: Vec::new(), text: text.into() }
    }
}

/// A schema that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) text: Arc<str>,
}

/// A schema that is understood.
#[derive(Debug, Clone)]
pub(super) enum ParsedSchema {
    Avro(AvroSchema),
    Protobuf(ProtobufSchema),
    Json(JsonSchema),
}

impl ParsedSchema {
    /// Parses `schema`; `references` are the schemas it refers to, each after those it needs itself.
    /// Says what is wrong.
    pub(super) fn parse(schema: &Schema, references: &[Named]) -> Result<Self, String> {
        Ok(match schema.schema_type {
            SchemaType::Avro => ParsedSchema::Avro(AvroSchema::parse_with(&schema.text, references)?),
            SchemaType::Protobuf => ParsedSchema::Protobuf(ProtobufSchema::parse(&schema.text, references)?),
            SchemaType::Json => ParsedSchema::Json(JsonSchema::parse(&schema.text, references)?),
        })
    }

    /// Base64 of the compiled `FileDescriptorProto`; `None` for the types that have no such form.
    pub(super) fn serialized(&self) -> Option<String> {
        match self {
            ParsedSchema::Protobuf(schema) => Some(schema.serialized()),
            ParsedSchema::Avro(_) | ParsedSchema::Json(_) => None,
        }
    }
}

/// A schema that a client wants registered, found or checked.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// As it will be stored.
    pub(super) schema: Schema,
    pub(super) identity: Arc<str>,
    pub(super) parsed: ParsedSchema,
}

impl Candidate {
    /// Understands a schema. Normalised, schemas that mean the same and differ in the order of what
    /// has no order (attributes, fields of a Protobuf message) are one.
    pub(super) fn new(mut schema: Schema, references: &[Named], normalize: bool) -> Result<Self, String> {
        let parsed = ParsedSchema::parse(&schema, references)?;
        match &parsed {
            // A bare name, as `string`, is valid Avro too; it is kept as it came.
            ParsedSchema::Avro(_) | ParsedSchema::Json(_) => {
                if let Some(text) = compact(&schema.text, normalize) {
                    schema.text = text.into();
                }
            }
            ParsedSchema::Protobuf(parsed) => {
                if normalize {
                    schema.text = parsed.text(true).into();
                    schema.references.sort_by(|a, b| a.name.cmp(&b.name));
                } else if parsed.was_serialized() {
                    schema.text = parsed.text(false).into();
                }
            }
        }
        let identity = identity(&schema, &parsed, normalize);
        Ok(Candidate { schema, identity, parsed })
    }
}

/// What two equal schemas have in common: for Protobuf the printed file without comments, for the
/// others the JSON without insignificant white space. The stored text of a normalised schema has the
/// same identity without being normalised again.
pub(super) fn identity(schema: &Schema, parsed: &ParsedSchema, normalized: bool) -> Arc<str> {
    let text = match parsed {
        ParsedSchema::Avro(_) | ParsedSchema::Json(_) => {
            compact(&schema.text, false).unwrap_or_else(|| schema.text.to_string())
        }
        ParsedSchema::Protobuf(parsed) => parsed.text(normalized),
    };
    let mut identity = format!("{:?}\n{text}", schema.schema_type);
    for SchemaReference { name, subject, version } in &schema.references {
        identity.push_str(&format!("\n{name}\n{subject}\n{version}"));
    }
    identity.into()
}

fn compact(text: &str, sorted: bool) -> Option<String> {
    let mut json: serde_json::Value = serde_json::from_str(text).ok()?;
    if sorted {
        json.sort_all_objects();
    }
    Some(json.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(schema_type: SchemaType, text: &str, normalize: bool) -> Candidate {
        Candidate::new(Schema::new(schema_type, text), &[], normalize).unwrap()
    }

    #[test]
    fn white_space_and_comments_make_no_difference() {
        for (schema_type, one, other) in [
            (SchemaType::Avro, r#"{"type": "string"}"#, r#"{"type":"string"}"#),
            (SchemaType::Json, r#"{ "type": "object" }"#, r#"{"type":"object"}"#),
            (
                SchemaType::Protobuf,
                "syntax = \"proto3\"; // a comment\nmessage A { string a = 1; }",
                "syntax = \"proto3\";\n\nmessage A {\n  string a = 1;\n}\n",
            ),
        ] {
            let (one, other) = (candidate(schema_type, one, false), candidate(schema_type, other, false));
            assert_eq!(one.identity, other.identity);
        }
    }

    #[test]
    fn normalised_order_makes_no_difference() {
        for (schema_type, one, other) in [
            (SchemaType::Json, r#"{"type":"object","title":"t"}"#, r#"{"title":"t","type":"object"}"#),
            (
                SchemaType::Protobuf,
                "syntax = \"proto3\"; message A { string b = 2; string a = 1; }",
                "syntax = \"proto3\"; message A { string a = 1; string b = 2; }",
            ),
        ] {
            assert_ne!(
                candidate(schema_type, one, false).identity,
                candidate(schema_type, other, false).identity
            );
            assert_eq!(
                candidate(schema_type, one, true).identity,
                candidate(schema_type, other, true).identity
            );
        }
    }

    #[test]
    fn a_compiled_file_is_the_same_schema_as_its_text() {
        let text = concat!(
            "syntax = \"proto3\"; package shop;\n",
            "message A { Kind kind = 1; map<string, B> bs = 2; optional int64 n = 3; message B { A a = 1; } }\n",
            "enum Kind { NONE = 0; ONE = 1; }",
        );
        let written = candidate(SchemaType::Protobuf, text, false);
        let serialized = written.parsed.serialized().unwrap();
        let compiled = candidate(SchemaType::Protobuf, &serialized, false);
        assert_eq!(written.identity, compiled.identity);
        assert_eq!(&*written.schema.text, text);
        assert!(compiled.schema.text.starts_with("syntax = \"proto3\";"), "{}", compiled.schema.text);
    }
}
