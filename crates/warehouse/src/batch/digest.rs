//! Whether two sets of rows are the same, without their order: sums of row hashes, by day.
//!
//! Invariant: values that are equal hash alike whatever type carries them (text as view or not, numbers of
//! any width, times of any unit), so that a query's rows can be held against a table's.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use std::collections::BTreeMap;

const MICROS_A_DAY: i64 = 86_400_000_000;
/// Two hashes of 64 bits: rows that differ are taken for equal once in 2^128.
const SEEDS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
const FACTORS: [u64; 2] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db];

/// Kinds of words. Those of numbers have the scale added to them.
const NULL: u64 = 0;
const TEXT: u64 = 1;
const FLOAT: u64 = 2;
const TRUTH: u64 = 3;
const LIST: u64 = 4;
const END: u64 = 5;
const NARROW: u64 = 1 << 8;
const WIDE: u64 = 1 << 9;

/// The hash of one row.
pub(crate) type RowHash = [u64; 2];

/// Number and sum of hashes of some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    sum: RowHash,
}

/// The digest of each UTC day (days since the epoch); `None` for rows without one, or of a table that is
/// not divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Digests(pub(crate) BTreeMap<Option<i32>, Digest>);

impl Digest {
    fn add(&mut self, hash: RowHash) {
        self.rows += 1;
        for (sum, hash) in self.sum.iter_mut().zip(hash) {
            *sum = sum.wrapping_add(hash);
        }
    }
}

impl Digests {
    /// Takes the rows of a batch in.
    ///
    /// # Errors
    /// A column that is missing, or of a type that tables do not have.
    pub(crate) fn add(
        &mut self,
        batch: &RecordBatch,
        columns: &[String],
        day: Option<&str>,
    ) -> Result<(), String> {
        let hashes = row_hashes(batch, columns)?;
        let Some(day) = day else {
            self.take(None, &hashes);
            return Ok(());
        };
        // Rows come in the order of their files: most of one day stand together.
        let mut from = 0;
        for same in days(batch, day)?.chunk_by(|a, b| a == b) {
            self.take(same[0], &hashes[from..from + same.len()]);
            from += same.len();
        }
        Ok(())
    }

    fn take(&mut self, day: Option<i32>, hashes: &[RowHash]) {
        if !hashes.is_empty() {
            let digest = self.0.entry(day).or_default();
            hashes.iter().for_each(|hash| digest.add(*hash));
        }
    }

    /// The days that are not the same in both.
    pub(crate) fn different(&self, other: &Digests) -> Vec<Option<i32>> {
        let mut days: Vec<Option<i32>> = self.0.keys().chain(other.0.keys()).copied().collect();
        days.sort_unstable();
        days.dedup();
        days.retain(|day| self.0.get(day) != other.0.get(day));
        days
    }

    pub(crate) fn rows(&self) -> u64 {
        self.0.values().map(|digest| digest.rows).sum()
    }
}

/// The UTC day of each row.
pub(crate) fn days(batch: &RecordBatch, column: &str) -> Result<Vec<Option<i32>>, String> {
    let array = batch.column_by_name(column).ok_or_else(|| format!("there is no column {column}"))?;
    let day = |micros: i64| i32::try_from(micros.div_euclid(MICROS_A_DAY)).ok();
    match array.data_type() {
        DataType::Date32 => Ok(array.as_primitive::<Date32Type>().iter().collect()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>().iter();
            Ok(times.map(|time| time.and_then(day)).collect())
        }
        other => {
            Err(format!("column {column} is of type {other}, which has no day: cast it to timestamp(6)"))
        }
    }
}

/// The hash of each row over `columns`, in that order.
///
/// # Errors
/// A column that is missing, or of a type that tables do not have.
pub(crate) fn row_hashes(batch: &RecordBatch, columns: &[String]) -> Result<Vec<RowHash>, String> {
    let mut hashes = vec![SEEDS; batch.num_rows()];
    for name in columns {
        let array = batch.column_by_name(name).ok_or_else(|| format!("there is no column {name}"))?;
        hash_column(array.as_ref(), &mut hashes).map_err(|error| format!("column {name}: {error}"))?;
    }
    hashes.iter_mut().for_each(|hash| mix(hash, 0, END));
    Ok(hashes)
}

