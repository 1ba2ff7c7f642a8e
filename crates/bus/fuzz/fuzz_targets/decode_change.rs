//! No bytes, and no schema, make the decoder of changes panic or run away.
#![no_main]

use affluent_bus::codec::decode_with_schema;
use libfuzzer_sys::fuzz_target;

/// A table of payments, as `codec/avro/schema.rs` writes it.
const SCHEMA: &str = include_str!("envelope.avsc");

fuzz_target!(|input: (bool, &str, &[u8])| {
    let (own_schema, schema, body) = input;
    let _ = decode_with_schema(if own_schema { SCHEMA } else { schema }, body);
});
