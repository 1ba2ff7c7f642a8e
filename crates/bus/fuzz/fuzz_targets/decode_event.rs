//! No bytes, and no schema, make the decoder of clicks and log lines panic or run away.
#![no_main]

use affluent_bus::codec::decode_event_with_schema;
use affluent_bus::registry::{Schema, SchemaType};
use libfuzzer_sys::fuzz_target;

const OWN: [(SchemaType, &str); 5] = [
    (SchemaType::Avro, include_str!("../../src/codec/events/click.avsc")),
    (SchemaType::Avro, include_str!("../../src/codec/events/log.avsc")),
    (SchemaType::Protobuf, include_str!("../../src/codec/events/click.proto")),
    (SchemaType::Protobuf, include_str!("../../src/codec/events/log.proto")),
    (SchemaType::Json, "{}"),
];

fuzz_target!(|input: (u8, &str, &[u8])| {
    let (choice, schema, body) = input;
    let schema = match OWN.get(usize::from(choice)) {
        Some((schema_type, text)) => Schema::new(*schema_type, *text),
        None if choice % 2 == 0 => Schema::new(SchemaType::Avro, schema),
        None => Schema::new(SchemaType::Protobuf, schema),
    };
    let _ = decode_event_with_schema(&schema, body);
});
