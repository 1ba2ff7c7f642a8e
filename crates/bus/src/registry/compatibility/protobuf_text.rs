//! A compiled Protobuf file as text: what is stored when a client sends the compiled form, and what
//! two equal files have in common.
//!
//! Comments and custom options are left out. Names of types are full, with their leading dot.

use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileOptions,
    ServiceDescriptorProto,
};
use std::fmt::Write as _;

/// The file as text; normalised, with fields, imports and options in a fixed order.
pub(super) fn print(file: &FileDescriptorProto, normalized: bool) -> String {
    let mut printer =
        Printer { text: String::new(), depth: 0, normalized, proto3: file.syntax() == "proto3" };
    printer.file(file);
    printer.text
}

struct Printer {
    text: String,
    depth: usize,
    normalized: bool,
    proto3: bool,
}

impl Printer {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{:width$}{line}", "", width = self.depth * 2);
    }

    fn block(&mut self, head: &str, body: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.line("}");
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let syntax = if self.proto3 { "proto3" } else { "proto2" };
        self.line(&format!("syntax = \"{syntax}\";"));
        if !file.package().is_empty() {
            self.line(&format!("package {};", file.package()));
        }
        let mut imports: Vec<String> = (0..)
            .zip(&file.dependency)
            .map(|(index, name)| {
                let kind =
                    match (file.public_dependency.contains(&index), file.weak_dependency.contains(&index)) {
                        (true, _) => "public ",
                        (false, true) => "weak ",
                        (false, false) => "",
                    };
                format!("import {kind}{};", quoted(name))
            })
            .collect();
        if self.normalized {
            imports.sort();
        }
        imports.iter().for_each(|import| self.line(import));
        if let Some(options) = &file.options {
            file_options(options).iter().for_each(|option| self.line(option));
        }
        file.message_type.iter().for_each(|message| self.message(message));
        file.enum_type.iter().for_each(|inner| self.enumeration(inner));
        self.extensions(&file.extension, &[]);
        file.service.iter().for_each(|service| self.service(service));
    }

    fn message(&mut self, message: &DescriptorProto) {
        self.block(&format!("message {}", message.name()), |printer| printer.message_body(message));
    }

    fn message_body(&mut self, message: &DescriptorProto) {
        if let Some(options) = &message.options {
            if options.message_set_wire_format() {
                self.line("option message_set_wire_format = true;");
            }
            if options.deprecated() {
                self.line("option deprecated = true;");
            }
        }
        let mut ranges: Vec<String> = message
            .reserved_range
            .iter()
            .map(|range| reserved(range.start(), range.end() - 1, MAX_FIELD))
            .collect();
        ranges.extend(message.reserved_name.iter().map(|name| quoted(name)));
        ranges.iter().for_each(|range| self.line(&format!("reserved {range};")));
        for range in &message.extension_range {
            self.line(&format!("extensions {};", reserved(range.start(), range.end() - 1, MAX_FIELD)));
        }
        let mut fields: Vec<&FieldDescriptorProto> = message.field.iter().collect();
        if self.normalized {
            fields.sort_by_key(|field| field.number());
        }
        let synthetic =
            |field: &&FieldDescriptorProto| field.oneof_index.is_none() || field.proto3_optional();
        for field in fields.iter().filter(|field| synthetic(field)) {
            self.field(field, &message.nested_type, false);
        }
        for (index, oneof) in (0..).zip(&message.oneof_decl) {
            let members: Vec<_> = fields
                .iter()
                .filter(|field| field.oneof_index == Some(index) && !field.proto3_optional())
                .collect();
            if !members.is_empty() {
                self.block(&format!("oneof {}", oneof.name()), |printer| {
                    members.iter().for_each(|field| printer.field(field, &message.nested_type, true));
                });
            }
        }
        let is_group = |name: &str| {
            message.field.iter().chain(&message.extension).any(|field| {
                field.r#type() == Type::Group && field.type_name().rsplit('.').next() == Some(name)
            })
        };
        for nested in &message.nested_type {
            let is_map = nested.options.as_ref().is_some_and(|options| options.map_entry());
            if !is_map && !is_group(nested.name()) {
                self.message(nested);
            }
        }
        message.enum_type.iter().for_each(|inner| self.enumeration(inner));
        self.extensions(&message.extension, &message.nested_type);
    }

    fn field(&mut self, field: &FieldDescriptorProto, nested: &[DescriptorProto], in_oneof: bool) {
        let local = field.type_name().rsplit('.').next().unwrap_or_default();
        let inner = nested.iter().find(|message| message.name() == local);
        let is_map =
            |message: &&DescriptorProto| message.options.as_ref().is_some_and(|options| options.map_entry());
        let entry = inner.filter(|message| field.r#type() == Type::Message && is_map(message));
        let label = match field.label() {
            _ if in_oneof || entry.is_some() => "",
            Label::Repeated => "repeated ",
            Label::Required => "required ",
            Label::Optional if self.proto3 && !field.proto3_optional() => "",
            Label::Optional => "optional ",
        };
        if let (Type::Group, Some(group)) = (field.r#type(), inner) {
            let head = format!("{label}group {} = {}", group.name(), field.number());
            self.block(&head, |printer| printer.message_body(group));
            return;
        }
        let type_name = match entry.map(|entry| entry.field.as_slice()) {
            Some([key, value]) => format!("map<{}, {}>", type_name(key), type_name(value)),
            _ => type_name(field),
        };
        let options = field_options(field);
        let options = if options.is_empty() { String::new() } else { format!(" [{}]", options.join(", ")) };
        self.line(&format!("{label}{type_name} {} = {}{options};", field.name(), field.number()));
    }

    fn extensions(&mut self, extensions: &[FieldDescriptorProto], nested: &[DescriptorProto]) {
        for extension in extensions {
            self.block(&format!("extend {}", extension.extendee()), |printer| {
                // A proto3 extension of descriptor options is optional without saying so.
                printer.field(extension, nested, false);
            });
        }
    }

    fn enumeration(&mut self, inner: &EnumDescriptorProto) {
        self.block(&format!("enum {}", inner.name()), |printer| {
            if let Some(options) = &inner.options {
                if options.allow_alias() {
                    printer.line("option allow_alias = true;");
                }
                if options.deprecated() {
                    printer.line("option deprecated = true;");
                }
            }
            for range in &inner.reserved_range {
                printer.line(&format!("reserved {};", reserved(range.start(), range.end(), i32::MAX)));
            }
            for name in &inner.reserved_name {
                printer.line(&format!("reserved {};", quoted(name)));
            }
            for value in &inner.value {
                let deprecated = value.options.as_ref().is_some_and(|options| options.deprecated());
                let options = if deprecated { " [deprecated = true]" } else { "" };
                printer.line(&format!("{} = {}{options};", value.name(), value.number()));
            }
        });
    }

    fn service(&mut self, service: &ServiceDescriptorProto) {
        self.block(&format!("service {}", service.name()), |printer| {
            for method in &service.method {
                let stream = |streams: bool| if streams { "stream " } else { "" };
                printer.line(&format!(
                    "rpc {} ({}{}) returns ({}{});",
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                ));
            }
        });
    }
}

