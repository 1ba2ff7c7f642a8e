//! Every codec path on random tables and rows, with apache-avro as the second opinion, and both
//! decoders on bytes that nobody wrote.

use super::avro::{self, compile, write};
use super::json::write::Template;
use super::{ChangeDecoder, CodecError, Decoded, decode_with_schema};
use crate::Incoming;
use affluent_model::value::NumericSpecial;
use affluent_model::{
    ChangeEvent, Column, ColumnType, Op, Position, Row, Snapshot, Source, TableId, TableSchema, Transaction,
    Value,
};
use bigdecimal::BigDecimal;
use bytes::{Bytes, BytesMut};
use futures::executor::block_on;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

fn column_type() -> impl Strategy<Value = ColumnType> {
    let decimal = (1_u32..=45).prop_flat_map(|precision| {
        (0..=precision).prop_map(move |scale| ColumnType::Decimal { precision, scale })
    });
    let scalar = prop_oneof![
        decimal,
        Just(ColumnType::Numeric),
        Just(ColumnType::Bool),
        Just(ColumnType::Int16),
        Just(ColumnType::Int32),
        Just(ColumnType::Int64),
        Just(ColumnType::Float32),
        Just(ColumnType::Float64),
        Just(ColumnType::Text),
        Just(ColumnType::Bytes),
        Just(ColumnType::Date),
        Just(ColumnType::Time),
        Just(ColumnType::Timestamp),
        Just(ColumnType::TimestampTz),
        Just(ColumnType::Uuid),
        Just(ColumnType::Json),
    ];
    scalar.prop_recursive(2, 4, 1, |inner| inner.prop_map(|t| ColumnType::Array(Box::new(t))))
}

fn value(column_type: &ColumnType, special: bool) -> BoxedStrategy<Value> {
    let edges = prop_oneof![4 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => -1_i64..1];
    let numeric = |value: BoxedStrategy<Value>| {
        let specials = [NumericSpecial::NaN, NumericSpecial::Infinity, NumericSpecial::NegativeInfinity];
        let specials = prop::sample::select(specials.to_vec()).prop_map(Value::NumericSpecial);
        if special { prop_oneof![5 => value, 1 => specials].boxed() } else { value }
    };
    match column_type {
        ColumnType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ColumnType::Int16 => any::<i16>().prop_map(|v| Value::Int(v.into())).boxed(),
        ColumnType::Int32 => any::<i32>().prop_map(|v| Value::Int(v.into())).boxed(),
        ColumnType::Int64 => edges.prop_map(Value::Int).boxed(),
        // Not a number is not equal to itself; it has a test of its own.
        ColumnType::Float32 => {
            any::<f32>().prop_filter("nan", |v| !v.is_nan()).prop_map(|v| Value::Float(v.into())).boxed()
        }
        ColumnType::Float64 => {
            any::<f64>().prop_filter("nan", |v| !v.is_nan()).prop_map(Value::Float).boxed()
        }
        ColumnType::Decimal { precision, scale } => {
            let scale = i64::from(*scale);
            let digits = format!("-?[0-9]{{1,{precision}}}");
            let decimal = proptest::string::string_regex(&digits)
                .unwrap()
                .prop_map(move |digits| Value::Decimal(BigDecimal::new(digits.parse().unwrap(), scale)));
            numeric(decimal.boxed())
        }
        ColumnType::Numeric => {
            let decimal = ("-?[0-9]{1,60}", -20_i64..60)
                .prop_map(|(digits, scale)| Value::Decimal(BigDecimal::new(digits.parse().unwrap(), scale)));
            numeric(decimal.boxed())
        }
        ColumnType::Text => any::<String>().prop_map(Value::Text).boxed(),
        ColumnType::Bytes => vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed(),
        ColumnType::Date => {
            prop_oneof![any::<i32>(), Just(i32::MAX), Just(i32::MIN)].prop_map(Value::Date).boxed()
        }
        ColumnType::Time => (0_i64..=86_400_000_000).prop_map(Value::Time).boxed(),
        ColumnType::Timestamp => edges.prop_map(Value::Timestamp).boxed(),
        ColumnType::TimestampTz => edges.prop_map(Value::TimestampTz).boxed(),
        ColumnType::Uuid => any::<u128>().prop_map(|v| Value::Uuid(uuid::Uuid::from_u128(v))).boxed(),
        ColumnType::Json => r#"\{"[a-z"\\]{0,6}": ?[0-9]{1,9}\}"#.prop_map(Value::Json).boxed(),
        ColumnType::Array(items) => {
            let item = prop_oneof![1 => Just(Value::Null), 4 => value(items, special)];
            vec(item, 0..4).prop_map(Value::Array).boxed()
        }
    }
}

