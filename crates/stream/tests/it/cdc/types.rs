//! Values of every type: what PostgreSQL holds, what the snapshot read and what the stream brought.

use super::rig::{Record, Rig, run};
use affluent_bus::codec::Format;
use affluent_model::value::NumericSpecial;
use affluent_model::{ColumnType, Op, Value};
use std::collections::BTreeMap;

/// Column type, expression that makes a random value, edge values as SQL.
const TYPES: &[(&str, &str, &[&str])] = &[
    ("bool", "random() < 0.5", &["true", "false"]),
    ("int2", "(random() * 65535 - 32768)::int2", &["-32768", "32767"]),
    ("int4", "(random() * 4294967295 - 2147483648)::int8::int4", &["-2147483648", "2147483647"]),
    ("int8", "(random() * 1e18)::int8", &["-9223372036854775808", "9223372036854775807"]),
    ("float4", "(random() * 1e20 - 5e19)::float4", &["'NaN'", "'Infinity'", "'-Infinity'", "1e-40", "0.1"]),
    (
        "float8",
        "random() * exp(random() * 600 - 300)",
        &["'NaN'", "'-Infinity'", "5e-324", "1.7976931348623157e308", "0.1"],
    ),
    (
        "numeric",
        "(random() * 1e30)::numeric * 10 ^ (random() * 40 - 20)::int",
        &["1e-100", "123456789012345678901234567890.123456789", "-0.000"],
    ),
    ("numeric(18,4)", "(random() * 1e13)::numeric(18,4)", &["99999999999999.9999", "-0.0001"]),
    ("text", "md5(random()::text)", &["''", "E'tab\\tnew\\nline\\\\ \\r \\b'", "'é 漢字 🦀'", "'\\N'"]),
    ("varchar(20)", "left(md5(random()::text), 20)", &["''"]),
    ("char(5)", "left(md5(random()::text), 3)", &["'a'"]),
    ("bytea", "decode(md5(random()::text), 'hex')", &["''", "'\\x00ff'"]),
    (
        "date",
        "date '2000-01-01' + (random() * 100000)::int",
        &["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'4713-01-01 BC'"],
    ),
    ("time", "time '00:00' + random() * interval '1 day'", &["'24:00:00'", "'23:59:59.999999'"]),
    (
        "timestamp",
        "timestamp '2000-01-01' + random() * interval '9000 years'",
        &["'infinity'", "'-infinity'", "'4713-01-01 00:00:00 BC'", "'262000-12-31 23:59:59.999999'"],
    ),
    (
        "timestamptz",
        "timestamptz '2000-01-01' - random() * interval '3000 years'",
        &["'infinity'", "'-infinity'", "'1883-11-18 12:00:00-04:56:02'", "'0001-12-31 23:59:59.999999 BC'"],
    ),
    ("uuid", "gen_random_uuid()", &["'00000000-0000-0000-0000-000000000000'"]),
    (
        "json",
        "json_build_object('a', random(), 'b', md5(random()::text))",
        &["'null'", "'{\"a\" :  [1, \"x\\\"\"]}'"],
    ),
    (
        "jsonb",
        "jsonb_build_array(random(), null, md5(random()::text))",
        &["'{}'", "'12345678901234567890.123456789'"],
    ),
    ("inet", "('10.0.0.0'::inet + (random() * 1e6)::int8)", &["'::1/64'", "'192.168.0.1/24'"]),
    ("cidr", "'10.1.0.0/16'", &[]),
    ("macaddr", "'08:00:2b:01:02:03'", &[]),
    ("money", "(random() * 1000)::numeric::money", &["-12.34"]),
    ("interval", "random() * interval '400 days'", &["'-1 year -2 mons +3 days 04:05:06.789'"]),
    ("timetz", "'12:34:56.789+05:30'", &[]),
    ("bit(8)", "B'10101010'", &[]),
    ("varbit", "B'101'", &[]),
    ("oid", "(random() * 4294967295)::int8::oid", &["4294967295"]),
    ("pg_lsn", "'16/B374D848'", &[]),
    ("int4range", "int4range((random() * 10)::int, 20)", &["'empty'", "'(,)'"]),
    ("tstzrange", "tstzrange('2020-01-01', '2021-01-01')", &[]),
    ("nummultirange", "'{[1,2),[3,4)}'", &[]),
    ("point", "point(1.5, 2)", &[]),
    ("box", "'((1,2),(3,4))'", &[]),
    ("tsvector", "'a fat cat'::tsvector", &[]),
    ("xml", "'<a>b</a>'", &[]),
    ("mood", "(ARRAY['sad', 'ok', 'very ''happy\"'])[1 + (random() * 2)::int]::mood", &[]),
    ("price", "(random() * 100)::numeric(10,2)", &[]),
    ("pair", "ROW(1, 'x,\"y')::pair", &[]),
    ("int4[]", "ARRAY[1, null, (random() * 100)::int]", &["'{}'", "'[0:1]={7,8}'"]),
    ("text[]", "ARRAY['a,b', null, 'NULL', '', '\"q\\', md5(random()::text)]", &["'{}'"]),
    ("numeric(10,2)[]", "ARRAY[1.5, random()]", &[]),
    ("timestamptz[]", "ARRAY[now(), 'infinity']", &[]),
    ("uuid[]", "ARRAY[gen_random_uuid()]", &[]),
    ("jsonb[]", "ARRAY['{\"a\": [1]}'::jsonb]", &[]),
    ("bytea[]", "ARRAY['\\x00ff'::bytea]", &[]),
    ("mood[]", "ARRAY['ok', 'very ''happy\"']::mood[]", &[]),
    ("box[]", "ARRAY[box '((1,2),(3,4))', box '((0,0),(1,1))']", &[]),
];

