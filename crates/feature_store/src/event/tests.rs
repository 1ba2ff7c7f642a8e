//! Invariant: a row gives the same keys and cells whether it comes as a change of the topic or as a row of the lake.

use super::columns::Columns;
use super::topic::{self, Changes};
use super::{Cell, Fit, Mapped, Mapping, References};
use affluent_features::definition::Definitions;
use affluent_features::event::{HOUR, fingerprint, order_of};
use affluent_features::{Key, NULL, Plan};
use affluent_model::{
    ChangeEvent, ClickEvent, Column, ColumnType, Op, Position, Snapshot, Source, TableId, TableSchema, Value,
};
use arrow_array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use bigdecimal::BigDecimal;
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// 2026-11-02T12:00:00Z.
const NOON: i64 = 1_793_620_800_000_000;
const NAMES: [&str; 14] = [
    "id",
    "created_at",
    "customer_id",
    "merchant_id",
    "terminal_id",
    "device_id",
    "card_token",
    "card_bin",
    "ip",
    "amount",
    "currency",
    "payment_method",
    "status",
    "note",
];

/// A few rows of the seeds that the warehouse ships.
pub(crate) fn references() -> References {
    let tables: BTreeMap<&str, RecordBatch> = [
        (
            "statuses",
            "entity,source_status,status\ntransactions,approved,authorized\ntransactions,declined,declined",
        ),
        ("fx_rates", "date,currency,rate\n2026-11-02,USD,1.1\n2026-11-02,JPY,163.21\n2026-10-02,USD,1.2"),
        ("settings", "name,value\nreporting_currency,EUR"),
        ("currencies", "code,minor_units\nEUR,2\nUSD,2\nJPY,0"),
        ("ip_networks", "prefix,country\n10,??\n203.0.113,FR\n2001:db8,DE"),
        ("bin_ranges", "prefix,network,country\n4,visa,??\n41,visa,GB"),
        ("countries", "code\nFR\nDE\nGB"),
        ("country_places", "country,latitude,longitude\nFR,46,2\nGB,54,-2.5"),
    ]
    .into_iter()
    .map(|(name, text)| (name, table(text)))
    .collect();
    References::new(|name| tables.get(name)).unwrap()
}

fn table(text: &str) -> RecordBatch {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    let column = |nth: usize| -> ArrayRef {
        Arc::new(
            rows.iter().map(|row| Some(row[nth]).filter(|text| !text.is_empty())).collect::<StringArray>(),
        )
    };
    RecordBatch::try_from_iter(header.iter().enumerate().map(|(nth, name)| (*name, column(nth)))).unwrap()
}

fn mapping(source: &str) -> (Plan, Mapping) {
    let definitions = Definitions::load(None).unwrap();
    let definitions = definitions.select(&definitions.streamed()).unwrap();
    let plan = Plan::new(&definitions).unwrap();
    let mapping = Mapping::new(&definitions, &plan, source, &Arc::new(references())).unwrap();
    (plan, mapping)
}

/// A payment as the database has it.
#[derive(Debug, Clone)]
struct Payment {
    id: Uuid,
    created_at: i64,
    customer: Option<i64>,
    terminal: Option<String>,
    device: Option<Uuid>,
    bin: Option<String>,
    ip: Option<String>,
    /// In ten-thousandths.
    amount: i64,
    currency: &'static str,
    status: &'static str,
}

impl Payment {
    fn values(&self) -> Vec<Value> {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        vec![
            Value::Uuid(self.id),
            Value::TimestampTz(self.created_at),
            self.customer.map_or(Value::Null, Value::Int),
            Value::Int(7),
            text(&self.terminal),
            self.device.map_or(Value::Null, Value::Uuid),
            Value::Null,
            text(&self.bin),
            text(&self.ip),
            Value::Decimal(BigDecimal::new(self.amount.into(), 4)),
            Value::Text(self.currency.to_owned()),
            Value::Text("card".to_owned()),
            Value::Text(self.status.to_owned()),
            Value::Text("not asked for".to_owned()),
        ]
    }

    fn change(&self, op: Op, arrived: i64) -> ChangeEvent {
        let column =
            |name: &&str| Column { name: (*name).to_owned(), column_type: ColumnType::Text, nullable: true };
        ChangeEvent {
            schema: Arc::new(TableSchema {
                table: TableId::new("public", "transactions"),
                columns: NAMES.iter().map(column).collect(),
                key: vec![0],
            }),
            op,
            before: None,
            after: Some(self.values()),
            unchanged: Vec::new(),
            source: Source {
                name: "oltp".into(),
                database: "d".into(),
                position: Position::new(0x0116_B374_D848, 3),
                lsn: 7,
                tx_id: None,
                ts_us: arrived,
                snapshot: Snapshot::False,
            },
            ts_us: 0,
            transaction: None,
        }
    }