fn schema() -> impl Strategy<Value = TableSchema> {
    let column = (any::<[char; 2]>(), column_type(), any::<bool>());
    (vec(column, 1..7), 0_usize..3, any::<[bool; 2]>()).prop_map(|(columns, keys, plain)| {
        let mut columns: Vec<Column> = columns
            .into_iter()
            .enumerate()
            .map(|(index, (name, column_type, nullable))| Column {
                // Half of the tables have names that Avro can spell.
                name: if plain[0] { format!("c{index}") } else { format!("{}{index}{}", name[0], name[1]) },
                column_type,
                nullable,
            })
            .collect();
        let mut key: Vec<usize> = (0..columns.len().min(keys)).collect();
        if plain[1] {
            key.reverse();
        }
        for &index in &key {
            columns[index].nullable = false;
        }
        TableSchema { table: TableId::new("public", "t"), columns, key }
    })
}

fn row(schema: &TableSchema, special: bool) -> BoxedStrategy<Row> {
    let values: Vec<BoxedStrategy<Value>> = schema
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let value = value(&column.column_type, special);
            match schema.key.contains(&index) {
                true => value,
                false => prop_oneof![1 => Just(Value::Null), 4 => value].boxed(),
            }
        })
        .collect();
    values.boxed()
}

fn change(special: bool) -> impl Strategy<Value = ChangeEvent> {
    schema().prop_flat_map(move |schema| {
        let rows = (proptest::option::of(row(&schema, special)), row(&schema, special));
        let ops = [Op::Create, Op::Update, Op::Delete, Op::Read, Op::Truncate];
        let snapshots = [Snapshot::False, Snapshot::True, Snapshot::Incremental];
        let transaction = proptest::option::of((any::<String>(), any::<u32>(), any::<u32>()));
        let facts = (
            prop::sample::select(ops.to_vec()),
            prop::sample::select(snapshots.to_vec()),
            any::<(u64, u64, u64, Option<u32>)>(),
            (i64::MIN / 2..i64::MAX / 2, i64::MIN / 2..i64::MAX / 2),
            transaction,
            any::<u8>(),
        );
        let schema = Arc::new(schema);
        (rows, facts).prop_map(move |((before, mut after), facts)| {
            let (op, snapshot, (lsn, ordinal, own_lsn, tx_id), (source_us, ts_us), transaction, unchanged) =
                facts;
            let unchanged: Vec<usize> = (0..schema.columns.len())
                .filter(|index| {
                    op == Op::Update && unchanged >> index & 1 == 1 && !schema.key.contains(index)
                })
                .collect();
            for &index in &unchanged {
                after[index] = Value::Null;
            }
            ChangeEvent {
                op,
                before: before.filter(|_| matches!(op, Op::Update | Op::Delete)),
                after: Some(after).filter(|_| matches!(op, Op::Create | Op::Update | Op::Read)),
                unchanged,
                source: Source {
                    name: "oltp".into(),
                    database: "shop".into(),
                    position: Position::new(lsn, ordinal),
                    lsn: own_lsn,
                    tx_id,
                    ts_us: source_us,
                    snapshot,
                },
                ts_us,
                transaction: transaction.map(|(id, a, b)| Transaction {
                    id,
                    total_order: a.into(),
                    data_collection_order: b.into(),
                }),
                schema: Arc::clone(&schema),
            }
        })
    })
}

