//! Request headers, and the way from bytes to messages and back.

use super::shape;
use super::versions::spoken;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::OwnedSemaphorePermit;

/// A request that cannot be understood; its connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("request header is cut short")]
    Header,
    #[error("request body: {0}")]
    Body(String),
    #[error("response cannot be encoded: {0}")]
    Response(String),
}

/// What every request begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

impl RequestHead {
    /// Splits a frame into header and body. The client id is read only for requests that are spoken,
    /// because only then is the form of the header known.
    pub(crate) fn parse(mut frame: Bytes) -> Result<(Self, Bytes), Malformed> {
        let api_key = frame.try_get_i16().map_err(|_| Malformed::Header)?;
        let version = frame.try_get_i16().map_err(|_| Malformed::Header)?;
        let correlation_id = frame.try_get_i32().map_err(|_| Malformed::Header)?;
        let mut head = Self { api_key, version, correlation_id, client_id: None };
        let known =
            ApiKey::try_from(api_key).ok().filter(|key| spoken(*key).is_some_and(|api| api.speaks(version)));
        let Some(key) = known else { return Ok((head, Bytes::new())) };
        let header_version = key.request_header_version(version);
        if header_version >= 1 {
            let length = frame.try_get_i16().map_err(|_| Malformed::Header)?;
            if let Ok(length) = usize::try_from(length) {
                if frame.len() < length {
                    return Err(Malformed::Header);
                }
                head.client_id = Some(String::from_utf8_lossy(&frame.split_to(length)).into_owned());
            }
        }
        if header_version >= 2 {
            shape::skip_tags(&mut frame).ok_or(Malformed::Header)?;
        }
        Ok((head, frame))
    }
}

/// What becomes of a request.
pub(crate) enum Answer {
    /// A whole frame, with the memory it counts against.
    Now(Bytes, Option<OwnedSemaphorePermit>),
    /// A whole frame once something has happened; later requests may be begun meanwhile.
    Later(Pin<Box<dyn Future<Output = Result<Bytes, Malformed>> + Send>>),
    /// The client wants no answer.
    Nothing,
}

/// Decodes a body after checking that it has the shape of its message.
pub(crate) fn decode<R: Decodable>(head: &RequestHead, mut body: Bytes) -> Result<R, Malformed> {
    shape::check(head.api_key, head.version, &body).map_err(|reason| Malformed::Body(reason.to_owned()))?;
    R::decode(&mut body, head.version).map_err(|error| Malformed::Body(error.to_string()))
}

/// A whole response frame.
pub(crate) fn encode<R: Encodable + HeaderVersion>(
    head: &RequestHead,
    response: &R,
) -> Result<Bytes, Malformed> {
    encode_as(head.correlation_id, head.version, response)
}

/// A whole response frame in a version of its own.
pub(crate) fn encode_as<R: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    response: &R,
) -> Result<Bytes, Malformed> {
    let failed = |error: &dyn std::fmt::Display| Malformed::Response(error.to_string());
    let body = response.compute_size(version).map_err(|e| failed(&e))?;
    let mut frame = BytesMut::with_capacity(body + 9);
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    if R::header_version(version) >= 1 {
        frame.put_u8(0);
    }
    response.encode(&mut frame, version).map_err(|e| failed(&e))?;
    let length = i32::try_from(frame.len() - 4).map_err(|e| failed(&e))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// The frame that says nothing but an error code: all that can be said in a version that is not known.
pub(crate) fn encode_error(correlation_id: i32, code: i16) -> Bytes {
    let mut frame = BytesMut::with_capacity(10);
    frame.put_i32(6);
    frame.put_i32(correlation_id);
    frame.put_i16(code);
    frame.freeze()
}
