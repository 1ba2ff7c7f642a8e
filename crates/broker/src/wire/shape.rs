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

/// Whether `body` begins with a message of this request in this version. What follows it is ignored,
/// as Apache Kafka does: some clients send a few bytes too many.
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
    walk.fields(shape.fields).ok_or("lengths and bytes do not agree")
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

/// The smallest body with one element in every array: for tests that ask for every version.
#[cfg(test)]
pub(crate) fn sample(key: ApiKey, version: i16) -> Vec<u8> {
    fn lay(fields: &[Field], version: i16, flexible: bool, out: &mut Vec<u8>) {
        for field in fields.iter().filter(|f| (f.from..=f.to).contains(&version)) {
            match field.kind {
                Kind::Fixed(bytes) => out.extend(std::iter::repeat_n(0, bytes)),
                Kind::Text if flexible => out.extend([2, b't']),
                Kind::Text => out.extend([0, 1, b't']),
                Kind::Blob if flexible => out.push(1),
                Kind::Blob => out.extend([0; 4]),
                Kind::Array(of) => {
                    out.extend(if flexible { &[2][..] } else { &[0, 0, 0, 1] });
                    lay(of, version, flexible, out);
                }
            }
        }
        if flexible && !fields.first().is_some_and(|field| field.bare) {
            out.push(0);
        }
    }
    let mut out = Vec::new();
    if let Some(shape) = SHAPES.iter().find(|shape| shape.key == key) {
        lay(shape.fields, version, version >= shape.flexible_from, &mut out);
    }
    out
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

    /// The shapes are the message library's: what they lay out, it reads to the last byte.
    #[test]
    fn every_sample_is_read_to_its_end() {
        for api in crate::wire::SPOKEN {
            for version in api.from..=api.to {
                let body = Bytes::from(sample(api.key, version));
                check(api.key as i16, version, &body).unwrap();
                let head = crate::wire::RequestHead {
                    api_key: api.key as i16,
                    version,
                    correlation_id: 0,
                    client_id: None,
                };
                crate::handlers::decode_only(api.key, &head, body.clone()).unwrap();
                if !body.is_empty() {
                    let cut = body.slice(..body.len() - 1);
                    assert!(
                        crate::handlers::decode_only(api.key, &head, cut).is_err(),
                        "{:?} {version}",
                        api.key
                    );
                }
            }
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
