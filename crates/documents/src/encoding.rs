//! The bytes of a stored document: compact, self-describing, with a format number first.
//!
//! Layout of format 1: format byte, flags, LSN (8 bytes), ordinal, [expiry], fields, [stamps],
//! [departures]. Integers are LEB128 (zigzag where signed); text is its length and UTF-8. The head can
//! be read without the fields, which is what most writes need.
//!
//! Invariant: what is encoded decodes to the same; anything else is an error, never a guess.

use crate::convergence::{Stamp, State};
use crate::encoding_reader::Reader;
use crate::inserts::Insert;
use affluent_model::value::NumericSpecial;
use affluent_model::{Position, Value};

pub(crate) const FORMAT: u8 = 1;
pub(crate) const LIVE: u8 = 1;
pub(crate) const EXPIRES: u8 = 2;
pub(crate) const STAMPS: u8 = 4;
pub(crate) const DEPARTED: u8 = 8;
/// The time at which it expires is noted in a list of many, not in an entry of its own.
pub(crate) const LISTED: u8 = 16;
/// Arrays in arrays, as deep as PostgreSQL's (6 dimensions) with room.
pub(crate) const DEPTH_MAX: u32 = 16;

/// The bytes are not a stored document of a known format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What is known of a stored document without its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: Position,
    pub(crate) live: bool,
    /// Nothing but a version and fields: no stamps, no departures.
    pub(crate) plain: bool,
    /// Its expiry is noted in a list.
    pub(crate) listed: bool,
    /// Microseconds UTC.
    pub(crate) expires_at: Option<i64>,
}

/// Appends the encoded document to `out`.
pub(crate) fn encode(state: &State, expires_at: Option<i64>, out: &mut Vec<u8>) {
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    let flags = flag(state.live, LIVE)
        | flag(expires_at.is_some(), EXPIRES)
        | flag(!state.stamps.is_empty(), STAMPS)
        | flag(!state.departed.is_empty(), DEPARTED);
    out.extend([FORMAT, flags]);
    put_position(out, state.version);
    if let Some(at) = expires_at {
        put_signed(out, at);
    }
    put_unsigned(out, state.fields.len() as u64);
    for (name, value) in &state.fields {
        put_bytes(out, name.as_bytes());
        put_value(out, value);
    }
    if !state.stamps.is_empty() {
        put_unsigned(out, state.stamps.len() as u64);
        for (column, stamp) in &state.stamps {
            put_bytes(out, column.as_bytes());
            put_stamp(out, stamp);
        }
    }
    if !state.departed.is_empty() {
        put_unsigned(out, state.departed.len() as u64);
        for departed in &state.departed {
            put_bytes(out, departed.to.as_bytes());
            put_position(out, departed.at);
            put_unsigned(out, departed.columns.len() as u64);
            for carried in &departed.columns {
                put_bytes(out, carried.column.as_bytes());
                put_stamp(out, &carried.stamp);
                out.push(u8::from(carried.value.is_some()));
                if let Some(value) = &carried.value {
                    put_value(out, value);
                }
            }
        }
    }
}

/// Appends an inserted document, whose fields are encoded already; its expiry is noted in a list.
pub(crate) fn encode_insert(insert: Insert<'_>, expires_at: Option<i64>, out: &mut Vec<u8>) {
    let flags = if expires_at.is_some() { LIVE | EXPIRES | LISTED } else { LIVE };
    out.extend([FORMAT, flags]);
    put_position(out, Position::default());
    if let Some(at) = expires_at {
        put_signed(out, at);
    }
    put_unsigned(out, insert.count as u64);
    out.extend_from_slice(insert.fields);
}

/// Reads the head alone.
///
/// # Errors
/// Where the bytes are of another format or cut off.
pub(crate) fn head(bytes: &[u8]) -> Result<Head, Malformed> {
    Reader { bytes }.head().map(|(head, _)| head)
}

/// Reads the whole document.
///
/// # Errors
/// Where the bytes are of another format, cut off, or followed by more.
pub(crate) fn decode(bytes: &[u8]) -> Result<(State, Option<i64>), Malformed> {
    let mut reader = Reader { bytes };
    let (head, flags) = reader.head()?;
    let fields = reader.fields()?;
    let stamps = if flags & STAMPS == 0 { Vec::new() } else { reader.stamps()? };
    let departed = if flags & DEPARTED == 0 { Vec::new() } else { reader.departed()? };
    if !reader.bytes.is_empty() {
        return Err(Malformed("bytes after the document"));
    }
    Ok((State { version: head.version, live: head.live, fields, stamps, departed }, head.expires_at))
}

pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(&position.lsn.0.to_be_bytes());
    put_unsigned(out, position.ordinal);
}

