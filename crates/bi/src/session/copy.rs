//! `COPY … TO STDOUT`: rows as lines of text or CSV.

use super::text::Token;
use crate::error::{PgError, code};
use bytes::{Buf as _, BytesMut};

/// How lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopyForm {
    pub(crate) is_csv: bool,
    pub(crate) has_header: bool,
    delimiter: u8,
    null: String,
}

impl CopyForm {
    /// What stands behind `TO STDOUT`: `(FORMAT csv, HEADER, …)`, or as before version 9 `CSV HEADER`.
    ///
    /// # Errors
    /// Options that are not known, or not done here.
    pub(crate) fn read(tokens: &[Token<'_>]) -> Result<Self, PgError> {
        let (mut is_csv, mut has_header) = (false, false);
        let (mut delimiter, mut null) = (None, None);
        let mut tokens = tokens
            .iter()
            .filter(|token| {
                !["(", ")", ",", "="].contains(&token.text) && !token.is("with") && !token.is("as")
            })
            .peekable();
        while let Some(token) = tokens.next() {
            match token.value().as_str() {
                "format" | "csv" | "text" | "binary" => {
                    let is_named = token.is("format");
                    let format = if is_named { tokens.next().map(Token::value) } else { Some(token.value()) };
                    match format.as_deref() {
                        Some("csv") => is_csv = true,
                        Some("text") => {}
                        _ => return Err(not_done("COPY in another format than text and csv")),
                    }
                }
                "header" => {
                    has_header = tokens.next_if(|token| token.is("false") || token.is("off")).is_none();
                    tokens.next_if(|token| token.is("true") || token.is("on"));
                }
                "delimiter" | "delimiters" => delimiter = tokens.next().map(Token::value),
                "null" => null = tokens.next().map(Token::value),
                "encoding" => {
                    tokens.next();
                }
                other => return Err(not_done(&format!("COPY with {other}"))),
            }
        }
        let delimiter = delimiter.unwrap_or_else(|| if is_csv { "," } else { "\t" }.to_owned());
        let [delimiter] = delimiter.as_bytes() else {
            return Err(PgError::new(
                code::INVALID_VALUE,
                "COPY delimiter must be a single one-byte character",
            ));
        };
        let null = null.unwrap_or_else(|| if is_csv { "" } else { "\\N" }.to_owned());
        Ok(CopyForm { is_csv, has_header, delimiter: *delimiter, null })
    }

    /// A line of the names of the columns.
    pub(crate) fn header<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<u8> {
        let mut line = Vec::new();
        for (place, name) in names.enumerate() {
            self.put(place, Some(name.as_bytes()), &mut line);
        }
        line.push(b'\n');
        line
    }

    /// A line of the values of a row: a length of four bytes (-1: null) and the value, one behind the other.
    pub(crate) fn line(&self, row: &mut BytesMut) -> Vec<u8> {
        let mut line = Vec::with_capacity(row.len());
        let mut place = 0;
        while let Ok(length) = row.try_get_i32() {
            let value = usize::try_from(length).ok().map(|length| row.split_to(length.min(row.len())));
            self.put(place, value.as_deref(), &mut line);
            place += 1;
        }
        line.push(b'\n');
        line
    }

    fn put(&self, place: usize, value: Option<&[u8]>, line: &mut Vec<u8>) {
        if place > 0 {
            line.push(self.delimiter);
        }
        match value {
            None => line.extend_from_slice(self.null.as_bytes()),
            Some(value) if self.is_csv => self.put_csv(value, line),
            Some(value) => self.put_text(value, line),
        }
    }

    /// In quotes where it would be read otherwise without them.
    fn put_csv(&self, value: &[u8], line: &mut Vec<u8>) {
        let is_special = |byte: &u8| [b'"', b'\n', b'\r', self.delimiter].contains(byte);
        if value != self.null.as_bytes() && value != b"\\." && !value.iter().any(is_special) {
            line.extend_from_slice(value);
            return;
        }
        line.push(b'"');
        for byte in value {
            if *byte == b'"' {
                line.push(b'"');
            }
            line.push(*byte);
        }
        line.push(b'"');
    }

    fn put_text(&self, value: &[u8], line: &mut Vec<u8>) {
        for byte in value {
            let letter = match byte {
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0c => b'f',
                0x0b => b'v',
                other if *other == self.delimiter => *other,
                other => {
                    line.push(*other);
                    continue;
                }
            };
            line.extend_from_slice(&[b'\\', letter]);
        }
    }
}

fn not_done(what: &str) -> PgError {
    PgError::new(code::NOT_SUPPORTED, format!("{what} is not supported here"))
}

#[cfg(test)]
mod tests {
    use super::super::text::tokens;
    use super::*;
    use bytes::BufMut as _;

    fn line(options: &str, values: &[Option<&str>]) -> String {
        let form = CopyForm::read(&tokens(options)).unwrap();
        let mut row = BytesMut::new();
        for value in values {
            match value {
                None => row.put_i32(-1),
                Some(value) => {
                    row.put_i32(i32::try_from(value.len()).unwrap());
                    row.put_slice(value.as_bytes());
                }
            }
        }
        String::from_utf8(form.line(&mut row)).unwrap()
    }

    #[test]
    fn lines_are_those_of_postgresql() {
        let values = [Some("a\tb"), None, Some(""), Some("back\\slash"), Some("two\nlines")];
        assert_eq!(line("", &values), "a\\tb\t\\N\t\tback\\\\slash\ttwo\\nlines\n");
        let values = [Some("a,b"), None, Some(""), Some("say \"so\""), Some("plain")];
        assert_eq!(line("with (format csv)", &values), "\"a,b\",,\"\",\"say \"\"so\"\"\",plain\n");
        assert_eq!(line("CSV HEADER DELIMITER ';'", &[Some("a,b"), Some("c;d")]), "a,b;\"c;d\"\n");
        assert_eq!(line("(format csv, null 'NULL')", &[None, Some("NULL")]), "NULL,\"NULL\"\n");
    }

    #[test]
    fn options_are_read() {
        let read = |options: &str| CopyForm::read(&tokens(options)).unwrap();
        assert!(read("with (format csv, header)").has_header);
        assert!(read("(FORMAT CSV, HEADER true, ENCODING 'UTF8')").has_header);
        assert!(!read("(format csv, header false)").has_header);
        assert_eq!(read("csv header").header(["a", "b c"].into_iter()), b"a,b c\n");
        for wrong in ["(format binary)", "binary", "(delimiter 'ab')", "(freeze)"] {
            CopyForm::read(&tokens(wrong)).unwrap_err();
        }
    }
}
