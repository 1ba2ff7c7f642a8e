//! Clicks on a real broker into the embedded store: what is read while the store writes, what becomes of a
//! batch that cannot be written, and the formats of records.

use crate::broker::{bus, make_anew};
use crate::collect::until;
use crate::store::FaultyStore;
use affluent_bus::codec::{EventEncoder, EventFormat};
use affluent_bus::registry::{RegistryClient, RegistryOptions, RegistryServer, RegistryServerOptions};
use affluent_bus::{Incoming, Outgoing, Producer, ProducerOptions, TopicPartition, TopicSpec};
use affluent_documents::{DocumentStore, Scan};
use affluent_model::names::COLLECTION_CLICKS;
use affluent_model::{ClickEvent, Value, time::now_micros};
use affluent_stream::consume::{ConsumeError, ConsumeOptions, ConsumeService};
use affluent_stream::dead_letters::{DeadLetters, Filter};
use affluent_stream::sinks::events::{EventOptions, EventsSink};
use affluent_stream::sinks::{Batch, Rejected, Sink, SinkError};
use affluent_telemetry::health::{Health, State};
use affluent_testkit::unique;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const POLL: usize = 50;
const COMMIT: usize = 200;

/// The sink, which tells how many records it was given.
struct Counted {
    sink: EventsSink,
    prepared: Arc<AtomicUsize>,
}

#[async_trait]
impl Sink for Counted {
    fn name(&self) -> &'static str {
        self.sink.name()
    }
    async fn resume(
        &mut self,
        assigned: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, SinkError> {
        self.sink.resume(assigned).await
    }
    async fn prepare(&mut self, records: &[Incoming]) -> Result<Vec<Rejected>, SinkError> {
        let rejected = self.sink.prepare(records).await?;
        self.prepared.fetch_add(records.len(), Ordering::SeqCst);
        Ok(rejected)
    }
    async fn commit(&mut self) -> Result<(), SinkError> {
        self.sink.commit().await
    }
    fn hand_over(&mut self) -> Option<Box<dyn Batch>> {
        self.sink.hand_over()
    }
    async fn revoke(&mut self, revoked: &[TopicPartition]) -> Result<(), SinkError> {
        self.sink.revoke(revoked).await
    }
}

/// Topic, producer and store of one test.
struct Rig {
    topic: String,
    group: String,
    producer: Producer,
    registry: Option<RegistryClient>,
    store: Arc<FaultyStore>,
    health: Health,
    prepared: Arc<AtomicUsize>,
    sent: BTreeSet<Uuid>,
    _directory: tempfile::TempDir,
}

/// A running sink.
type Running = (JoinHandle<Result<(), ConsumeError>>, CancellationToken);

impl Rig {
    async fn new() -> Self {
        let topic = unique("clicks");
        bus().admin().unwrap().ensure_topic(&topic, &TopicSpec::new(2)).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        Rig {
            topic,
            group: unique("group"),
            producer: bus().producer(ProducerOptions::default()).unwrap(),
            registry: None,
            store: FaultyStore::open(&directory).await,
            health: Health::default(),
            prepared: Arc::default(),
            sent: BTreeSet::new(),
            _directory: directory,
        }
    }

    async fn send(&mut self, clicks: usize) {
        let mut encoder = EventEncoder::new(EventFormat::Json, None);
        for _ in 0..clicks {
            let click = self.click();
            let value = encoder.click(&self.topic, &click).await.unwrap();
            self.send_bytes(value).await;
        }
        self.producer.flush(Duration::from_secs(30)).await.unwrap();
    }

    fn click(&mut self) -> ClickEvent {
        let event_id = Uuid::now_v7();
        self.sent.insert(event_id);
        let now = now_micros();
        ClickEvent {
            event_id,
            event_type: "page_view".to_owned(),
            occurred_at: now,
            received_at: now,
            properties: "{}".to_owned(),
            ..ClickEvent::default()
        }
    }