fn put_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    put_unsigned(out, stamp.len() as u64);
    for &position in stamp {
        put_position(out, position);
    }
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(v) => out.push(if *v { 2 } else { 1 }),
        Value::Int(v) => {
            out.push(3);
            put_signed(out, *v);
        }
        Value::Float(v) => {
            out.push(4);
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        Value::Decimal(v) => {
            let (digits, scale) = v.as_bigint_and_exponent();
            out.push(5);
            put_signed(out, scale);
            put_bytes(out, &digits.to_signed_bytes_le());
        }
        Value::NumericSpecial(v) => out.extend([
            6,
            match v {
                NumericSpecial::NaN => 0,
                NumericSpecial::Infinity => 1,
                NumericSpecial::NegativeInfinity => 2,
            },
        ]),
        Value::Text(v) => {
            out.push(7);
            put_bytes(out, v.as_bytes());
        }
        Value::Bytes(v) => {
            out.push(8);
            put_bytes(out, v);
        }
        Value::Date(v) => {
            out.push(9);
            put_signed(out, i64::from(*v));
        }
        Value::Time(v) => {
            out.push(10);
            put_signed(out, *v);
        }
        Value::Timestamp(v) => {
            out.push(11);
            put_signed(out, *v);
        }
        Value::TimestampTz(v) => {
            out.push(12);
            put_signed(out, *v);
        }
        Value::Uuid(v) => {
            out.push(13);
            out.extend_from_slice(v.as_bytes());
        }
        Value::Json(v) => {
            out.push(14);
            put_bytes(out, v.as_bytes());
        }
        Value::Array(items) => {
            out.push(15);
            put_unsigned(out, items.len() as u64);
            for item in items {
                put_value(out, item);
            }
        }
    }
}

/// The bytes of one value.
pub(crate) fn encode_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_value(&mut out, value);
    out
}

/// The bytes of a text value (not of JSON), where the value is one.
pub(crate) fn text_of(value: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader { bytes: value.strip_prefix(&[7])? };
    reader.slice().ok()
}

/// The value of its bytes.
///
/// # Errors
/// Where [`encode_value`] never writes them.
pub(crate) fn decode_value(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut reader = Reader { bytes };
    let value = reader.value(0)?;
    if reader.bytes.is_empty() { Ok(value) } else { Err(Malformed("bytes after the value")) }
}

/// Whether the value can be encoded and decoded again (arrays are not nested too deeply).
pub(crate) fn is_encodable(value: &Value, depth: u32) -> bool {
    match value {
        Value::Array(items) => depth < DEPTH_MAX && items.iter().all(|item| is_encodable(item, depth + 1)),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Timestamp(_)
        | Value::TimestampTz(_)
        | Value::Uuid(_)
        | Value::Json(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convergence::{Carried, Departed};
    use bigdecimal::BigDecimal;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e300f64..1e300).prop_map(Value::Float),
            (any::<i128>(), -400i64..400).prop_map(|(d, s)| Value::Decimal(BigDecimal::new(d.into(), s))),
            Just(Value::NumericSpecial(NumericSpecial::NegativeInfinity)),
            ".{0,12}".prop_map(Value::Text),
            vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::TimestampTz),
            any::<u128>().prop_map(|v| Value::Uuid(uuid::Uuid::from_u128(v))),
            ".{0,12}".prop_map(Value::Json),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| vec(inner, 0..6).prop_map(Value::Array))
    }

    fn any_position() -> impl Strategy<Value = Position> {
        (any::<u64>(), any::<u64>()).prop_map(|(lsn, ordinal)| Position::new(lsn, ordinal))
    }

    fn any_state() -> impl Strategy<Value = State> {
        let stamp = || vec(any_position(), 0..3);
        let carried = ("[a-z]{1,4}", stamp(), proptest::option::of(any_value()))
            .prop_map(|(column, stamp, value)| Carried { column, stamp, value });
        let departed = (".{0,4}", any_position(), vec(carried, 0..3))
            .prop_map(|(to, at, columns)| Departed { to, at, columns });
        let fields = vec((".{0,6}", any_value()), 0..6);
        (any_position(), any::<bool>(), fields, vec(("[a-z]{1,4}", stamp()), 0..3), vec(departed, 0..3))
            .prop_map(|(version, live, fields, stamps, departed)| State {
                version,
                live,
                fields,
                stamps,
                departed,
            })
    }

    proptest! {
        #[test]
        fn documents_round_trip(state in any_state(), expires_at: Option<i64>) {
            let mut bytes = Vec::new();
            encode(&state, expires_at, &mut bytes);
            let head = head(&bytes).unwrap();
            prop_assert_eq!((head.version, head.live), (state.version, state.live));
            prop_assert_eq!((head.plain, head.expires_at), (state.is_plain(), expires_at));
            prop_assert_eq!(decode(&bytes).unwrap(), (state, expires_at));
        }

        #[test]
        fn other_bytes_are_refused_or_read(mut bytes in vec(any::<u8>(), 0..64), format: bool) {
            if let (true, Some(first)) = (format, bytes.first_mut()) {
                *first = FORMAT;
            }
            let _ = decode(&bytes);
        }
    }
}