/// The hash of a text, in hexadecimal digits.
pub(crate) fn text_hash(text: &str) -> String {
    let mut hash = SEEDS;
    bytes(&mut hash, text.as_bytes());
    format!("{:016x}{:016x}", hash[0], hash[1])
}

/// Takes two words in: each half is what the product of both, seeded, folds to (as wyhash does it; Wang Yi, 2019).
/// `kind` tells apart what has the same bits.
fn mix(hash: &mut RowHash, value: u64, kind: u64) {
    hash[0] = folded(hash[0] ^ value, kind ^ FACTORS[0]);
    hash[1] = folded(hash[1] ^ kind, value ^ FACTORS[1]);
}

fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

fn null(hash: &mut RowHash) {
    mix(hash, 0, NULL);
}

fn bytes(hash: &mut RowHash, value: &[u8]) {
    mix(hash, value.len() as u64, TEXT);
    let (pairs, rest) = value.as_chunks::<16>();
    for pair in pairs {
        mix_pair(hash, *pair);
    }
    if !rest.is_empty() {
        let mut pair = [0; 16];
        pair[..rest.len()].copy_from_slice(rest);
        mix_pair(hash, pair);
    }
}

fn mix_pair(hash: &mut RowHash, pair: [u8; 16]) {
    let pair = u128::from_le_bytes(pair);
    mix(hash, pair as u64, (pair >> 64) as u64);
}

/// Mantissa and scale without trailing zeros. What fits into 64 bits, which is nearly all, is one word; its kind tells
/// how many there are.
fn number(hash: &mut RowHash, mut value: i128, mut scale: i8) {
    if let Ok(narrow) = i64::try_from(value) {
        return narrow_number(hash, narrow, scale);
    }
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    if let Ok(narrow) = i64::try_from(value) {
        return narrow_number(hash, narrow, scale);
    }
    mix(hash, 0, WIDE + u64::from(scale.unsigned_abs()));
    mix_pair(hash, value.to_le_bytes());
}

fn narrow_number(hash: &mut RowHash, mut value: i64, mut scale: i8) {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    mix(hash, value.cast_unsigned(), NARROW + u64::from(scale.unsigned_abs()));
}

fn float(hash: &mut RowHash, value: f64) {
    let value = if value == 0.0 { 0.0 } else { value };
    mix(hash, if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }, FLOAT);
}

