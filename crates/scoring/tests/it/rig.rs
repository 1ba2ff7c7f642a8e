//! Payments on a broker of their own, processes that score them, and what they have recorded, sent and written back.

use affluent_bus::codec::{ChangeEncoder, Format};
use affluent_bus::registry::{RegistryClient, RegistryOptions, RegistryServer, RegistryServerOptions};
use affluent_bus::{
    Bus, BusOptions, Incoming, Outgoing, Producer, ProducerOptions, TopicPartition, TopicSpec,
};
use affluent_documents::{Document, DocumentStore, EmbeddedOptions, EmbeddedStore, Scan};
use affluent_feature_store::event::References;
use affluent_feature_store::stream::{FeaturesSink, StreamOptions, Streamed};
use affluent_features::Definitions;
use affluent_model::time::now_micros;
use affluent_model::{
    ChangeEvent, Column, ColumnType, Op, Position, Snapshot, Source, TableId, TableSchema, Value,
};
use affluent_scoring::record::COLLECTION;
use affluent_scoring::rules::RulesText;
use affluent_scoring::stream::{Payments, ScoreOptions, Scores};
use affluent_scoring::{Judge, JudgeOptions, Vocabulary};
use affluent_stream::cdc::CdcOptions;
use affluent_stream::consume::{ConsumeOptions, ConsumeService};
use affluent_stream::sinks::events::EventOptions;
use affluent_telemetry::health::Health;
use affluent_testkit::{Broker, Database, Postgres};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const TOPIC: &str = "oltp.public.transactions";
/// Payments of more, in minor units, are reviewed.
pub(crate) const LIMIT: i64 = 50_000;
const SECOND: i64 = 1_000_000;

const SOURCE: &str = r#"
description = "Payments."
topic = "oltp.public.transactions"
event_time = "created_at"
arrival_time = "_commit_ts"
id = "id"
lateness = "1h"
entities = { customer = "customer_id" }
columns = { amount = "money" }
derived = { amount = "minor_units(amount, currency)" }
"#;

const VIEW: &str = r#"
entity = "customer"
source = "transactions"
owner = "fraud"
freshness = "stream"
description = "Payments."

[[features]]
name = "customer_payments"
version = 1
description = "Payments."
aggregate = "count"
windows = ["1h"]

[[features]]
name = "customer_amount_sum"
version = 1
description = "What was paid."
aggregate = "sum"
column = "amount"
window = "1d"
"#;

const RULES: &str =
    "[[rules]]\nname = \"much\"\nwhen = \"amount_minor > 50000\"\ndecision = \"review\"\nwords = \"much\"\n";

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A payment, as a change of its row.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) customer: i64,
    /// In minor units.
    pub(crate) amount: i64,
    pub(crate) currency: &'static str,
    pub(crate) op: Op,
    pub(crate) snapshot: Snapshot,
    /// How long ago it was committed, seconds.
    pub(crate) ago: i64,
}

impl Payment {
    pub(crate) fn new(customer: i64, amount: i64) -> Self {
        let id = Uuid::new_v4().to_string();
        Payment { id, customer, amount, currency: "EUR", op: Op::Create, snapshot: Snapshot::False, ago: 0 }
    }

    fn change(&self, schema: &Arc<TableSchema>, lsn: u64) -> ChangeEvent {
        let committed = now_micros() - self.ago * SECOND;
        let row = vec![
            Value::Text(self.id.clone()),
            Value::TimestampTz(committed),
            Value::Int(self.customer),
            Value::Decimal(format!("{}.{:02}", self.amount / 100, self.amount % 100).parse().unwrap()),
            Value::Text(self.currency.to_owned()),
        ];
        ChangeEvent {
            schema: Arc::clone(schema),
            op: self.op,
            before: None,
            after: Some(row),
            unchanged: Vec::new(),
            source: Source {
                name: "oltp".into(),
                database: "shop".into(),
                position: Position::new(lsn, 1),
                lsn,
                tx_id: None,
                ts_us: committed,
                snapshot: self.snapshot,
            },
            ts_us: committed,
            transaction: None,
        }
    }
}