    /// As the raw zone has it.
    fn row(&self, op: Op, arrived: i64) -> RecordBatch {
        let text = |text: Option<String>| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let number = |number: Option<i64>| -> ArrayRef { Arc::new(Int64Array::from(vec![number])) };
        let time = |time: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![time]).with_timezone("+00:00"))
        };
        let amount = Decimal128Array::from(vec![i128::from(self.amount)]).with_precision_and_scale(18, 4);
        RecordBatch::try_from_iter([
            ("_op", text(Some(op.code().to_owned()))),
            ("_lsn", number(Some(0x0116_B374_D848))),
            ("_ordinal", number(Some(3))),
            ("_commit_ts", time(arrived)),
            ("id", text(Some(self.id.to_string()))),
            ("created_at", time(self.created_at)),
            ("customer_id", number(self.customer)),
            ("merchant_id", number(Some(7))),
            ("terminal_id", text(self.terminal.clone())),
            ("device_id", text(self.device.map(|id| id.to_string()))),
            ("card_token", text(None)),
            ("card_bin", text(self.bin.clone())),
            ("ip", text(self.ip.clone())),
            ("amount", Arc::new(amount.unwrap()) as ArrayRef),
            ("currency", text(Some(self.currency.to_owned()))),
            ("payment_method", text(Some("card".to_owned()))),
            ("status", text(Some(self.status.to_owned()))),
        ])
        .unwrap()
    }
}

fn payment() -> Payment {
    Payment {
        id: Uuid::from_u128(42),
        created_at: NOON,
        customer: Some(5),
        terminal: Some(" T-1 ".to_owned()),
        device: Some(Uuid::from_u128(9)),
        bin: Some("411111".to_owned()),
        ip: Some("203.0.113.9/32".to_owned()),
        amount: 1_234_500,
        currency: "USD",
        status: "Approved",
    }
}

/// What the change is, and what the row of the lake is.
fn both(mapping: &Mapping, payment: &Payment, op: Op, arrived: i64) -> [Result<(Fit, Mapped), String>; 2] {
    let map = |row: &[Cell]| {
        let mut mapped = Mapped::default();
        let fit = mapping.event(row, &mut mapped);
        fit.map(|fit| (fit, mapped)).map_err(|misfit| misfit.to_string())
    };
    let change = payment.change(op, arrived);
    let mut cells = Vec::new();
    Changes::default().row(mapping, &change, &mut cells);
    let of_topic = map(&cells);
    let batch = payment.row(op, arrived);
    let columns = Columns::new(mapping, &batch).unwrap();
    let mut cells = Vec::new();
    columns.row(0, &mut cells);
    [of_topic, map(&cells)]
}

#[test]
fn a_payment_is_what_its_source_says() {
    let (plan, mapping) = mapping("transactions");
    let [of_topic, of_lake] = both(&mapping, &payment(), Op::Create, NOON + 1);
    assert_eq!(of_topic, of_lake);
    let (fit, mapped) = of_topic.unwrap();
    assert_eq!((fit, mapped.time, mapped.arrived), (Fit::Event, NOON, NOON + 1));
    assert_eq!(mapped.order, order_of("00000000-0000-0000-0000-00000000002a"));
    let shape = plan.source_shape(mapping.source());
    let cell = |name: &str| mapped.cells[shape.columns.iter().position(|c| c.name == name).unwrap()];
    // 123.45 USD at 1.1 USD for a euro: 112.2272... EUR.
    assert_eq!(cell("amount"), 11_223);
    assert_eq!(cell("status"), fingerprint("authorized"));
    assert_eq!(cell("geo_country"), fingerprint("FR"));
    assert_eq!((cell("latitude"), cell("longitude")), (46_000_000, 2_000_000));
    // The card is from another country.
    assert_eq!(cell("home_latitude"), 54_000_000);
    assert_eq!(cell("merchant_category"), NULL, "no streamed feature reads it");
    let key = |name: &str| mapped.keys[shape.entities.iter().position(|(e, _)| e == name).unwrap()];
    assert_eq!(key("customer"), Some(Key::from(5)));
    assert_eq!(key("terminal"), Some(Key::text("T-1")));
    assert_eq!(key("ip"), Some(Key::text("203.0.113.9")));
    assert_eq!(key("card"), None);
    assert_eq!(key("merchant"), None, "no streamed feature is of it");
}

#[test]
fn what_is_late_removed_or_unfit_is_told() {
    let (_, mapping) = mapping("transactions");
    let late = NOON + HOUR + 1;
    for (op, arrived, change, expected) in [
        (Op::Create, late - 1, payment(), Ok(Fit::Event)),
        (Op::Create, late, payment(), Ok(Fit::Late)),
        (Op::Update, late, payment(), Ok(Fit::Nothing)),
        (Op::Update, NOON, payment(), Ok(Fit::Event)),
        (Op::Read, NOON * 2, payment(), Ok(Fit::Event)),
        (Op::Delete, NOON, payment(), Ok(Fit::Nothing)),
        (Op::Create, NOON - 25 * HOUR, payment(), Err("created_at: more than a day after its arrival")),
        (Op::Create, NOON, Payment { status: "odd", ..payment() }, Err("status: unknown status \"odd\"")),
    ] {
        let found = both(&mapping, &change, op, arrived);
        assert_eq!(found[0].as_ref().map(|(fit, _)| *fit), found[1].as_ref().map(|(fit, _)| *fit));
        let expected = expected.map_err(|error: &str| format!("transactions.{error}"));
        assert_eq!(found[0].clone().map(|(fit, _)| fit), expected, "{op:?}");
    }
}

