//! Checks that a request body has the shape of its message before it is decoded.
//!
//! The decoder of the message library allocates what an array's length claims, so a frame of twenty
//! bytes could ask for gigabytes. Here every length is held against the bytes that are really there,
//! and the number of array elements against a bound; nothing is allocated.

use super::shapes::SHAPES;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;

/// Elements of all arrays of one request together.
const MOST_ELEMENTS: usize = 100_000;

/// What a field is on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    Text,
    Blob,
    /// So many times these fields.
    Array(&'static [Field]),
}

/// A field and the versions that have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    kind: Kind,
    from: i16,
    to: i16,
    /// An element that is a bare value, not a structure with tagged fields.
    bare: bool,
}

/// The fields of a message in their order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) key: ApiKey,
    /// First version with compact lengths and tagged fields.
    pub(super) flexible_from: i16,
    pub(super) fields: &'static [Field],
}

pub(super) const fn field(kind: Kind) -> Field {
    Field { kind, from: 0, to: i16::MAX, bare: false }
}

impl Field {
    pub(super) const fn since(self, from: i16) -> Self {
        Self { from, ..self }
    }

    pub(super) const fn until(self, to: i16) -> Self {
        Self { to, ..self }
    }

    pub(super) const fn within(self, from: i16, to: i16) -> Self {
        Self { from, to, ..self }
    }

    pub(super) const fn bare(self) -> Self {
        Self { bare: true, ..self }
    }
}

/// Whether `body` is a message of this request in this version, nothing less and nothing more.
///
/// # Errors
/// With what is wrong.
pub(super) fn check(api_key: i16, version: i16, body: &Bytes) -> Result<(), &'static str> {
    let shape = SHAPES.iter().find(|shape| shape.key as i16 == api_key).ok_or("no such request")?;
    let mut walk = Walk {
        rest: body,
        version,
        flexible: version >= shape.flexible_from,
        // The tagged fields of a fetch are for followers, of which there are none.
        only_unknown_tags: shape.key == ApiKey::Fetch,
        elements: 0,
    };
    walk.fields(shape.fields).ok_or("lengths and bytes do not agree")?;
    if walk.rest.is_empty() { Ok(()) } else { Err("bytes after its end") }
}

/// Skips a section of tagged fields.
pub(super) fn skip_tags(bytes: &mut Bytes) -> Option<()> {
    let mut rest: &[u8] = bytes;
    tags(&mut rest, false)?;
    let used = bytes.len() - rest.len();
    bytes.advance(used);
    Some(())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    only_unknown_tags: bool,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Option<()> {
        for field in fields {
            if (field.from..=field.to).contains(&self.version) {
                self.field(field.kind)?;
            }
        }
        let structure = !fields.first().is_some_and(|field| field.bare);
        if self.flexible && structure { tags(&mut self.rest, self.only_unknown_tags) } else { Some(()) }
    }

    fn field(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Kind::Fixed(bytes) => self.skip(bytes),
            Kind::Text => {
                let length = if self.flexible { self.compact_length()? } else { self.short_length()? };
                self.skip(length.unwrap_or(0))
            }
            Kind::Blob => {
                let length = if self.flexible { self.compact_length()? } else { self.long_length()? };
                self.skip(length.unwrap_or(0))
            }
            Kind::Array(of) => {
                let count = if self.flexible { self.compact_length()? } else { self.long_length()? };
                let count = count.unwrap_or(0);
                self.elements += count;
                if count > self.rest.len() || self.elements > MOST_ELEMENTS {
                    return None;
                }
                (0..count).try_for_each(|_| self.fields(of))
            }
        }
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    /// A length that is one more than it says, 0 standing for null.
    fn compact_length(&mut self) -> Option<Option<usize>> {
        let claimed = varint(&mut self.rest)? as usize;
        Some(claimed.checked_sub(1))
    }

    fn short_length(&mut self) -> Option<Option<usize>> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest;
        Some(usize::try_from(i16::from_be_bytes(*length)).ok())
    }

    fn long_length(&mut self) -> Option<Option<usize>> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(usize::try_from(i32::from_be_bytes(*length)).ok())
    }
}

fn tags(rest: &mut &[u8], only_unknown: bool) -> Option<()> {
    let count = varint(rest)?;
    if count as usize > rest.len() {
        return None;
    }
    for _ in 0..count {
        let tag = varint(rest)?;
        let length = varint(rest)? as usize;
        if only_unknown && tag < 8 {
            return None;
        }
        *rest = rest.get(length..)?;
    }
    Some(())
}

/// As the message library reads it: five bytes at most, the rest of the fifth ignored.
fn varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for n in 0..5 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u32::from(byte & 0x7f) << (n * 7);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spoken_request_has_a_shape() {
        for api in crate::wire::SPOKEN {
            assert!(SHAPES.iter().any(|shape| shape.key == api.key), "{:?}", api.key);
        }
    }

    #[test]
    fn an_array_that_claims_more_than_there_is_is_refused() {
        let mut body = vec![0, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&i32::MAX.to_be_bytes());
        assert!(check(ApiKey::Produce as i16, 3, &Bytes::from(body)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn any_frame_is_decoded_or_refused(
            key in 0usize..crate::wire::SPOKEN.len(), version in 0i16..19, body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), any::<u8>()], 0..120),
        ) {
            let mut frame = Vec::new();
            frame.extend_from_slice(&(crate::wire::SPOKEN[key].key as i16).to_be_bytes());
            frame.extend_from_slice(&version.to_be_bytes());
            frame.extend_from_slice(&[0, 0, 0, 1, 255, 255]);
            frame.extend_from_slice(&body);
            crate::fuzz_frame(&frame);
        }

        #[test]
        fn any_bytes_are_refused_or_decoded(frame in prop::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzz_frame(&frame);
        }
    }
}
