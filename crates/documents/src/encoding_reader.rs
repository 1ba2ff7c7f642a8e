//! Reading what [`crate::encoding`] writes, from front to back.
//!
//! Invariant: every length is checked against the bytes that are left before anything is allocated, and
//! nesting is bounded; so no bytes make reading panic, or take more memory than a small multiple of theirs.

use crate::Fields;
use crate::convergence::{Carried, Departed, Stamp};
use crate::encoding::{DEPARTED, DEPTH_MAX, EXPIRES, FORMAT, Head, LISTED, LIVE, Malformed, STAMPS};
use affluent_model::value::NumericSpecial;
use affluent_model::{Position, Value};
use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;

/// Reads from the front of encoded bytes.
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn head(&mut self) -> Result<(Head, u8), Malformed> {
        if self.byte()? != FORMAT {
            return Err(Malformed("unknown format of a stored document"));
        }
        let flags = self.byte()?;
        let version = self.position()?;
        let expires_at = if flags & EXPIRES == 0 { None } else { Some(self.signed()?) };
        let (live, plain) = (flags & LIVE != 0, flags & (STAMPS | DEPARTED) == 0);
        let listed = flags & LISTED != 0;
        Ok((Head { version, live, plain, listed, expires_at }, flags))
    }

    pub(crate) fn fields(&mut self) -> Result<Fields, Malformed> {
        let count = self.count()?;
        let mut fields = Fields::with_capacity(count);
        for _ in 0..count {
            fields.push((self.text()?, self.value(0)?));
        }
        Ok(fields)
    }

    pub(crate) fn stamps(&mut self) -> Result<Vec<(String, Stamp)>, Malformed> {
        (0..self.count()?).map(|_| Ok((self.text()?, self.stamp()?))).collect()
    }

    pub(crate) fn departed(&mut self) -> Result<Vec<Departed>, Malformed> {
        (0..self.count()?)
            .map(|_| {
                let (to, at) = (self.text()?, self.position()?);
                let columns = (0..self.count()?)
                    .map(|_| {
                        let (column, stamp) = (self.text()?, self.stamp()?);
                        let value = if self.byte()? == 0 { None } else { Some(self.value(0)?) };
                        Ok(Carried { column, stamp, value })
                    })
                    .collect::<Result<_, Malformed>>()?;
                Ok(Departed { to, at, columns })
            })
            .collect()
    }

    fn stamp(&mut self) -> Result<Stamp, Malformed> {
        (0..self.count()?).map(|_| self.position()).collect()
    }

    fn position(&mut self) -> Result<Position, Malformed> {
        let lsn = u64::from_be_bytes(self.array()?);
        Ok(Position::new(lsn, self.unsigned()?))
    }

    pub(crate) fn value(&mut self, depth: u32) -> Result<Value, Malformed> {
        Ok(match self.byte()? {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => Value::Int(self.signed()?),
            4 => Value::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            5 => {
                let scale = self.signed()?;
                Value::Decimal(BigDecimal::new(BigInt::from_signed_bytes_le(self.slice()?), scale))
            }
            6 => Value::NumericSpecial(match self.byte()? {
                0 => NumericSpecial::NaN,
                1 => NumericSpecial::Infinity,
                2 => NumericSpecial::NegativeInfinity,
                _ => return Err(Malformed("unknown special number")),
            }),
            7 => Value::Text(self.text()?),
            8 => Value::Bytes(self.slice()?.to_vec()),
            9 => Value::Date(i32::try_from(self.signed()?).map_err(|_| Malformed("date out of range"))?),
            10 => Value::Time(self.signed()?),
            11 => Value::Timestamp(self.signed()?),
            12 => Value::TimestampTz(self.signed()?),
            13 => Value::Uuid(uuid::Uuid::from_bytes(self.array()?)),
            14 => Value::Json(self.text()?),
            15 if depth < DEPTH_MAX => {
                let count = self.count()?;
                let items: Result<_, Malformed> = (0..count).map(|_| self.value(depth + 1)).collect();
                Value::Array(items?)
            }
            _ => return Err(Malformed("unknown kind of value")),
        })
    }

    /// The name of the next field and its value as encoded.
    pub(crate) fn raw_field(&mut self) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        let name = self.slice()?;
        let value = self.bytes;
        self.skip_value(0)?;
        Ok((name, &value[..value.len() - self.bytes.len()]))
    }

    fn skip_value(&mut self, depth: u32) -> Result<(), Malformed> {
        match self.byte()? {
            0..=2 => {}
            3 | 9..=12 => drop(self.unsigned()?),
            4 => drop(self.array::<8>()?),
            5 => {
                self.unsigned()?;
                self.slice()?;
            }
            6 => drop(self.byte()?),
            7 | 8 | 14 => drop(self.slice()?),
            13 => drop(self.array::<16>()?),
            15 if depth < DEPTH_MAX => {
                for _ in 0..self.count()? {
                    self.skip_value(depth + 1)?;
                }
            }
            _ => return Err(Malformed("unknown kind of value")),
        }
        Ok(())
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.bytes.split_first().ok_or(Malformed("cut off"))?;
        self.bytes = rest;
        Ok(first)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.bytes.split_first_chunk().ok_or(Malformed("cut off"))?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("integer too long"))
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.unsigned()?;
        usize::try_from(count).ok().filter(|&count| count <= self.bytes.len()).ok_or(Malformed("cut off"))
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.unsigned()?;
        self.bytes(length)
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed("cut off"))?;
        let (first, rest) = self.bytes.split_at_checked(length).ok_or(Malformed("cut off"))?;
        self.bytes = rest;
        Ok(first)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.slice()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("text is not UTF-8"))
    }
}
