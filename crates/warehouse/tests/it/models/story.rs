//! A history of changes as the raw zone holds it: customers and merchants that change, payments that are
//! captured, refunded, disputed, deleted; late and repeated records; rows that rules refuse.

use super::files::Model;
use super::{Bench, Table, Tables, collected};
use std::collections::BTreeMap;

/// A record: the table, `_op`, position (LSN), time of commit (hours after the first of November) and columns
/// as text.
#[derive(Debug, Clone)]
pub(super) struct Record {
    table: &'static str,
    op: &'static str,
    lsn: i64,
    hours: i64,
    columns: Vec<(&'static str, String)>,
}

/// `2026-11-01T00:00:00Z` and so many hours.
pub(super) fn at(hours: i64) -> String {
    format!("2026-11-{:02}T{:02}:00:00Z", 1 + hours / 24, hours % 24)
}

/// The id of payment, refund or dispute `number`.
pub(super) fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn record(
    table: &'static str,
    op: &'static str,
    lsn: i64,
    hours: i64,
    columns: &[(&'static str, &str)],
) -> Record {
    let mut columns: Vec<_> = columns.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    for time in ["created_at", "updated_at"] {
        if op != "d" && !columns.iter().any(|(name, _)| *name == time) {
            columns.push((time, at(hours)));
        }
    }
    Record { table, op, lsn, hours, columns }
}

fn customer(op: &'static str, lsn: i64, hours: i64, id: &str, kyc: &str, unchanged: &str) -> Record {
    let columns =
        [("id", id), ("country", " de"), ("kyc_level", kyc), ("status", "Active"), ("_unchanged", unchanged)];
    let mut record = record("customers", op, lsn, hours, &columns);
    if unchanged.is_empty() {
        record.columns.push(("preferences", format!("{{\"at\":{lsn}}}")));
    }
    record
}

fn merchant(op: &'static str, lsn: i64, hours: i64, id: &str, code: &str) -> Record {
    let columns = [
        ("id", id),
        ("name", "Shop"),
        ("category_code", code),
        ("country", "FR"),
        ("currency", "EUR"),
        ("status", "active"),
    ];
    record("merchants", op, lsn, hours, &columns)
}

struct Payment<'a> {
    number: u32,
    customer: &'a str,
    amount: &'a str,
    currency: &'a str,
    status: &'a str,
    device: &'a str,
    created: i64,
}

fn payment(op: &'static str, lsn: i64, hours: i64, payment: &Payment<'_>) -> Record {
    let (id, created) = (id(payment.number), at(payment.created));
    let columns = [
        ("id", id.as_str()),
        ("customer_id", payment.customer),
        ("merchant_id", "1"),
        ("amount", payment.amount),
        ("currency", payment.currency),
        ("status", payment.status),
        ("payment_method", "card"),
        ("card_bin", "424242"),
        ("device_id", payment.device),
        ("ip", "203.0.113.9"),
        ("risk_score", "0.5"),
        ("created_at", created.as_str()),
    ];
    record("transactions", op, lsn, hours, &columns)
}

/// A refund or dispute `numbers.0` of the payment `numbers.1`.
fn child(
    table: &'static str,
    op: &'static str,
    (lsn, hours): (i64, i64),
    numbers: (u32, u32),
    amount: &str,
    status: &str,
) -> Record {
    let reason = if table == "refunds" { "reason" } else { "reason_code" };
    let (own, of) = (id(numbers.0), id(numbers.1));
    let columns = [
        ("id", own.as_str()),
        ("transaction_id", of.as_str()),
        ("amount", amount),
        ("currency", "EUR"),
        ("status", status),
        (reason, "10.4"),
    ];
    record(table, op, lsn, hours, &columns)
}

/// The history, in the order in which its records arrive.
pub(super) fn records() -> Vec<Record> {
    let first = Payment {
        number: 1,
        customer: "1",
        amount: "100.00",
        currency: "eur ",
        status: "authorised",
        device: "A",
        created: 10,
    };
    let second = Payment { number: 2, customer: "2", created: 30, ..first };
    let third = Payment {
        number: 3,
        customer: "1",
        currency: "JPY",
        amount: "1001",
        device: "B",
        created: 40,
        ..first
    };
    let late = Payment { number: 4, customer: "2", amount: "0.125", currency: "KWD", created: 5, ..first };
    let erased = Payment { customer: "", ..second };
    vec![
        // A payment comes before its customer and merchant.
        payment("c", 103, 10, &first),
        merchant("c", 101, 1, "1", "5411"),
        customer("c", 102, 2, "1", "0", ""),
        customer("c", 104, 3, "2", "1", ""),
        payment("c", 110, 30, &second),
        payment("u", 111, 31, &Payment { status: "captured", ..second }),
        // Again, as after a restart.
        payment("u", 111, 31, &Payment { status: "captured", ..second }),
        customer("u", 120, 20, "1", "2", "preferences"),
        payment("c", 121, 40, &third),
        merchant("u", 122, 35, "1", "5732"),
        child("refunds", "c", (130, 50), (11, 1), "40.00", "requested"),
        child("refunds", "u", (131, 51), (11, 1), "40.00", "paid"),
        child("disputes", "c", (132, 52), (21, 2), "100.00", "opened"),
        // Refused: yen have no decimals, nobody knows ZZZ, nothing is no amount.
        payment("c", 133, 53, &Payment { number: 5, amount: "10.5", ..third }),
        payment("c", 134, 53, &Payment { number: 6, currency: "ZZZ", ..first }),
        payment("c", 135, 53, &Payment { number: 7, amount: "0", ..first }),
        // Of an earlier day, on the same device.
        payment("c", 140, 60, &late),
        child("disputes", "u", (141, 70), (21, 2), "100.00", "lost"),
        payment("u", 142, 71, &Payment { device: "B", ..first }),
        // A customer is erased.
        payment("u", 150, 80, &erased),
        record("customers", "d", 151, 80, &[("id", "2")]),
        record("transactions", "d", 160, 90, &[("id", &id(3))]),
        child("refunds", "u", (161, 91), (11, 4), "40.00", "paid"),
    ]
}

/// The raw tables of these records; places in Kafka count from `first`, table by table.
pub(super) async fn raw(
    bench: &Bench,
    models: &[Model],
    records: &[Record],
    first: &BTreeMap<&str, usize>,
) -> Tables {
    let session = bench.session(&Tables::new()).await;
    let mut tables = Tables::new();
    for model in models.iter().filter(|model| model.table.starts_with("staged.")) {
        let name = model.table.trim_start_matches("staged.");
        let columns = model.pairs("columns");
        let own: Vec<&Record> = records.iter().filter(|record| record.table == name).collect();
        let from = first.get(name).copied().unwrap_or(0);
        let row = |(place, record): (usize, &&Record)| {
            let cells = columns.iter().map(|(column, _)| match record.cell(column, from + place) {
                Some(text) if !text.is_empty() => format!("'{}'", text.replace('\'', "''")),
                Some(_) | None => "null".to_owned(),
            });
            format!("({})", cells.collect::<Vec<_>>().join(", "))
        };
        let mut rows: Vec<String> = own.iter().enumerate().map(row).collect();
        // One row of nulls gives an empty table its columns.
        rows.push(format!("({})", vec!["null"; columns.len()].join(", ")));
        let cast = |(place, (column, data_type)): (usize, &(String, String))| match data_type.as_str() {
            "timestamp with time zone" => {
                format!(
                    "arrow_cast(column{}, 'Timestamp(Microsecond, Some(\"+00:00\"))') as {column}",
                    place + 1
                )
            }
            "text[]" => format!("string_to_array(cast(column{} as text), ',') as {column}", place + 1),
            plain => format!("cast(column{} as {plain}) as {column}", place + 1),
        };
        let casts: Vec<String> = columns.iter().enumerate().map(cast).collect();
        let text = format!(
            "select * from (select {} from (values {})) where _op is not null",
            casts.join(", "),
            rows.join(", ")
        );
        tables.insert(format!("raw.{name}"), collected(&session, &text, name).await);
    }
    tables
}

/// Records of each table.
pub(super) fn counts(records: &[Record]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.table).or_default() += 1;
    }
    counts
}

