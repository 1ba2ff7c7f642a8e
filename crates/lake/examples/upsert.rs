//! Upserts 600,000 rows into ten million, half of them spread over the whole table and half new, and prints
//! the time: `cargo run -p affluent-lake --example upsert -- DIRECTORY`.

#![allow(clippy::print_stdout, reason = "a command")]

use affluent_lake::{Commit, Lake, LakeError, LakeOptions, LakeTable, Partition, Upsert};
use affluent_model::{Column, ColumnType};
use arrow_array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use std::sync::Arc;
use std::time::Instant;

const ROWS: i64 = 10_000_000;
const CHANGED: i64 = 600_000;
/// Rows of a batch.
const BATCH: i64 = 100_000;
/// 2026-07-01T00:00:00Z; a row a second makes 116 days.
const FIRST: i64 = 1_782_864_000_000_000;

#[tokio::main]
async fn main() -> Result<(), LakeError> {
    let directory = std::env::args().nth(1);
    let directory = directory.ok_or_else(|| LakeError::Options("usage: upsert DIRECTORY".to_owned()))?;
    let lake = Lake::open(LakeOptions { warehouse: directory.into(), ..LakeOptions::default() }).await?;
    let table = table(&lake).await?;
    let started = Instant::now();
    for from in (0..ROWS).step_by(1_000_000) {
        let batches = (from..from + 1_000_000).step_by(100_000).map(|from| batch(from..from + BATCH, 1));
        table.append_batches(batches.collect::<Result<_, _>>()?, Vec::new()).await?;
    }
    println!("{ROWS} rows appended in {:.1?}", started.elapsed());
    let old = (0..CHANGED / 2).map(|n| n * (ROWS / (CHANGED / 2)));
    let ids: Vec<i64> = old.chain(ROWS..ROWS + CHANGED / 2).collect();
    let rows = ids.chunks(50_000).map(|ids| batch(ids.iter().copied(), 7)).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let upsert = Upsert { rows, key: vec!["id".to_owned()], ..Upsert::default() };
    let done = table.upsert(Commit::default(), upsert).await?;
    println!("{CHANGED} rows upserted in {:.1?}: {done:?}", started.elapsed());
    Ok(())
}

async fn table(lake: &Lake) -> Result<LakeTable, LakeError> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: false };
    let columns = [
        column("id", ColumnType::Int64),
        column("at", ColumnType::TimestampTz),
        column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        column("currency", ColumnType::Text),
    ];
    lake.ensure_table("raw", "payments", &columns, &Partition::Day("at".to_owned())).await
}

fn batch(ids: impl Iterator<Item = i64>, amount: i64) -> Result<RecordBatch, LakeError> {
    let ids: Vec<i64> = ids.collect();
    let amounts = Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(id % 99_991 * amount)));
    let times = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| FIRST + id * 1_000_000));
    let currency = |id: &i64| match id % 3 {
        0 => "EUR",
        1 => "USD",
        _ => "JPY",
    };
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids.iter().copied()))),
        ("at", Arc::new(times.with_timezone("UTC"))),
        ("amount", Arc::new(amounts.with_precision_and_scale(18, 4)?)),
        ("currency", Arc::new(StringArray::from_iter_values(ids.iter().map(currency)))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
