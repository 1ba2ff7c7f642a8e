//! Whether data written with one Protobuf file can be read with another, by Confluent's rules.
//!
//! On the wire a field is its number, so names may change and types may change within a group that
//! is encoded alike (<https://protobuf.dev/programming-guides/proto3/#updating>). Fields may come
//! and go; a message, the package, a required field, and a field of a oneof may not go.
//!
//! Files are compiled by `protox`, in this process. They come from clients: their nesting is bounded
//! before they are parsed, since parsing recurses.

use super::protobuf_text;
use crate::registry::schema::Named;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{FileDescriptorProto, field_descriptor_proto::Label};
use prost_reflect::{DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use protox::file::{File, FileResolver, GoogleFileResolver};
use std::collections::{BTreeMap, HashSet};

/// The file's own name; references have the names by which they are imported.
const FILE_NAME: &str = "schema.proto";
/// Messages in messages, and brackets of any kind.
const MAX_NESTING: usize = 64;

/// A compiled `.proto` file.
#[derive(Debug, Clone)]
pub(in crate::registry) struct ProtobufSchema {
    file: FileDescriptor,
    was_serialized: bool,
}

impl ProtobufSchema {
    /// Compiles a file, given as text or as base64 of its `FileDescriptorProto`; says what is wrong.
    pub(in crate::registry) fn parse(text: &str, references: &[Named]) -> Result<Self, String> {
        let (pool, file) = compile(text, references)?;
        let file = pool.get_file_by_name(file).ok_or("the file was not compiled")?;
        Ok(ProtobufSchema { file, was_serialized: compiled(text)?.is_some() })
    }

    /// Whether it came compiled, not as text.
    pub(in crate::registry) fn was_serialized(&self) -> bool {
        self.was_serialized
    }

    /// The file as text, without comments and custom options; normalised also in a fixed order.
    pub(in crate::registry) fn text(&self, normalized: bool) -> String {
        protobuf_text::print(self.descriptor(), normalized)
    }

    /// Base64 of the `FileDescriptorProto`.
    pub(in crate::registry) fn serialized(&self) -> String {
        let descriptor = FileDescriptorProto { source_code_info: None, ..self.descriptor().clone() };
        BASE64_STANDARD.encode(descriptor.encode_to_vec())
    }

    fn descriptor(&self) -> &FileDescriptorProto {
        self.file.file_descriptor_proto()
    }
}

/// Compiles a file with what it imports into a pool; also says under which name.
pub(crate) fn compile(text: &str, references: &[Named]) -> Result<(DescriptorPool, &'static str), String> {
    let mut files = references.to_vec();
    files.push(Named { name: FILE_NAME.to_owned(), text: text.into() });
    let mut compiler =
        protox::Compiler::with_file_resolver(Files { files, google: GoogleFileResolver::new() });
    compiler.open_file(FILE_NAME).map_err(|error| error.to_string())?;
    Ok((compiler.descriptor_pool(), FILE_NAME))
}

struct Files {
    files: Vec<Named>,
    google: GoogleFileResolver,
}

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.files.iter().rev().find(|file| file.name == name) {
            Some(file) => open(name, &file.text).map_err(protox::Error::new),
            None => self.google.open_file(name),
        }
    }
}

fn open(name: &str, text: &str) -> Result<File, String> {
    if let Some(mut descriptor) = compiled(text)? {
        descriptor.name = Some(name.to_owned());
        return Ok(File::from_file_descriptor_proto(descriptor));
    }
    if nesting(text) > MAX_NESTING {
        return Err("the schema is nested too deeply".to_owned());
    }
    File::from_source(name, text).map_err(|error| error.to_string())
}

