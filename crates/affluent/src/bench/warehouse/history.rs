//! A history of payments as the raw zone of the lake has it: 120 days, each row a pure function of its number, so
//! that every run measures the same.

use affluent_lake::{Advance, Lake, Partition, RowBatch};
use affluent_model::{Column, Row, Value};
use affluent_warehouse::batch::{Models, Task};
use anyhow::Context as _;
use bigdecimal::BigDecimal;
use std::sync::Arc;

/// Rows of a commit.
const CHUNK: u64 = 250_000;
/// The days over which the payments are spread; the last one ends at [`END`].
const DAYS: i64 = 120;
const DAY: i64 = 86_400_000_000;
/// 2026-11-01T00:00:00Z, microseconds.
const END: i64 = 1_793_491_200_000_000;

/// Currencies with the decimals of their minor unit, as often as they occur.
const CURRENCIES: &[(&str, i64)] = &[
    ("EUR", 2),
    ("EUR", 2),
    ("EUR", 2),
    ("USD", 2),
    ("USD", 2),
    ("GBP", 2),
    ("JPY", 0),
    ("KWD", 3),
    ("PLN", 2),
];
const COUNTRIES: &[&str] = &["DE", "FR", "US", "GB", "NL", "ES", "JP", "PL", "CH"];
const CATEGORIES: &[&str] = &["5411", "5732", "5812", "4111", "5541", "5912", "7995", "5999"];
const BINS: &[&str] = &["424242", "411111", "510510", "222300", "378282", "601111", "352800", "453201"];

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct History {
    pub(in crate::bench) payments: u64,
}

/// Rows of one raw table: numbers from `from` on, all with one kind of change.
struct Part {
    table: &'static str,
    op: &'static str,
    numbers: Vec<u64>,
    /// When they were committed and arrived, microseconds; `None`: at their own creation.
    at: Option<i64>,
}

impl History {
    fn customers(self) -> u64 {
        (self.payments / 50).max(10)
    }

    fn merchants(self) -> u64 {
        (self.payments / 1_000).clamp(5, 20_000)
    }

    /// Raw rows of the whole history.
    pub(in crate::bench) fn rows(self) -> u64 {
        self.parts().iter().map(|part| part.numbers.len() as u64).sum()
    }

    fn parts(self) -> Vec<Part> {
        let all = |table, count: u64| Part { table, op: "c", numbers: (0..count).collect(), at: None };
        vec![
            all("customers", self.customers()),
            all("merchants", self.merchants()),
            all("transactions", self.payments),
            all("refunds", self.payments / 50),
            all("disputes", self.payments / 300),
        ]
    }

    /// What changes in a quarter of an hour: `rows` rows, half of them new payments, most of the rest payments of
    /// the last two days with a new status, and some of every other kind, late ones among them.
    fn changes(self, rows: u64) -> Vec<Part> {
        let recent = (self.payments / 60).max(1);
        let spread = |count: u64, among: u64, before: u64| -> Vec<u64> {
            (0..count).map(|n| before.saturating_sub(1 + n * (among / count.max(1)).max(1))).collect()
        };
        let at = Some(END + 600_000_000);
        let updates = rows * 2 / 5;
        let new = rows / 2;
        let refunds = rows / 20;
        let disputes = rows / 50;
        let customers = rows - new - updates - refunds - disputes;
        let follow = |count: u64, all: u64| (all..all + count).collect();
        vec![
            Part { table: "transactions", op: "c", numbers: follow(new, self.payments), at },
            Part { table: "transactions", op: "u", numbers: spread(updates, recent, self.payments), at },
            Part { table: "refunds", op: "c", numbers: follow(refunds, self.payments / 50), at },
            Part { table: "disputes", op: "c", numbers: follow(disputes, self.payments / 300), at },
            Part {
                table: "customers",
                op: "u",
                numbers: spread(customers, self.customers(), self.customers()),
                at,
            },
        ]
    }

    /// Writes the history into the raw zone. `told` hears how many rows are in.
    ///
    /// # Errors
    /// Lake.
    pub(in crate::bench) async fn write(self, lake: &Lake, told: impl Fn(u64)) -> anyhow::Result<()> {
        self.append(lake, self.parts(), told).await
    }

    /// Adds the changes of a quarter of an hour.
    ///
    /// # Errors
    /// Lake.
    pub(in crate::bench) async fn change(self, lake: &Lake, rows: u64) -> anyhow::Result<()> {
        self.append(lake, self.changes(rows), |_| {}).await
    }

    async fn append(self, lake: &Lake, parts: Vec<Part>, told: impl Fn(u64)) -> anyhow::Result<()> {
        let models = Models::load(None)?;
        let mut done = 0;
        for part in parts {
            let model = models.of(Task::Clean).find(|model| model.raw() == Some(part.table));
            let model = model.with_context(|| format!("no model of {}", part.table))?;
            let columns: Arc<[Column]> = model.raw_columns()?.into();
            let day = Partition::Day("_kafka_ts".to_owned());
            let table = lake.ensure_table("raw", part.table, &columns, &day).await?;
            let topic: Arc<str> = format!("oltp.public.{}", part.table).into();
            let mut stored = table.offsets().await?.get(&topic, 0);
            for numbers in part.numbers.chunks(CHUNK as usize) {
                let first = stored.unwrap_or(0);
                let row = |(place, &number): (usize, &u64)| {
                    let offset = first + place as i64;
                    columns.iter().map(|column| self.cell(&part, column, number, (&topic, offset))).collect()
                };
                let rows: Vec<Row> = numbers.iter().enumerate().map(row).collect();
                let next = first + numbers.len() as i64;
                let advance = Advance { topic: Arc::clone(&topic), partition: 0, expected: stored, next };
                table.append(Arc::new(RowBatch { columns: columns.clone(), rows }), vec![advance]).await?;
                stored = Some(next);
                done += numbers.len() as u64;
                told(done);
            }
        }
        Ok(())
    }

