//! A database with a table of every kind of value, our source and Debezium on it, and what our sinks make of their topics.

use affluent_bus::codec::Format;
use affluent_bus::registry::{RegistryClient, RegistryOptions};
use affluent_bus::{Bus, BusOptions, TopicPartition};
use affluent_documents::{DocumentStore, EmbeddedOptions, EmbeddedStore, Fields, Scan};
use affluent_lake::{Lake, LakeOptions};
use affluent_model::Row;
use affluent_model::names::mirror_collection;
use affluent_stream::cdc::{CdcOptions, CdcService};
use affluent_stream::consume::{ConsumeOptions, ConsumeService};
use affluent_stream::sinks::Sink;
use affluent_stream::sinks::documents::DocumentsSink;
use affluent_stream::sinks::events::EventOptions;
use affluent_stream::sinks::lake::LakeSink;
use affluent_telemetry::health::{Health, State};
use affluent_testkit::connect::jars;
use affluent_testkit::{Broker, ConnectWorker, Database, Postgres, unique};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const TABLE: &str = "
create table payments (
    id bigint primary key,
    amount numeric(18,4),
    fee numeric,
    code char(3),
    attempt smallint,
    part integer,
    is_settled boolean,
    ratio double precision,
    at timestamptz,
    local timestamp,
    day date,
    clock time,
    token uuid,
    extra jsonb,
    tags text[],
    raw bytea,
    note text
);
-- What is long is kept beside the row, and not sent where it did not change.
alter table payments alter column note set storage external;
insert into payments
select i, i * 1.2345, (i / 100.0)::numeric, 'EUR', i % 7, -i, i % 2 = 0, i / 8.0, '2024-05-01 10:00:00.000001+00'::timestamptz + i * interval '1 hour',
    '2024-05-01 10:00:00.123456'::timestamp + i * interval '1 day', '1969-12-25'::date + i, '23:59:59.999999'::time,
    ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, jsonb_build_object('n', i), array['a', null, i::text],
    decode(lpad(to_hex(i), 8, '0'), 'hex'), case when i % 5 = 0 then repeat('long ', 2000) else 'short' end
from generate_series(1, 300) i;
";

/// What happens to the table: inserts, updates with and without the long column, deletes, a change of key, nulls, a column
/// more and a column less, and extreme numbers.
const CHANGES: &[&str] = &[
    "insert into payments select i, i, i, 'USD' from generate_series(1001, 1200) i",
    "update payments set amount = -amount, attempt = attempt + 1 where id % 5 = 0",
    "update payments set note = 'now short' where id % 50 = 0",
    "update payments set note = repeat('longer ', 3000) where id % 60 = 0",
    "delete from payments where id % 11 = 0",
    "update payments set id = 5000 + id where id between 1 and 4",
    "update payments set fee = null, tags = null, extra = null, raw = null where id % 13 = 0",
    "insert into payments (id, amount, fee, tags, raw) values \
        (2001, 99999999999999.9999, 123456789012345678901234567890.000000000123, '{}', ''), \
        (2002, -0.0001, -1e-20, array[''], '\\x00ff'), (2003, 0, 0.00, array['ü\"\\\\'], null)",
    "alter table payments add column channel text default 'web'",
    "insert into payments (id, amount, channel) select i, 1, 'app' from generate_series(3001, 3100) i",
    "update payments set channel = 'shop' where id % 17 = 0",
    "alter table payments drop column code",
    "update payments set part = 0 where id % 19 = 0",
    "insert into payments (id, amount) values (9000, 1)",
];

/// A database and the two that capture it: ours into `<ours>.public.payments`, Debezium into
/// `<theirs>.public.payments`.
pub(crate) struct Rig {
    pub(crate) database: Database,
    pub(crate) client: Client,
    pub(crate) ours: String,
    pub(crate) worker: ConnectWorker,
    health: Health,
    running: Vec<JoinHandle<()>>,
}

