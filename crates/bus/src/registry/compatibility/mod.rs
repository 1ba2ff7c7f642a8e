//! Whether a new schema may follow the earlier ones of its subject.
//!
//! The levels are here; what "can read" means is each schema language's own: `avro`, `protobuf`,
//! `json`.

pub(in crate::registry) mod avro;
pub(in crate::registry) mod json;
mod json_keywords;
pub(in crate::registry) mod protobuf;
pub(in crate::registry) mod protobuf_text;

use super::schema::ParsedSchema;
use serde::{Deserialize, Serialize};

/// Confluent's levels. `Backward`: the new schema reads what the last one wrote. `Forward`: the
/// last one reads what the new one writes. `Full`: both. Transitive: all earlier ones, not the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CompatibilityLevel {
    None,
    #[default]
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl CompatibilityLevel {
    /// Checks `new` against the `earlier` versions, oldest first; returns what does not fit, in
    /// words.
    pub(in crate::registry) fn violations(
        self,
        new: &ParsedSchema,
        earlier: &[(i32, ParsedSchema)],
    ) -> Vec<String> {
        use CompatibilityLevel as Level;
        let (backward, forward, transitive) = match self {
            Level::None => return Vec::new(),
            Level::Backward => (true, false, false),
            Level::BackwardTransitive => (true, false, true),
            Level::Forward => (false, true, false),
            Level::ForwardTransitive => (false, true, true),
            Level::Full => (true, true, false),
            Level::FullTransitive => (true, true, true),
        };
        let skipped = if transitive { 0 } else { earlier.len().saturating_sub(1) };
        let mut violations = Vec::new();
        for (version, old) in &earlier[skipped..] {
            if backward {
                violations.extend(can_read(old, new).into_iter().map(|problem| {
                    format!("the new schema cannot read data of version {version}: {problem}")
                }));
            }
            if forward {
                violations.extend(can_read(new, old).into_iter().map(|problem| {
                    format!("version {version} cannot read data of the new schema: {problem}")
                }));
            }
        }
        violations
    }
}

/// What keeps data written by `writer` from being read by `reader`: nothing, where it can be.
fn can_read(writer: &ParsedSchema, reader: &ParsedSchema) -> Vec<String> {
    match (writer, reader) {
        (ParsedSchema::Avro(writer), ParsedSchema::Avro(reader)) => {
            avro::can_read(writer, reader).err().into_iter().collect()
        }
        (ParsedSchema::Protobuf(writer), ParsedSchema::Protobuf(reader)) => {
            protobuf::problems(writer, reader)
        }
        (ParsedSchema::Json(writer), ParsedSchema::Json(reader)) => json::problems(writer, reader),
        (ParsedSchema::Avro(_) | ParsedSchema::Protobuf(_) | ParsedSchema::Json(_), _) => {
            vec!["the schema is of another type".to_owned()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::schema::{Schema, SchemaType};

    fn parse(schema_type: SchemaType, text: &str) -> ParsedSchema {
        ParsedSchema::parse(&Schema::new(schema_type, text), &[]).unwrap()
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn another_type_never_fits() {
        let earlier = [(1, parse(SchemaType::Avro, "\"string\""))];
        let new = parse(SchemaType::Json, "{}");
        assert_eq!(CompatibilityLevel::Full.violations(&new, &earlier).len(), 2);
        assert_eq!(CompatibilityLevel::None.violations(&new, &earlier), Vec::<String>::new());
    }

    #[test]
    fn levels_choose_directions_and_versions() {
        use CompatibilityLevel as Level;
        let parse = |fields: &str| parse(SchemaType::Avro, &record(fields));
        let (a, b) = (r#"{"name":"a","type":"int"}"#, r#"{"name":"b","type":"int","default":0}"#);
        // Version 1 has `b` without a default, version 2 nothing, the new one `a` without a default.
        let earlier = [(1, parse(r#"{"name":"b","type":"int"}"#)), (2, parse(""))];
        for (level, fields, violations) in [
            (Level::None, a, 0),
            (Level::Backward, a, 1),
            (Level::BackwardTransitive, a, 2),
            (Level::Forward, a, 0),
            (Level::ForwardTransitive, a, 1),
            (Level::Full, b, 0),
            (Level::FullTransitive, a, 3),
        ] {
            let found = level.violations(&parse(fields), &earlier);
            assert_eq!(found.len(), violations, "{level:?} {found:?}");
        }
    }
}
