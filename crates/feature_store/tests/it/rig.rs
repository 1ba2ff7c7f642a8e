//! A topic of payments on the shared broker, its features, and a store of their values.

use affluent_bus::codec::{ChangeEncoder, Format};
use affluent_bus::{Bus, BusOptions, Outgoing, Producer, ProducerOptions, TopicSpec};
use affluent_documents::{Document, DocumentError, DocumentStore, EmbeddedOptions, EmbeddedStore, Scan};
use affluent_feature_store::event::References;
use affluent_feature_store::stream::{FeaturesSink, Follower, LiveState, Past, StreamOptions, Streamed};
use affluent_features::definition::Definitions;
use affluent_model::{
    ChangeEvent, Column, ColumnType, Op, Position, Snapshot, Source, TableId, TableSchema, Value,
};
use affluent_stream::consume::{ConsumeError, ConsumeOptions, ConsumeService};
use affluent_stream::sinks::events::EventOptions;
use affluent_telemetry::health::Health;
use affluent_testkit::broker::Broker;
use affluent_testkit::unique;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// 2026-11-02T12:00:00Z.
pub(crate) const NOON: i64 = 1_793_620_800_000_000;
pub(crate) const SECOND: i64 = 1_000_000;

const VIEW: &str = r#"
entity = "ENTITY"
source = "payments"
owner = "fraud"
freshness = "stream"
description = "Payments."

[[features]]
name = "ENTITY_payments"
version = 2
description = "Payments."
aggregate = "count"
windows = ["1h", "7d"]

[[features]]
name = "ENTITY_amount_mean"
version = 1
description = "Mean amount."
aggregate = "mean"
column = "amount"
window = "1d"

[[features]]
name = "ENTITY_others"
version = 1
description = "Different ones on the other side."
aggregate = "distinct"
column = "OTHER"
window = "7d"

[[features]]
name = "ENTITY_seconds_since_payment"
version = 1
description = "Seconds since the payment before."
aggregate = "since_last"
window = "7d"
"#;

/// A bus at the shared broker.
pub(crate) fn bus() -> Bus {
    let bootstrap_servers = Broker::shared().bootstrap_servers().to_owned();
    Bus::new(BusOptions { bootstrap_servers, ..BusOptions::default() }).unwrap()
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn open(directory: &Path) -> Arc<dyn DocumentStore> {
    let options = EmbeddedOptions { path: Some(directory.join("documents")), ..EmbeddedOptions::default() };
    Arc::new(EmbeddedStore::open(options, 3_600).await.unwrap())
}

/// Every document of a collection, in order of ids; none of one that nobody has made yet.
pub(crate) async fn documents(store: &dyn DocumentStore, collection: &str) -> Vec<Document> {
    let (mut documents, mut scan) = (Vec::new(), Scan::all(500));
    loop {
        let page = match store.scan(collection, &scan).await {
            Err(DocumentError::UnknownCollection(_)) => return documents,
            page => page.unwrap(),
        };
        documents.extend(page.documents);
        scan.after = page.next;
        if scan.after.is_none() {
            return documents;
        }
    }
}

/// A payment of a customer at a terminal, so many seconds after noon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payment {
    pub(crate) id: i64,
    pub(crate) customer: i64,
    pub(crate) terminal: i64,
    pub(crate) second: i64,
    /// How many seconds it took to be committed.
    pub(crate) delay: i64,
}

impl Payment {
    pub(crate) fn change(&self, schema: &Arc<TableSchema>) -> ChangeEvent {
        let created = NOON + self.second * SECOND;
        let row = vec![
            Value::Int(self.id),
            Value::TimestampTz(created),
            Value::Int(self.customer),
            Value::Text(format!("T-{}", self.terminal)),
            Value::Int(self.id * 7 % 1_000),
        ];
        ChangeEvent {
            schema: Arc::clone(schema),
            op: Op::Create,
            before: None,
            after: Some(row),
            unchanged: Vec::new(),
            source: Source {
                name: "oltp".into(),
                database: "shop".into(),
                position: Position::new(1_000 + self.id.unsigned_abs(), 1),
                lsn: 7,
                tx_id: None,
                ts_us: created + self.delay * SECOND,
                snapshot: Snapshot::False,
            },
            ts_us: created,
            transaction: None,
        }
    }
}

/// The table of payments.
pub(crate) fn schema() -> Arc<TableSchema> {
    let columns = [
        ("id", ColumnType::Int64),
        ("created_at", ColumnType::TimestampTz),
        ("customer_id", ColumnType::Int64),
        ("terminal_id", ColumnType::Text),
        ("amount", ColumnType::Int64),
    ];
    let column = |(name, column_type): (&str, ColumnType)| Column {
        name: name.to_owned(),
        column_type,
        nullable: true,
    };
    let columns = columns.into_iter().map(column).collect();
    Arc::new(TableSchema { table: TableId::new("public", "payments"), columns, key: vec![0] })
}

/// One topic with its producer and its features.
pub(crate) struct Rig {
    pub(crate) topic: String,
    pub(crate) streamed: Streamed,
    /// Where its sinks find what the topic does not hold.
    pub(crate) past: Option<Past>,
    producer: Producer,
    encoder: ChangeEncoder,
    schema: Arc<TableSchema>,
}

