//! Invariant: a state that begins with the lake and goes on with the topic is the state of a topic that held everything.

use crate::follow::{Keeper, Taken, same};
use crate::rig::{NOON, Payment, Rig, SECOND, documents, open, until};
use crate::stream::values;
use affluent_bus::TopicPartition;
use affluent_feature_store::online::{self, log};
use affluent_feature_store::stream::{LiveRow, LiveState, Past};
use affluent_lake::sql::{Engine, EngineOptions};
use affluent_lake::{Advance, Lake, LakeOptions, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value, time::now_micros};
use affluent_testkit::unique;
use std::sync::Arc;

/// Payments of nine days ago to six: values are as of the newest of a key, whose windows reach further back than those of now.
fn payments(count: i64) -> Vec<Payment> {
    let begin = (now_micros() - NOON) / SECOND - 9 * 86_400;
    let payment = |id: i64| Payment {
        id,
        customer: id * id % 7,
        terminal: id % 5,
        second: begin + id * 600,
        delay: id % 5 * 60,
    };
    (1..=count).map(payment).collect()
}

/// Rows of the raw table at a partition that had none.
async fn append(lake: &Lake, topic: &str, partition: i32, payments: &[Payment]) {
    let columns: Vec<Column> = [
        ("id", ColumnType::Int64),
        ("created_at", ColumnType::TimestampTz),
        ("customer_id", ColumnType::Int64),
        ("terminal_id", ColumnType::Text),
        ("amount", ColumnType::Int64),
        ("_op", ColumnType::Text),
        ("_lsn", ColumnType::Int64),
        ("_ordinal", ColumnType::Int64),
        ("_commit_ts", ColumnType::TimestampTz),
        ("_kafka_topic", ColumnType::Text),
        ("_kafka_partition", ColumnType::Int32),
        ("_kafka_offset", ColumnType::Int64),
        ("_kafka_ts", ColumnType::TimestampTz),
    ]
    .into_iter()
    .map(|(name, column_type)| Column { name: name.to_owned(), column_type, nullable: true })
    .collect();
    let row = |(payment, offset): (&Payment, i64)| -> Row {
        let created = NOON + payment.second * SECOND;
        let committed = created + payment.delay * SECOND;
        vec![
            Value::Int(payment.id),
            Value::TimestampTz(created),
            Value::Int(payment.customer),
            Value::Text(format!("T-{}", payment.terminal)),
            Value::Int(payment.id * 7 % 1_000),
            Value::Text("c".to_owned()),
            Value::Int(1),
            Value::Int(offset),
            Value::TimestampTz(committed),
            Value::Text(topic.to_owned()),
            Value::Int(partition.into()),
            Value::Int(offset),
            Value::TimestampTz(committed),
        ]
    };
    let rows: Vec<Row> = payments.iter().zip(0..).map(row).collect();
    let day = Partition::Day("_kafka_ts".to_owned());
    let raw = lake.ensure_table("raw", "payments", &columns, &day).await.unwrap();
    let next = i64::try_from(rows.len()).unwrap();
    let advance = Advance { topic: topic.into(), partition, expected: None, next };
    raw.append(Arc::new(RowBatch { columns: columns.into(), rows }), vec![advance]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_imported_and_what_is_streamed_are_one_history() {
    let all = payments(400);
    let (history, rest) = all.split_at(150);
    let (forgotten, live) = rest.split_at(100);
    let directory = tempfile::tempdir().unwrap();
    let options = LakeOptions { warehouse: directory.path().join("lake"), ..LakeOptions::default() };
    let lake = Lake::open(options).await.unwrap();
    let mut rig = Rig::new(2).await;
    append(&lake, &rig.topic, -1, history).await;
    // What the topic holds itself is not taken from the lake: this one is of nobody in the topic.
    append(&lake, &rig.topic, 0, &[Payment { customer: 99, ..all[0] }]).await;
    let engine = Arc::new(Engine::new(lake.clone(), EngineOptions::default()).unwrap());
    rig.past = Some(Past::new(lake.clone(), engine, &rig.streamed));
    let store = open(directory.path()).await;
    let group = unique("group");
    for payment in live {
        rig.send(payment).await;
    }
    let running = rig.start(&group, &store, directory.path());
    rig.caught_up(&group).await;
    let of_customer = history.iter().chain(live).filter(|payment| payment.customer == 1).count();
    until("history and topic count", async || {
        let served = online::read(store.as_ref(), "customer", "1").await.unwrap();
        let week = served.iter().find(|served| served.name == "customer_payments_7d");
        week.and_then(|week| week.value) == Some(of_customer as f64)
    })
    .await;
    assert!(online::read(store.as_ref(), "customer", "99").await.unwrap().is_empty());
    running.kill().await;

    // Imported meanwhile, and read at the next start: by the one that was killed, and by a newcomer.
    append(&lake, &rig.topic, -2, forgotten).await;
    let mut whole = Rig::new(3).await;
    for payment in &all {
        whole.send(payment).await;
    }
    let (fresh, unbroken) = (tempfile::tempdir().unwrap(), unique("whole"));
    let expected = open(fresh.path()).await;
    let running = whole.start(&unbroken, &expected, fresh.path());
    whole.caught_up(&unbroken).await;
    running.stop().await;
    let expected = values(expected.as_ref()).await;
    assert_eq!(expected.len(), 4 + 5, "squares have four rests by seven, and there are five terminals");
    let newcomer = tempfile::tempdir().unwrap();
    let newcomers = open(newcomer.path()).await;
    for (group, store, directory) in
        [(group, &store, directory.path()), (unique("newcomer"), &newcomers, newcomer.path())]
    {
        let running = rig.start(&group, store, directory);
        until("the values of all", async || values(store.as_ref()).await == expected).await;
        running.stop().await;
    }
    // Logged vectors say which imports they knew.
    let logged = documents(store.as_ref(), log::COLLECTION).await;
    let knows = |document, partition| {
        let applied = log::Logged::of(document).unwrap().applied;
        applied.get(&TopicPartition::new(rig.topic.as_str(), partition)).copied()
    };
    assert!(
        logged.iter().any(|document| (knows(document, -1), knows(document, -2)) == (Some(150), Some(100)))
    );
}

/// The rows of what is sent to the topic, in order, to who follows it from its beginning.
async fn followed(rig: &mut Rig, payments: &[Payment]) -> Vec<Option<LiveRow>> {
    let directory = tempfile::tempdir().unwrap();
    let (group, store) = (unique("group"), open(directory.path()).await);
    let taken = Taken::default();
    let (topic, next) = (rig.topic.clone(), Arc::default());
    let keeper = Keeper { topic, taken: Arc::clone(&taken), next, notes: true };
    let live = LiveState::new(&rig.streamed);
    let running = rig.start_followed(&group, &store, directory.path(), live, Box::new(keeper));
    for payment in payments {
        rig.send(payment).await;
    }
    rig.caught_up(&group).await;
    running.stop().await;
    std::mem::take(&mut *taken.lock().unwrap()).into_values().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_counts_in_rows_and_is_followed_by_nobody() {
    let all = payments(60);
    let (history, rest) = all.split_at(50);
    let directory = tempfile::tempdir().unwrap();
    let options = LakeOptions { warehouse: directory.path().join("lake"), ..LakeOptions::default() };
    let lake = Lake::open(options).await.unwrap();
    // One partition each: what comes before what is the same.
    let (mut rig, mut whole) = (Rig::new(1).await, Rig::new(1).await);
    append(&lake, &rig.topic, -1, history).await;
    let engine = Arc::new(Engine::new(lake.clone(), EngineOptions::default()).unwrap());
    rig.past = Some(Past::new(lake, engine, &rig.streamed));
    let rows = followed(&mut rig, rest).await;
    assert_eq!(rows.len(), rest.len());
    let expected = followed(&mut whole, &all).await;
    for (row, expected) in rows.iter().zip(&expected[history.len()..]) {
        assert!(same(row.as_ref(), expected.as_ref().unwrap()), "{row:?}, not {expected:?}");
    }
}