const MAX_FIELD: i32 = (1 << 29) - 1;

/// A range, both ends included.
fn reserved(start: i32, end: i32, max: i32) -> String {
    match end {
        _ if start == end => start.to_string(),
        _ if end >= max => format!("{start} to max"),
        _ => format!("{start} to {end}"),
    }
}

fn file_options(options: &FileOptions) -> Vec<String> {
    let texts = [
        ("java_package", &options.java_package),
        ("java_outer_classname", &options.java_outer_classname),
        ("go_package", &options.go_package),
        ("objc_class_prefix", &options.objc_class_prefix),
        ("csharp_namespace", &options.csharp_namespace),
        ("swift_prefix", &options.swift_prefix),
        ("php_class_prefix", &options.php_class_prefix),
        ("php_namespace", &options.php_namespace),
        ("php_metadata_namespace", &options.php_metadata_namespace),
        ("ruby_package", &options.ruby_package),
    ];
    let flags = [
        ("java_multiple_files", options.java_multiple_files),
        ("java_string_check_utf8", options.java_string_check_utf8),
        ("cc_generic_services", options.cc_generic_services),
        ("java_generic_services", options.java_generic_services),
        ("py_generic_services", options.py_generic_services),
        ("cc_enable_arenas", options.cc_enable_arenas),
        ("deprecated", options.deprecated),
    ];
    let mut printed = Vec::new();
    for (name, value) in texts {
        printed.extend(value.as_ref().map(|value| format!("option {name} = {};", quoted(value))));
    }
    for (name, value) in flags {
        printed.extend(value.map(|value| format!("option {name} = {value};")));
    }
    if options.optimize_for.is_some() {
        printed.push(format!("option optimize_for = {};", options.optimize_for().as_str_name()));
    }
    printed
}

