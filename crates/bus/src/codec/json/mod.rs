//! Changes as JSON: Debezium's shape with `schemas.enable=false`.
//!
//! Such JSON has no schema, and a reader that guesses types from values loses decimals, times and
//! bytes. So `source` has one field more, `columns`: the type of each column as in `types.rs`.
//! Records without it (Debezium's own) are read by guessing: numbers, texts, booleans, JSON.

pub(super) mod read;
pub(super) mod types;
pub(super) mod write;