/// The value as PostgreSQL reads it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bytes(bytes) => format!("\\x{}", hex(bytes)),
        // The calendar of `chrono` ends long before PostgreSQL's.
        Value::Date(days) if *days > 90_000_000 && *days != i32::MAX => {
            assert_eq!(*days, 2_145_042_905);
            "5874897-12-31".into()
        }
        Value::Date(_) | Value::Timestamp(_) | Value::TimestampTz(_) => era(&value.to_text()),
        Value::Float(v) if v.is_infinite() => if *v > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Value::Float(v) => format!("{v:e}"),
        Value::NumericSpecial(NumericSpecial::NaN) => "NaN".into(),
        Value::Array(items) => {
            let item = |item: &Value| match item {
                Value::Null => "NULL".to_owned(),
                item => format!("\"{}\"", literal(item).replace('\\', "\\\\").replace('"', "\\\"")),
            };
            format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(","))
        }
        other => other.to_text(),
    }
}

/// ISO 8601 years before 1 as PostgreSQL writes them.
fn era(text: &str) -> String {
    let Some(rest) = text.strip_prefix('-').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    else {
        return match text.strip_prefix("0000-") {
            Some(rest) => format!("0001-{rest} BC"),
            None => text.trim_start_matches('+').to_owned(),
        };
    };
    let (year, rest) = rest.split_once('-').expect("a date");
    format!("{:04}-{rest} BC", year.parse::<i64>().expect("a year") + 1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn by_id(records: &[Record]) -> BTreeMap<i64, &Record> {
    let id = |record: &Record| match record.column("id") {
        Value::Int(id) => id,
        other => panic!("{other:?}"),
    };
    records.iter().map(|record| (id(record), record)).collect()
}

#[test]
fn every_type_keeps_its_value_as_json() {
    run(check_types(Format::Json));
}

#[test]
fn every_type_keeps_its_value_as_avro() {
    run(check_types(Format::Avro));
}

async fn check_types(format: Format) {
    let types =
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'very ''happy\"'); CREATE DOMAIN price AS numeric(10,2);
        CREATE TYPE pair AS (a int, b text);";
    let columns: Vec<String> = TYPES.iter().enumerate().map(|(i, (t, ..))| format!("c{i} {t}")).collect();
    let columns = columns.join(", ");
    let mut insert = String::new();
    let random: Vec<&str> = TYPES.iter().map(|(_, random, _)| *random).collect();
    insert += &format!("INSERT INTO kinds SELECT i, {} FROM generate_series(1, 40) i;", random.join(", "));
    let mut id = 100;
    for (i, (name, _, edges)) in TYPES.iter().enumerate() {
        for edge in *edges {
            insert += &format!("INSERT INTO kinds (id, c{i}) VALUES ({id}, ({edge})::{name});");
            id += 1;
        }
    }
    let table = |name: &str| format!("CREATE TABLE {name} (id int PRIMARY KEY, {columns});");
    let mut rig = Rig::new(&format!("{types}{}{}{insert}", table("kinds"), table("copies"))).await;
    if format == Format::Avro {
        rig.avro();
    }
    let total = usize::try_from(id - 100).unwrap() + 40;
    rig.start_ready().await;
    rig.sql("INSERT INTO copies SELECT * FROM kinds").await;
    let rows = rig.await_rows("kinds", total).await;
    let changes = rig.await_changes("copies", total).await;
    let (rows, changes) = (by_id(&rows), by_id(&changes));
    assert_eq!(rows.len(), total);
    for (id, row) in &rows {
        let stream = changes[id];
        let mut checks = Vec::new();
        for (i, (name, ..)) in TYPES.iter().enumerate() {
            let column = format!("c{i}");
            let (read, streamed) = (row.column(&column), stream.column(&column));
            if !matches!(&read, Value::Float(v) if v.is_nan()) {
                assert_eq!(read, streamed, "{name}");
            }
            let given = match &read {
                Value::Null => "NULL".to_owned(),
                value => format!("'{}'", literal(value).replace('\'', "''")),
            };
            // Text forms compare what `=` does not know (json, point, xml) and bounds of arrays do not.
            let text = format!("{column}::text IS NOT DISTINCT FROM ({given}::{name})::text");
            let array = format!("{column} IS NOT DISTINCT FROM {given}::{name}");
            let condition = match *name {
                "int4[]" => format!(
                    "array_to_json({column})::text IS NOT DISTINCT FROM array_to_json({given}::{name})::text"
                ),
                "numeric" | "float4" | "float8" => array,
                _ => text,
            };
            checks.push(format!("CASE WHEN {condition} THEN '' ELSE {column}::text || ' became ' || coalesce({given}::text, 'null') || '; ' END"));
        }
        let sql =
            format!("SET extra_float_digits = 3; SELECT {} FROM kinds WHERE id = {id}", checks.join(" || "));
        assert_eq!(rig.value(&sql).await, "", "row {id}");
    }
    let schema = &rows[&1].change.as_ref().unwrap().schema;
    if format == Format::Avro {
        assert_eq!(schema.columns[8].column_type, ColumnType::Decimal { precision: 18, scale: 4 });
    }
    rig.stop().await;
}

#[test]
fn what_cannot_be_held_goes_to_the_dead_letters_and_the_stream_goes_on() {
    run(async {
        let sql = "CREATE TABLE odd (id int PRIMARY KEY, at timestamptz, secret text);
            INSERT INTO odd VALUES (1, '294276-12-31 23:59:59+00', 'hidden'), (2, now(), 'x')";
        let mut rig = Rig::new(sql).await;
        rig.options.protect =
            [("public.odd.secret".to_owned(), affluent_stream::cdc::Protection::Mask)].into();
        rig.start_ready().await;
        rig.await_rows("odd", 1).await;
        rig.sql("INSERT INTO odd VALUES (3, '294276-12-31 23:59:59+00', 'hidden'), (4, now(), 'x')").await;
        let changes = rig.await_changes("odd", 1).await;
        assert_eq!((changes[0].op(), changes[0].column("id")), (Some(Op::Create), Value::Int(4)));
        let topic = rig.topic("odd");
        let letters = affluent_stream::dead_letters::DeadLetters::new(rig.bus.clone()).unwrap();
        let mine = async |_: &Rig| {
            let listed = letters.list(&affluent_stream::dead_letters::Filter::default()).await.unwrap();
            listed.into_iter().filter(|l| l.letter.topic == topic).map(|l| l.letter).collect::<Vec<_>>()
        };
        rig.until("two letters", async |rig| mine(rig).await.len() >= 2).await;
        for letter in mine(&rig).await {
            let row = String::from_utf8(letter.value.unwrap()).unwrap();
            assert_eq!(
                (letter.stage.as_str(), letter.reason),
                ("cdc", affluent_model::Reason::ValueOutOfRange)
            );
            assert!(row.contains("294276-12-31") && !row.contains("hidden"), "{row}");
        }
        rig.stop().await;
    });
}

#[test]
fn changes_of_type_are_followed_or_quarantined_and_told() {
    run(async {
        let mut rig = Rig::new("CREATE TABLE items (id int PRIMARY KEY, n int, price numeric(10,2))").await;
        rig.avro();
        rig.options.partitions = 1;
        rig.start_ready().await;
        rig.sql("INSERT INTO items VALUES (1, 1, 1)").await;
        rig.await_changes("items", 1).await;
        rig.sql("ALTER TABLE items ADD COLUMN note text; INSERT INTO items VALUES (2, 2, 2, 'x')").await;
        rig.await_changes("items", 2).await;
        // Not compatible: an int column becomes text.
        rig.sql("ALTER TABLE items ALTER n TYPE text; INSERT INTO items VALUES (3, 'three', 3, 'y')").await;
        let topic = rig.topic("items");
        let letters = affluent_stream::dead_letters::DeadLetters::new(rig.bus.clone()).unwrap();
        let filter = affluent_stream::dead_letters::Filter { topic: Some(topic), ..Default::default() };
        rig.until("a dead letter", async |_| !letters.list(&filter).await.unwrap().is_empty()).await;
        let letter = letters.list(&filter).await.unwrap().remove(0).letter;
        assert_eq!(letter.reason, affluent_model::Reason::IncompatibleSchema);
        assert!(String::from_utf8(letter.value.unwrap()).unwrap().contains("three"));
        let degraded =
            matches!(rig.health.snapshot().get("cdc"), Some(affluent_telemetry::health::State::Degraded(_)));
        assert!(degraded, "{:?}", rig.health.snapshot());
        // Back to what fits: the stream goes on, and health with it.
        rig.sql("ALTER TABLE items ALTER n TYPE int USING 4; INSERT INTO items VALUES (4, 4, 4, 'z')").await;
        let changes = rig.await_changes("items", 3).await;
        assert_eq!(changes.last().unwrap().column("id"), Value::Int(4));
        let ready = affluent_telemetry::health::State::Ready;
        assert_eq!(rig.health.snapshot().get("cdc"), Some(&ready));
        // What Avro cannot hold: NUMERIC has values that are no numbers.
        rig.sql("INSERT INTO items VALUES (5, 5, 'NaN', 'n')").await;
        rig.until("another", async |_| letters.list(&filter).await.unwrap().len() == 2).await;
        rig.stop().await;
    });
}
