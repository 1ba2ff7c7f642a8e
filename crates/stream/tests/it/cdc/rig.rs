//! A database, a source and its topics, fresh for every test.

use affluent_bus::codec::{ChangeDecoder, Decoded, Format};
use affluent_bus::registry::{RegistryClient, RegistryOptions, RegistryServer, RegistryServerOptions};
use affluent_bus::{Bus, BusOptions, Incoming, TopicPartition};
use affluent_model::{ChangeEvent, Op, Row, Value};
use affluent_stream::cdc::{CdcError, CdcOptions, CdcService};
use affluent_telemetry::health::{Health, State};
use affluent_testkit::{Database, Postgres, unique};
use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) database: Database,
    pub(crate) client: Client,
    pub(crate) bus: Bus,
    pub(crate) options: CdcOptions,
    pub(crate) health: Health,
    registry: Option<RegistryClient>,
    running: Option<(JoinHandle<Result<(), CdcError>>, CancellationToken)>,
}

/// A record of a topic.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) raw: Incoming,
    /// None for tombstones.
    pub(crate) change: Option<ChangeEvent>,
}

impl Record {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.raw.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) fn op(&self) -> Option<Op> {
        self.change.as_ref().map(|change| change.op)
    }

    pub(crate) fn after(&self) -> &Row {
        self.change.as_ref().and_then(|change| change.after.as_ref()).expect("a row")
    }

    pub(crate) fn column(&self, name: &str) -> Value {
        let change = self.change.as_ref().expect("a change");
        let row = change.after.as_ref().or(change.before.as_ref()).expect("a row");
        row[change.schema.index_of(name).unwrap_or_else(|| panic!("column {name}"))].clone()
    }
}

impl Rig {
    /// On a fresh database of the cluster that all tests share.
    pub(crate) async fn new(sql: &str) -> Self {
        Rig::on(Postgres::shared().fresh_database().await.expect("a database"), sql).await
    }

    pub(crate) async fn on(database: Database, sql: &str) -> Self {
        let client = database.connect().await.expect("connect");
        client.batch_execute(sql).await.expect("set up the tables");
        let name = unique("t");
        let options = CdcOptions {
            source: name.clone(),
            connection: database.url.clone(),
            slot: name.clone(),
            publication: name,
            format: Format::Json,
            checkpoint_ms: 50,
            discover_s: 1,
            heartbeat_s: 0,
            ..CdcOptions::default()
        };
        let bus = Bus::new(BusOptions { bootstrap_servers: crate::broker(), ..BusOptions::default() });
        Rig {
            database,
            client,
            bus: bus.expect("a bus"),
            options,
            health: Health::default(),
            registry: None,
            running: None,
        }
    }

    /// From now on Avro.
    pub(crate) fn avro(&mut self) {
        let options = RegistryOptions { url: Some(registry()), ..RegistryOptions::default() };
        self.registry = Some(RegistryClient::new(options).expect("a client"));
        self.options.format = Format::Avro;
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub(crate) fn service(&self) -> CdcService {
        CdcService::new(self.options.clone(), self.bus.clone(), self.registry.clone(), self.health.clone())
            .expect("options")
    }

    pub(crate) fn start(&mut self) {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(self.service().run(shutdown.clone()));
        self.running = Some((task, shutdown));
    }

    /// Starts and waits until changes are streamed.
    pub(crate) async fn start_ready(&mut self) {
        self.start();
        self.until("ready", async |rig| rig.health.snapshot().get("cdc") == Some(&State::Ready)).await;
    }

    /// Ends it as `kill -9` would: nothing is flushed, saved or said.
    pub(crate) async fn kill(&mut self) {
        if let Some((task, _)) = self.running.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Ends it in order.
    pub(crate) async fn stop(&mut self) {
        if let Some((task, shutdown)) = self.running.take() {
            shutdown.cancel();
            task.await.expect("no panic").expect("an orderly end");
        }
    }

    /// The error with which it ends by itself.
    pub(crate) async fn failure(&mut self) -> CdcError {
        let (task, _) = self.running.take().expect("started");
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("it ends").expect("no panic");
        ended.expect_err("an error")
    }

    pub(crate) fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.options.source)
    }

