//! `affluent bench cdc`: change capture from a private PostgreSQL into the embedded broker, Avro with the
//! built-in registry, everything on this machine and all but PostgreSQL in this process.
//!
//! Four figures, each of this run: a prepared backlog drained, a table read, the latency of a steady
//! load, and the memory meanwhile, also in one transaction of a million rows.

use super::process::{processor_seconds, watch_memory};
use super::{Context, Report};
use affluent_broker::{Broker, BrokerOptions};
use affluent_bus::codec::{ChangeDecoder, Decoded};
use affluent_bus::registry::{RegistryClient, RegistryOptions, RegistryServer, RegistryServerOptions};
use affluent_bus::{BatchLimits, Bus, BusOptions, ConsumerOptions, Polled, TopicPartition};
use affluent_stream::cdc::{CdcOptions, CdcService, SnapshotMode};
use affluent_telemetry::health::{Health, State};
use affluent_testkit::{Database, Postgres, PostgresOptions};
use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CHANGES: u64 = 1_000_000;
const STEADY_RATE: u64 = 2_000;
const STEADY_SECONDS: u64 = 20;
/// Nothing here takes longer on a machine that is worth measuring.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// A row of about 200 bytes as pgoutput sends it.
pub(super) const TABLE: &str = "(id bigint PRIMARY KEY, customer_id bigint NOT NULL, amount numeric(18,4) NOT NULL, \
    currency char(3) NOT NULL, status text NOT NULL, device_id uuid NOT NULL, reference text NOT NULL, \
    created_at timestamptz NOT NULL)";
const ROW: &str = "i, i % 100000, (i % 1000000) / 100.0, 'EUR', 'authorized', \
    '6f1b4a4e-0000-4000-8000-000000000000'::uuid, 'payment reference number ' || i, \
    '2026-01-01'::timestamptz + i * interval '1 second'";

/// Measures.
///
/// # Errors
/// Where PostgreSQL or the broker cannot be started, or a stage does not end.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    let mut report = Report::new("cdc");
    let stage = Stage::start(&context).await?;
    let changes = context.scaled(CHANGES);

    let drain = stage.backlog(changes).await.context("drain a backlog")?;
    report.at_least("cdc.drain", 60_000.0, drain.rate, "changes/s");
    let read = stage.snapshot(changes).await.context("read a table")?;
    report.at_least("cdc.snapshot", 200_000.0, read.rate, "rows/s");
    let latencies = stage.steady(&context).await.context("steady load")?;
    let seconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e6;
    report.at_most("cdc.latency.p99", 0.25, seconds(0.99), "s");
    let large = stage.large_transaction(changes).await.context("one large transaction")?;
    report.at_most("cdc.memory.max", 300.0, stage.memory.load(Ordering::Relaxed) as f64 / 1e6, "MB");

    report.note(format!("backlog: {changes} inserts in transactions of 1000; row of about 200 B as sent"));
    report.note(format!(
        "processor time of this process (capture, broker, registry): drain {:.1} µs a change, snapshot {:.1} µs a row",
        drain.micros, read.micros
    ));
    report.note(format!(
        "one transaction of {changes} rows was drained at {:.0} changes/s after its commit",
        large.rate
    ));
    report.note(format!(
        "steady {STEADY_RATE}/s for {STEADY_SECONDS} s, from commit until a consumer has the record: p50 {:.4} s, \
         max {:.4} s, {} records",
        seconds(0.5),
        seconds(1.0),
        latencies.len()
    ));
    report
        .note("memory: resident, of this process: capture, broker, registry, and the consumer that measures");
    stage.end();
    Ok(report)
}