fn field_options(field: &FieldDescriptorProto) -> Vec<String> {
    let mut printed = Vec::new();
    if let Some(value) = &field.default_value {
        printed.push(match field.r#type() {
            Type::String => format!("default = {}", quoted(value)),
            // Escaped already.
            Type::Bytes => format!("default = \"{value}\""),
            _ => format!("default = {value}"),
        });
    }
    if let Some(name) = field.json_name.as_ref().filter(|name| **name != camel(field.name())) {
        printed.push(format!("json_name = {}", quoted(name)));
    }
    if let Some(options) = &field.options {
        printed.extend(options.packed.map(|packed| format!("packed = {packed}")));
        if options.deprecated() {
            printed.push("deprecated = true".to_owned());
        }
    }
    printed
}

/// The JSON name that a field has by itself.
fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else {
            camel.push(if upper { letter.to_ascii_uppercase() } else { letter });
            upper = false;
        }
    }
    camel
}

fn type_name(field: &FieldDescriptorProto) -> String {
    let scalar = match field.r#type() {
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
        Type::Group | Type::Message | Type::Enum => return field.type_name().to_owned(),
    };
    scalar.to_owned()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\{:03o}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::protobuf::ProtobufSchema;

    /// What is printed compiles to the same file again.
    #[test]
    fn printing_loses_nothing_but_comments() {
        for text in [
            "syntax = \"proto3\"; message A { optional string a = 1; repeated int32 b = 2 [packed = false]; }",
            "syntax = \"proto3\"; package a.b; message A { oneof o { string a = 1; B b = 2; } message B { map<string, B> c = 1; } reserved 5, 7 to 9; reserved \"x\"; }",
            "syntax = \"proto2\"; message A { required int32 a = 1 [default = 7]; optional string b = 2 [default = \"q\\\"\\n\"]; repeated group G = 3 { optional bool c = 1; } extensions 100 to max; }",
            "syntax = \"proto2\"; message A { extensions 100 to 199; } extend A { optional int32 x = 100; } message B { extend A { optional int32 y = 101; } }",
            "syntax = \"proto3\"; option java_package = \"x.y\"; option optimize_for = SPEED; enum E { option allow_alias = true; X = 0; Y = 0; reserved 3 to 4; Z = -1 [deprecated = true]; }",
            "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; message A { google.protobuf.Timestamp at = 1 [json_name = \"when\"]; } service S { rpc Get (A) returns (stream A); }",
        ] {
            let schema = ProtobufSchema::parse(text, &[]).unwrap();
            let printed = schema.text(false);
            let again = ProtobufSchema::parse(&printed, &[]).unwrap_or_else(|e| panic!("{e}\n{printed}"));
            assert_eq!(again.text(false), printed);
            let serialized = ProtobufSchema::parse(&schema.serialized(), &[]).unwrap();
            assert_eq!(serialized.text(false), printed);
            assert_eq!(again.serialized(), schema.serialized(), "{printed}");
        }
    }
}
