//! `affluent bench peers`: change capture by us and by Debezium in one run, from the same PostgreSQL into the same broker, one after the
//! other on the same cores.
//!
//! Needs the jars that `crates/testkit/interop/connect.sh run` fetches. What is in doubt is decided for Debezium: its JSON has no schema,
//! which is its cheapest format, while ours is Avro; its start does not count; our memory is that of this whole process, with broker and
//! registry, its memory that of its worker alone.

use super::cdc::{PATIENCE, Stage, TABLE, ends};
use super::process::usage;
use super::{Context, Report};
use affluent_testkit::ConnectWorker;
use affluent_testkit::connect::jars;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CHANGES: u64 = 1_000_000;
/// Rows by which it is seen that the connector works.
const WARM_UP: u64 = 10;

/// Measures.
///
/// # Errors
/// Without the jars; where a part cannot be started, or a stage does not end.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    let java = jars().context("run it as `crates/testkit/interop/connect.sh run affluent bench peers`")?;
    let mut report = Report::new("peers");
    let stage = Stage::start(&context).await?;
    let changes = context.scaled(CHANGES);

    let our_rate = stage.backlog(changes).await.context("our drain")?.rate;
    let our_latencies = stage.steady(&context).await.context("our steady load")?;
    let our_memory = stage.memory.load(Ordering::Relaxed) as f64;

    stage.say("starting Kafka Connect");
    let mut worker = ConnectWorker::start(&java, stage.bus.bootstrap_servers()).await?;
    let drained = drain(&stage, &mut worker, changes).await.context("Debezium's drain")?;
    configure(&stage, &mut worker, "steady_peer").await?;
    let latencies = stage.paced(&context, "steady_peer", &topic("steady_peer")).await;
    let latencies = latencies.context("Debezium's steady load")?;
    let memory = usage(worker.process_id())?.resident_max as f64;

    let p99 = |histogram: &hdrhistogram::Histogram<u64>| histogram.value_at_quantile(0.99) as f64 / 1e6;
    let (our_p99, p99) = (p99(&our_latencies), p99(&latencies));
    report.at_least("peers.debezium.drain", 3.0, our_rate / drained.rate, "times its rate");
    report.at_most("peers.debezium.latency.p99", 1.0 / 3.0, our_p99 / p99, "of its p99");
    report.at_most("peers.debezium.memory", 0.25, our_memory / memory, "of its memory");
    report.note(format!(
        "drain of {changes} changes: {our_rate:.0}/s, Debezium {:.0}/s from its first record to its last ({:.0}/s from \
         its resumption)",
        drained.rate, drained.rate_resumed
    ));
    report.note(format!(
        "p99 from commit until a consumer has the record: {our_p99:.4} s, Debezium {p99:.4} s"
    ));
    report.note(format!(
        "resident memory at the most: {:.0} MB (capture, broker, registry, this benchmark), Debezium's worker {:.0} MB",
        our_memory / 1e6,
        memory / 1e6
    ));
    report.note("Debezium: JSON without schemas, batches of 20,480, producer with lz4, 5 ms and 512 KiB");
    stage.end();
    Ok(report)
}

fn topic(table: &str) -> String {
    format!("{table}.public.{table}")
}

/// A table, and a connector that is seen to capture it.
async fn configure(stage: &Stage, worker: &mut ConnectWorker, table: &'static str) -> anyhow::Result<()> {
    stage.client.batch_execute(&format!("CREATE TABLE {table} {TABLE}")).await?;
    let config = json!({
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": stage.database.host,
        "database.port": stage.database.port.to_string(),
        "database.user": stage.database.user,
        "database.dbname": stage.database.name,
        "topic.prefix": table,
        "plugin.name": "pgoutput",
        "slot.name": table,
        "publication.name": table,
        "publication.autocreate.mode": "filtered",
        "table.include.list": format!("public.{table}"),
        "snapshot.mode": "no_data",
        "decimal.handling.mode": "string",
        // Its documentation on throughput and latency.
        "max.batch.size": "20480",
        "max.queue.size": "81920",
        "poll.interval.ms": "10",
        "producer.override.batch.size": "524288",
        "producer.override.linger.ms": "5",
        "producer.override.compression.type": "lz4",
    });
    worker.configure(table, &config).await?;
    let is_read = "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = $1 AND active";
    let deadline = Instant::now() + PATIENCE;
    while !stage.client.query_one(is_read, &[&table]).await?.try_get::<_, bool>(0)? {
        if Instant::now() > deadline {
            bail!("Debezium does not read {table}\n{}", worker.log_end());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.fill(table, 1, WARM_UP).await?;
    written(stage, worker, table, WARM_UP).await
}

struct Drained {
    /// Changes a second, from the first that is seen to the last.
    rate: f64,
    /// The same from the order to go on.
    rate_resumed: f64,
}

/// As ours: the connector is known to its slot, a backlog is written while it rests, then it goes on.
async fn drain(stage: &Stage, worker: &mut ConnectWorker, changes: u64) -> anyhow::Result<Drained> {
    let table = "backlog_peer";
    configure(stage, worker, table).await?;
    worker.stop(table).await?;
    stage.fill(table, WARM_UP + 1, WARM_UP + changes).await?;
    stage.say("Debezium drains it");
    let resumed = Instant::now();
    worker.resume(table).await?;
    written(stage, worker, table, WARM_UP + 1).await?;
    let seen = Instant::now();
    written(stage, worker, table, WARM_UP + changes).await?;
    let rate = |since: Instant| changes as f64 / since.elapsed().as_secs_f64();
    let drained = Drained { rate: rate(seen), rate_resumed: rate(resumed) };
    worker.remove(table).await?;
    Ok(drained)
}

/// Waits until the table's topic holds `count` records.
async fn written(stage: &Stage, worker: &ConnectWorker, table: &str, count: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held: i64 = ends(&stage.bus, &topic(table)).await?.iter().map(|(_, end)| end).sum();
        if u64::try_from(held)? >= count {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("Debezium has written {held} of {count} records of {table}\n{}", worker.log_end());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