impl Record {
    fn cell(&self, column: &str, offset: usize) -> Option<String> {
        match column {
            "_op" => Some(self.op.to_owned()),
            "_lsn" => Some(self.lsn.to_string()),
            "_ordinal" | "_kafka_partition" => Some("0".to_owned()),
            "_commit_ts" | "_kafka_ts" => Some(at(self.hours)),
            "_kafka_topic" => Some(format!("oltp.public.{}", self.table)),
            "_kafka_offset" => Some(offset.to_string()),
            other => self.columns.iter().find(|(name, _)| *name == other).map(|(_, text)| text.clone()),
        }
    }
}

/// Staged rows of raw tables: those that no rule refuses, through the models' bodies; and how many each rule
/// refused.
pub(super) async fn staged(
    bench: &Bench,
    models: &[Model],
    raw: &Tables,
) -> (Tables, BTreeMap<String, usize>) {
    let mut tables = Tables::new();
    let mut refused = BTreeMap::new();
    for model in models.iter().filter(|model| model.table.starts_with("staged.")) {
        let session = bench.session(raw).await;
        let source = model.table.replace("staged.", "raw.");
        let rules = model.list("rules", "name", "when");
        for (name, when) in &rules {
            let text = format!("select * from {source} where ({when})");
            let (_, rows) = collected(&session, &text, &model.table).await;
            let rows: usize = rows.iter().map(arrow_array::RecordBatch::num_rows).sum();
            *refused.entry(name.clone()).or_default() += rows;
        }
        let holds: Vec<String> =
            rules.iter().map(|(_, when)| format!("not coalesce(({when}), false)")).collect();
        let text = format!("select * from {source} where {}", holds.join(" and "));
        let accepted: Table = collected(&session, &text, &model.table).await;
        let one = Tables::from([(source, accepted)]);
        tables.insert(model.table.clone(), bench.evaluate(model, &one).await);
    }
    (tables, refused)
}

