//! `affluent bench upsert`: 600,000 rows by key into a table of ten million, half of them spread over all of it and half
//! new. With `--peers` deltalake merges the same rows, into a table divided by day as ours is, and into one that is not.

use super::process::usage;
use super::{Context, Report, python};
use affluent_lake::sql::{Engine, EngineOptions, Pins, Session};
use affluent_lake::{Commit, Lake, LakeOptions, LakeTable, Outcome, Partition, Upsert};
use affluent_model::{Column, ColumnType};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::path::Path;
use std::time::Instant;
use tokio::process::Command;

const ROWS: u64 = 10_000_000;
const CHANGED: u64 = 600_000;
/// Rows of a commit of the table before.
const COMMIT: u64 = 1_000_000;
/// 2026-07-01T00:00:00Z; a row a second makes 116 days.
const FIRST: u64 = 1_782_864_000_000_000;
/// Where the script lies in the checkout.
const SCRIPT: &str = "benches/upsert_peer.py";

/// What the script prints.
#[derive(Debug, Deserialize)]
struct Peer {
    version: String,
    files: u64,
    append_seconds: f64,
    merge_seconds: f64,
    resident_max: u64,
    /// The table has the rows and the sum that it should have.
    is_right: bool,
}

/// Measures.
///
/// # Errors
/// The lake fails, or a table is not as it should be afterwards.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    if let Some(python) = &context.peers {
        python::check(python, SCRIPT, "deltalake, numpy, pyarrow").await?;
    }
    let mut report = Report::new("upsert");
    let directory = tempfile::Builder::new().prefix("affluent-bench_").tempdir()?;
    let (rows, changed) = (context.scaled(ROWS), context.scaled(CHANGED));
    let ours = ours(&mut report, &directory.path().join("lake"), rows, changed).await?;
    let Some(python) = &context.peers else { return Ok(report) };
    for (name, flat) in [("upsert.vs_deltalake", false), ("upsert.vs_deltalake_flat", true)] {
        let work = directory.path().join(name);
        let peer = peer(python, &work, context.scale, flat).await?;
        report.at_least(name, 1.0, peer.merge_seconds / ours, "times");
        report.note(told(&peer, flat));
        // The next one needs the room.
        let _ = tokio::fs::remove_dir_all(&work).await;
    }
    Ok(report)
}

/// Seconds of our upsert.
async fn ours(report: &mut Report, directory: &Path, rows: u64, changed: u64) -> anyhow::Result<f64> {
    let lake = Lake::open(LakeOptions { warehouse: directory.to_owned(), ..LakeOptions::default() }).await?;
    let table = table(&lake).await?;
    let engine = Engine::new(lake.clone(), EngineOptions::default())?;
    let session = engine.session(Pins::default()).await?;
    let began = Instant::now();
    let mut from = 0;
    while from < rows {
        let to = rows.min(from + COMMIT);
        table.append_batches(session.collect(&numbered(from, to, 1, 1)).await?, Vec::new()).await?;
        from = to;
    }
    let appended = began.elapsed().as_secs_f64();
    let half = changed / 2;
    let step = rows / half.max(1);
    let mut batches = session.collect(&numbered(0, half, step, 7)).await?;
    batches.extend(session.collect(&numbered(rows, rows + half, 1, 7)).await?);
    let upsert = Upsert { rows: batches, key: vec!["id".to_owned()], ..Upsert::default() };
    let began = Instant::now();
    let Outcome::Committed(done) = table.upsert(Commit::default(), upsert).await? else {
        bail!("the upsert was there before");
    };
    let seconds = began.elapsed().as_secs_f64();
    let memory = usage(std::process::id())?.resident_max as f64 / 1e6;
    report.note(format!(
        "{changed} rows into {rows}: {seconds:.2} s; {} of {} files written anew, {} rows updated, {} inserted; appended \
         before, with the making of rows: {appended:.1} s; {memory:.0} MB",
        done.files_rewritten,
        done.files_rewritten + done.files_kept,
        done.rows_updated,
        done.rows_inserted,
    ));
    check(&engine.session(Pins::default()).await?, rows, half, step).await?;
    Ok(seconds)
}

async fn table(lake: &Lake) -> anyhow::Result<LakeTable> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: false };
    let columns = [
        column("id", ColumnType::Int64),
        column("at", ColumnType::TimestampTz),
        column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        column("currency", ColumnType::Text),
    ];
    Ok(lake.ensure_table("raw", "payments", &columns, &Partition::Day("at".to_owned())).await?)
}

/// The rows numbered `from` to `to`, each number times `step`; `amount` is the factor of their amounts.
fn numbered(from: u64, to: u64, step: u64, amount: u64) -> String {
    format!(
        "select id, arrow_cast({FIRST} + id * 1000000, 'Timestamp(Microsecond, Some(\"+00:00\"))') as at, \
         cast({} as decimal(18, 4)) as amount, case id % 3 when 0 then 'EUR' when 1 then 'USD' else 'JPY' end as currency \
         from (select unnest(generate_series({from}, {})) * {step} as id)",
        amount_of(amount),
        to.saturating_sub(1),
    )
}

/// The amount of row `id`: so many ten-thousandths.
fn amount_of(factor: u64) -> String {
    format!("cast(id % 99991 * {factor} as decimal(18, 0)) / cast(10000 as decimal(5, 0))")
}

/// Fails where the table has not the rows and the sum that it should have.
async fn check(session: &Session, rows: u64, half: u64, step: u64) -> anyhow::Result<()> {
    let expected = format!(
        "select count(*), sum(amount) from (select case when id >= {rows} or id % {step} = 0 and id / {step} < {half} \
         then cast({} as decimal(18, 4)) else cast({} as decimal(18, 4)) end as amount from raw.payments)",
        amount_of(7),
        amount_of(1),
    );
    let text = format!(
        "select 1 from (select count(*) as n, sum(amount) as s from raw.payments) as found \
         join ({expected}) as e(n, s) on e.n = found.n and e.s = found.s where found.n = {}",
        rows + half
    );
    let right: usize = session.collect(&text).await?.iter().map(|batch| batch.num_rows()).sum();
    if right != 1 {
        bail!("the table has not the rows that it should have after the upsert");
    }
    Ok(())
}

async fn peer(python: &Path, directory: &Path, scale: f64, flat: bool) -> anyhow::Result<Peer> {
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(directory).args(["--scale", &scale.to_string()]);
    if flat {
        command.arg("--flat");
    }
    let output = python::output(&mut command).await?;
    let peer: Peer = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the script ended with {}", output.status))?;
    if !peer.is_right {
        bail!("deltalake's table has not the rows that it should have");
    }
    Ok(peer)
}

fn told(peer: &Peer, flat: bool) -> String {
    format!(
        "deltalake {}, {}: {:.2} s over {} files; appended before: {:.1} s; {:.0} MB; it does not wait for the disk",
        peer.version,
        if flat { "not divided" } else { "divided by day" },
        peer.merge_seconds,
        peer.files,
        peer.append_seconds,
        peer.resident_max as f64 / 1e6,
    )
}