fn hash_column(array: &dyn Array, hashes: &mut [RowHash]) -> Result<(), String> {
    macro_rules! each {
        ($values:expr, $hash:ident, $value:ident => $take:expr) => {
            for ($hash, value) in hashes.iter_mut().zip($values) {
                match value {
                    Some($value) => $take,
                    None => null($hash),
                }
            }
        };
    }
    macro_rules! whole {
        ($type:ty, $scale:expr, $factor:expr) => {
            each!(array.as_primitive::<$type>(), hash, value => number(hash, i128::from(value) * $factor, $scale))
        };
    }
    macro_rules! texts {
        ($values:expr) => {
            each!($values, hash, value => bytes(hash, value.as_ref()))
        };
    }
    match array.data_type() {
        DataType::Null => hashes.iter_mut().for_each(null),
        DataType::Boolean => each!(array.as_boolean(), hash, value => mix(hash, value.into(), TRUTH)),
        DataType::Int8 => whole!(Int8Type, 0, 1),
        DataType::Int16 => whole!(Int16Type, 0, 1),
        DataType::Int32 => whole!(Int32Type, 0, 1),
        DataType::Int64 => whole!(Int64Type, 0, 1),
        DataType::UInt8 => whole!(UInt8Type, 0, 1),
        DataType::UInt16 => whole!(UInt16Type, 0, 1),
        DataType::UInt32 => whole!(UInt32Type, 0, 1),
        DataType::UInt64 => whole!(UInt64Type, 0, 1),
        DataType::Date32 => whole!(Date32Type, 0, 1),
        DataType::Decimal32(_, scale) => whole!(Decimal32Type, *scale, 1),
        DataType::Decimal64(_, scale) => whole!(Decimal64Type, *scale, 1),
        DataType::Decimal128(_, scale) => {
            each!(array.as_primitive::<Decimal128Type>(), hash, value => number(hash, value, *scale))
        }
        DataType::Float32 => {
            each!(array.as_primitive::<Float32Type>(), hash, value => float(hash, f64::from(value)))
        }
        DataType::Float64 => each!(array.as_primitive::<Float64Type>(), hash, value => float(hash, value)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => whole!(TimestampMicrosecondType, 0, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => whole!(TimestampMillisecondType, 0, 1_000),
        DataType::Timestamp(TimeUnit::Second, _) => whole!(TimestampSecondType, 0, 1_000_000),
        DataType::Time64(TimeUnit::Microsecond) => whole!(Time64MicrosecondType, 0, 1),
        DataType::Time32(TimeUnit::Millisecond) => whole!(Time32MillisecondType, 0, 1_000),
        DataType::Time32(TimeUnit::Second) => whole!(Time32SecondType, 0, 1_000_000),
        DataType::Utf8 => texts!(array.as_string::<i32>()),
        DataType::LargeUtf8 => texts!(array.as_string::<i64>()),
        DataType::Utf8View => texts!(array.as_string_view()),
        DataType::Binary => texts!(array.as_binary::<i32>()),
        DataType::LargeBinary => texts!(array.as_binary::<i64>()),
        DataType::BinaryView => texts!(array.as_binary_view()),
        DataType::List(_) => {
            for (hash, value) in hashes.iter_mut().zip(array.as_list::<i32>().iter()) {
                let Some(value) = value else {
                    null(hash);
                    continue;
                };
                mix(hash, value.len() as u64, LIST);
                let mut elements = vec![SEEDS; value.len()];
                hash_column(value.as_ref(), &mut elements)?;
                elements.iter().for_each(|element| mix(hash, element[0], element[1]));
            }
        }
        other => return Err(format!("type {other} is not compared: cast it")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, StringArray, StringViewArray};
    use std::sync::Arc;

    fn digests(columns: Vec<(&str, ArrayRef)>) -> Digests {
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut digests = Digests::default();
        digests.add(&RecordBatch::try_from_iter(columns).unwrap(), &names, None).unwrap();
        digests
    }

    #[test]
    fn equal_values_are_equal_in_any_type_and_order() {
        let money = |values: Vec<i128>, scale| {
            Arc::new(Decimal128Array::from(values).with_precision_and_scale(20, scale).unwrap()) as ArrayRef
        };
        let a = digests(vec![
            ("n", Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))),
            ("t", Arc::new(StringArray::from(vec!["x", "y", "a long text of more than twelve"]))),
            ("m", money(vec![150, 0, -7], 1)),
        ]);
        let b = digests(vec![
            ("n", Arc::new(Int64Array::from(vec![Some(3), Some(1), None]))),
            ("t", Arc::new(StringViewArray::from(vec!["a long text of more than twelve", "x", "y"]))),
            ("m", money(vec![-7000, 150_000, 0], 4)),
        ]);
        assert_eq!(a, b);
        assert_eq!((a.rows(), a.different(&b).len()), (3, 0));
    }

    #[test]
    fn numbers_of_one_word_and_of_two_differ() {
        let of = |value: i128, scale| {
            let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
            digests(vec![("n", Arc::new(array) as ArrayRef)])
        };
        let wide = i128::from(i64::MAX) * 10;
        assert_eq!(of(wide, 1), of(i64::MAX.into(), 0));
        assert_eq!(of(wide * 10, 2), of(wide, 1));
        for (a, b) in [
            ((wide, 0), (i128::from(i64::MAX), 0)),
            ((wide, 0), (-wide, 0)),
            ((wide + 1, 0), (wide + 1, 1)),
            ((1 << 64, 0), (0, 0)),
            ((1 << 64, 0), (1, 0)),
            ((-1, 0), ((1 << 64) - 1, 0)),
        ] {
            assert_ne!(of(a.0, a.1), of(b.0, b.1), "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_differs_differs() {
        let of = |values: Vec<Option<i64>>, texts: Vec<&str>| {
            digests(vec![
                ("n", Arc::new(Int64Array::from(values))),
                ("t", Arc::new(StringArray::from(texts))),
            ])
        };
        let a = of(vec![Some(1), Some(2)], vec!["x", "y"]);
        for other in [
            of(vec![Some(2), Some(1)], vec!["x", "y"]),
            of(vec![Some(1), None], vec!["x", "y"]),
            of(vec![Some(1)], vec!["x"]),
            of(vec![Some(1), Some(2)], vec!["x", "y\0"]),
        ] {
            assert_eq!(a.different(&other), [None]);
        }
    }
}