/// A running sink.
pub(crate) struct Running {
    task: JoinHandle<Result<(), ConsumeError>>,
    shutdown: CancellationToken,
}

impl Running {
    /// As `kill -9`: what is between the store and the snapshot is read again.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Rig {
    pub(crate) async fn new(partitions: i32) -> Self {
        Rig::of(&TopicSpec::new(partitions)).await
    }

    /// With a topic of one's own making.
    pub(crate) async fn of(spec: &TopicSpec) -> Self {
        let topic = format!("{}.public.payments", unique("oltp"));
        bus().admin().unwrap().ensure_topic(&topic, spec).await.unwrap();
        let source = format!(
            "description = \"Payments.\"\ntopic = \"{topic}\"\nevent_time = \"created_at\"\narrival_time = \"_commit_ts\"\n\
             id = \"id\"\nlateness = \"1h\"\nentities = {{ customer = \"customer_id\", terminal = \"terminal_id\" }}\n\
             columns = {{ amount = \"money\", customer_id = \"integer\", terminal_id = \"text\" }}\n"
        );
        let view = |entity: &str, other: &str| VIEW.replace("ENTITY", entity).replace("OTHER", other);
        let (customers, terminals) = (view("customer", "terminal_id"), view("terminal", "customer_id"));
        let files = [
            ("sources/payments.toml", source.as_str()),
            ("customers.toml", customers.as_str()),
            ("terminals.toml", terminals.as_str()),
        ];
        let files = files.into_iter().map(|(path, text)| (path, path, text));
        let definitions = Definitions::from_files(files).unwrap();
        Rig {
            topic,
            streamed: Streamed::new(&definitions, Arc::new(References::default())).unwrap(),
            past: None,
            producer: bus().producer(ProducerOptions::default()).unwrap(),
            encoder: ChangeEncoder::new(Format::Json, None),
            schema: schema(),
        }
    }

    pub(crate) async fn send(&mut self, payment: &Payment) {
        let encoded = self.encoder.encode(&self.topic, &payment.change(&self.schema)).await.unwrap();
        let (key, value) = (encoded.key, Some(encoded.value));
        let topic = self.topic.as_str().into();
        let record = Outgoing { topic, partition: None, key, value, headers: Vec::new(), timestamp_ms: None };
        self.producer.send(record).await.unwrap();
    }

    pub(crate) async fn send_bytes(&self, value: &'static [u8]) {
        let topic = self.topic.as_str().into();
        let value = Some(bytes::Bytes::from_static(value));
        let record =
            Outgoing { topic, partition: Some(0), key: None, value, headers: Vec::new(), timestamp_ms: None };
        self.producer.send(record).await.unwrap();
    }

    /// A sink of this group whose snapshots are in `directory`. It commits often, so that there is much to be cut.
    pub(crate) fn start(&self, group: &str, store: &Arc<dyn DocumentStore>, directory: &Path) -> Running {
        self.run(group, self.sink(group, store, directory))
    }

    /// The same with a state that others ask, and somebody who follows.
    pub(crate) fn start_followed(
        &self,
        group: &str,
        store: &Arc<dyn DocumentStore>,
        directory: &Path,
        live: LiveState,
        follower: Box<dyn Follower>,
    ) -> Running {
        self.run(group, self.sink(group, store, directory).keeping(live).followed_by(follower))
    }

    fn sink(&self, group: &str, store: &Arc<dyn DocumentStore>, directory: &Path) -> FeaturesSink {
        let options = StreamOptions {
            directory: directory.join("state"),
            snapshot_interval_s: 0,
            batch_documents: 3,
            logged_share: 1.0,
            ..StreamOptions::default()
        };
        let (admin, events) = (bus().admin().unwrap(), EventOptions::default());
        let sink = FeaturesSink::new(&self.streamed, Arc::clone(store), admin, None, &events, group, options);
        match &self.past {
            Some(past) => sink.with_past(past.clone()),
            None => sink,
        }
    }

    fn run(&self, group: &str, sink: FeaturesSink) -> Running {
        let options = ConsumeOptions {
            group: group.to_owned(),
            instance_id: group.to_owned(),
            topics: self.streamed.topics(),
            poll_records: 20,
            ..ConsumeOptions::default()
        };
        let service = ConsumeService::new(sink, bus(), options, "features", Health::default()).unwrap();
        let shutdown = CancellationToken::new();
        Running { task: tokio::spawn(service.run(shutdown.clone())), shutdown }
    }

    /// What was sent is in the topic.
    pub(crate) async fn flush(&self) {
        self.producer.flush(PATIENCE).await.unwrap();
    }

    /// Everything in the topic is committed by the group.
    pub(crate) async fn caught_up(&self, group: &str) {
        let admin = bus().admin().unwrap();
        self.flush().await;
        until("no lag", async || {
            let lag = admin.group_lag(group, &[&self.topic]).await.unwrap();
            !lag.is_empty() && lag.values().all(|&lag| lag == 0)
        })
        .await;
    }
}