/// PostgreSQL, broker and registry.
pub(super) struct Stage {
    pub(super) database: Database,
    pub(super) client: tokio_postgres::Client,
    pub(super) bus: Bus,
    registry: RegistryClient,
    /// Greatest resident memory seen, bytes.
    pub(super) memory: Arc<AtomicU64>,
    shutdown: CancellationToken,
    progress: ProgressBar,
    _postgres: Postgres,
    _directory: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn start(context: &Context) -> anyhow::Result<Self> {
        let shutdown = CancellationToken::new();
        let directory = tempfile::tempdir().context("temporary directory")?;
        let options = PostgresOptions { durable: true, ..PostgresOptions::default() };
        let postgres =
            tokio::task::block_in_place(|| Postgres::start(options)).context("start PostgreSQL")?;
        let database = postgres.fresh_database().await?;
        let client = database.connect().await?;
        let broker = Broker::open(BrokerOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: directory.path().join("broker"),
            ..BrokerOptions::default()
        })?;
        let bootstrap_servers = broker.local_addr().to_string();
        tokio::spawn(broker.run(shutdown.clone()));
        let bus = Bus::new(BusOptions { bootstrap_servers, ..BusOptions::default() })?;
        let options =
            RegistryServerOptions { listen: ([127, 0, 0, 1], 0).into(), ..RegistryServerOptions::default() };
        let server = RegistryServer::new(options, bus.clone()).bind().await?;
        let url = Some(format!("http://{}", server.address()));
        tokio::spawn(server.run(shutdown.clone()));
        let registry = RegistryClient::new(RegistryOptions { url, ..RegistryOptions::default() })?;
        let memory = Arc::new(AtomicU64::new(0));
        tokio::spawn(watch_memory(Arc::clone(&memory), shutdown.clone()));
        Ok(Stage {
            database,
            client,
            bus,
            registry,
            memory,
            shutdown,
            progress: if context.progress { ProgressBar::new_spinner() } else { ProgressBar::hidden() },
            _postgres: postgres,
            _directory: directory,
        })
    }

    pub(super) fn end(&self) {
        self.progress.finish_and_clear();
        self.shutdown.cancel();
    }

    pub(super) fn say(&self, what: &str) {
        self.progress.set_message(what.to_owned());
        self.progress.tick();
    }

    fn capture(&self, name: &str, mode: SnapshotMode) -> anyhow::Result<Capture> {
        let mut options = CdcOptions {
            source: name.to_owned(),
            connection: self.database.url.clone(),
            slot: format!("bench_{name}"),
            publication: format!("bench_{name}"),
            tables: vec![format!("public.{name}")],
            ..CdcOptions::default()
        };
        options.snapshot.mode = mode;
        let (health, shutdown) = (Health::default(), self.shutdown.child_token());
        let registry = Some(self.registry.clone());
        let service = CdcService::new(options, self.bus.clone(), registry, health.clone())?;
        let task = tokio::spawn(service.run(shutdown.clone()));
        Ok(Capture { task, shutdown, health, topic: format!("{name}.public.{name}") })
    }

    /// Changes a second, from the start of the service to the last record.
    pub(super) async fn backlog(&self, changes: u64) -> anyhow::Result<Pace> {
        self.client.batch_execute(&format!("CREATE TABLE backlog {TABLE}")).await?;
        let first = self.capture("backlog", SnapshotMode::Never)?;
        first.ready().await?;
        first.stop().await?;
        self.fill("backlog", 1, changes).await?;
        self.say("draining it");
        let clock = Clock::start();
        let capture = self.capture("backlog", SnapshotMode::Never)?;
        capture.written(&self.bus, changes).await?;
        let pace = clock.pace(changes);
        capture.stop().await?;
        Ok(pace)
    }

    /// Inserts these rows in transactions of a thousand.
    pub(super) async fn fill(&self, table: &str, from: u64, to: u64) -> anyhow::Result<()> {
        self.say("writing a backlog");
        for from in (from..=to).step_by(1000) {
            let to = (from + 999).min(to);
            let sql = format!("INSERT INTO {table} SELECT {ROW} FROM generate_series({from}, {to}) i");
            self.client.batch_execute(&sql).await?;
        }
        self.client.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Rows a second, from the start of the service to the last record.
    async fn snapshot(&self, rows: u64) -> anyhow::Result<Pace> {
        self.say("writing a table");
        let sql = format!(
            "CREATE TABLE wide {TABLE}; INSERT INTO wide SELECT {ROW} FROM generate_series(1, {rows}) i; \
             VACUUM ANALYZE wide; CHECKPOINT"
        );
        for statement in sql.split("; ") {
            self.client.batch_execute(statement).await?;
        }
        self.say("reading it");
        let clock = Clock::start();
        let capture = self.capture("wide", SnapshotMode::Initial)?;
        capture.written(&self.bus, rows).await?;
        let pace = clock.pace(rows);
        capture.stop().await?;
        Ok(pace)
    }

    /// Microseconds from commit until a consumer has the record.
    pub(super) async fn steady(&self, context: &Context) -> anyhow::Result<Histogram<u64>> {
        self.client.batch_execute(&format!("CREATE TABLE steady {TABLE}")).await?;
        let capture = self.capture("steady", SnapshotMode::Initial)?;
        capture.ready().await?;
        self.client
            .batch_execute(&format!("INSERT INTO steady SELECT {ROW} FROM generate_series(1, 10) i"))
            .await?;
        capture.written(&self.bus, 10).await?;
        let latencies = self.paced(context, "steady", &capture.topic).await;
        capture.stop().await?;
        latencies
    }

    /// The same of whoever captures this table into this topic: rows above the thousandth are inserted.
    pub(super) async fn paced(
        &self,
        context: &Context,
        table: &str,
        topic: &str,
    ) -> anyhow::Result<Histogram<u64>> {
        let total = context.scaled(STEADY_RATE * STEADY_SECONDS);
        // Before the first record is written: none may be missed.
        let from = ends(&self.bus, topic).await?;
        let reading = tokio::spawn(read_latencies(self.bus.clone(), self.registry.clone(), from, total));
        self.say("steady load");
        let writer = self.database.connect().await?;
        let statement = writer
            .prepare(&format!("INSERT INTO {table} SELECT {ROW} FROM generate_series($1::int8, $2) i"))
            .await?;
        // Ten rows a transaction, two hundred transactions a second.
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        for from in (1..=total).step_by(10) {
            tick.tick().await;
            let (from, to) = (1000 + i64::try_from(from)?, 1000 + i64::try_from(from + 9)?);
            writer.execute(&statement, &[&from, &to]).await?;
        }
        tokio::time::timeout(PATIENCE, reading).await.context("records are missing")??
    }

    /// Changes a second, from the commit of one transaction to its last record.
    async fn large_transaction(&self, changes: u64) -> anyhow::Result<Pace> {
        self.client.batch_execute(&format!("CREATE TABLE large {TABLE}")).await?;
        let capture = self.capture("large", SnapshotMode::Never)?;
        capture.ready().await?;
        self.say("one large transaction");
        let sql = format!("INSERT INTO large SELECT {ROW} FROM generate_series(1, {changes}) i");
        self.client.batch_execute(&sql).await?;
        let clock = Clock::start();
        capture.written(&self.bus, changes).await?;
        let pace = clock.pace(changes);
        capture.stop().await?;
        Ok(pace)
    }
}