    async fn send_bytes(&self, value: Bytes) {
        let topic = self.topic.as_str().into();
        let record = Outgoing {
            topic,
            partition: None,
            key: None,
            value: Some(value),
            headers: vec![],
            timestamp_ms: None,
        };
        self.producer.send(record).await.unwrap();
    }

    fn start(&self) -> Running {
        let options = ConsumeOptions {
            group: self.group.clone(),
            topics: vec![self.topic.clone()],
            poll_records: POLL,
            commit_records: COMMIT,
            ..ConsumeOptions::default()
        };
        let events = EventOptions { clicks: vec![self.topic.clone()], ..EventOptions::default() };
        let store = Arc::clone(&self.store) as Arc<dyn DocumentStore>;
        let sink = EventsSink::new(store, self.registry.clone(), events);
        let sink = Counted { sink, prepared: Arc::clone(&self.prepared) };
        let service = ConsumeService::new(sink, bus(), options, "events", self.health.clone()).unwrap();
        let shutdown = CancellationToken::new();
        (tokio::spawn(service.run(shutdown.clone())), shutdown)
    }

    /// Records that the group has not committed.
    async fn lag(&self) -> i64 {
        bus().admin().unwrap().group_lag(&self.group, &[&self.topic]).await.unwrap().values().sum()
    }

    async fn caught_up(&self) {
        until("no lag", async || self.lag().await == 0).await;
    }

    fn is_degraded(&self) -> bool {
        matches!(self.health.snapshot().get("sink-events"), Some(State::Degraded(_)))
    }

    /// Each event that was sent is stored, and nothing else.
    async fn assert_exact(&self) {
        let mut ids = BTreeSet::new();
        let mut scan = Scan::all(1_000);
        loop {
            let page = self.store.scan(COLLECTION_CLICKS, &scan).await.unwrap();
            ids.extend(page.documents.iter().map(|document| document.id.parse::<Uuid>().unwrap()));
            scan.after = page.next;
            if scan.after.is_none() {
                break;
            }
        }
        assert_eq!(ids, self.sent);
        assert_eq!(self.store.count(COLLECTION_CLICKS).await.unwrap(), self.sent.len() as u64);
    }
}

