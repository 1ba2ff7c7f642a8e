//! What a client asks for once it is in.

use super::body::Body;
use super::{Format, Parameter};
use crate::error::{PgError, code};
use bytes::Bytes;

/// A message of the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Statements, run at once.
    Query(String),
    /// A statement is prepared; `types` of its parameters are OIDs, 0 is left open.
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    /// A prepared statement gets its values, and becomes a portal.
    Bind {
        portal: String,
        statement: String,
        parameters: Vec<Parameter>,
        formats: Vec<Format>,
    },
    Describe(Target),
    Close(Target),
    /// Rows of a portal, at most so many; 0 is all.
    Execute {
        portal: String,
        max_rows: u64,
    },
    Flush,
    Sync,
    Terminate,
    /// An answer to a question about a password.
    Password(Bytes),
    /// Rows to be copied in, which is not done here.
    Copy,
}

/// What is described or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Statement(String),
    Portal(String),
}

impl Request {
    /// Reads the body of a message of this type.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(kind: u8, bytes: Bytes) -> Result<Self, PgError> {
        let mut body = Body::new(bytes);
        let request = match kind {
            b'Q' => Request::Query(body.text()?),
            b'P' => {
                let (name, text, count) = (body.text()?, body.text()?, body.count()?);
                let types = (0..count).map(|_| body.uint32()).collect::<Result<_, _>>()?;
                Request::Parse { name, text, types }
            }
            b'B' => {
                let (portal, statement, given) = (body.text()?, body.text()?, body.formats()?);
                let count = body.count()?;
                let formats = Format::spread(&given, count)?;
                let parameter =
                    |format| -> Result<Parameter, PgError> { Ok(Parameter { format, value: body.value()? }) };
                let parameters = formats.into_iter().map(parameter).collect::<Result<_, _>>()?;
                Request::Bind { portal, statement, parameters, formats: body.formats()? }
            }
            b'D' => Request::Describe(target(&mut body)?),
            b'C' => Request::Close(target(&mut body)?),
            b'E' => {
                let (portal, rows) = (body.text()?, body.int32()?);
                // Below zero is all, too.
                Request::Execute { portal, max_rows: u64::try_from(rows).unwrap_or(0) }
            }
            b'H' => Request::Flush,
            b'S' => Request::Sync,
            b'X' => Request::Terminate,
            b'p' => return Ok(Request::Password(body.rest())),
            b'd' | b'c' | b'f' => return Ok(Request::Copy),
            other => {
                let message = format!("unknown message type {:?}", char::from(other));
                return Err(PgError::fatal(code::PROTOCOL_VIOLATION, message));
            }
        };
        if body.is_empty() {
            Ok(request)
        } else {
            Err(PgError::fatal(code::PROTOCOL_VIOLATION, "a message has more than its values"))
        }
    }

    /// After an error the client is not listened to until it says that it has sent everything.
    pub(crate) fn is_extended(&self) -> bool {
        match self {
            Request::Parse { .. }
            | Request::Bind { .. }
            | Request::Describe(_)
            | Request::Close(_)
            | Request::Execute { .. }
            | Request::Flush => true,
            Request::Query(_) | Request::Sync | Request::Terminate | Request::Password(_) | Request::Copy => {
                false
            }
        }
    }
}

/// The first answer to a question about a password: mechanism and message.
///
/// # Errors
/// A message that is none.
pub(crate) fn first_of_sasl(bytes: Bytes) -> Result<(String, Bytes), PgError> {
    let mut body = Body::new(bytes);
    let mechanism = body.text()?;
    Ok((mechanism, body.value()?.unwrap_or_default()))
}

fn target(body: &mut Body) -> Result<Target, PgError> {
    match body.byte()? {
        b'S' => Ok(Target::Statement(body.text()?)),
        b'P' => Ok(Target::Portal(body.text()?)),
        other => {
            let message = format!("neither statement nor portal: {:?}", char::from(other));
            Err(PgError::fatal(code::PROTOCOL_VIOLATION, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: u8, bytes: &[u8]) -> Result<Request, PgError> {
        Request::read(kind, Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn messages_are_read_whole() {
        assert_eq!(read(b'Q', b"select 1\0"), Ok(Request::Query("select 1".to_owned())));
        let parse = read(b'P', b"s\0select $1\0\0\x01\0\0\0\x17").unwrap();
        let (name, text) = ("s".to_owned(), "select $1".to_owned());
        assert_eq!(parse, Request::Parse { name, text, types: vec![23] });
        let bind = read(b'B', b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0").unwrap();
        let value = |value: Option<&'static [u8]>| Parameter {
            format: Format::Binary,
            value: value.map(Bytes::from_static),
        };
        let parameters = vec![value(Some(b"x")), value(None)];
        let (portal, statement) = ("p".to_owned(), "s".to_owned());
        assert_eq!(bind, Request::Bind { portal, statement, parameters, formats: vec![] });
        let execute = read(b'E', b"\0\0\0\0\x05").unwrap();
        assert_eq!(execute, Request::Execute { portal: String::new(), max_rows: 5 });
        assert_eq!(read(b'D', b"Ss\0"), Ok(Request::Describe(Target::Statement("s".to_owned()))));
        assert_eq!(read(b'S', b""), Ok(Request::Sync));
    }

    /// Each of these would reach beyond its end.
    #[test]
    fn a_message_that_lies_about_itself_is_an_error() {
        for (kind, bytes) in [
            (b'Q', &b"select 1"[..]),
            (b'Q', b"select 1\0more"),
            (b'P', b"s\0select 1\0"),
            (b'P', b"s\0select 1\0\0\x02\0\0\0\x17"),
            (b'B', b"p\0s\0\xff\xff"),
            (b'B', b"p\0s\0\0\0\0\x01\x7f\xff\xff\xffx"),
            (b'B', b"p\0s\0\0\0\0\x01"),
            (b'B', b"p\0s\0\0\x02\0\0\0\0\0\x01\0\0\0\0\0\0"),
            (b'D', b"Xs\0"),
            (b'D', b""),
            (b'E', b"\0\0\0"),
            (b'S', b"x"),
            (b'?', b""),
        ] {
            read(kind, bytes).unwrap_err();
        }
        first_of_sasl(Bytes::from_static(b"SCRAM")).unwrap_err();
        first_of_sasl(Bytes::from_static(b"SCRAM\0\0")).unwrap_err();
        first_of_sasl(Bytes::from_static(b"SCRAM\0\0\0\0\x09n,,")).unwrap_err();
    }
}
