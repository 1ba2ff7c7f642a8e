use super::*;
use crate::wire::Format;
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};
use arrow_array::*;
use arrow_schema::{DataType, Field, Schema};
use bytes::BytesMut;
use postgres_types::{FromSql, Type};
use std::sync::Arc;

fn text(array: &dyn Array) -> String {
    let mut out = Vec::new();
    write_text(array, 0, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn decimal(value: i128, scale: i8) -> Decimal128Array {
    Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap()
}

#[test]
fn values_have_the_text_that_postgresql_gives_them() {
    let zoned = |micros| TimestampMicrosecondArray::from(vec![micros]).with_timezone("+00:00");
    let mut names = ListBuilder::new(StringBuilder::new());
    for name in [Some("a"), Some("b c"), None, Some(""), Some("say \"x\""), Some("null")] {
        names.values().append_option(name);
    }
    names.append(true);
    let interval = |months, days, nanoseconds| {
        IntervalMonthDayNanoArray::from(vec![types::IntervalMonthDayNano { months, days, nanoseconds }])
    };
    for (array, expected) in [
        (Arc::new(BooleanArray::from(vec![true])) as ArrayRef, "t"),
        (Arc::new(decimal(-5, 4)), "-0.0005"),
        (Arc::new(decimal(123_456_789_012_345_678_901_234_567_890, 4)), "12345678901234567890123456.7890"),
        (Arc::new(Float64Array::from(vec![0.1])), "0.1"),
        (Arc::new(Float64Array::from(vec![1e20])), "1e+20"),
        (Arc::new(Float64Array::from(vec![1.5e-7])), "1.5e-07"),
        (Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])), "-Infinity"),
        (Arc::new(Date32Array::from(vec![20_784])), "2026-11-27"),
        (Arc::new(zoned(1_500_000)), "1970-01-01 00:00:01.5+00"),
        (Arc::new(zoned(-1)), "1969-12-31 23:59:59.999999+00"),
        (Arc::new(TimestampSecondArray::from(vec![86_400])), "1970-01-02 00:00:00"),
        (Arc::new(Time64MicrosecondArray::from(vec![3_723_000_001])), "01:02:03.000001"),
        (Arc::new(interval(14, 3, 4_500_000_000)), "1 year 2 mons 3 days 00:00:04.5"),
        (Arc::new(interval(-1, 2, 0)), "-1 mons +2 days"),
        (Arc::new(interval(0, 0, 0)), "00:00:00"),
        (Arc::new(BinaryArray::from(vec![&[0_u8, 255][..]])), "\\x00ff"),
        (Arc::new(names.finish()), r#"{a,"b c",NULL,"","say \"x\"","null"}"#),
    ] {
        assert_eq!(text(array.as_ref()), expected);
    }
}

#[test]
fn more_than_a_bigint_holds_is_an_error() {
    let mut out = Vec::new();
    write_text(&UInt64Array::from(vec![u64::MAX]), 0, &mut out).unwrap_err();
}

/// The one value of a row in its binary form.
fn binary(array: ArrayRef) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([("v", array)]).unwrap();
    let mut out = BytesMut::new();
    RowEncoder::new(batch.schema_ref(), vec![Format::Binary]).row(&batch, 0, &mut out).unwrap();
    assert_eq!(out[..4], i32::try_from(out.len() - 4).unwrap().to_be_bytes());
    out[4..].to_vec()
}

#[test]
fn binary_values_are_read_by_the_client_library() {
    let list = ListArray::from_iter_primitive::<types::Int32Type, _, _>([Some([Some(1), None, Some(3)])]);
    let read = Vec::<Option<i32>>::from_sql(&Type::INT4_ARRAY, &binary(Arc::new(list))).unwrap();
    assert_eq!(read, [Some(1), None, Some(3)]);
    let time = TimestampMicrosecondArray::from(vec![1_764_000_000_123_456]).with_timezone("+00:00");
    let bytes = binary(Arc::new(time));
    let micros = i64::from_be_bytes(bytes.try_into().unwrap()) + 946_684_800_000_000;
    assert_eq!(micros, 1_764_000_000_123_456);
    // numeric_send of 12345.6789, from PostgreSQL.
    let known = [0, 3, 0, 1, 0, 0, 0, 4, 0, 1, 0x09, 0x29, 0x1a, 0x85];
    assert_eq!(binary(Arc::new(decimal(123_456_789, 4))), known);
}

