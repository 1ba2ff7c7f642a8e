//! Changes as JSON: Debezium's shape with `schemas.enable=false`.
//!
//! Such JSON has no schema, and a reader that guesses types from values loses decimals, times and
//! bytes. So `source` has one field more, `columns`: the type of each column as in `types.rs`.
//! Debezium's own records are read by the schema that comes with them (`schemas.enable=true`, see `connect.rs`), and
//! without one by guessing: numbers, texts, booleans, JSON.

pub(super) mod connect;
pub(super) mod read;
pub(super) mod types;
pub(super) mod write;