pub(crate) fn bus() -> Bus {
    let bootstrap_servers = Broker::shared().bootstrap_servers().to_owned();
    Bus::new(BusOptions { bootstrap_servers, ..BusOptions::default() }).unwrap()
}

/// The Apicurio that both sides share, if there is one.
pub(crate) fn registry_url() -> Option<String> {
    let url = std::env::var("AFFLUENT_TEST_REGISTRY").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        eprintln!("skipped: AFFLUENT_TEST_REGISTRY names no Apicurio; `make interop` starts one");
    }
    url
}

/// A connector's keys for Avro in Confluent's wire format by the Apicurio whose Confluent API is at `url`.
pub(crate) fn avro_converters(url: &str) -> Json {
    let own_api = url.replace("/apis/ccompat/v7", "/apis/registry/v2");
    let mut keys = json!({});
    for part in ["key", "value"] {
        for (name, value) in [
            ("", "io.apicurio.registry.utils.converter.AvroConverter"),
            (".apicurio.registry.url", own_api.as_str()),
            (".apicurio.registry.auto-register", "true"),
            (".apicurio.registry.as-confluent", "true"),
            (".apicurio.registry.use-id", "contentId"),
            (".apicurio.registry.headers.enabled", "false"),
        ] {
            keys[format!("{part}.converter{name}")] = value.into();
        }
    }
    keys
}

pub(crate) fn registry(url: &str) -> RegistryClient {
    RegistryClient::new(RegistryOptions { url: Some(url.to_owned()), ..RegistryOptions::default() }).unwrap()
}

pub(crate) fn topic(source: &str) -> String {
    format!("{source}.public.payments")
}

impl Rig {
    /// The table, our source at work on it in JSON, and a worker without connectors.
    pub(crate) async fn start() -> Self {
        Rig::capturing(Format::Json, None).await
    }

    /// The same in Avro, by this registry.
    pub(crate) async fn start_avro(registry: RegistryClient) -> Self {
        Rig::capturing(Format::Avro, Some(registry)).await
    }

    async fn capturing(format: Format, registry: Option<RegistryClient>) -> Self {
        let java =
            jars().expect("AFFLUENT_TEST_CONNECT names a directory of jars; `make interop` fetches them");
        let database = Postgres::shared().fresh_database().await.unwrap();
        let client = database.connect().await.unwrap();
        client.batch_execute(TABLE).await.unwrap();
        let (ours, health) = (unique("ours"), Health::default());
        let options = CdcOptions {
            source: ours.clone(),
            connection: database.url.clone(),
            slot: ours.clone(),
            publication: ours.clone(),
            format,
            checkpoint_ms: 50,
            heartbeat_s: 0,
            ..CdcOptions::default()
        };
        let service = CdcService::new(options, bus(), registry, health.clone()).unwrap();
        let worker = ConnectWorker::start(&java, Broker::shared().bootstrap_servers()).await.unwrap();
        let mut rig = Rig { database, client, ours, worker, health, running: Vec::new() };
        rig.run(async move { service.run(CancellationToken::new()).await.unwrap() });
        until("our source is ready", async || rig.health.snapshot().get("cdc") == Some(&State::Ready)).await;
        rig
    }

    /// Runs something until the rig is dropped.
    fn run(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.push(tokio::spawn(work));
    }