proptest::proptest! {
    #[test]
    fn a_numeric_comes_back_digit_by_digit(value in -10_i128.pow(37)..10_i128.pow(37), scale in 0_i8..30) {
        let array = decimal(value, scale);
        let bytes = binary(Arc::new(array.clone()));
        let read = decode(&Type::NUMERIC, Format::Binary, Some(&bytes)).unwrap();
        let read = read.as_primitive::<Decimal128Type>();
        proptest::prop_assert_eq!((read.value(0), read.scale()), (value, scale));
        let written = text(&array);
        let read = decode(&Type::NUMERIC, Format::Text, Some(written.as_bytes())).unwrap();
        proptest::prop_assert_eq!(read.as_primitive::<Decimal128Type>().value(0), value);
    }
}

#[test]
fn parameters_are_read_or_refused() {
    let micros = |text: &str| {
        let read = decode(&Type::TIMESTAMPTZ, Format::Text, Some(text.as_bytes())).unwrap();
        read.as_primitive::<TimestampMicrosecondType>().value(0)
    };
    for same in
        ["1970-01-01 01:00:01+01", "1970-01-01T00:00:01Z", "1970-01-01 00:00:01", "1970-01-01 00:00:01+00:00"]
    {
        assert_eq!(micros(same), 1_000_000, "{same}");
    }
    assert_eq!(micros("1970-01-02"), 86_400_000_000);
    assert!(decode(&Type::INT4, Format::Text, None).unwrap().is_null(0));
    for (text, value, scale) in
        [("0.05", 5, 2), ("-12.50", -1_250, 2), ("1E+3", 1_000, 0), ("1.25e1", 125, 1), ("5e-3", 5, 3)]
    {
        let read = decode(&Type::NUMERIC, Format::Text, Some(text.as_bytes())).unwrap();
        let read = read.as_primitive::<Decimal128Type>();
        assert_eq!((read.value(0), read.scale()), (value, scale), "{text}");
    }
    for (data_type, format, bytes) in [
        (Type::INT4, Format::Text, &b"4x"[..]),
        (Type::INT4, Format::Binary, &[0, 0, 1]),
        (Type::NUMERIC, Format::Text, b"1.2.3"),
        (Type::NUMERIC, Format::Text, b"1e99"),
        (Type::NUMERIC, Format::Text, b"1e-39"),
        (Type::NUMERIC, Format::Text, b"NaN"),
        (Type::DATE, Format::Text, b"2026-01-01x"),
        (Type::BYTEA, Format::Text, b"\\x+f"),
        (Type::BYTEA, Format::Text, b"\\xabc"),
        (Type::NUMERIC, Format::Binary, &[0, 200, 0, 0]),
        (Type::TIMESTAMP, Format::Text, b"yesterday"),
        (Type::TEXT, Format::Text, &[0xff]),
    ] {
        let error = decode(&data_type, format, Some(bytes)).unwrap_err();
        assert!(["22P02", "22P03"].contains(&error.code), "{error}");
    }
}

#[test]
fn columns_tell_precision_and_scale() {
    let schema = Schema::new(vec![
        Field::new("amount", DataType::Decimal128(18, 4), true),
        Field::new(
            "at",
            DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, Some("+00:00".into())),
            true,
        ),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
    ]);
    let columns = columns(&schema);
    assert_eq!((columns[0].data_type.clone(), columns[0].modifier), (Type::NUMERIC, (18 << 16 | 4) + 4));
    assert_eq!((columns[1].data_type.clone(), columns[1].size), (Type::TIMESTAMPTZ, 8));
    let names: Vec<String> = schema.fields().iter().map(|field| sql_type(field.data_type())).collect();
    assert_eq!(names, ["numeric(18,4)", "timestamp with time zone", "text[]"]);
    assert_eq!(sql_type(&DataType::Decimal128(10, -2)), "numeric(10,-2)");
}