async fn stop((task, shutdown): Running) {
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_batch_is_staged_while_the_last_one_is_written() {
    let mut rig = Rig::new().await;
    rig.store.hold(true);
    rig.send(1_000).await;
    let running = rig.start();
    // Beside the batch that is held, as much is staged as one commit may have, and no more.
    until("a full batch is staged", async || {
        let [held] = rig.store.inserts()[..] else { return false };
        let staged = rig.prepared.load(Ordering::SeqCst) - held;
        assert!(staged < COMMIT + POLL, "{staged} staged beside {held}");
        staged >= COMMIT
    })
    .await;
    assert_eq!(rig.lag().await, 1_000, "nothing is committed before it is written");
    rig.store.hold(false);
    rig.caught_up().await;
    let inserts = rig.store.inserts();
    assert!(inserts[0] <= POLL && inserts[1] >= COMMIT, "{inserts:?}");
    rig.assert_exact().await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_fails_is_repeated_and_one_that_is_given_up_is_read_again() {
    let mut rig = Rig::new().await;
    rig.store.away.store(true, Ordering::Relaxed);
    rig.send(300).await;
    let running = rig.start();
    until("faults", async || rig.is_degraded()).await;
    rig.send(300).await;
    rig.store.away.store(false, Ordering::Relaxed);
    rig.caught_up().await;
    assert_eq!(rig.health.snapshot().get("sink-events"), Some(&State::Ready));
    rig.assert_exact().await;

    // At the end there is a limit to patience; what was not written is not committed.
    rig.store.away.store(true, Ordering::Relaxed);
    rig.send(300).await;
    until("faults", async || rig.is_degraded()).await;
    let started = Instant::now();
    stop(running).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(rig.lag().await, 300);
    rig.store.away.store(false, Ordering::Relaxed);
    let running = rig.start();
    rig.caught_up().await;
    rig.assert_exact().await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_leave_wait_for_the_batch_under_way() {
    let mut rig = Rig::new().await;
    rig.store.hold(true);
    rig.send(600).await;
    let first = rig.start();
    until("a batch is under way", async || rig.store.inserts().len() == 1).await;
    let second = rig.start();
    rig.send(600).await;
    rig.store.hold(false);
    rig.caught_up().await;
    stop(first).await;
    rig.send(600).await;
    rig.caught_up().await;
    rig.assert_exact().await;
    stop(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_topic_that_is_made_anew_while_it_is_read_arrive() {
    let mut rig = Rig::new().await;
    // One partition: of several, one might be longer than before at once.
    rig.topic = unique("clicks");
    bus().admin().unwrap().ensure_topic(&rig.topic, &TopicSpec::new(1)).await.unwrap();
    let running = rig.start();
    rig.send(300).await;
    rig.caught_up().await;
    make_anew(&rig.topic, 1).await;
    // The old producer goes on counting where the old topic ended.
    rig.producer = bus().producer(ProducerOptions::default()).unwrap();
    // Fewer: they lie before what was read.
    rig.send(60).await;
    let all = rig.sent.len() as u64;
    until("all events", async || rig.store.count(COLLECTION_CLICKS).await.unwrap() == all).await;
    rig.assert_exact().await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn avro_protobuf_and_json_of_one_topic_are_recognised() {
    let mut rig = Rig::new().await;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = RegistryServerOptions { listen, ..RegistryServerOptions::default() };
    let server = RegistryServer::new(options, bus()).bind().await.unwrap();
    let url = Some(format!("http://{}", server.address()));
    let serving = CancellationToken::new();
    tokio::spawn(server.run(serving.clone()));
    rig.registry = Some(RegistryClient::new(RegistryOptions { url, ..RegistryOptions::default() }).unwrap());
    let (clicks, formats) = (90, [EventFormat::Avro, EventFormat::Protobuf, EventFormat::Json]);
    let mut expected = BTreeMap::new();
    // One after the other, as from producers that know nothing of each other. Each registers under a subject of
    // its own: a subject has versions of one format.
    let mut encoders = formats.map(|format| (format, EventEncoder::new(format, rig.registry.clone())));
    for n in 0..clicks {
        let (format, encoder) = &mut encoders[n % formats.len()];
        let mut click = rig.click();
        click.event_type = format!("{format:?}");
        click.user_id = Some(format!("user-{n}"));
        expected.insert(click.event_id.to_string(), (click.event_type.clone(), format!("user-{n}")));
        let value = encoder.click(&format!("{}.{format:?}", rig.topic), &click).await.unwrap();
        rig.send_bytes(value).await;
    }
    // What is none of them is put aside.
    rig.send_bytes(Bytes::from_static(b"page_view;user-1")).await;
    rig.producer.flush(Duration::from_secs(30)).await.unwrap();
    let running = rig.start();
    rig.caught_up().await;
    rig.assert_exact().await;
    let page = rig.store.scan(COLLECTION_CLICKS, &Scan::all(1_000)).await.unwrap();
    let text = |value: Option<&Value>| match value {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    let stored: BTreeMap<_, _> = page
        .documents
        .iter()
        .map(|document| {
            let facts = (text(document.field("event_type")), text(document.field("user_id")));
            (document.id.clone(), facts)
        })
        .collect();
    assert_eq!(stored, expected);
    let letters = DeadLetters::new(bus()).unwrap();
    let filter = Filter { topic: Some(rig.topic.clone()), ..Filter::default() };
    let letters = letters.list(&filter).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].letter.error.contains("neither"), "{letters:?}");
    stop(running).await;
    serving.cancel();
}