fn schema() -> Arc<TableSchema> {
    let columns = [
        ("id", ColumnType::Text),
        ("created_at", ColumnType::TimestampTz),
        ("customer_id", ColumnType::Int64),
        ("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        ("currency", ColumnType::Text),
    ];
    let column = |(name, column_type): (&str, ColumnType)| Column {
        name: name.to_owned(),
        column_type,
        nullable: true,
    };
    let columns = columns.into_iter().map(column).collect();
    Arc::new(TableSchema { table: TableId::new("public", "transactions"), columns, key: vec![0] })
}

/// A broker with a topic of payments, a registry, a document store and a payments database.
pub(crate) struct Rig {
    _broker: Broker,
    pub(crate) bus: Bus,
    registry: RegistryClient,
    pub(crate) store: Arc<dyn DocumentStore>,
    pub(crate) database: Database,
    pub(crate) directory: tempfile::TempDir,
    streamed: Streamed,
    producer: Producer,
    encoder: ChangeEncoder,
    schema: Arc<TableSchema>,
    lsn: u64,
}

/// A process that scores: its state and its part in leading.
pub(crate) struct Process {
    tasks: Vec<JoinHandle<()>>,
    shutdown: CancellationToken,
}

impl Process {
    /// As much as a process can be killed in another one: what it has not stored is gone.
    pub(crate) async fn kill(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let broker = Broker::start().unwrap();
        let bootstrap_servers = broker.bootstrap_servers().to_owned();
        let bus = Bus::new(BusOptions { bootstrap_servers, ..BusOptions::default() }).unwrap();
        bus.admin().unwrap().ensure_topic(TOPIC, &TopicSpec::new(3)).await.unwrap();
        let files = [("sources/transactions.toml", SOURCE), ("customers.toml", VIEW)];
        let definitions = Definitions::from_files(files.map(|(path, text)| (path, path, text))).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let registry = registry(&bus).await;
        Rig {
            store: open(directory.path()).await,
            database: Postgres::shared().fresh_database().await.unwrap(),
            streamed: Streamed::new(&definitions, Arc::new(References::default())).unwrap(),
            producer: bus.producer(ProducerOptions::default()).unwrap(),
            encoder: ChangeEncoder::new(Format::Avro, Some(registry.clone())),
            registry,
            schema: schema(),
            lsn: 1_000,
            directory,
            bus,
            _broker: broker,
        }
    }

    pub(crate) async fn send(&mut self, payment: &Payment) {
        self.lsn += 8;
        let change = payment.change(&self.schema, self.lsn);
        let encoded = self.encoder.encode(TOPIC, &change).await.unwrap();
        let (key, value) = (encoded.key, Some(encoded.value));
        let (topic, headers) = (TOPIC.into(), Vec::new());
        let record = Outgoing { topic, partition: None, key, value, headers, timestamp_ms: None };
        let sent = self.producer.send(record).await.unwrap();
        self.producer.wait_acked(sent).await.unwrap();
    }

    /// The topic of payments, deleted and made again.
    pub(crate) async fn make_anew(&mut self) {
        let admin = self.bus.admin().unwrap();
        admin.delete_topic(TOPIC).await.unwrap();
        until("the topic is gone", async || admin.partitions(TOPIC).await.unwrap().is_none()).await;
        admin.ensure_topic(TOPIC, &TopicSpec::new(3)).await.unwrap();
        self.producer = self.bus.producer(ProducerOptions::default()).unwrap();
    }

    /// Rows of these payments in the payments database, without scores.
    pub(crate) async fn insert(&self, payments: &[Payment]) {
        let client = self.database.connect().await.unwrap();
        let sql = "create table if not exists transactions (id uuid primary key, risk_score double precision, \
                   risk_decision text, risk_scored_at timestamptz)";
        client.batch_execute(sql).await.unwrap();
        let ids: Vec<&str> = payments.iter().map(|payment| payment.id.as_str()).collect();
        let sql = "insert into transactions (id) select id::uuid from unnest($1::text[]) as new (id)";
        client.execute(sql, &[&ids]).await.unwrap();
    }

    /// Payments that have a score in the payments database, by their decisions.
    pub(crate) async fn written_back(&self) -> Vec<(String, String)> {
        let client = self.database.connect().await.unwrap();
        let sql =
            "select id::text, risk_decision from transactions where risk_scored_at is not null order by 1";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Starts the process `name`; with the same name it goes on where it was.
    pub(crate) async fn start(&self, name: &str) -> Process {
        let payments = Payments::new(&self.streamed).unwrap();
        let vocabulary = Vocabulary::new(&self.streamed.definitions, Arc::clone(payments.names())).unwrap();
        let rules = RulesText::parse(RULES, Path::new(".")).unwrap().check(&vocabulary).unwrap();
        let judge = Judge::new(vocabulary, JudgeOptions::default());
        judge.set_rules(Arc::new(rules));
        let health = Health::default();
        let mut options =
            ScoreOptions { instance: name.to_owned(), replication: 1, ..ScoreOptions::default() };
        (options.write_back.batch_rows, options.write_back.retry_max_ms) = (20, 200);
        (options.write_back.lock_timeout_ms, options.write_back.aside_retry_ms) = (50, 100);
        let scores = Scores::new(
            payments,
            judge,
            Arc::clone(&self.store),
            self.bus.clone(),
            self.registry.clone(),
            options,
            health.clone(),
        )
        .unwrap();
        let directory = self.directory.path().join(name);
        let options = StreamOptions { directory, snapshot_interval_s: 0, ..StreamOptions::default() };
        let (store, admin) = (Arc::clone(&self.store), self.bus.admin().unwrap());
        let events = EventOptions::default();
        let sink = FeaturesSink::new(
            &self.streamed,
            store,
            admin,
            Some(self.registry.clone()),
            &events,
            name,
            options,
        );
        let sink = sink.without_values().followed_by(scores.follower());
        let options = ConsumeOptions {
            group: name.to_owned(),
            instance_id: name.to_owned(),
            topics: self.streamed.topics(),
            poll_records: 20,
            ..ConsumeOptions::default()
        };
        let service = ConsumeService::new(sink, self.bus.clone(), options, "features", health).unwrap();
        let shutdown = CancellationToken::new();
        let (reading, leading) = (shutdown.clone(), shutdown.clone());
        let database = CdcOptions { connection: self.database.url.clone(), ..CdcOptions::default() };
        let tasks = vec![
            tokio::spawn(async move { service.run(reading).await.unwrap() }),
            tokio::spawn(async move { scores.run(Some(database), leading).await.unwrap() }),
        ];
        Process { tasks, shutdown }
    }

    /// Every record of a topic.
    pub(crate) async fn topic(&self, topic: &str) -> Vec<Incoming> {
        let admin = self.bus.admin().unwrap();
        let mut records = Vec::new();
        for number in 0..admin.partitions(topic).await.unwrap().unwrap_or(0) {
            let partition = TopicPartition::new(topic, number);
            let (from, to) = admin.watermarks(&partition).await.unwrap();
            records.extend(admin.read_range(&partition, from, to).await.unwrap());
        }
        records
    }

    /// Every record of a payment, in order of ids.
    pub(crate) async fn records(&self) -> Vec<Document> {
        let (mut documents, mut scan) = (Vec::new(), Scan::all(500));
        loop {
            let Ok(page) = self.store.scan(COLLECTION, &scan).await else { return documents };
            documents.extend(page.documents);
            scan.after = page.next;
            if scan.after.is_none() {
                return documents;
            }
        }
    }

    /// The process `name` has read all payments.
    pub(crate) async fn caught_up(&self, name: &str) {
        let admin = self.bus.admin().unwrap();
        until("no lag", async || {
            let lag = admin.group_lag(name, &[TOPIC]).await.unwrap();
            !lag.is_empty() && lag.values().all(|&lag| lag == 0)
        })
        .await;
    }
}

async fn open(directory: &Path) -> Arc<dyn DocumentStore> {
    let options = EmbeddedOptions { path: Some(directory.join("documents")), ..EmbeddedOptions::default() };
    Arc::new(EmbeddedStore::open(options, 3_600).await.unwrap())
}

/// A registry that lasts as long as the test.
async fn registry(bus: &Bus) -> RegistryClient {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = RegistryServerOptions { listen, ..RegistryServerOptions::default() };
    let bound = RegistryServer::new(options, bus.clone()).bind().await.unwrap();
    let url = Some(format!("http://{}", bound.address()));
    tokio::spawn(bound.run(CancellationToken::new()));
    RegistryClient::new(RegistryOptions { url, ..RegistryOptions::default() }).unwrap()
}
