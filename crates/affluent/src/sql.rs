//! `affluent sql`: a question to the lake.
//!
//! The lake is only read, as it stood when the command began; rows are written as they come, so an
//! answer may be larger than memory.

use crate::cli::Output;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_lake::Lake;
use affluent_lake::sql::{At, Engine, EngineOptions, Limits, Pins, Renderer, Session, TextFormat};
use affluent_model::time::format_micros;
use affluent_warehouse::batch;
use anyhow::Context as _;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde_json::{Map, Value, json};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

/// Rows of a table for people, where nothing else is asked for.
pub(crate) const TABLE_ROWS: u64 = 1_000;
/// Bytes of a statement at most.
const STATEMENT_BYTES_MAX: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  affluent sql --tables
  affluent sql 'select currency, count(*), sum(amount) from raw.transactions group by currency'
  affluent sql --file report.sql --format csv > report.csv
  affluent sql 'select * from raw.transactions where id = 7' --format json | jq .
  affluent sql 'select count(*) from raw.transactions' --as-of 2026-11-22T06:00:00Z
  affluent sql 'select snapshot_id, committed_at, rows from raw.transactions$snapshots'
  affluent sql 'select count(*) from raw.transactions' --at raw.transactions=5937117119577207079
  affluent sql 'explain analyze select max(amount) from raw.transactions'

Names are small letters unless in double quotes, texts stand in single quotes, times are UTC. JSON has one
object a line, decimals in it are text, so that no digit is lost. Tables dwh.* are seen as they
were published last: all of one version. See docs/sql.md.";

/// Options of `affluent sql`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The query
    #[arg(required_unless_present_any = ["file", "tables"], conflicts_with_all = ["file", "tables"])]
    query: Option<String>,
    /// Read the query from this file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "tables")]
    file: Option<PathBuf>,
    /// List the tables with their rows and newest commits
    #[arg(long)]
    tables: bool,
    /// See every table as it was at this time: 2026-11-22, 2026-11-22T06:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<i64>,
    /// See one table at this snapshot; may be given several times
    #[arg(long, value_name = "TABLE=SNAPSHOT", value_parser = pin)]
    at: Vec<(String, i64)>,
    /// See the tables of the warehouse as they stand, not as they were published last
    #[arg(long)]
    unpublished: bool,
    /// Rows at most [default: 1000 for a table, all for json and csv]
    #[arg(long, value_name = "N")]
    max_rows: Option<u64>,
    /// Give up after this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// Runs `affluent sql`.
///
/// # Errors
/// No lake, a query that cannot be run, one that fails.
pub(crate) async fn run(args: Args, config: &Config, format: Output) -> anyhow::Result<Exit> {
    let text = if args.tables { None } else { Some(statement(&args)?) };
    let remedy = "does `[lake]` name the right directory, and did `affluent up` ever write to it?";
    let lake =
        Lake::open_existing(config.lake.clone()).await.with_context(|| format!("open the lake; {remedy}"))?;
    let version = if args.unpublished { None } else { published(&lake, args.as_of).await? };
    let engine = Engine::new(lake, EngineOptions::default())?;
    let session = session(&engine, version, args.as_of, args.at).await?;
    let Some(text) = text else { return print_tables(&session, format) };
    let rows = args.max_rows.or((format == Output::Text).then_some(TABLE_ROWS));
    print_rows(&session, &text, Limits { timeout: args.timeout, rows }, format).await
}

/// The version of the warehouse that was published last, at `as_of` (milliseconds UTC) or by now.
async fn published(lake: &Lake, as_of: Option<i64>) -> anyhow::Result<Option<batch::Version>> {
    let then =
        |version: &batch::Version| as_of.is_none_or(|ms| version.published_at <= ms.saturating_mul(1_000));
    Ok(batch::versions(lake).await?.into_iter().find(then))
}

/// A session over the lake at `as_of` (milliseconds UTC) or now, in which the warehouse is that version and single tables are `at` snapshots.
async fn session(
    engine: &Engine,
    version: Option<batch::Version>,
    as_of: Option<i64>,
    at: Vec<(String, i64)>,
) -> anyhow::Result<Session> {
    let mut snapshots = version.as_ref().map(|version| version.pins().snapshots).unwrap_or_default();
    snapshots.extend(at);
    let session = engine.session(Pins { at: as_of.map_or(At::Newest, At::Time), snapshots }).await?;
    if let Some(version) = version {
        version.hide_later(&session).await?;
    }
    Ok(session)
}

/// A session over the lake as it is now, the warehouse as it was published last, with that version's name; none before the first.
///
/// # Errors
/// Disk and catalog.
pub(crate) async fn newest(
    lake: &Lake,
    engine: &Engine,
) -> anyhow::Result<(Session, Option<batch::Version>)> {
    let version = published(lake, None).await?;
    Ok((session(engine, version.clone(), None, Vec::new()).await?, version))
}