    /// Every record of a table's topic, partition by partition.
    pub(crate) async fn records(&self, table: &str) -> Vec<Record> {
        self.records_of(&self.topic(table)).await
    }

    pub(crate) async fn records_of(&self, topic: &str) -> Vec<Record> {
        let admin = self.bus.admin().expect("admin");
        let mut decoder = ChangeDecoder::new(self.registry.clone());
        let mut records = Vec::new();
        for partition in 0..admin.partitions(topic).await.expect("partitions").unwrap_or(0) {
            let partition = TopicPartition::new(topic, partition);
            let (low, high) = admin.watermarks(&partition).await.expect("watermarks");
            for raw in admin.read_range(&partition, low, high).await.expect("records") {
                let change = match decoder.decode(&raw).await {
                    Ok(Decoded::Change(change)) => Some(change),
                    Ok(Decoded::Tombstone | Decoded::Other) => None,
                    Err(error) => panic!("{topic}: {error}"),
                };
                records.push(Record { raw, change });
            }
        }
        records
    }

    /// How many records the table's topic holds.
    pub(crate) async fn written(&self, table: &str) -> i64 {
        let (admin, topic) = (self.bus.admin().expect("admin"), self.topic(table));
        let mut written = 0;
        for partition in 0..admin.partitions(&topic).await.expect("partitions").unwrap_or(0) {
            let partition = TopicPartition::new(topic.as_str(), partition);
            written += admin.watermarks(&partition).await.expect("watermarks").1;
        }
        written
    }

    /// The streamed changes of a table (no snapshot rows, no tombstones).
    pub(crate) async fn changes(&self, table: &str) -> Vec<Record> {
        let mut records = self.records(table).await;
        records.retain(|r| r.op().is_some_and(|op| op != Op::Read));
        records
    }

    /// Waits for at least `count` streamed changes and returns them.
    pub(crate) async fn await_changes(&self, table: &str, count: usize) -> Vec<Record> {
        self.until(&format!("{count} changes of {table}"), async |rig| {
            rig.changes(table).await.len() >= count
        })
        .await;
        self.changes(table).await
    }

    /// Waits until the snapshot of the table is in its topic, and returns its rows.
    pub(crate) async fn await_rows(&self, table: &str, count: usize) -> Vec<Record> {
        let rows = async |rig: &Rig| {
            let mut records = rig.records(table).await;
            records.retain(|r| r.op() == Some(Op::Read));
            records
        };
        self.until(&format!("{count} rows of {table}"), async |rig| rows(rig).await.len() >= count).await;
        rows(self).await
    }

    /// Waits for a condition.
    pub(crate) async fn until<F>(&self, what: &str, mut condition: F)
    where
        F: AsyncFnMut(&Rig) -> bool,
    {
        let started = Instant::now();
        while !condition(self).await {
            if let Some((task, _)) = &self.running {
                assert!(!task.is_finished(), "{what}: the service ended: {:?}", self.health.snapshot());
            }
            assert!(started.elapsed() < PATIENCE, "{what} did not happen: {:?}", self.health.snapshot());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// One value of one row.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let rows = self.client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = rows.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0).map(str::to_owned)).unwrap_or_default()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((task, _)) = self.running.take() {
            task.abort();
        }
    }
}

/// The address of the schema registry that all tests share: it has one writer.
fn registry() -> String {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    let start = || {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let bus = BusOptions { bootstrap_servers: crate::broker(), ..BusOptions::default() };
                let listen = ([127, 0, 0, 1], 0).into();
                let options = RegistryServerOptions { listen, ..RegistryServerOptions::default() };
                let server =
                    RegistryServer::new(options, Bus::new(bus).expect("a bus")).bind().await.expect("bind");
                send.send(format!("http://{}", server.address())).expect("somebody waits");
                server.run(CancellationToken::new()).await.expect("the registry runs");
            });
        });
        receive.recv().expect("the registry starts")
    };
    ADDRESS.get_or_init(start).clone()
}

/// Runs a test on several threads with a log that shows when it fails.
pub(crate) fn run(test: impl Future<Output = ()>) {
    affluent_telemetry::logs::init(
        "warn,affluent_stream=info",
        affluent_telemetry::logs::LogFormat::Text,
        false,
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(test);
}
