//! A payments table for the tests, and exact sums over it.

use affluent_lake::{Advance, Lake, LakeOptions, LakeTable, Partition, RowBatch, Scan};
use affluent_model::{Column, ColumnType, Row, Value};
use affluent_testkit::RestCatalog;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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

/// The same rows as an Arrow batch.
pub(crate) fn payment_batch(rows: impl IntoIterator<Item = i64>) -> RecordBatch {
    payment_batch_of(rows, |n| n * 12_345 + 1)
}

/// Rows of these numbers with other amounts, in ten-thousandths.
pub(crate) fn payment_batch_of(
    rows: impl IntoIterator<Item = i64>,
    amount: impl Fn(i64) -> i64,
) -> RecordBatch {
    let rows: Vec<i64> = rows.into_iter().collect();
    let amounts = Decimal128Array::from_iter_values(rows.iter().map(|&n| amount(n).into()));
    let at = rows.iter().map(|n| DAY + n * 1_000_000);
    let currency = |&n: &i64| ["EUR", "USD", "JPY"][usize::try_from(n % 3).unwrap()];
    let arrays: [(&str, ArrayRef); 4] = [
        ("amount", Arc::new(amounts.with_precision_and_scale(18, 4).unwrap())),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC"))),
        ("currency", Arc::new(StringArray::from_iter_values(rows.iter().map(currency)))),
        ("id", Arc::new(Int64Array::from_iter_values(rows.iter().copied()))),
    ];
    RecordBatch::try_from_iter(arrays).unwrap()
}

/// Every row of the table: its number and its amount in ten-thousandths.
pub(crate) async fn amounts(table: &LakeTable) -> BTreeMap<i64, i128> {
    amounts_at(table, None).await
}

/// The same at a kept snapshot.
pub(crate) async fn amounts_at(table: &LakeTable, snapshot: Option<i64>) -> BTreeMap<i64, i128> {
    let columns = vec!["id".to_owned(), "amount".to_owned()];
    let mut stream = table.scan(Scan { columns, snapshot, ..Scan::default() }).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(batch) = stream.next_batch().await {
        let batch = batch.unwrap();
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let amounts = batch.column(1).as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let twice = found.insert(ids.value(row), amounts.value(row));
            assert_eq!(twice, None, "row {} comes twice", ids.value(row));
        }
    }
    found
}

pub(crate) fn advance(expected: Option<i64>, next: i64) -> Vec<Advance> {
    vec![Advance { topic: "oltp.public.payments".into(), partition: 0, expected, next }]
}

/// With the catalog that the tests run on: SQLite, or the REST catalog that `RestCatalog` tells of.
pub(crate) fn options(warehouse: &Path) -> LakeOptions {
    let mut options = LakeOptions { warehouse: warehouse.to_owned(), ..LakeOptions::default() };
    if let Some(RestCatalog { url, namespace }) = RestCatalog::of(warehouse) {
        options.catalog = url;
        options.rest.namespace = namespace;
    }
    options
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

/// Every data file below the directory.
pub(crate) fn parquet_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(parquet_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    files
}
