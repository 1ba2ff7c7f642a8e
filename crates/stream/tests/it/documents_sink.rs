//! Changes on a real broker to mirrors in the embedded store: convergence, crashes, dead letters.

use crate::broker::{bus, make_anew};
use crate::changes::{self, Rows};
use affluent_bus::codec::{ChangeEncoder, Format};
use affluent_bus::{Outgoing, Producer, ProducerOptions, TopicPartition, TopicSpec};
use affluent_documents::{
    CollectionSpec, DocumentStore, EmbeddedOptions, EmbeddedStore, Scan, VersionedWrite,
};
use affluent_model::names::mirror_collection;
use affluent_model::{ChangeEvent, Op, Position, Reason, Value};
use affluent_stream::consume::{ConsumeError, ConsumeOptions, ConsumeService};
use affluent_stream::dead_letters::{DeadLetters, Filter, HEADER_REPLAYED};
use affluent_stream::sinks::documents::{DocumentsSink, Mirrored, mirror};
use affluent_telemetry::health::{Health, State};
use affluent_testkit::unique;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

type Store = Arc<dyn DocumentStore>;

async fn store(directory: &tempfile::TempDir) -> Store {
    let options = EmbeddedOptions { path: Some(directory.path().to_owned()), ..EmbeddedOptions::default() };
    Arc::new(EmbeddedStore::open(options, 3_600).await.unwrap())
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The rows of a mirror.
async fn rows(store: &Store, collection: &str) -> Rows {
    let (mut rows, mut scan) = (Rows::new(), Scan::all(500));
    loop {
        let page = store.scan(collection, &scan).await.unwrap();
        for document in page.documents {
            let field =
                |name: &str| document.field(name).cloned().unwrap_or(Value::Text("missing".to_owned()));
            let Value::Int(id) = field("id") else { panic!("{document:?}") };
            assert_eq!(document.id, id.to_string());
            rows.insert(id, (field("amount"), field("note")));
        }
        scan.after = page.next;
        if scan.after.is_none() {
            return rows;
        }
    }
}

/// Topic, producer and sink of one test.
struct Rig {
    topic: String,
    producer: Producer,
    encoder: ChangeEncoder,
    store: Store,
    health: Health,
    _directory: tempfile::TempDir,
}

impl Rig {
    async fn new(partitions: i32) -> Self {
        let topic = format!("{}.public.notes", unique("oltp"));
        bus().admin().unwrap().ensure_topic(&topic, &TopicSpec::new(partitions)).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        Rig {
            topic,
            producer: bus().producer(ProducerOptions::default()).unwrap(),
            encoder: ChangeEncoder::new(Format::Json, None),
            store: store(&directory).await,
            health: Health::default(),
            _directory: directory,
        }
    }

    fn collection(&self) -> String {
        mirror_collection(&self.topic)
    }

    async fn send(&mut self, change: &ChangeEvent) {
        let encoded = self.encoder.encode(&self.topic, change).await.unwrap();
        self.send_bytes(encoded.key, Some(encoded.value)).await;
    }

    async fn send_bytes(&self, key: Option<Bytes>, value: Option<Bytes>) {
        let headers = vec![("origin".to_owned(), Bytes::from_static(b"test"))];
        let topic = self.topic.as_str().into();
        let record = Outgoing { topic, partition: None, key, value, headers, timestamp_ms: None };
        self.producer.send(record).await.unwrap();
    }

    fn start(&self, group: &str) -> (JoinHandle<Result<(), ConsumeError>>, CancellationToken) {
        let options = ConsumeOptions {
            group: group.to_owned(),
            topics: vec![self.topic.clone()],
            poll_records: 50,
            ..ConsumeOptions::default()
        };
        let sink = DocumentsSink::new(Arc::clone(&self.store), None);
        let service = ConsumeService::new(sink, bus(), options, "cdc", self.health.clone()).unwrap();
        let shutdown = CancellationToken::new();
        (tokio::spawn(service.run(shutdown.clone())), shutdown)
    }

    /// Everything in the topic is committed by the group.
    async fn caught_up(&self, group: &str) {
        let admin = bus().admin().unwrap();
        self.producer.flush(PATIENCE).await.unwrap();
        until("no lag", async || {
            let lag = admin.group_lag(group, &[&self.topic]).await.unwrap();
            !lag.is_empty() && lag.values().all(|&lag| lag == 0)
        })
        .await;
    }
}

fn insert(id: i64, version: u64) -> ChangeEvent {
    let row = vec![Value::Int(id), changes::amount(id), Value::Text(format!("note {version}"))];
    changes::change(&changes::schema(), Op::Create, Position::new(version, 1), None, Some(row))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_survive_crashes_and_repetition() {
    let mut rig = Rig::new(3).await;
    let (group, again) = (unique("group"), unique("again"));
    let mut runner = TestRunner::deterministic();
    // Long histories behind each other on keys of their own, so that batches are cut anywhere.
    let mut expected = Rows::new();
    let (first, first_shutdown) = rig.start(&group);
    let mut running = Some((first, first_shutdown));
    for round in 0..6 {
        let history = changes::history().new_tree(&mut runner).unwrap().current();
        for change in history.changes.iter().filter(|change| change.op != Op::Truncate) {
            rig.send(change).await;
        }
        for id in 0..200 {
            let id = 1_000 + 200 * round + id;
            rig.send(&insert(id, 2_000 + id as u64)).await;
            expected.insert(id, (changes::amount(id), Value::Text(format!("note {}", 2_000 + id))));
        }
        // As `kill -9`: whatever was between the store and the offsets is read again.
        let (task, _) = running.take().unwrap();
        let store = Arc::clone(&rig.store);
        let collection = rig.collection();
        until("some documents", async || {
            store.count(&collection).await.is_ok_and(|count| count > 100 * round as u64)
        })
        .await;
        task.abort();
        let _ = task.await;
        running = Some(rig.start(&group));
    }
    rig.caught_up(&group).await;
    let mirrored = rows(&rig.store, &rig.collection()).await;
    let large = |rows: &Rows| rows.iter().filter(|(id, _)| **id >= 1_000).count();
    assert_eq!(large(&mirrored), expected.len());
    assert!(expected.iter().all(|(id, row)| mirrored.get(id) == Some(row)));
    assert_eq!(rig.health.snapshot().get("sink-documents"), Some(&State::Ready));

    // Another group reads everything once more: nothing changes.
    let (repeated, repeated_shutdown) = rig.start(&again);
    rig.caught_up(&again).await;
    assert_eq!(rows(&rig.store, &rig.collection()).await, mirrored);

    // An orderly end is quick and leaves nothing behind.
    let (task, shutdown) = running.take().unwrap();
    let started = Instant::now();
    shutdown.cancel();
    repeated_shutdown.cancel();
    task.await.unwrap().unwrap();
    repeated.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(rig.health.snapshot().get("sink-documents"), Some(&State::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_goes_to_the_dead_letters_and_back() {
    let mut rig = Rig::new(1).await;
    let group = unique("group");
    rig.send(&insert(1, 10)).await;
    let poison = Bytes::from_static(b"{\"not\": \"a change\", \xff");
    rig.send_bytes(Some(Bytes::from_static(b"k")), Some(poison.clone())).await;
    rig.send(&insert(2, 11)).await;
    rig.send_bytes(Some(Bytes::from_static(b"gone")), None).await;
    let (task, shutdown) = rig.start(&group);
    rig.caught_up(&group).await;
    assert_eq!(rows(&rig.store, &rig.collection()).await.into_keys().collect::<Vec<_>>(), [1, 2]);

    let letters = DeadLetters::new(bus()).unwrap();
    let filter = Filter { topic: Some(rig.topic.clone()), ..Filter::default() };
    let listed = letters.list(&filter).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let (id, letter) = (&listed[0].id, &listed[0].letter);
    assert_eq!(*id, format!("{}/0/1", rig.topic));
    assert_eq!((letter.stage.as_str(), letter.reason), ("sink-documents", Reason::Undecodable));
    assert_eq!(letter.value.as_deref(), Some(&poison[..]));
    assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(letter.headers, [("origin".to_owned(), b"test".to_vec())]);
    assert_eq!(letters.show(id).await.unwrap().as_ref(), Some(letter));
    assert_eq!(letters.show("none").await.unwrap(), None);

    // Replayed once, however often it is asked for; still poison, it comes back as a new letter.
    let only = Filter { ids: BTreeSet::from([id.clone()]), ..Filter::default() };
    assert_eq!(letters.replay(&only).await.unwrap().replayed, 1);
    assert_eq!(letters.replay(&only).await.unwrap().replayed, 0);
    rig.caught_up(&group).await;
    let listed = letters.list(&filter).await.unwrap();
    assert_eq!(listed.iter().map(|l| l.id.clone()).collect::<Vec<_>>(), [format!("{}/0/4", rig.topic)]);
    let partition = TopicPartition::new(rig.topic.as_str(), 0);
    let replayed = bus().admin().unwrap().read_last(&partition).await.unwrap().unwrap();
    assert_eq!((replayed.offset, replayed.value.as_ref()), (4, Some(&poison)));
    assert_eq!(replayed.header("origin"), Some(&Bytes::from_static(b"test")));
    assert_eq!(replayed.header(HEADER_REPLAYED), Some(&Bytes::from(id.clone())));
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_topic_that_is_made_anew_while_it_is_read_arrive() {
    let mut rig = Rig::new(1).await;
    let group = unique("group");
    let (task, shutdown) = rig.start(&group);
    for id in 0..60 {
        rig.send(&insert(id, 100 + id as u64)).await;
    }
    rig.caught_up(&group).await;
    make_anew(&rig.topic, 1).await;
    // The old producer goes on counting where the old topic ended.
    rig.producer = bus().producer(ProducerOptions::default()).unwrap();
    // Fewer: they lie before what was read.
    for id in 60..80 {
        rig.send(&insert(id, 100 + id as u64)).await;
    }
    rig.producer.flush(PATIENCE).await.unwrap();
    let collection = rig.collection();
    until("all rows", async || rig.store.count(&collection).await.unwrap() == 80).await;
    assert_eq!(
        rows(&rig.store, &collection).await.into_keys().collect::<Vec<_>>(),
        (0..80).collect::<Vec<_>>()
    );
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

/// What the sink makes of changes, in any order and number, leaves the rows of the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_order_and_repetition_of_changes_leaves_the_same_mirror() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory).await;
    let mut runner = TestRunner::deterministic();
    for round in 0..40 {
        let collection = format!("mirrors.notes{round}");
        store.ensure(&CollectionSpec::new(&collection)).await.unwrap();
        let history = changes::history().new_tree(&mut runner).unwrap().current();
        let twice: Vec<ChangeEvent> = history.changes.iter().chain(&history.changes).cloned().collect();
        let order = Just(twice).prop_shuffle().new_tree(&mut runner).unwrap().current();
        for batch in order.chunks(7) {
            let mut writes: Vec<VersionedWrite> = Vec::new();
            for change in batch {
                match mirror(change.clone(), 0, 0).unwrap() {
                    Mirrored::Writes(more) => writes.extend(more),
                    Mirrored::Truncate(position) => store.truncate(&collection, position).await.unwrap(),
                }
            }
            store.apply(&collection, writes).await.unwrap();
        }
        assert_eq!(rows(&store, &collection).await, history.rows, "{:#?}", history.changes);
    }
}
