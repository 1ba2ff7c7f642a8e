//! Avro's binary encoding: variable-length integers, lengths, bytes.
//!
//! Written here rather than taken from a serde-based crate: a change is encoded from
//! `model::Value`s by column type and decoded into them, with decimals of any precision and unions
//! chosen by nullness. Through serde each of these needs a wrapper type of its own; directly it is
//! this file, and the row is written without intermediate values. `apache-avro` reads what is
//! written here in the tests.

/// The input ended, or a length in it is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Appends Avro values to a buffer.
pub(crate) trait Put {
    fn put_raw(&mut self, bytes: &[u8]);

    fn put_long(&mut self, value: i64) {
        let mut zigzag = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        let mut encoded = [0; 10];
        let mut length = 0;
        while zigzag >= 0x80 {
            encoded[length] = (zigzag & 0x7F) as u8 | 0x80;
            zigzag >>= 7;
            length += 1;
        }
        encoded[length] = zigzag as u8;
        self.put_raw(&encoded[..=length]);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_long(bytes.len().cast_signed() as i64);
        self.put_raw(bytes);
    }

    fn put_text(&mut self, text: &str) {
        self.put_bytes(text.as_bytes());
    }

    fn put_bool(&mut self, value: bool) {
        self.put_raw(&[u8::from(value)]);
    }
}

impl Put for bytes::BytesMut {
    fn put_raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes Avro values from a slice.
#[derive(Debug, Clone)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("input ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("input ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        let mut zigzag = 0_u64;
        for (index, &byte) in self.0.iter().take(10).enumerate() {
            zigzag |= u64::from(byte & 0x7F) << (7 * index);
            if byte < 0x80 {
                if index == 9 && byte > 1 {
                    break;
                }
                self.0 = &self.0[index + 1..];
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err(Malformed("integer of more than 64 bits, or input ends too early"))
    }

    pub(crate) fn int(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.long()?).map_err(|_| Malformed("integer of more than 32 bits"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.long()?).map_err(|_| Malformed("negative length"))?;
        self.raw(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text is not UTF-8"))
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed("boolean is neither 0 nor 1")),
        }
    }

    /// The number of items in the next block of an array or map, 0 at its end.
    pub(crate) fn block(&mut self) -> Result<usize, Malformed> {
        let mut count = self.long()?;
        if count < 0 {
            let _bytes = self.long()?;
            count = count.checked_neg().ok_or(Malformed("impossible number of items"))?;
        }
        let count = usize::try_from(count).map_err(|_| Malformed("impossible number of items"))?;
        // Each item of the types in use takes a byte at least, so more cannot be there.
        if count > self.0.len() {
            return Err(Malformed("more items than bytes"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn longs_round_trip(value: i64) {
            let mut buffer = BytesMut::new();
            buffer.put_long(value);
            let mut take = Take(&buffer);
            prop_assert_eq!(take.long(), Ok(value));
            prop_assert!(take.0.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            let _ = Take(&bytes).long();
            let _ = Take(&bytes).text();
            let _ = Take(&bytes).block();
        }
    }

    #[test]
    fn extremes() {
        for value in [0, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            let mut buffer = BytesMut::new();
            buffer.put_long(value);
            assert_eq!(Take(&buffer).long(), Ok(value));
        }
        assert!(Take(&[0xFF; 10]).long().is_err());
        assert!(Take(&[0x80]).long().is_err());
    }
}