/// The descriptor of a file that came compiled. No file in text is base64: it has blanks.
fn compiled(text: &str) -> Result<Option<FileDescriptorProto>, String> {
    match BASE64_STANDARD.decode(text.trim()) {
        Ok(bytes) if !bytes.is_empty() => {
            FileDescriptorProto::decode(&*bytes).map(Some).map_err(|error| error.to_string())
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// An upper bound of how deep brackets nest; those in comments and texts count too.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// What keeps data of `writer` from being read with `reader`.
pub(super) fn problems(writer: &ProtobufSchema, reader: &ProtobufSchema) -> Vec<String> {
    let mut check = Check {
        reader: reader.file.clone(),
        compared: HashSet::new(),
        waiting: Vec::new(),
        problems: Vec::new(),
    };
    let (from, to) = (writer.file.package_name(), reader.file.package_name());
    if from != to {
        check.problems.push(format!("the package changes from {from:?} to {to:?}"));
    }
    check.messages(writer.file.messages(), reader.file.messages());
    while let Some((from, to)) = check.waiting.pop() {
        check.message(&from, &to);
    }
    check.problems
}

struct Check {
    reader: FileDescriptor,
    /// Pairs of messages that were compared, by their full names.
    compared: HashSet<(String, String)>,
    /// Messages of other files, which nobody else compares.
    waiting: Vec<(MessageDescriptor, MessageDescriptor)>,
    problems: Vec<String>,
}

impl Check {
    fn messages(
        &mut self,
        from: impl Iterator<Item = MessageDescriptor>,
        to: impl Iterator<Item = MessageDescriptor>,
    ) {
        let to: Vec<MessageDescriptor> = to.collect();
        for message in from.filter(|message| !message.is_map_entry()) {
            match to.iter().find(|other| other.name() == message.name()) {
                Some(other) => self.message(&message, other),
                None => self.problems.push(format!("message {} is gone", local_name(&message))),
            }
        }
    }

    fn message(&mut self, from: &MessageDescriptor, to: &MessageDescriptor) {
        if !self.compared.insert((from.full_name().to_owned(), to.full_name().to_owned())) {
            return;
        }
        let before: BTreeMap<u32, FieldDescriptor> = from.fields().map(|f| (f.number(), f)).collect();
        let after: BTreeMap<u32, FieldDescriptor> = to.fields().map(|f| (f.number(), f)).collect();
        self.oneofs(from, to, &before);
        let place = local_name(to);
        for (number, field) in &before {
            match after.get(number) {
                Some(other) => self.field(&place, field, other),
                None if field.cardinality() == prost_reflect::Cardinality::Required => {
                    self.problems.push(format!("{place}.{}: a required field is gone", field.name()));
                }
                None => {}
            }
        }
        for (number, field) in &after {
            if !before.contains_key(number) && field.cardinality() == prost_reflect::Cardinality::Required {
                self.problems.push(format!("{place}.{}: a required field is new", field.name()));
            }
        }
        self.messages(from.child_messages(), to.child_messages());
    }

    /// A reader of a oneof keeps one of its fields, so no two that could both be set may come into one.
    fn oneofs(
        &mut self,
        from: &MessageDescriptor,
        to: &MessageDescriptor,
        before: &BTreeMap<u32, FieldDescriptor>,
    ) {
        let place = local_name(to);
        for oneof in to.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let known = || oneof.fields().filter_map(|field| before.get(&field.number()));
            let moved = known().filter(|field| !in_oneof(field)).count();
            let stayed = known().count() - moved;
            if moved > 1 {
                self.problems.push(format!("{place}.{}: several fields move into this oneof", oneof.name()));
            } else if moved == 1 && stayed > 0 {
                self.problems.push(format!(
                    "{place}.{}: a field moves into this oneof, which had others",
                    oneof.name()
                ));
            }
        }
        for oneof in from.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            // A oneof that is gone as a whole leaves its fields behind, or takes all with it.
            let Some(other) = to.oneofs().find(|other| !other.is_synthetic() && other.name() == oneof.name())
            else {
                continue;
            };
            for field in oneof.fields() {
                if !other.fields().any(|f| f.number() == field.number()) {
                    self.problems.push(format!(
                        "{place}.{}: field {} of this oneof is gone",
                        oneof.name(),
                        field.name()
                    ));
                }
            }
        }
    }

    fn field(&mut self, place: &str, from: &FieldDescriptor, to: &FieldDescriptor) {
        let place = format!("{place}.{} (field {})", to.name(), to.number());
        if from.is_map() != to.is_map() {
            self.problems.push(format!("{place}: {} becomes {}", type_name(from), type_name(to)));
        } else if from.is_map() {
            let entry = |field: &FieldDescriptor| match field.kind() {
                Kind::Message(entry) => entry.fields().collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            for (from, to) in entry(from).iter().zip(&entry(to)) {
                self.kinds(&place, from, to);
            }
        } else {
            self.kinds(&place, from, to);
            // A packed list of numbers is not a number; of texts and messages, the last is taken.
            let is_number = matches!(group(&to.kind()), Group::Varint | Group::ZigZag)
                || matches!(
                    group(&to.kind()),
                    Group::Fixed32 | Group::Fixed64 | Group::Float | Group::Double
                );
            if from.is_list() != to.is_list() && is_number {
                self.problems.push(format!("{place}: {} becomes {}", type_name(from), type_name(to)));
            }
        }
    }

    fn kinds(&mut self, place: &str, from: &FieldDescriptor, to: &FieldDescriptor) {
        match (from.kind(), to.kind()) {
            (Kind::Message(from), Kind::Message(to)) => {
                if local_name(&from) != local_name(&to) {
                    let (from, to) = (local_name(&from), local_name(&to));
                    self.problems.push(format!("{place}: message {from} becomes {to}"));
                } else if to.parent_file() != self.reader {
                    self.waiting.push((from, to));
                }
            }
            (before, after) if group(&before) != group(&after) => {
                self.problems.push(format!("{place}: {} becomes {}", type_name(from), type_name(to)));
            }
            _ => {}
        }
    }
}

fn in_oneof(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic())
}

/// The name without the package.
fn local_name(message: &MessageDescriptor) -> String {
    let (package, full) = (message.package_name(), message.full_name());
    full.strip_prefix(package).map_or(full, |name| name.trim_start_matches('.')).to_owned()
}

fn type_name(field: &FieldDescriptor) -> String {
    let repeated = if field.field_descriptor_proto().label() == Label::Repeated && !field.is_map() {
        "repeated "
    } else {
        ""
    };
    match field.kind() {
        Kind::Message(_) if field.is_map() => "a map".to_owned(),
        Kind::Message(message) => format!("{repeated}{}", local_name(&message)),
        Kind::Enum(inner) => format!("{repeated}{}", inner.name()),
        scalar => format!("{repeated}{scalar:?}"),
    }
}

/// Types of one group are encoded alike.
#[derive(PartialEq, Eq)]
enum Group {
    Varint,
    ZigZag,
    Bytes,
    Fixed32,
    Fixed64,
    Float,
    Double,
    Message,
}

fn group(kind: &Kind) -> Group {
    match kind {
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Bool | Kind::Enum(_) => Group::Varint,
        Kind::Sint32 | Kind::Sint64 => Group::ZigZag,
        Kind::String | Kind::Bytes => Group::Bytes,
        Kind::Fixed32 | Kind::Sfixed32 => Group::Fixed32,
        Kind::Fixed64 | Kind::Sfixed64 => Group::Fixed64,
        Kind::Float => Group::Float,
        Kind::Double => Group::Double,
        Kind::Message(_) => Group::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> ProtobufSchema {
        ProtobufSchema::parse(&format!("syntax = \"proto3\"; package shop; {body}"), &[]).unwrap()
    }

    #[test]
    fn follows_confluents_rules() {
        for (before, after, problem) in [
            ("message A { string a = 1; }", "message A { string b = 1; }", None),
            ("message A { string a = 1; }", "message A { string a = 1; int32 b = 2; }", None),
            ("message A { string a = 1; int32 b = 2; }", "message A { string a = 1; }", None),
            ("message A { string a = 1; }", "message A { bytes a = 1; }", None),
            ("message A { int32 a = 1; }", "message A { uint64 a = 1; }", None),
            ("message A { int32 a = 1; }", "message A { E a = 1; } enum E { X = 0; }", None),
            (
                "message A { int32 a = 1; }",
                "message A { string a = 1; }",
                Some("A.a (field 1): int32 becomes string"),
            ),
            (
                "message A { int32 a = 1; }",
                "message A { sint32 a = 1; }",
                Some("A.a (field 1): int32 becomes sint32"),
            ),
            (
                "message A { int32 a = 1; }",
                "message A { repeated int32 a = 1; }",
                Some("becomes repeated int32"),
            ),
            ("message A { string a = 1; }", "message A { repeated string a = 1; }", None),
            ("message A { int32 a = 1; }", "message A { B a = 1; } message B {}", Some("int32 becomes B")),
            (
                "message A { B a = 1; } message B {} message C {}",
                "message A { C a = 1; } message B {} message C {}",
                Some("message B becomes C"),
            ),
            (
                "message A { map<string, int32> a = 1; }",
                "message A { map<string, string> a = 1; }",
                Some("int32 becomes string"),
            ),
            (
                "message A { map<string, int32> a = 1; }",
                "message A { string a = 1; }",
                Some("a map becomes string"),
            ),
            ("message A {} message B {}", "message A {}", Some("message B is gone")),
            ("message A {} message B {}", "message B {} message A {}", None),
            ("message A { message B {} }", "message A { }", Some("message A.B is gone")),
            ("message A {} enum E { X = 0; }", "message A {}", None),
            ("message A { string a = 1; }", "message A { oneof o { string a = 1; int32 b = 2; } }", None),
            (
                "message A { string a = 1; int32 b = 2; }",
                "message A { oneof o { string a = 1; int32 b = 2; } }",
                Some("A.o: several fields move into this oneof"),
            ),
            (
                "message A { oneof o { string a = 1; } int32 b = 2; }",
                "message A { oneof o { string a = 1; int32 b = 2; } }",
                Some("A.o: a field moves into this oneof"),
            ),
            (
                "message A { oneof o { string a = 1; int32 b = 2; } }",
                "message A { oneof o { string a = 1; } }",
                Some("A.o: field b of this oneof is gone"),
            ),
            (
                "message A { oneof o { string a = 1; int32 b = 2; } }",
                "message A { string a = 1; int32 b = 2; }",
                None,
            ),
            ("message A { string a = 1; }", "message A { optional string a = 1; }", None),
        ] {
            let found = problems(&parse(before), &parse(after));
            match problem {
                None => assert_eq!(found, Vec::<String>::new(), "{before} -> {after}"),
                Some(words) => {
                    assert!(found.len() == 1 && found[0].contains(words), "{before} -> {after}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn packages_and_required_fields_stay() {
        let parse = |text: &str| ProtobufSchema::parse(text, &[]).unwrap();
        let (one, two) = (parse("package a; message A {}"), parse("package b; message A {}"));
        assert_eq!(problems(&one, &two), ["the package changes from \"a\" to \"b\""]);
        let (without, with) = (parse("message A {}"), parse("message A { required int32 a = 1; }"));
        assert_eq!(problems(&without, &with), ["A.a: a required field is new"]);
        assert_eq!(problems(&with, &without), ["A.a: a required field is gone"]);
    }

    #[test]
    fn imports_are_followed() {
        let import = |field: &str| {
            let text = format!("syntax = \"proto3\"; package shop; message B {{ {field} }}");
            [Named { name: "b.proto".to_owned(), text: text.into() }]
        };
        let text = "syntax = \"proto3\"; package shop; import \"b.proto\"; message A { B b = 1; }";
        let parse = |field: &str| ProtobufSchema::parse(text, &import(field)).unwrap();
        assert_eq!(problems(&parse("int32 x = 1;"), &parse("int64 x = 1;")), Vec::<String>::new());
        assert_eq!(
            problems(&parse("int32 x = 1;"), &parse("string x = 1;")),
            ["B.x (field 1): int32 becomes string"]
        );
        assert!(ProtobufSchema::parse(text, &[]).is_err(), "an import that nobody gave");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in ["", "message", "{}", "message A { B b = 1; }", "AAAA", "syntax = \"proto4\";"] {
            // An empty file is a valid file.
            assert_eq!(ProtobufSchema::parse(text, &[]).is_ok(), text.is_empty(), "{text}");
        }
        let deep = "message A {".repeat(100_000);
        assert!(ProtobufSchema::parse(&deep, &[]).is_err());
    }
}
