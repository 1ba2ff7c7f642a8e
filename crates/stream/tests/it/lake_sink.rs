//! Records on a real broker to raw tables: once each, whatever dies; readable by others.

use crate::broker::{bus, make_anew};
use crate::changes;
use affluent_bus::codec::{ChangeEncoder, Format};
use affluent_bus::{Outgoing, Producer, ProducerOptions, TopicPartition, TopicSpec};
use affluent_lake::{JsonLake, Lake, LakeFormat, LakeOptions, MaintenanceService, Scan};
use affluent_model::names::TOPIC_DEAD_LETTERS;
use affluent_model::{ChangeEvent, Op, Position, Reason, Row, Value};
use affluent_stream::consume::{ConsumeError, ConsumeOptions, ConsumeService};
use affluent_stream::sinks::events::EventOptions;
use affluent_stream::sinks::lake::{LakeSink, table_of};
use affluent_stream::sinks::{Sink, SinkError};
use affluent_telemetry::health::{Health, State};
use affluent_testkit::unique;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Topic, producer and lake of one test.
struct Rig {
    topic: String,
    producer: Producer,
    encoder: ChangeEncoder,
    options: LakeOptions,
    health: Health,
    directory: tempfile::TempDir,
}

impl Rig {
    async fn new(partitions: i32, format: LakeFormat) -> Self {
        let topic = format!("{}.public.notes", unique("oltp"));
        bus().admin().unwrap().ensure_topic(&topic, &TopicSpec::new(partitions)).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut options =
            LakeOptions { warehouse: directory.path().to_owned(), format, ..LakeOptions::default() };
        options.maintenance.compact_files_min = 4;
        Rig {
            topic,
            producer: bus().producer(ProducerOptions::default()).unwrap(),
            encoder: ChangeEncoder::new(Format::Json, None),
            options,
            health: Health::default(),
            directory,
        }
    }

    async fn send(&mut self, change: &ChangeEvent) {
        let encoded = self.encoder.encode(&self.topic, change).await.unwrap();
        self.send_bytes(&self.topic, encoded.key, Some(encoded.value)).await;
    }

    async fn send_bytes(&self, topic: &str, key: Option<Bytes>, value: Option<Bytes>) {
        let headers = vec![("origin".to_owned(), Bytes::from_static(b"test"))];
        let record =
            Outgoing { topic: topic.into(), partition: None, key, value, headers, timestamp_ms: None };
        self.producer.send(record).await.unwrap();
    }

    /// A process of its own, as far as the lake can tell.
    async fn start(
        &self,
        group: &str,
        topics: Vec<String>,
    ) -> (JoinHandle<Result<(), ConsumeError>>, CancellationToken) {
        let options = ConsumeOptions {
            group: group.to_owned(),
            topics,
            poll_records: 50,
            commit_interval_ms: 20,
            ..ConsumeOptions::default()
        };
        let service =
            ConsumeService::new(self.sink().await, bus(), options, "cdc", self.health.clone()).unwrap();
        let shutdown = CancellationToken::new();
        (tokio::spawn(service.run(shutdown.clone())), shutdown)
    }

    async fn sink(&self) -> LakeSink {
        let lake = Lake::open(self.options.clone()).await.unwrap();
        LakeSink::new(lake, bus().admin().unwrap(), None, EventOptions::default())
    }

    /// What the role says that a person has to do.
    fn told(&self) -> Option<String> {
        match self.health.snapshot().remove("sink-lake") {
            Some(State::Degraded(told)) => Some(told),
            Some(State::Starting(_) | State::Ready | State::Failed(_) | State::Stopped) | None => None,
        }
    }

    async fn caught_up(&self, group: &str, topics: &[&str]) {
        let admin = bus().admin().unwrap();
        self.producer.flush(PATIENCE).await.unwrap();
        until("no lag", async || {
            let lag = admin.group_lag(group, topics).await.unwrap();
            !lag.is_empty() && lag.values().all(|&lag| lag == 0)
        })
        .await;
    }
}

async fn rows(lake: &Lake, namespace: &str, name: &str, columns: &[&str]) -> Vec<Row> {
    let table = lake.table(namespace, name).await.unwrap();
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    let mut stream = table.scan(Scan { columns, ..Scan::default() }).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        rows.extend(batch.unwrap());
    }
    rows
}

