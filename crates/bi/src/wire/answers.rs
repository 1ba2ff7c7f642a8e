//! What a client is told: messages, written one behind the other into a buffer.

use super::Format;
use crate::error::PgError;
use crate::types::Column;
use bytes::{BufMut as _, BytesMut};

/// What the client is told of its transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TransactionStatus {
    #[default]
    Idle,
    Open,
    Failed,
}

/// Messages that were not sent yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(super) buffer: BytesMut,
}

impl Answers {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn authenticated(&mut self) {
        self.message(b'R', |out| out.put_i32(0));
    }

    /// Asks for a proof of the password by one of these mechanisms.
    pub(crate) fn ask_for_proof(&mut self, mechanism: &str) {
        self.message(b'R', |out| {
            out.put_i32(10);
            text(out, mechanism);
            out.put_u8(0);
        });
    }

    pub(crate) fn challenge(&mut self, challenge: &str) {
        self.message(b'R', |out| {
            out.put_i32(11);
            out.put_slice(challenge.as_bytes());
        });
    }

    pub(crate) fn proof_accepted(&mut self, proof: &str) {
        self.message(b'R', |out| {
            out.put_i32(12);
            out.put_slice(proof.as_bytes());
        });
    }

    /// Protocol 3.0 is spoken, without these options.
    pub(crate) fn negotiate(&mut self, options: &[&str]) {
        self.message(b'v', |out| {
            out.put_u32(3 << 16);
            out.put_i32(i32::try_from(options.len()).unwrap_or(i32::MAX));
            options.iter().for_each(|option| text(out, option));
        });
    }

    pub(crate) fn parameter(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            text(out, name);
            text(out, value);
        });
    }

    pub(crate) fn cancel_key(&mut self, pid: i32, secret: [u8; 4]) {
        self.message(b'K', |out| {
            out.put_i32(pid);
            out.put_slice(&secret);
        });
    }

    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        let letter = match status {
            TransactionStatus::Idle => b'I',
            TransactionStatus::Open => b'T',
            TransactionStatus::Failed => b'E',
        };
        self.message(b'Z', |out| out.put_u8(letter));
    }

    pub(crate) fn parsed(&mut self) {
        self.message(b'1', |_| {});
    }

    pub(crate) fn bound(&mut self) {
        self.message(b'2', |_| {});
    }

    pub(crate) fn closed(&mut self) {
        self.message(b'3', |_| {});
    }

    pub(crate) fn no_rows(&mut self) {
        self.message(b'n', |_| {});
    }

    pub(crate) fn suspended(&mut self) {
        self.message(b's', |_| {});
    }

    pub(crate) fn empty(&mut self) {
        self.message(b'I', |_| {});
    }

    pub(crate) fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| text(out, tag));
    }

    pub(crate) fn parameter_types(&mut self, oids: impl ExactSizeIterator<Item = u32>) {
        self.message(b't', |out| {
            // Read as unsigned: there may be more than a signed number holds.
            out.put_u16(u16::try_from(oids.len()).unwrap_or(u16::MAX));
            oids.for_each(|oid| out.put_u32(oid));
        });
    }

    /// Columns, one format each.
    pub(crate) fn columns(&mut self, columns: &[Column], formats: &[Format]) {
        self.message(b'T', |out| {
            out.put_i16(short(columns.len()));
            for (column, format) in columns.iter().zip(formats) {
                text(out, &column.name);
                // Neither a table's nor a column's number: what is shown may be computed.
                out.put_i32(0);
                out.put_i16(0);
                out.put_u32(column.data_type.oid());
                out.put_i16(column.size);
                out.put_i32(column.modifier);
                out.put_i16(format.code());
            }
        });
    }

    /// A row, whose values `write` puts down. Where it cannot, nothing is said.
    ///
    /// # Errors
    /// That of `write`.
    pub(crate) fn row(
        &mut self,
        columns: usize,
        write: impl FnOnce(&mut BytesMut) -> Result<(), PgError>,
    ) -> Result<(), PgError> {
        let start = self.begin(b'D');
        self.buffer.put_i16(short(columns));
        let written = write(&mut self.buffer);
        match written {
            Ok(()) => self.end(start),
            Err(_) => self.buffer.truncate(start),
        }
        written
    }

    /// Lines follow, of so many columns.
    pub(crate) fn copy_begins(&mut self, columns: usize) {
        self.message(b'H', |out| {
            out.put_u8(0);
            out.put_i16(short(columns));
            (0..columns).for_each(|_| out.put_i16(0));
        });
    }

    pub(crate) fn copy_line(&mut self, line: &[u8]) {
        self.message(b'd', |out| out.put_slice(line));
    }

    pub(crate) fn copy_ends(&mut self) {
        self.message(b'c', |_| {});
    }

    pub(crate) fn error(&mut self, error: &PgError) {
        let severity = if error.is_fatal { "FATAL" } else { "ERROR" };
        self.report(b'E', severity, error);
    }

    /// Tells of something and goes on.
    pub(crate) fn warning(&mut self, warning: &PgError) {
        self.report(b'N', "WARNING", warning);
    }

    fn report(&mut self, kind: u8, severity: &str, error: &PgError) {
        self.message(kind, |out| {
            let mut field = |letter: u8, value: &str| {
                out.put_u8(letter);
                text(out, value);
            };
            field(b'S', severity);
            field(b'V', severity);
            field(b'C', error.code);
            field(b'M', &error.message);
            if let Some(detail) = &error.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &error.hint {
                field(b'H', hint);
            }
            out.put_u8(0);
        });
    }

    fn message(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut)) {
        let start = self.begin(kind);
        body(&mut self.buffer);
        self.end(start);
    }

    /// Type, and room for the length.
    fn begin(&mut self, kind: u8) -> usize {
        let start = self.buffer.len();
        self.buffer.put_u8(kind);
        self.buffer.put_i32(0);
        start
    }

    fn end(&mut self, start: usize) {
        // The type is not counted.
        let length = u32::try_from(self.buffer.len() - start - 1).unwrap_or(u32::MAX);
        self.buffer[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    }
}

/// A text, which ends with a zero byte: one inside would end it earlier.
fn text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.split('\0').next().unwrap_or_default().as_bytes());
    out.put_u8(0);
}

fn short(count: usize) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::code;

    #[test]
    fn messages_carry_their_length() {
        let mut answers = Answers::default();
        answers.complete("SELECT 1");
        answers.ready(TransactionStatus::Failed);
        assert_eq!(&answers.buffer[..], b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05E");
    }

    #[test]
    fn a_row_that_cannot_be_written_leaves_nothing() {
        let mut answers = Answers::default();
        answers
            .row(1, |out| {
                out.put_i32(1);
                out.put_u8(b'x');
                Ok(())
            })
            .unwrap();
        let whole = answers.len();
        let error = PgError::new(code::OUT_OF_RANGE, "no");
        let failed = answers.row(2, |out| {
            out.put_i32(1);
            Err(error.clone())
        });
        assert_eq!((failed, answers.len()), (Err(error), whole));
        assert_eq!(&answers.buffer[..], b"D\0\0\0\x0b\0\x01\0\0\0\x01x");
    }

    #[test]
    fn an_error_has_its_fields() {
        let mut answers = Answers::default();
        answers.error(&PgError::fatal(code::WRONG_PASSWORD, "no\0pe").with_hint("ask"));
        let text = String::from_utf8_lossy(&answers.buffer[5..]).into_owned();
        assert_eq!(text, "SFATAL\0VFATAL\0C28P01\0Mno\0Hask\0\0");
    }
}
