//! The first message of a connection, which has no type.

use super::body::{Body, short};
use crate::error::{PgError, code};
use bytes::Bytes;

/// The first message is not longer, its length not counted.
pub(super) const START_BYTES_MAX: usize = 10_000;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
/// Protocol 3, in the upper half of the code.
const MAJOR: u32 = 3;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// TLS is wanted.
    Tls,
    /// Encryption by Kerberos is wanted.
    Gss,
    /// Another connection's statement is to be ended.
    Cancel { pid: i32, secret: Bytes },
    Session {
        /// Minor version of the protocol.
        minor: u32,
        parameters: Vec<(String, String)>,
    },
}

impl Start {
    pub(super) fn read(bytes: Bytes) -> Result<Self, PgError> {
        let mut body = Body::new(bytes);
        match body.uint32()? {
            SSL => Ok(Start::Tls),
            GSS => Ok(Start::Gss),
            CANCEL => Ok(Start::Cancel { pid: body.int32()?, secret: body.rest() }),
            version if version >> 16 == MAJOR => {
                let mut parameters = Vec::new();
                loop {
                    let name = body.text().map_err(fatal)?;
                    if name.is_empty() {
                        break;
                    }
                    parameters.push((name, body.text().map_err(fatal)?));
                }
                if !body.is_empty() {
                    return Err(short());
                }
                Ok(Start::Session { minor: version & 0xffff, parameters })
            }
            version => {
                let (major, minor) = (version >> 16, version & 0xffff);
                let message = format!("protocol {major}.{minor} is not spoken here: 3.0 is");
                Err(PgError::fatal(code::NOT_SUPPORTED, message))
            }
        }
    }
}

fn fatal(error: PgError) -> PgError {
    PgError { is_fatal: true, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Start, PgError> {
        Start::read(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn the_first_message_is_told_by_its_code() {
        assert_eq!(read(&SSL.to_be_bytes()), Ok(Start::Tls));
        assert_eq!(read(&GSS.to_be_bytes()), Ok(Start::Gss));
        let cancel = [&CANCEL.to_be_bytes()[..], &7_i32.to_be_bytes(), b"abcd"].concat();
        assert_eq!(read(&cancel), Ok(Start::Cancel { pid: 7, secret: Bytes::from_static(b"abcd") }));
        let session = b"\0\x03\0\0user\0ana\0database\0shop\0\0";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = vec![pair("user", "ana"), pair("database", "shop")];
        assert_eq!(read(session), Ok(Start::Session { minor: 0, parameters }));
        for wrong in [
            &b""[..],
            b"\0\x03",
            b"\0\x02\0\0user\0ana\0\0",
            b"\0\x03\0\0",
            b"\0\x03\0\0user\0ana\0",
            b"\0\x03\0\0user\0ana",
            b"\0\x03\0\0user\0\xff\0\0",
            b"\0\x03\0\0user\0ana\0\0more",
            &CANCEL.to_be_bytes(),
        ] {
            assert!(read(wrong).unwrap_err().is_fatal, "{wrong:?}");
        }
    }
}
