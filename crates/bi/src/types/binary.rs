//! Values in PostgreSQL's binary form: whole numbers big-endian, times from 2000-01-01, numerics in digits of 10,000.

use super::text::{bytes, days, decimal, entry, integer, interval, items, micros, string};
use super::{EncodeError, write_text};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_schema::DataType;
use bytes::BufMut;
use postgres_types::{Kind, Type};

/// Days and microseconds from 1970-01-01 to 2000-01-01.
pub(super) const EPOCH_DAYS: i32 = 10_957;
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Sign of a numeric below zero.
pub(super) const NEGATIVE: u16 = 0x4000;

/// Writes a value that is not null as `data_type` has it.
///
/// # Errors
/// [`EncodeError`] for what the type cannot hold.
pub(super) fn write_binary<B: BufMut>(
    array: &dyn Array,
    row: usize,
    data_type: &Type,
    out: &mut B,
) -> Result<(), EncodeError> {
    if matches!(array.data_type(), DataType::Dictionary(..)) {
        let (values, place) = entry(array, row)?;
        return write_binary(values.as_ref(), place, data_type, out);
    }
    let large = |what: &str| EncodeError::new(array.data_type(), format!("it does not fit {what}"));
    let whole = || {
        let number = integer(array, row)?;
        number.ok_or_else(|| EncodeError::new(array.data_type(), "it is no whole number"))
    };
    match *data_type {
        Type::BOOL => out.put_u8(u8::from(array.as_boolean().value(row))),
        Type::INT2 => out.put_i16(i16::try_from(whole()?).map_err(|_| large("a smallint"))?),
        Type::INT4 => out.put_i32(i32::try_from(whole()?).map_err(|_| large("an integer"))?),
        Type::INT8 => out.put_i64(whole()?),
        Type::OID => out.put_u32(u32::try_from(whole()?).map_err(|_| large("an oid"))?),
        Type::FLOAT4 => out.put_f32(match array.data_type() {
            DataType::Float16 => array.as_primitive::<Float16Type>().value(row).to_f32(),
            _ => array.as_primitive::<Float32Type>().value(row),
        }),
        Type::FLOAT8 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        Type::NUMERIC => numeric(&decimal(array, row).ok_or_else(|| large("a numeric"))?, out),
        Type::DATE => {
            out.put_i32(days(array, row)?.checked_sub(EPOCH_DAYS).ok_or_else(|| large("a date"))?);
        }
        Type::TIME => out.put_i64(micros(array, row)?),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = micros(array, row)?.checked_sub(EPOCH_MICROS);
            out.put_i64(micros.ok_or_else(|| large("a timestamp"))?);
        }
        Type::INTERVAL => {
            let (months, days, micros) = interval(array, row)?;
            out.put_i64(micros);
            out.put_i32(days);
            out.put_i32(months);
        }
        Type::BYTEA => out.put_slice(bytes(array, row).unwrap_or_default()),
        _ => match data_type.kind() {
            Kind::Array(item) => list(array, row, item, out)?,
            // Texts, names and JSON are their text.
            _ => match string(array, row) {
                Some(text) => out.put_slice(text.as_bytes()),
                None => write_text(array, row, out)?,
            },
        },
    }
    Ok(())
}

/// A number of dimensions, whether nulls are among the items, their type; each dimension's length and first place; the
/// items with their lengths.
fn list<B: BufMut>(array: &dyn Array, row: usize, item: &Type, out: &mut B) -> Result<(), EncodeError> {
    let items = items(array, row)?;
    let large = || EncodeError::new(array.data_type(), "it is too long");
    let length = i32::try_from(items.len()).map_err(|_| large())?;
    out.put_i32(i32::from(length > 0));
    out.put_i32(i32::from(items.null_count() > 0));
    out.put_u32(item.oid());
    if length > 0 {
        out.put_i32(length);
        out.put_i32(1);
    }
    let mut value = Vec::new();
    for place in 0..items.len() {
        if items.is_null(place) {
            out.put_i32(-1);
            continue;
        }
        value.clear();
        write_binary(items.as_ref(), place, item, &mut value)?;
        out.put_i32(i32::try_from(value.len()).map_err(|_| large())?);
        out.put_slice(&value);
    }
    Ok(())
}

/// The digits of a decimal as `numeric_send` has them: count, weight of the first, sign, digits behind the point, and then
/// groups of four.
fn numeric<B: BufMut>(text: &str, out: &mut B) {
    let (sign, digits) = text.strip_prefix('-').map_or((0, text), |rest| (NEGATIVE, rest));
    let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    // Groups are aligned at the point.
    let lead = (4 - whole.len() % 4) % 4;
    let padded = format!("{}{whole}{behind}{}", "0".repeat(lead), "0".repeat((4 - behind.len() % 4) % 4));
    let group = |four: &[u8]| four.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let groups: Vec<u16> = padded.as_bytes().chunks(4).map(group).collect();
    let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
    let last = groups.iter().rposition(|group| *group != 0).map_or(first, |place| place + 1);
    let whole_groups = whole.len().div_ceil(4);
    // Decimals of Arrow have 76 digits at most: nothing here leaves its range.
    let kept = &groups[first..last];
    let weight = whole_groups as i16 - 1 - first as i16;
    out.put_i16(kept.len() as i16);
    out.put_i16(if kept.is_empty() { 0 } else { weight });
    out.put_u16(if kept.is_empty() { 0 } else { sign });
    out.put_u16(behind.len() as u16);
    kept.iter().for_each(|group| out.put_u16(*group));
}
