//! The body of one message, read from front to back. Never beyond its end: what is missing is an error.

use super::Format;
use crate::error::{PgError, code};
use bytes::{Buf as _, Bytes};

pub(super) struct Body(Bytes);

impl Body {
    pub(super) fn new(bytes: Bytes) -> Self {
        Body(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, PgError> {
        self.0.try_get_u8().map_err(|_| short())
    }

    pub(super) fn int16(&mut self) -> Result<i16, PgError> {
        self.0.try_get_i16().map_err(|_| short())
    }

    pub(super) fn int32(&mut self) -> Result<i32, PgError> {
        self.0.try_get_i32().map_err(|_| short())
    }

    pub(super) fn uint32(&mut self) -> Result<u32, PgError> {
        self.0.try_get_u32().map_err(|_| short())
    }

    /// How many things follow.
    pub(super) fn count(&mut self) -> Result<usize, PgError> {
        self.0.try_get_u16().map(usize::from).map_err(|_| short())
    }

    /// A text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<String, PgError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(short)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.into())
            .map_err(|_| PgError::new(code::INVALID_TEXT, "a text of the message is not UTF-8"))
    }

    /// A length, and so many bytes; -1 is null.
    pub(super) fn value(&mut self) -> Result<Option<Bytes>, PgError> {
        let Ok(length) = usize::try_from(self.int32()?) else { return Ok(None) };
        if length > self.0.len() {
            return Err(short());
        }
        Ok(Some(self.0.split_to(length)))
    }

    pub(super) fn formats(&mut self) -> Result<Vec<Format>, PgError> {
        let count = self.count()?;
        (0..count).map(|_| Format::of(self.int16()?)).collect()
    }

    /// Everything that is left.
    pub(super) fn rest(self) -> Bytes {
        self.0
    }
}

/// The message is shorter than what it announces.
pub(super) fn short() -> PgError {
    PgError::fatal(code::PROTOCOL_VIOLATION, "a message ends before its last value")
}