const TOPIC: &str = "oltp.public.order-items";

fn avro_body(change: &ChangeEvent) -> Result<Bytes, CodecError> {
    let key: Vec<bool> = (0..change.schema.columns.len()).map(|i| change.schema.key.contains(&i)).collect();
    let mut buffer = BytesMut::new();
    write::put_envelope(&mut buffer, change, &key)?;
    Ok(buffer.freeze())
}

fn decode_json(key: Option<Bytes>, value: Bytes) -> Result<Decoded, CodecError> {
    let record = Incoming {
        topic: TOPIC.into(),
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key,
        value: Some(value),
        headers: Vec::new(),
    };
    block_on(ChangeDecoder::new(None).decode(&record))
}

/// As the decoder sees it, for which the key is the record's key.
fn without_key(change: &ChangeEvent) -> ChangeEvent {
    let schema = TableSchema { key: Vec::new(), ..(*change.schema).clone() };
    ChangeEvent { schema: Arc::new(schema), ..change.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn avro_round_trips(change in change(false)) {
        let schema = avro::schema::value_schema(TOPIC, &change.schema);
        let body = avro_body(&change).unwrap();
        let decoded = decode_with_schema(&schema, &body).unwrap();
        prop_assert_eq!(decoded, Decoded::Change(without_key(&change)));
    }

    #[test]
    fn apache_avro_reads_and_writes_the_same_bytes(change in change(false)) {
        let schema = avro::schema::value_schema(TOPIC, &change.schema);
        let schema = apache_avro::Schema::parse_str(&schema).unwrap();
        let body = avro_body(&change).unwrap();
        let mut input = &body[..];
        let datum = apache_avro::from_avro_datum(&schema, &mut input, None).unwrap();
        prop_assert!(input.is_empty());
        prop_assert_eq!(apache_avro::to_avro_datum(&schema, datum).unwrap(), body.to_vec());
    }

    #[test]
    fn avro_keys_are_what_their_schema_says(change in change(false)) {
        let names: Vec<String> = change.schema.key_columns().map(|c| c.name.clone()).collect();
        let Some(schema) = avro::schema::key_schema(TOPIC, &change.schema) else {
            prop_assert!(names.is_empty());
            return Ok(());
        };
        prop_assert_eq!(compile::key_columns(&schema).unwrap(), Some(names));
        if let Some(row) = change.after.as_ref().or(change.before.as_ref()) {
            let mut buffer = BytesMut::new();
            write::put_key(&mut buffer, &change.schema, row).unwrap();
            let schema = apache_avro::Schema::parse_str(&schema).unwrap();
            let mut input = &buffer[..];
            apache_avro::from_avro_datum(&schema, &mut input, None).unwrap();
            prop_assert!(input.is_empty());
        }
    }

    #[test]
    fn json_round_trips(change in change(true)) {
        let template = Template::new(&change.schema);
        let (mut key, mut value) = (BytesMut::new(), BytesMut::new());
        template.put_envelope(&mut value, &change).unwrap();
        let key_row = change.after.as_ref().or(change.before.as_ref()).filter(|_| !change.schema.key.is_empty());
        let (key, expected) = match key_row {
            Some(row) => {
                template.put_key(&mut key, &change.schema, row).unwrap();
                (Some(key.freeze()), change.clone())
            }
            None => (None, without_key(&change)),
        };
        prop_assert_eq!(decode_json(key, value.freeze()).unwrap(), Decoded::Change(expected));
    }

    #[test]
    fn damaged_avro_is_read_or_refused(
        change in change(false),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let schema = avro::schema::value_schema(TOPIC, &change.schema);
        let mut body = avro_body(&change).unwrap().to_vec();
        for (index, byte) in damage {
            let index = index.index(body.len());
            body[index] = byte;
        }
        let _ = decode_with_schema(&schema, &body);
        let _ = decode_with_schema(&schema, &body[..cut.index(body.len())]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _ = decode_with_schema(&avro::schema::value_schema(TOPIC, &payments()), &bytes);
        let _ = decode_json(None, bytes.clone().into());
        let _ = decode_json(Some(bytes.into()), format!("{{{text}").into());
        let _ = decode_with_schema(&text, &[0, 2, 4]);
    }
}

fn payments() -> TableSchema {
    let column = |name: &str, column_type, nullable| Column { name: name.to_owned(), column_type, nullable };
    TableSchema {
        table: TableId::new("public", "payments"),
        columns: vec![
            column("id", ColumnType::Int64, false),
            column("amount", ColumnType::Decimal { precision: 18, scale: 4 }, false),
            column("currency", ColumnType::Text, false),
            column("fee", ColumnType::Numeric, true),
            column("tags", ColumnType::Array(Box::new(ColumnType::Text)), true),
            column("card number", ColumnType::Text, true),
            column("created_at", ColumnType::TimestampTz, false),
        ],
        key: vec![0],
    }
}

fn payment(values: &[(usize, Value)]) -> ChangeEvent {
    let schema = Arc::new(payments());
    let mut after = vec![Value::Null; schema.columns.len()];
    after[0] = Value::Int(1);
    for (index, value) in values {
        after[*index] = value.clone();
    }
    ChangeEvent {
        op: Op::Update,
        before: None,
        after: Some(after),
        unchanged: vec![4],
        source: Source {
            name: "oltp".into(),
            database: "shop".into(),
            position: Position::new(0x16_B374_D848, 3),
            lsn: 0x16_B374_D800,
            tx_id: Some(7),
            ts_us: 1_700_000_000_000_001,
            snapshot: Snapshot::False,
        },
        ts_us: 1_700_000_000_250_000,
        transaction: None,
        schema,
    }
}

#[test]
fn the_schemas_are_debeziums() {
    insta::assert_snapshot!(pretty(&avro::schema::value_schema("oltp.public.payments", &payments())));
    insta::assert_snapshot!(pretty(&avro::schema::key_schema("oltp.public.payments", &payments()).unwrap()));
}

#[test]
fn the_json_is_debeziums() {
    let change = payment(&[
        (1, Value::Decimal("12.3400".parse().unwrap())),
        (2, Value::Text("EUR".to_owned())),
        (3, Value::NumericSpecial(NumericSpecial::NaN)),
        (6, Value::TimestampTz(i64::MAX)),
    ]);
    let mut value = BytesMut::new();
    Template::new(&change.schema).put_envelope(&mut value, &change).unwrap();
    insta::assert_snapshot!(pretty(std::str::from_utf8(&value).unwrap()));
}

fn pretty(json: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
}

#[test]
fn what_does_not_fit_is_refused_by_column_and_never_by_value() {
    for (index, value) in [
        (1, Value::Decimal("0.00001".parse().unwrap())),
        (1, Value::Decimal("123456789012345".parse().unwrap())),
        (3, Value::NumericSpecial(NumericSpecial::NaN)),
        (0, Value::Text("4111111111111111".to_owned())),
        (0, Value::Null),
    ] {
        let error = avro_body(&payment(&[(index, value.clone())])).unwrap_err();
        assert_eq!(error.reason(), Some(affluent_model::Reason::ValueOutOfRange));
        assert!(error.to_string().contains(&payments().columns[index].name), "{error}");
        assert!(!error.to_string().contains("4111"), "{error}");
    }
}

#[test]
fn not_a_number_survives_both_formats() {
    let mut change = payment(&[]);
    let mut schema = payments();
    schema.columns[3].column_type = ColumnType::Float64;
    schema.key.clear();
    change.schema = Arc::new(schema);
    change.after.as_mut().unwrap()[3] = Value::Float(f64::NAN);
    let body = avro_body(&change).unwrap();
    let avro = decode_with_schema(&avro::schema::value_schema(TOPIC, &change.schema), &body).unwrap();
    let mut value = BytesMut::new();
    Template::new(&change.schema).put_envelope(&mut value, &change).unwrap();
    let json = decode_json(None, value.freeze()).unwrap();
    for decoded in [avro, json] {
        let Decoded::Change(decoded) = decoded else { panic!("expected a change") };
        assert!(matches!(decoded.after.unwrap()[3], Value::Float(v) if v.is_nan()));
    }
}

#[test]
fn debeziums_own_records_are_read() {
    let json = r#"{"before":null,"after":{"id":1,"name":"a","price":1.5,"ok":true,"doc":{"x":1}},
        "source":{"version":"2.7","connector":"postgresql","name":"pg","ts_ms":1700000000000,"snapshot":"last",
        "db":"shop","sequence":"[\"1\",\"2\"]","schema":"public","table":"items","txId":5,"lsn":99,"xmin":null},
        "op":"r","ts_ms":1700000000001,"transaction":null}"#;
    let key = Bytes::from_static(br#"{"id":1}"#);
    let Decoded::Change(change) = decode_json(Some(key), json.into()).unwrap() else { panic!("a change") };
    assert_eq!(change.source.position, Position::new(99, 0));
    assert_eq!(change.source.snapshot, Snapshot::True);
    assert_eq!(change.ts_us, 1_700_000_000_001_000);
    assert_eq!(change.key(), [Value::Int(1)]);
    assert_eq!(change.after.unwrap()[4], Value::Json(r#"{"x":1}"#.to_owned()));
}

/// As Debezium writes it with `schemas.enable=true`, shortened to what is read.
#[test]
fn debeziums_schema_says_what_the_values_are() {
    let field = |name: &str, of: &str, more: serde_json::Value| {
        let mut field = serde_json::json!({"type": of, "optional": name != "id", "field": name});
        field.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        field
    };
    let named = |name: &str| serde_json::json!({"name": name, "version": 1});
    let decimal = serde_json::json!({
        "name": "org.apache.kafka.connect.data.Decimal",
        "parameters": {"scale": "4", "connect.decimal.precision": "18"},
    });
    let fields = [
        field("id", "int64", serde_json::Value::Null),
        field("amount", "bytes", decimal),
        field("fee", "struct", named("io.debezium.data.VariableScaleDecimal")),
        field("at", "string", named("io.debezium.time.ZonedTimestamp")),
        field("local", "int64", named("io.debezium.time.Timestamp")),
        field("day", "int32", named("io.debezium.time.Date")),
        field("doc", "string", named("io.debezium.data.Json")),
        field("tags", "array", serde_json::json!({"items": {"type": "string", "optional": true}})),
        field("note", "string", serde_json::Value::Null),
        field("raw", "bytes", serde_json::Value::Null),
    ];
    let placeholder = "__debezium_unavailable_value";
    let record = serde_json::json!({
        "schema": {"type": "struct", "fields": [{"type": "struct", "fields": fields, "field": "after"}]},
        "payload": {
            "before": null,
            "after": {
                "id": 1, "amount": "AeJA", "fee": {"scale": 1, "value": "/w=="}, "at": "2024-05-01T12:00:00.000001Z",
                "local": 1_714_564_800_001_i64, "day": 19_844, "doc": placeholder, "tags": [placeholder],
                "note": placeholder, "raw": "AQI=",
            },
            "source": {"name": "pg", "ts_ms": 1, "db": "shop", "schema": "public", "table": "items", "txId": 5, "lsn": 99},
            "op": "u", "ts_ms": 2,
        },
    });
    let key = Bytes::from_static(br#"{"schema":{"type":"struct"},"payload":{"id":1}}"#);
    let decoded = decode_json(Some(key), record.to_string().into()).unwrap();
    let Decoded::Change(change) = decoded else { panic!("a change") };
    let types: Vec<&ColumnType> = change.schema.columns.iter().map(|column| &column.column_type).collect();
    let tags = ColumnType::Array(Box::new(ColumnType::Text));
    assert_eq!(
        types,
        [
            &ColumnType::Int64,
            &ColumnType::Decimal { precision: 18, scale: 4 },
            &ColumnType::Numeric,
            &ColumnType::TimestampTz,
            &ColumnType::Timestamp,
            &ColumnType::Date,
            &ColumnType::Json,
            &tags,
            &ColumnType::Text,
            &ColumnType::Bytes,
        ]
    );
    assert_eq!(change.schema.columns.iter().filter(|column| !column.nullable).count(), 1);
    assert_eq!((change.key(), &change.unchanged[..]), (vec![Value::Int(1)], &[6, 7, 8][..]));
    assert_eq!(
        change.after.unwrap(),
        [
            Value::Int(1),
            Value::Decimal("12.3456".parse().unwrap()),
            Value::Decimal("-0.1".parse().unwrap()),
            Value::TimestampTz(1_714_564_800_000_001),
            Value::Timestamp(1_714_564_800_001_000),
            Value::Date(19_844),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Bytes(vec![1, 2]),
        ]
    );
}

#[test]
fn other_records_are_told_apart() {
    assert_eq!(decode_json(None, r#"{"event_id":"x"}"#.into()).unwrap(), Decoded::Other);
    assert_eq!(decode_with_schema(r#""string""#, &[2, 65]).unwrap(), Decoded::Other);
    for bytes in ["", "x", "\0\0", "{", "[1]"] {
        assert!(decode_json(None, bytes.into()).is_err(), "{bytes:?}");
    }
}

/// Not a benchmark, but a bound that a change of the hot path must not break by far. The goal is
/// under 3 µs a row of ten columns on one idle core.
#[test]
fn encoding_is_fast() {
    let column =
        |index: usize, column_type| Column { name: format!("c{index}"), column_type, nullable: true };
    let types = [
        ColumnType::Int64,
        ColumnType::Int64,
        ColumnType::Decimal { precision: 18, scale: 4 },
        ColumnType::Text,
        ColumnType::Text,
        ColumnType::Text,
        ColumnType::TimestampTz,
        ColumnType::TimestampTz,
        ColumnType::Bool,
        ColumnType::Int32,
    ];
    let values = [
        Value::Int(12_345_678),
        Value::Int(42),
        Value::Decimal("1234.5600".parse().unwrap()),
        Value::Text("EUR".to_owned()),
        Value::Text("a card token of some length".to_owned()),
        Value::Text("captured".to_owned()),
        Value::TimestampTz(1_700_000_000_000_001),
        Value::TimestampTz(1_700_000_000_000_002),
        Value::Bool(true),
        Value::Int(7),
    ];
    let columns = types.into_iter().enumerate().map(|(i, t)| column(i, t)).collect();
    let schema = TableSchema { table: TableId::new("public", "payments"), columns, key: vec![0] };
    let mut change = payment(&[]);
    change.schema = Arc::new(schema);
    change.after = Some(values.to_vec());
    change.unchanged.clear();
    const ROWS: u32 = 100_000;
    let time = |name: &str, run: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        (0..ROWS).for_each(|_| run());
        let each = started.elapsed() / ROWS;
        println!("{name}: {each:?} a row");
        each
    };
    let key = vec![true, false, false, false, false, false, false, false, false, false];
    let mut buffer = BytesMut::with_capacity(1 << 20);
    let encode = time("encode", &mut || {
        write::put_key(&mut buffer, &change.schema, change.after.as_ref().unwrap()).unwrap();
        write::put_envelope(&mut buffer, &change, &key).unwrap();
        buffer.clear();
    });
    let body = avro_body(&change).unwrap();
    let plan = compile::envelope(&avro::schema::value_schema(TOPIC, &change.schema)).unwrap().unwrap();
    let decode = time("decode", &mut || {
        avro::read::envelope(&body, &plan).unwrap();
    });
    println!("{} bytes a row", body.len());
    let bound = std::time::Duration::from_micros(30);
    assert!(encode < bound && decode < bound, "encode {encode:?}, decode {decode:?}");
}
