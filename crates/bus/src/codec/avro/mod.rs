//! Changes as Avro: schemas of tables, binary writing, and reading by any writer's schema.

pub(super) mod binary;
pub(super) mod compile;
pub(super) mod plan;
pub(super) mod read;
pub(super) mod schema;
pub(super) mod write;

/// First byte of Confluent's wire format.
pub(super) const MAGIC: u8 = 0;
