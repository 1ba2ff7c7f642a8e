//! The wire: frames, request headers, which versions are spoken, and one connection's life.
//!
//! Invariant: bytes from outside are checked before anything is allocated for them beyond their own
//! length; whatever cannot be understood closes its connection and touches nothing else.

mod connection;
mod frame;
mod request;
mod shape;
mod shapes;
mod versions;

pub(crate) use connection::serve;
pub(crate) use request::{Answer, Malformed, RequestHead, decode, encode, encode_as, encode_error};
#[cfg(test)]
pub(crate) use shape::sample;
pub(crate) use versions::{SPOKEN, spoken};

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

/// Decodes `bytes` as the content of one frame, as a connection would, and does nothing with it.
/// For fuzzing: it must return for every input, in time and memory in proportion to it.
pub fn fuzz_frame(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    if let Ok((head, body)) = RequestHead::parse(body)
        && let Ok(key) = ApiKey::try_from(head.api_key)
        && spoken(key).is_some_and(|api| api.speaks(head.version))
    {
        let _ = crate::handlers::decode_only(key, &head, body);
    }
}
