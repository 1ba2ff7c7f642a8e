//! Exact decimals: to an unscaled integer of a fixed scale, and bounds on what is read.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use bigdecimal::{Signed, ToPrimitive, Zero};

/// Digits before and after the point that PostgreSQL's NUMERIC can have. Source: PostgreSQL
/// documentation, "Numeric Types". What claims more would take gigabytes as text.
const DIGITS_BEFORE: i64 = 131_072;
const DIGITS_AFTER: i64 = 16_383;

/// Appends the big-endian two's complement of `value * 10^scale`, as few bytes as possible.
/// Returns what does not fit, in words, if anything; nothing is rounded.
pub(crate) fn unscaled_bytes(
    value: &BigDecimal,
    precision: u32,
    scale: u32,
    with: impl FnOnce(&[u8]),
) -> Result<(), &'static str> {
    const SCALE: &str = "more decimals than its type has";
    const PRECISION: &str = "more digits than its type has";
    let (digits, own_scale) = value.as_bigint_and_scale();
    let shift = i64::from(scale) - own_scale;
    if !(-DIGITS_AFTER..=DIGITS_BEFORE).contains(&shift) {
        // Zero fits any scale, whatever its own is.
        return if digits.is_zero() {
            with(&[0]);
            Ok(())
        } else {
            Err(PRECISION)
        };
    }
    if let (Some(small), Ok(up)) = (digits.to_i128(), u32::try_from(shift))
        && let Some(unscaled) = 10_i128.checked_pow(up).and_then(|factor| small.checked_mul(factor))
        && let Some(limit) = 10_u128.checked_pow(precision)
    {
        if unscaled.unsigned_abs() >= limit {
            return Err(PRECISION);
        }
        let bytes = unscaled.to_be_bytes();
        let sign = if unscaled < 0 { 0xFF } else { 0 };
        // Leading bytes that only repeat the sign are dropped, but never the sign bit itself.
        let start = (0..15).find(|&i| bytes[i] != sign || (bytes[i + 1] ^ sign) & 0x80 != 0).unwrap_or(15);
        with(&bytes[start..]);
        return Ok(());
    }
    let power = |exponent: u64| BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(u32::MAX));
    let unscaled = if shift >= 0 {
        digits.as_ref() * power(shift.unsigned_abs())
    } else {
        let divisor = power(shift.unsigned_abs());
        let (quotient, remainder) = (digits.as_ref() / &divisor, digits.as_ref() % &divisor);
        if !remainder.is_zero() {
            return Err(SCALE);
        }
        quotient
    };
    if unscaled.abs() >= power(u64::from(precision)) {
        return Err(PRECISION);
    }
    with(&unscaled.to_signed_bytes_be());
    Ok(())
}

/// The scale, if it is one that a NUMERIC could have.
pub(crate) fn checked_scale(scale: i64) -> Option<i64> {
    (-DIGITS_BEFORE..=DIGITS_AFTER).contains(&scale).then_some(scale)
}

/// A decimal from what was read, if it is one that a NUMERIC could be.
pub(crate) fn bounded(unscaled: BigInt, scale: i64) -> Option<BigDecimal> {
    within_bounds(BigDecimal::new(unscaled, scale))
}

/// A decimal from its text, if it is one that a NUMERIC could be.
pub(crate) fn parse(text: &str) -> Option<BigDecimal> {
    within_bounds(text.parse().ok()?)
}

fn within_bounds(value: BigDecimal) -> Option<BigDecimal> {
    let scale = value.as_bigint_and_scale().1;
    checked_scale(scale).map(|_| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unscaled(text: &str, precision: u32, scale: u32) -> Result<Vec<u8>, &'static str> {
        let mut bytes = Vec::new();
        unscaled_bytes(&text.parse().unwrap(), precision, scale, |b| bytes.extend_from_slice(b))?;
        Ok(bytes)
    }

    #[test]
    fn nothing_is_rounded() {
        assert_eq!(unscaled("12.34", 4, 2), Ok(vec![0x04, 0xD2]));
        assert_eq!(unscaled("12.3400", 4, 2), Ok(vec![0x04, 0xD2]));
        assert_eq!(unscaled("1.28", 18, 2), Ok(vec![0x00, 0x80]));
        assert_eq!(unscaled("-1.28", 18, 2), Ok(vec![0x80]));
        assert_eq!(unscaled("-1.29", 18, 2), Ok(vec![0xFF, 0x7F]));
        assert_eq!(unscaled("0", 18, 4), Ok(vec![0]));
        assert!(unscaled("12.345", 18, 2).is_err());
        assert!(unscaled("123.45", 4, 2).is_err());
        assert!(unscaled("1e30000000", 18, 2).is_err());
        assert!(parse("1e999999999").is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_big_integers(digits: i128, scale in 0_u32..20) {
            let value = BigDecimal::new(digits.into(), i64::from(scale));
            let mut bytes = Vec::new();
            unscaled_bytes(&value, 60, scale, |b| bytes.extend_from_slice(b)).unwrap();
            prop_assert_eq!(&bytes, &BigInt::from(digits).to_signed_bytes_be());
            let small = i64::try_from(digits >> 70).unwrap_or(7);
            let mut bytes = Vec::new();
            unscaled_bytes(&BigDecimal::from(small), 38, scale, |b| bytes.extend_from_slice(b)).unwrap();
            let expected = BigInt::from(small) * BigInt::from(10).pow(scale);
            prop_assert_eq!(&bytes, &expected.to_signed_bytes_be());
        }
    }
}