    /// When payment `number` was made, microseconds.
    fn made(self, number: u64) -> i64 {
        let share = number as f64 / self.payments as f64;
        END - DAYS * DAY + (share * (DAYS * DAY) as f64) as i64
    }

    fn cell(self, part: &Part, column: &Column, number: u64, at: (&Arc<str>, i64)) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        let dice = |salt: u64| mixed(number.wrapping_mul(31).wrapping_add(salt));
        // The payment that a refund or a dispute is about.
        let of = match part.table {
            "refunds" => number * 50 % self.payments,
            "disputes" => number * 300 % self.payments,
            _ => number,
        };
        let created = match part.table {
            "customers" | "merchants" => END - 2 * DAYS * DAY + (number % 1_000_000) as i64,
            _ => self.made(of),
        };
        let arrived = part.at.unwrap_or(created);
        let (currency, digits) = CURRENCIES[(self.merchant(of) % CURRENCIES.len() as u64) as usize];
        match column.name.as_str() {
            "_op" => text(part.op),
            // Positions grow as rows are appended; those of different tables need not differ.
            "_lsn" => Value::Int(at.1 + 1),
            "_ordinal" | "_kafka_partition" => Value::Int(0),
            "_commit_ts" | "_kafka_ts" => Value::TimestampTz(arrived),
            "_kafka_topic" => text(at.0),
            "_kafka_offset" => Value::Int(at.1),
            "id" => match part.table {
                "customers" | "merchants" => Value::Int(number as i64 + 1),
                other => Value::Text(id(other, number)),
            },
            "transaction_id" => Value::Text(id("transactions", of)),
            "customer_id" => Value::Int((dice(1) % self.customers()) as i64 + 1),
            "merchant_id" => Value::Int(self.merchant(number) as i64 + 1),
            "amount" => {
                let whole = part.table == "transactions";
                let minor =
                    if whole { 200 } else { 100 } + (mixed(of) % if whole { 50_000 } else { 100 }) as i64;
                Value::Decimal(BigDecimal::new(minor.into(), digits))
            }
            "currency" => text(currency),
            "status" => text(match part.table {
                "customers" | "merchants" => "active",
                "refunds" => "paid",
                "disputes" => ["opened", "won", "lost"][(dice(2) % 3) as usize],
                _ if part.op == "u" => "refunded",
                _ => ["captured", "captured", "captured", "authorized", "declined"][(dice(3) % 5) as usize],
            }),
            "payment_method" => text("card"),
            "card_token" => Value::Text(format!("{:032x}", u128::from(dice(1) % self.customers()))),
            "card_bin" => text(BINS[(dice(4) % BINS.len() as u64) as usize]),
            "terminal_id" => Value::Text(format!("T{:06}", dice(5) % 50_000)),
            "device_id" => Value::Text(id("devices", dice(1) % self.customers() * 2 + dice(6) % 2)),
            "ip" => Value::Text(format!(
                "{}.{}.{}.{}",
                1 + dice(7) % 220,
                dice(8) % 256,
                dice(9) % 256,
                dice(10) % 256
            )),
            "reason" => text("requested_by_customer"),
            "reason_code" => text("10.4"),
            "country" => text(COUNTRIES[(dice(11) % COUNTRIES.len() as u64) as usize]),
            "category_code" => text(CATEGORIES[(dice(12) % CATEGORIES.len() as u64) as usize]),
            "name" | "full_name" => Value::Text(format!("name {number}")),
            "email" => Value::Text(format!("c{number}@example.com")),
            "kyc_level" => Value::Int(if part.op == "u" { 3 } else { (dice(13) % 3) as i64 }),
            "fee_rate" => Value::Decimal(BigDecimal::new((dice(14) % 30_000).into(), 6)),
            "marketing_opt_in" => Value::Bool(dice(15) % 2 == 0),
            "preferences" => text("{}"),
            "birth_date" => Value::Date((dice(16) % 15_000) as i32),
            "created_at" => Value::TimestampTz(created),
            "updated_at" => Value::TimestampTz(arrived),
            // Not sent, not scored yet.
            _ => Value::Null,
        }
    }

    /// Few merchants have most of the payments.
    fn merchant(self, number: u64) -> u64 {
        let share = (mixed(number ^ 0xA5A5) % 10_000) as f64 / 10_000.0;
        (share * share * share * self.merchants() as f64) as u64
    }
}

/// An identifier like PostgreSQL's `gen_random_uuid()`: spread evenly, so that no file can be left out by it.
fn id(table: &str, number: u64) -> String {
    let salt = table.bytes().fold(0_u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into())) << 32;
    let (a, b) = (mixed(number ^ salt), mixed(number.wrapping_add(salt) ^ 0x5DEE_CE66));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xFFFF,
        a & 0xFFF,
        b >> 52,
        b & 0xFFFF_FFFF_FFFF
    )
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_and_changes_are_as_many_as_asked_for() {
        let ids: HashSet<String> = (0..20_000)
            .flat_map(|n| ["transactions", "refunds", "devices"].map(|table| id(table, n)))
            .collect();
        assert_eq!(ids.len(), 60_000);
        let history = History { payments: 100_000 };
        let changes = history.changes(2_000);
        assert_eq!(changes.iter().map(|part| part.numbers.len()).sum::<usize>(), 2_000);
        let updated: HashSet<u64> = changes[1].numbers.iter().copied().collect();
        assert_eq!(updated.len(), changes[1].numbers.len(), "each payment once");
        assert!(updated.iter().all(|number| *number < history.payments));
    }
}