#[test]
fn amounts_and_places_follow_the_warehouse() {
    let references = references();
    for (amount, currency, days, expected) in [
        (1_234_500, "EUR", 0, Some(12_345)),
        (1_234_500, "USD", -1, Some(10_287)),
        // Halves go to the even number: 0.125 and 0.135 EUR.
        (1_250, "EUR", 0, Some(12)),
        (1_350, "EUR", 0, Some(14)),
        (10_000, "JPY", 366, Some(1)),
        (10_000, "JPY", 367, None),
        (10_000, "JPY", -1, None),
        (10_000, "XXX", 0, None),
    ] {
        let time = NOON + days * 24 * HOUR;
        let found = references.reporting((amount, 4), currency, time);
        assert_eq!(found, Ok(expected), "{amount} {currency} {days}");
    }
    for (address, bin, expected) in [
        (Some("203.0.113.9"), Some("411111"), "FR"),
        (Some("2001:db8::1"), None, "DE"),
        (Some("10.0.0.1"), Some("411111"), "GB"),
        (Some("198.51.100.1"), Some("400000"), "??"),
        (None, None, "??"),
    ] {
        assert_eq!(references.country(address, bin), expected, "{address:?} {bin:?}");
    }
    let places = [references.place("GB"), references.place("DE"), references.place("??")];
    assert_eq!(places, [Some((54_000_000, -2_500_000)), None, None]);
    assert_eq!((references.network(Some("400000")), references.network(Some("9"))), ("visa", "unknown"));
}

#[test]
fn clicks_have_visitors_and_paths() {
    let (plan, mapping) = mapping("clickstream");
    let click = ClickEvent::<Cow<str>> {
        event_id: Uuid::from_u128(1),
        session_id: Some("".into()),
        anonymous_id: Some("anon".into()),
        event_type: "page_view".into(),
        // Before there were pages: the time of receipt counts.
        occurred_at: 5,
        received_at: NOON,
        url: Some("https://shop.example/p/7?utm_source=mail".into()),
        properties: "{}".into(),
        ..ClickEvent::default()
    };
    let mut cells = Vec::new();
    topic::click(&mapping, &click, &mut cells);
    let mut mapped = Mapped::default();
    assert_eq!(mapping.event(&cells, &mut mapped), Ok(Fit::Event));
    let shape = plan.source_shape(mapping.source());
    let place = |name: &str| shape.columns.iter().position(|c| c.name == name).unwrap();
    assert_eq!((mapped.time, mapped.cells[place("url_path")]), (NOON, fingerprint("/p/7")));
    let visitor = shape.entities.iter().position(|(entity, _)| entity == "visitor").unwrap();
    assert_eq!(mapping.key_text(&cells, visitor).as_deref(), Some("a:anon"));
    assert_eq!(mapped.keys[visitor], Some(Key::text("a:anon")));
}

fn any_payment() -> impl Strategy<Value = Payment> {
    let text = |pattern: &'static str| prop::option::of(pattern.prop_map(|text: String| text));
    let money = (1i64..10_000_000_000, prop::sample::select(vec!["EUR", "USD", "JPY", "usd ", "XXX"]));
    (
        any::<u128>(),
        -90 * 24 * HOUR..90 * 24 * HOUR,
        prop::option::of(any::<i64>()),
        text("[ ]?[A-Z]{0,3}[0-9]{0,3}"),
        prop::option::of(any::<u128>()),
        text("[0-9]{0,6}"),
        text("(203\\.0\\.113\\.[0-9]{1,2}|2001:db8::[0-9a-f]{1,4}|10\\.1|)(/32)?"),
        money,
        prop::sample::select(vec!["approved", "DECLINED", " approved", "odd"]),
    )
        .prop_map(|(id, time, customer, terminal, device, bin, ip, (amount, currency), status)| {
            Payment {
                id: Uuid::from_u128(id),
                created_at: NOON + time,
                customer,
                terminal,
                device: device.map(Uuid::from_u128),
                bin,
                ip,
                amount,
                currency,
                status,
            }
        })
}

proptest! {
    #[test]
    fn topic_and_lake_agree(payment in any_payment(), delay in -1i64..3, op in 0usize..5) {
        let op = [Op::Create, Op::Update, Op::Read, Op::Delete, Op::Truncate][op];
        let (_, mapping) = mapping("transactions");
        let [of_topic, of_lake] = both(&mapping, &payment, op, payment.created_at + delay * HOUR);
        prop_assert_eq!(of_topic, of_lake);
    }
}