fn insert(id: i64) -> ChangeEvent {
    let row = vec![Value::Int(id), changes::amount(id), Value::Text(format!("note {id}"))];
    changes::change(&changes::schema(), Op::Create, Position::new(100 + id as u64, 1), None, Some(row))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_in_the_table_once_whatever_is_killed() {
    let mut rig = Rig::new(3, LakeFormat::Iceberg).await;
    let group = unique("group");
    let lake = Lake::open(rig.options.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let upkeep = {
        let (service, stop) = (MaintenanceService::new(lake.clone()), stop.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                service.round(true, &stop).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    let topics = vec![rig.topic.clone()];
    let mut running = rig.start(&group, topics.clone()).await;
    for round in 0..6_i64 {
        for id in round * 300..(round + 1) * 300 {
            rig.send(&insert(id)).await;
        }
        let seen = async || match lake.table("raw", "notes").await {
            Ok(table) => {
                let offsets = table.offsets().await.unwrap();
                offsets.iter().map(|(_, _, next)| next).sum::<i64>()
            }
            Err(_) => 0,
        };
        until("some rows", async || seen().await > 300 * round + 50).await;
        // As `kill -9`: whatever was between the table and the group's offsets is decided again.
        running.0.abort();
        let _ = running.0.await;
        running = rig.start(&group, topics.clone()).await;
    }
    rig.caught_up(&group, &[&rig.topic]).await;
    stop.cancel();
    upkeep.await.unwrap();

    let found =
        rows(&lake, "raw", "notes", &["id", "amount", "_op", "_kafka_partition", "_kafka_offset"]).await;
    assert_eq!(found.len(), 1_800);
    let expected: BTreeMap<String, Value> =
        (0..1_800).map(|id| (id.to_string(), changes::amount(id))).collect();
    let by_id: BTreeMap<String, Value> = found.iter().map(|row| (row[0].to_text(), row[1].clone())).collect();
    assert_eq!(by_id, expected);
    let places: BTreeSet<_> = found.iter().map(|row| (row[3].to_text(), row[4].to_text())).collect();
    assert_eq!(places.len(), 1_800, "each place in the topic once");

    // A group that never committed reads nothing twice either: the table knows.
    running.1.cancel();
    running.0.await.unwrap().unwrap();
    let other = unique("other");
    let (task, shutdown) = rig.start(&other, topics).await;
    rig.send(&insert(5_000)).await;
    rig.caught_up(&other, &[&rig.topic]).await;
    assert_eq!(rows(&lake, "raw", "notes", &["id"]).await.len(), 1_801);
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_anew_is_told_and_neither_mixed_nor_passed_over() {
    let mut rig = Rig::new(1, LakeFormat::Iceberg).await;
    let group = unique("group");
    let (task, shutdown) = rig.start(&group, vec![rig.topic.clone()]).await;
    for id in 0..60 {
        rig.send(&insert(id)).await;
    }
    rig.caught_up(&group, &[&rig.topic]).await;
    make_anew(&rig.topic, 1).await;
    // The old producer goes on counting where the old topic ended.
    rig.producer = bus().producer(ProducerOptions::default()).unwrap();
    for id in 100..120 {
        rig.send(&insert(id)).await;
    }
    rig.producer.flush(PATIENCE).await.unwrap();
    let is_told = async || rig.told().is_some_and(|told| told.contains("made anew"));
    until("it is told", is_told).await;
    shutdown.cancel();
    task.await.unwrap().unwrap();

    // A process that starts later tells it too, also when the topic has grown longer than it was: once seen, it is not forgotten.
    let (mut sink, partition) = (rig.sink().await, TopicPartition::new(rig.topic.as_str(), 0));
    for ids in [120..140, 140..200] {
        let resumed = sink.resume(std::slice::from_ref(&partition)).await;
        let Err(SinkError::Passing(error)) = &resumed else { panic!("{resumed:?}") };
        assert!(error.contains("ended before 60") && error.contains("raw.notes"), "{error}");
        for id in ids {
            rig.send(&insert(id)).await;
        }
        rig.producer.flush(PATIENCE).await.unwrap();
    }
    assert_eq!(bus().admin().unwrap().watermarks(&partition).await.unwrap(), (0, 100));
    assert!(sink.resume(std::slice::from_ref(&partition)).await.is_err());
    let lake = Lake::open(rig.options.clone()).await.unwrap();
    let ids: BTreeSet<String> =
        rows(&lake, "raw", "notes", &["id"]).await.iter().map(|row| row[0].to_text()).collect();
    assert_eq!(ids, (0..60).map(|id| id.to_string()).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_text_and_evolving_columns_find_their_tables() {
    let mut rig = Rig::new(1, LakeFormat::Iceberg).await;
    let group = unique("group");
    let plain = unique("audit");
    bus().admin().unwrap().ensure_topic(&plain, &TopicSpec::new(1)).await.unwrap();
    rig.send(&insert(1)).await;
    rig.send_bytes(&rig.topic, Some(Bytes::from_static(b"k")), Some(Bytes::from_static(b"\xff\x00"))).await;
    rig.send_bytes(&rig.topic, Some(Bytes::from_static(b"k")), None).await;
    // A value that its column cannot hold, then a delete, then a column more.
    let mut refused = insert(2);
    if let Some(row) = &mut refused.after {
        row[1] = Value::NumericSpecial(affluent_model::value::NumericSpecial::NaN);
    }
    rig.send(&refused).await;
    let key = vec![Value::Int(1), Value::Null, Value::Null];
    rig.send(&changes::change(&changes::schema(), Op::Delete, Position::new(200, 1), Some(key), None)).await;
    let mut wider = (*changes::schema()).clone();
    wider.columns.push(affluent_model::Column {
        name: "until".to_owned(),
        column_type: affluent_model::ColumnType::TimestampTz,
        nullable: true,
    });
    let row = vec![Value::Int(3), changes::amount(3), Value::Null, Value::TimestampTz(i64::MAX)];
    rig.send(&changes::change(&wider.into(), Op::Create, Position::new(300, 1), None, Some(row))).await;
    rig.send_bytes(&plain, None, Some(Bytes::from_static(b"{\"who\": \"me\"}"))).await;

    let topics = vec![rig.topic.clone(), plain.clone(), TOPIC_DEAD_LETTERS.to_owned()];
    let (task, shutdown) = rig.start(&group, topics).await;
    rig.caught_up(&group, &[&rig.topic, &plain]).await;
    let lake = Lake::open(rig.options.clone()).await.unwrap();
    let mine = async || {
        let columns = ["topic", "offset", "reason", "value", "stage"];
        let letters = rows(&lake, "ops", "quarantine", &columns).await;
        letters.into_iter().filter(|row| row[0].to_text() == rig.topic).collect::<Vec<_>>()
    };
    until("the quarantine", async || {
        lake.table("ops", "quarantine").await.is_ok() && mine().await.len() == 2
    })
    .await;
    let mut letters = mine().await;
    letters.sort_by_key(|row| row[1].to_text());
    assert_eq!(letters[0][2], Value::Text(Reason::Undecodable.code().to_owned()));
    assert_eq!(letters[0][3], Value::Bytes(b"\xff\x00".to_vec()));
    assert_eq!(letters[0][4], Value::Text("sink-lake".to_owned()));
    assert_eq!(letters[1][1..3], [Value::Int(3), Value::Text(Reason::ValueOutOfRange.code().to_owned())]);

    let columns = ["_op", "id", "amount", "until", "_special", "_lsn"];
    let mut found = rows(&lake, "raw", "notes", &columns).await;
    found.sort_by_key(|row| row[5].to_text());
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(found.len(), 3);
    assert_eq!(found[0][..4], [text("c"), Value::Int(1), changes::amount(1), Value::Null]);
    assert_eq!(found[1][..3], [text("d"), Value::Int(1), Value::Null]);
    assert_eq!(found[2][3..5], [Value::Null, text(r#"{"until":"infinity"}"#)]);

    let (namespace, name) = table_of(&plain);
    let found = rows(&lake, namespace, &name, &["value", "headers", "_kafka_offset"]).await;
    assert_eq!(found, [[text("{\"who\": \"me\"}"), text(r#"[["origin","test"]]"#), Value::Int(0)]]);
    shutdown.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_files_hold_every_change_once_too() {
    let mut rig = Rig::new(2, LakeFormat::Json).await;
    let group = unique("group");
    let topics = vec![rig.topic.clone()];
    let mut running = rig.start(&group, topics.clone()).await;
    let table = JsonLake::new(rig.directory.path()).table("raw", "notes");
    for round in 0..4_i64 {
        for id in round * 200..(round + 1) * 200 {
            rig.send(&insert(id)).await;
        }
        let seen = async || table.offsets().unwrap().iter().map(|(_, _, next)| next).sum::<i64>();
        until("some rows", async || seen().await > 200 * round + 50).await;
        running.0.abort();
        let _ = running.0.await;
        running = rig.start(&group, topics.clone()).await;
    }
    rig.caught_up(&group, &[&rig.topic]).await;
    running.1.cancel();
    running.0.await.unwrap().unwrap();

    let mut amounts = BTreeMap::new();
    let root = rig.directory.path().join("json/raw/notes");
    for day in std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()) {
        if !day.file_name().unwrap().to_string_lossy().starts_with("day=") {
            continue;
        }
        for file in std::fs::read_dir(&day).unwrap() {
            for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                let amount = row["amount"].as_str().unwrap().to_owned();
                assert_eq!(amounts.insert(row["id"].as_i64().unwrap(), amount), None, "{line}");
            }
        }
    }
    let expected: BTreeMap<_, _> = (0..800).map(|id| (id, changes::amount(id).to_text())).collect();
    assert_eq!(amounts, expected);
}
