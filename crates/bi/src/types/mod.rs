//! Types and values as PostgreSQL has them: the columns of a result, its rows as bytes, the values of parameters.
//!
//! What lives here: which type stands for a type of Arrow (`names`), its two forms on the wire (`text`, `binary`), rows of a
//! batch (`rows`), values that clients send (`parameters`). What does not live here: frames of messages.
//!
//! Invariant: a value is written exactly, or it is an error; what PostgreSQL's type cannot hold is never cut.

mod binary;
mod names;
mod parameters;
mod rows;
mod text;

pub(crate) use names::{Column, PG_TYPE, columns, name_of, size, sql_type, type_of};
pub(crate) use parameters::{arrow_type, decode};
pub(crate) use rows::RowEncoder;
pub(crate) use text::write_text;

/// A value that PostgreSQL's type cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value of type {data_type} cannot be shown: {reason}")]
pub(crate) struct EncodeError {
    pub(crate) data_type: String,
    pub(crate) reason: String,
}

impl EncodeError {
    fn new(data_type: &arrow_schema::DataType, reason: impl Into<String>) -> Self {
        EncodeError { data_type: data_type.to_string(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests;
