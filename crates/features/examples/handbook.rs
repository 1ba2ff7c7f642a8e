//! Measures the twelve window features of the Fraud Detection Handbook over a Parquet file of card payments, on one core:
//!
//! `cargo run --release -p affluent-features --example handbook -- FILE.parquet [VALUES]`
//!
//! The file's columns are `transaction_id, occurred_at, customer_id, terminal_id, amount_minor, fraud`, in the order of time. `VALUES` is
//! written with all values, row by row, as little-endian doubles, so that another program can compare them.

#![allow(clippy::print_stdout, reason = "what this program is for")]

mod process;

use affluent_features::definition::Definitions;
use affluent_features::replay::{Columns, KeyColumn, replay};
use affluent_features::{Engine, Options, Plan};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use process::{busy_seconds, memory_mib};
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

#[derive(Default)]
struct Payments {
    time: Vec<i64>,
    id: Vec<u64>,
    customer: Vec<i64>,
    terminal: Vec<i64>,
    amount: Vec<i64>,
    fraud: Vec<i64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: handbook FILE.parquet [VALUES]")?;
    let mut values = arguments.next().map(std::fs::File::create).transpose()?.map(std::io::BufWriter::new);
    let started = Instant::now();
    let payments = read(&file)?;
    println!(
        "read {} payments in {:.2} s; {} MiB resident",
        payments.time.len(),
        started.elapsed().as_secs_f64(),
        memory_mib("VmHWM:")
    );

    let mut names = Vec::new();
    for feature in [
        "card_customer_payments",
        "card_customer_amount_mean",
        "card_terminal_payments",
        "card_terminal_fraud_rate",
    ] {
        names.extend(["1d", "7d", "30d"].map(|window| format!("{feature}_{window}")));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = Arc::new(Plan::new(&Definitions::load(None)?.select(&names)?)?);
    let source = plan.source("card_transactions").ok_or("no source")?;
    println!("features: {}", plan.source_shape(source).row.join(" "));
    let mut engine = Engine::new(plan, Options::default());
    let inputs = [Columns {
        source,
        time: &payments.time,
        arrived: &payments.time,
        order: &payments.id,
        keys: &[KeyColumn::Numbers(&payments.customer), KeyColumn::Numbers(&payments.terminal)],
        cells: &[&payments.amount, &payments.fraud],
        version: None,
        removed: None,
        rows: true,
    }];
    let (mut rows, mut sum) = (0u64, 0.0);
    let started = Instant::now();
    let (mut failed, busy) = (None, busy_seconds());
    let counters = replay(&mut engine, &inputs, |row| {
        rows += 1;
        sum += row.values[0];
        if let Some(file) = &mut values {
            let bytes = row.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
            failed = failed.take().or(file.write_all(&bytes).err());
        }
    })?;
    let (seconds, busy) = (started.elapsed().as_secs_f64(), busy_seconds() - busy);
    failed.map_or(Ok(()), Err)?;
    println!("{rows} rows x 12 features in {seconds:.3} s, {busy:.2} s of them on the processor");
    println!("{counters:?}, {} keys, checksum {sum}; peak {} MiB", engine.keys(), memory_mib("VmHWM:"));
    Ok(())
}

fn read(file: &str) -> Result<Payments, Box<dyn Error>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file)?)?.build()?;
    let mut payments = Payments::default();
    for batch in reader {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
        let times = column("occurred_at")?.as_primitive::<TimestampMicrosecondType>();
        payments.time.extend(times.values());
        payments.id.extend(
            column("transaction_id")?
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .map(|id| id.cast_unsigned()),
        );
        payments.customer.extend(
            column("customer_id")?.as_primitive::<Int32Type>().values().iter().map(|id| i64::from(*id)),
        );
        payments.terminal.extend(
            column("terminal_id")?.as_primitive::<Int32Type>().values().iter().map(|id| i64::from(*id)),
        );
        payments.amount.extend(column("amount_minor")?.as_primitive::<Int64Type>().values());
        payments
            .fraud
            .extend(column("fraud")?.as_primitive::<Int8Type>().values().iter().map(|f| i64::from(*f)));
    }
    Ok(payments)
}