/// The rows of a query over text columns; null is empty.
///
/// # Errors
/// A query that cannot be run, one that fails.
pub(crate) async fn rows(session: &Session, text: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut rows = session.query(text, Limits::default()).await?;
    let mut renderer = Renderer::new(TextFormat::Json, rows.schema());
    let mut found = Vec::new();
    while let Some(batch) = rows.next_batch().await {
        for line in renderer.batch(&batch?)?.lines() {
            let row: Map<String, Value> = serde_json::from_str(line)?;
            found.push(row.values().map(|value| value.as_str().unwrap_or_default().to_owned()).collect());
        }
    }
    Ok(found)
}

async fn print_rows(session: &Session, text: &str, limits: Limits, format: Output) -> anyhow::Result<Exit> {
    let mut rows = session.query(text, limits).await?;
    let form = match format {
        Output::Text => TextFormat::Table,
        Output::Json => TextFormat::Json,
        Output::Csv => TextFormat::Csv,
    };
    let mut renderer = Renderer::new(form, rows.schema());
    let mut count = 0;
    while let Some(batch) = rows.next_batch().await {
        let batch = batch?;
        count += batch.num_rows();
        if !output::write(&renderer.batch(&batch)?) {
            // Whoever reads has seen enough.
            return Ok(Exit::Done);
        }
    }
    output::write(&renderer.finish()?);
    if format == Output::Text {
        let rows_text = if count == 1 { "row" } else { "rows" };
        output::note(&format!("{count} {rows_text}"));
    }
    if rows.truncated() {
        output::note("there are more: raise --max-rows, or ask for csv or json");
    }
    Ok(Exit::Done)
}

fn print_tables(session: &Session, format: Output) -> anyhow::Result<Exit> {
    let time =
        |ms: Option<i64>| ms.map(|ms| format_micros(ms.saturating_mul(1_000), true)).unwrap_or_default();
    let tables = session.tables();
    match format {
        Output::Text => {
            let row = |table: &affluent_lake::sql::TableState| {
                let snapshot = table.snapshot.map(|id| id.to_string()).unwrap_or_default();
                let (rows, files) = (table.rows.to_string(), table.files.to_string());
                let megabytes = format!("{:.1}", table.bytes as f64 / 1e6);
                vec![table.name.clone(), rows, files, megabytes, snapshot, time(table.committed_ms)]
            };
            let headers = ["table", "rows", "files", "MB", "snapshot", "committed"];
            output::print(&output::table(&headers, tables.iter().map(row)));
        }
        Output::Json => {
            let table = |table: &affluent_lake::sql::TableState| {
                json!({"table": table.name, "rows": table.rows, "files": table.files, "bytes": table.bytes,
                       "snapshot": table.snapshot, "committed_at": table.committed_ms.map(|ms| time(Some(ms)))})
            };
            output::print_json(&tables.iter().map(table).collect::<Vec<_>>())?;
        }
        Output::Csv => {
            let line = |table: &affluent_lake::sql::TableState| {
                let snapshot = table.snapshot.map(|id| id.to_string()).unwrap_or_default();
                let (rows, files, bytes) = (table.rows, table.files, table.bytes);
                format!("{},{rows},{files},{bytes},{snapshot},{}\n", table.name, time(table.committed_ms))
            };
            let lines: String = tables.iter().map(line).collect();
            output::print(&format!("table,rows,files,bytes,snapshot,committed_at\n{lines}"));
        }
    }
    Ok(Exit::Done)
}

/// The statement, from wherever it is given.
fn statement(args: &Args) -> anyhow::Result<String> {
    let Some(path) = &args.file else { return Ok(args.query.clone().unwrap_or_default()) };
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(STATEMENT_BYTES_MAX).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(STATEMENT_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("read the query from {}", path.display()))?;
    Ok(text)
}

/// Milliseconds UTC of a day or a time.
fn time(text: &str) -> Result<i64, String> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    let plain =
        |form| NaiveDateTime::parse_from_str(text, form).map(|time| time.and_utc().timestamp_millis());
    let day = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
        Some(day.and_utc().timestamp_millis())
    };
    let found =
        zoned.or_else(|_| plain("%Y-%m-%dT%H:%M:%S%.f")).or_else(|_| plain("%Y-%m-%d %H:%M:%S%.f")).ok();
    found.or_else(day).ok_or_else(|| "a time like 2026-11-22 or 2026-11-22T06:00:00Z is meant".to_owned())
}

/// Table and snapshot.
fn pin(text: &str) -> Result<(String, i64), String> {
    let meant = || "namespace.table=SNAPSHOT is meant; `affluent sql --tables` shows the newest".to_owned();
    let (table, snapshot) = text.split_once('=').ok_or_else(meant)?;
    let snapshot = snapshot.trim().parse().map_err(|_| meant())?;
    Ok((table.trim().to_owned(), snapshot))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds is meant".to_owned())?;
    if number <= 0.0 {
        return Err("it must be above 0".to_owned());
    }
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_pins_are_read() {
        assert_eq!(time("1970-01-02"), Ok(86_400_000));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(0));
        assert_eq!(time("1970-01-01 00:00:01.5"), Ok(1_500));
        time("yesterday").unwrap_err();
        assert_eq!(pin("raw.t=17"), Ok(("raw.t".to_owned(), 17)));
        pin("raw.t").unwrap_err();
        pin("raw.t=newest").unwrap_err();
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        seconds("0").unwrap_err();
        seconds("NaN").unwrap_err();
    }
}