/// How fast something went, and what it took.
pub(super) struct Pace {
    /// Records a second.
    pub(super) rate: f64,
    /// Processor time of this process, microseconds a record.
    micros: f64,
}

struct Clock {
    started: Instant,
    processor: f64,
}

impl Clock {
    fn start() -> Self {
        Clock { started: Instant::now(), processor: processor_seconds() }
    }

    fn pace(&self, records: u64) -> Pace {
        let records = records as f64;
        let rate = records / self.started.elapsed().as_secs_f64();
        Pace { rate, micros: (processor_seconds() - self.processor) * 1e6 / records }
    }
}

/// A running service.
struct Capture {
    task: JoinHandle<Result<(), affluent_stream::cdc::CdcError>>,
    shutdown: CancellationToken,
    health: Health,
    topic: String,
}

impl Capture {
    async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.health.snapshot().get("cdc") != Some(&State::Ready) {
            self.check(deadline)?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until the topic holds `count` records.
    async fn written(&self, bus: &Bus, count: u64) -> anyhow::Result<()> {
        let (admin, deadline) = (bus.admin()?, Instant::now() + PATIENCE);
        loop {
            let mut written = 0;
            for partition in 0..admin.partitions(&self.topic).await?.unwrap_or(0) {
                let partition = TopicPartition::new(self.topic.as_str(), partition);
                written += admin.watermarks(&partition).await?.1;
            }
            if u64::try_from(written)? >= count {
                return Ok(());
            }
            self.check(deadline)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn check(&self, deadline: Instant) -> anyhow::Result<()> {
        if self.task.is_finished() || Instant::now() > deadline {
            bail!("the capture does not go on: {:?}", self.health.snapshot());
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        Ok(self.task.await??)
    }
}

/// The ends of a topic's partitions.
pub(super) async fn ends(bus: &Bus, topic: &str) -> anyhow::Result<Vec<(TopicPartition, i64)>> {
    let admin = bus.admin()?;
    let mut ends = Vec::new();
    for partition in 0..admin.partitions(topic).await?.unwrap_or(0) {
        let partition = TopicPartition::new(topic, partition);
        let end = admin.watermarks(&partition).await?.1;
        ends.push((partition, end));
    }
    Ok(ends)
}

async fn read_latencies(
    bus: Bus,
    registry: RegistryClient,
    from: Vec<(TopicPartition, i64)>,
    count: u64,
) -> anyhow::Result<Histogram<u64>> {
    let mut consumer = bus.consumer(None, ConsumerOptions::default())?;
    consumer.assign(&from).await?;
    let mut decoder = ChangeDecoder::new(Some(registry));
    // Up to ten minutes.
    let mut latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    let limits = BatchLimits { max_records: 500, max_bytes: 1 << 20, linger: Duration::from_millis(1) };
    while latencies.len() < count {
        let Polled::Records(records) = consumer.poll_batch(limits).await? else { continue };
        let now = affluent_model::time::now_micros();
        for record in records {
            let Decoded::Change(change) = decoder.decode(&record).await? else { continue };
            latencies.saturating_record(u64::try_from(now - change.source.ts_us).unwrap_or(0));
        }
    }
    Ok(latencies)
}