    /// Debezium with its own defaults, but that its JSON brings its schema; `more` on top. The first part of its topics.
    pub(crate) async fn debezium(&mut self, more: &Json) -> String {
        let theirs = unique("theirs");
        let mut config = json!({
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": "1",
            "database.hostname": self.database.host,
            "database.port": self.database.port.to_string(),
            "database.user": self.database.user,
            "database.dbname": self.database.name,
            "topic.prefix": theirs,
            "plugin.name": "pgoutput",
            "slot.name": theirs,
            "publication.name": theirs,
            "publication.autocreate.mode": "filtered",
            "table.include.list": "public.payments",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": "true",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true",
        });
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.worker.configure(&theirs, &config).await.unwrap();
        let is_read = "select count(*) from pg_replication_slots where slot_name = $1 and active";
        until("Debezium streams", async || {
            self.client.query_one(is_read, &[&theirs]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        theirs
    }

    /// Waits until every row that there is now has been read into the topics of these sources, then changes them.
    pub(crate) async fn change(&self, sources: &[&str]) {
        let rows = self.count().await;
        for source in sources {
            until("the rows are in the topic", async || written(&topic(source)).await >= rows).await;
        }
        for sql in CHANGES {
            self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }

    /// How many rows the table has.
    pub(crate) async fn count(&self) -> i64 {
        self.client.query_one("select count(*) from payments", &[]).await.unwrap().get(0)
    }

    /// Runs a sink of ours on one topic.
    fn sink(&mut self, sink: impl Sink + 'static, topic: String) {
        let options =
            ConsumeOptions { group: unique("sink"), topics: vec![topic], ..ConsumeOptions::default() };
        let service = ConsumeService::new(sink, bus(), options, "cdc", Health::default()).unwrap();
        self.run(async move { service.run(CancellationToken::new()).await.unwrap() });
    }

    /// The mirror and the raw table of a topic, filled from now on.
    pub(crate) async fn stores(&mut self, source: &str, registry: Option<RegistryClient>) -> Stores {
        let directory = tempfile::tempdir().unwrap();
        let documents = directory.path().join("documents");
        let documents = EmbeddedOptions { path: Some(documents), ..EmbeddedOptions::default() };
        let documents: Arc<dyn DocumentStore> =
            Arc::new(EmbeddedStore::open(documents, 3_600).await.unwrap());
        let lake = LakeOptions { warehouse: directory.path().join("lake"), ..LakeOptions::default() };
        let lake = Lake::open(lake).await.unwrap();
        let topic = topic(source);
        self.sink(DocumentsSink::new(Arc::clone(&documents), registry.clone()), topic.clone());
        self.sink(LakeSink::new(lake.clone(), registry, EventOptions::default()), topic.clone());
        Stores { documents, lake, topic, _directory: directory }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for task in &self.running {
            task.abort();
        }
    }
}

/// What our sinks have made of one topic.
pub(crate) struct Stores {
    documents: Arc<dyn DocumentStore>,
    lake: Lake,
    topic: String,
    _directory: tempfile::TempDir,
}

impl Stores {
    /// The documents of the mirror by id, without their versions. Fields are in the order of their names.
    pub(crate) async fn mirror(&self) -> BTreeMap<String, Fields> {
        let (mut found, mut scan) = (BTreeMap::new(), Scan::all(500));
        loop {
            let Ok(page) = self.documents.scan(&mirror_collection(&self.topic), &scan).await else {
                return found;
            };
            for mut document in page.documents {
                document.fields.sort_by(|a, b| a.0.cmp(&b.0));
                found.insert(document.id, document.fields);
            }
            scan.after = page.next;
            if scan.after.is_none() {
                return found;
            }
        }
    }

    /// Every change in the raw table, in these columns, in an order of their values.
    pub(crate) async fn raw(&self, columns: &[&str]) -> Vec<Row> {
        let Ok(table) = self.lake.table("raw", "payments").await else { return Vec::new() };
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        let scan = affluent_lake::Scan { columns, ..affluent_lake::Scan::default() };
        let Ok(mut stream) = table.scan(scan).await else { return Vec::new() };
        let mut rows = Vec::new();
        while let Some(batch) = stream.next().await {
            rows.extend(batch.unwrap());
        }
        rows.sort_by_cached_key(|row| format!("{row:?}"));
        rows
    }
}

/// Records of a topic, tombstones too.
pub(crate) async fn written(topic: &str) -> i64 {
    let (bus, mut written) = (bus(), 0);
    let admin = bus.admin().unwrap();
    for partition in 0..admin.partitions(topic).await.unwrap().unwrap_or(0) {
        written += admin.watermarks(&TopicPartition::new(topic, partition)).await.unwrap().1;
    }
    written
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