/// Staged clicks as the role `stage` leaves them: two sessions of one visitor, one of another, a repeated
/// click, one with an impossible time.
pub(super) async fn clicks(bench: &Bench, from: usize, to: usize) -> Tables {
    let click = |place: usize, event: &str, visitor: &str, kind: &str, minutes: i64| {
        let at = format!("2026-11-20T{:02}:{:02}:00Z", 10 + minutes / 60, minutes % 60);
        let occurred = if minutes == 300 { "1970-01-01T00:00:00Z".to_owned() } else { at.clone() };
        format!("('{event}', '{visitor}', '{kind}', '{occurred}', '{at}', {place}, 'mail')")
    };
    let all = [
        ("e1", "a", "page_view", 0),
        ("e3", "a", "conversion", 20),
        ("e4", "a", "page_view", 90),
        ("e5", "b", "cart_abandoned", 5),
        // Late: between the first two.
        ("e2", "a", "content_viewed", 10),
        ("e1", "a", "page_view", 95),
        ("e6", "b", "page_view", 300),
    ];
    let rows = all.iter().enumerate().skip(from).take(to.saturating_sub(from));
    let mut rows: Vec<String> = rows.map(|(place, row)| click(place, row.0, row.1, row.2, row.3)).collect();
    rows.push("(null, null, null, null, null, null, null)".to_owned());
    let texts = [
        "user_id",
        "session_id",
        "utm_medium",
        "utm_campaign",
        "url_host",
        "url_path",
        "referrer_host",
        "device_type",
        "browser",
        "os",
        "country",
    ];
    let texts: Vec<String> = texts.iter().map(|name| format!("cast(null as text) as {name}")).collect();
    let text = format!(
        "select * from (select cast(column1 as text) as event_id, cast(column2 as text) as anonymous_id, \
         cast(column3 as text) as event_type, arrow_cast(column4, 'Timestamp(Microsecond, Some(\"+00:00\"))') as occurred_at, \
         arrow_cast(column5, 'Timestamp(Microsecond, Some(\"+00:00\"))') as received_at, \
         cast(column6 as bigint) as _kafka_offset, cast(0 as int) as _kafka_partition, \
         'clickstream.events' as _kafka_topic, cast(column7 as text) as utm_source, false as is_bot, false as is_late, {} \
         from (values {})) where event_id is not null",
        texts.join(", "),
        rows.join(", ")
    );
    let session = bench.session(&Tables::new()).await;
    Tables::from([(CLICKS.to_owned(), collected(&session, &text, CLICKS).await)])
}

/// The staged table that no model makes, and its rows in the history.
pub(super) const CLICKS: &str = "staged.clickstream_events";
pub(super) const CLICKS_ALL: usize = 7;
