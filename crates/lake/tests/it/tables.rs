//! A payments table for the tests, and exact sums over it.

use affluent_lake::{Advance, Lake, LakeOptions, LakeTable, Partition, RowBatch, Scan};
use affluent_model::{Column, ColumnType, Row, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// 2026-11-22T00:00:00Z.
pub(crate) const DAY: i64 = 1_795_305_600_000_000;
pub(crate) const MICROS_A_DAY: i64 = 86_400_000_000;

pub(crate) fn column(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.to_owned(), column_type, nullable: true }
}

pub(crate) fn payment_columns() -> Arc<[Column]> {
    [
        column("id", ColumnType::Int64),
        column("currency", ColumnType::Text),
        column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        column("at", ColumnType::TimestampTz),
    ]
    .into()
}

/// Row `n`: three currencies, odd amounts, one row a second from [`DAY`] on.
pub(crate) fn payment(n: i64) -> Row {
    let currency = ["EUR", "USD", "JPY"][usize::try_from(n % 3).unwrap()];
    vec![
        Value::Int(n),
        Value::Text(currency.to_owned()),
        Value::Decimal(bigdecimal::BigDecimal::new((n * 12_345 + 1).into(), 4)),
        Value::TimestampTz(DAY + n * 1_000_000),
    ]
}

pub(crate) fn payments(range: std::ops::Range<i64>) -> Arc<RowBatch> {
    Arc::new(RowBatch { columns: payment_columns(), rows: range.map(payment).collect() })
}

pub(crate) fn advance(expected: Option<i64>, next: i64) -> Vec<Advance> {
    vec![Advance { topic: "oltp.public.payments".into(), partition: 0, expected, next }]
}

pub(crate) fn options(warehouse: &Path) -> LakeOptions {
    LakeOptions { warehouse: warehouse.to_owned(), ..LakeOptions::default() }
}

pub(crate) async fn payments_table(lake: &Lake) -> LakeTable {
    let partition = Partition::Day("at".to_owned());
    lake.ensure_table("raw", "payments", &payment_columns(), &partition).await.unwrap()
}

/// Rows and sums by currency that the lake's own scan sees.
pub(crate) async fn sums(table: &LakeTable, snapshot: Option<i64>) -> (usize, BTreeMap<String, String>) {
    let columns = vec!["currency".to_owned(), "amount".to_owned()];
    let mut stream = table.scan(Scan { columns, snapshot, ..Scan::default() }).await.unwrap();
    let mut sums: BTreeMap<String, bigdecimal::BigDecimal> = BTreeMap::new();
    let mut count = 0;
    while let Some(rows) = stream.next().await {
        for row in rows.unwrap() {
            let (Value::Text(currency), Value::Decimal(amount)) = (&row[0], &row[1]) else {
                panic!("{row:?}");
            };
            *sums.entry(currency.clone()).or_default() += amount;
            count += 1;
        }
    }
    (count, sums.into_iter().map(|(currency, sum)| (currency, sum.to_plain_string())).collect())
}

/// The same, computed from the rows that were meant to be written.
pub(crate) fn expected_sums(range: std::ops::Range<i64>) -> (usize, BTreeMap<String, String>) {
    let mut sums: BTreeMap<String, bigdecimal::BigDecimal> = BTreeMap::new();
    let count = range.clone().count();
    for row in range.map(payment) {
        let (Value::Text(currency), Value::Decimal(amount)) = (&row[1], &row[2]) else { unreachable!() };
        *sums.entry(currency.clone()).or_default() += amount;
    }
    (count, sums.into_iter().map(|(currency, sum)| (currency, sum.to_plain_string())).collect())
}
