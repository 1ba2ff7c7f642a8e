//! The messages of PostgreSQL's protocol, version 3 (chapter 55 of its manual): bytes in and out, nothing of what they ask for.
//!
//! Invariants: a message is read only as far as its own length says, and no message is longer than was agreed; what is
//! written is bounded by what the caller puts in before it sends.

mod answers;
mod body;
mod request;
mod start;
mod stream;

pub(crate) use answers::TransactionStatus;
pub(crate) use request::{Request, Target, first_of_sasl};
pub(crate) use start::Start;
pub(crate) use stream::Wire;

use crate::error::{PgError, code};
use bytes::Bytes;

/// How a value is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    Binary,
}

impl Format {
    pub(crate) fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }

    fn of(number: i16) -> Result<Self, PgError> {
        match number {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            _ => Err(PgError::new(code::PROTOCOL_VIOLATION, format!("unknown format {number}"))),
        }
    }

    /// One format for each of `count` values: none given is text, one is of all.
    ///
    /// # Errors
    /// Another number than there are values.
    pub(crate) fn spread(given: &[Format], count: usize) -> Result<Vec<Format>, PgError> {
        match given {
            [] => Ok(vec![Format::Text; count]),
            [one] => Ok(vec![*one; count]),
            each if each.len() == count => Ok(each.to_vec()),
            each => {
                let message = format!("{} formats for {count} values", each.len());
                Err(PgError::new(code::PROTOCOL_VIOLATION, message))
            }
        }
    }
}

/// The value of a parameter as the client wrote it; `None` is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) format: Format,
    pub(crate) value: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_of_all_or_of_each() {
        use Format::{Binary, Text};
        assert_eq!(Format::spread(&[], 2).unwrap(), [Text, Text]);
        assert_eq!(Format::spread(&[Binary], 2).unwrap(), [Binary, Binary]);
        assert_eq!(Format::spread(&[Binary, Text], 2).unwrap(), [Binary, Text]);
        Format::spread(&[Binary, Text], 3).unwrap_err();
        Format::of(2).unwrap_err();
    }
}
