//! The consumer: assignment, seeking, commits, rebalances, slow callers, lag.

use crate::{bus, consumer, limits, message, read, topic, wait_until};
use affluent_bus::{Bus, Consumer, ConsumerOptions, Polled, ProducerOptions, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

async fn fill(bus: &Bus, topic: &str, partitions: i32, each: i32) {
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for number in 0..each {
        for partition in 0..partitions {
            producer.send(message(topic, partition, &format!("{partition}-{number}"))).await.unwrap();
        }
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
}

/// Polls until an event comes; no record may come before it.
async fn event(consumer: &mut Consumer) -> Polled {
    let started = Instant::now();
    loop {
        match consumer.poll_batch(limits(200)).await.unwrap() {
            Polled::Records(records) => assert!(records.is_empty(), "records before the event"),
            event => return event,
        }
        assert!(started.elapsed() < crate::DEADLINE, "no event");
    }
}

fn partitions(topic: &str, count: i32) -> Vec<TopicPartition> {
    (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_resumes_where_it_committed() {
    let bus = bus();
    let (topic, group) = (topic(&bus, "resumed", 2).await, affluent_testkit::unique("group"));
    fill(&bus, &topic, 2, 100).await;

    let mut first = consumer(&bus, &group);
    first.subscribe(std::slice::from_ref(&topic)).unwrap();
    let Polled::Assigned(mut assigned) = event(&mut first).await else { panic!("an assignment") };
    assigned.sort();
    assert_eq!(assigned, partitions(&topic, 2));
    let records = read(&mut first, 200).await;
    for partition in 0..2 {
        let offsets: Vec<i64> =
            records.iter().filter(|r| r.partition == partition).map(|r| r.offset).collect();
        assert_eq!(offsets, (0..100).collect::<Vec<_>>());
    }
    let commit = [(TopicPartition::new(&*topic, 0), 60), (TopicPartition::new(&*topic, 1), 100)];
    first.commit(&commit).await.unwrap();
    first.close().await;

    let mut second = consumer(&bus, &group);
    second.subscribe(std::slice::from_ref(&topic)).unwrap();
    let records = read(&mut second, 40).await;
    assert!(records.iter().all(|r| r.partition == 0 && r.offset >= 60), "{records:?}");
    let committed = second.committed(&partitions(&topic, 2)).await.unwrap();
    assert_eq!(committed, commit.iter().cloned().collect());
    let lag = bus.admin().unwrap().group_lag(&group, &[&topic]).await.unwrap();
    assert_eq!(lag.values().sum::<i64>(), 40);
    wait_until("lag of the member", || async { second.lag().get(&commit[0].0) == Some(&0) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_starts_where_the_caller_says() {
    let bus = bus();
    let (topic, group) = (topic(&bus, "sought", 2).await, affluent_testkit::unique("group"));
    fill(&bus, &topic, 2, 50).await;
    let mut consumer = consumer(&bus, &group);
    consumer.subscribe(std::slice::from_ref(&topic)).unwrap();
    let Polled::Assigned(_) = event(&mut consumer).await else { panic!("an assignment") };
    let start = [(TopicPartition::new(&*topic, 0), 40), (TopicPartition::new(&*topic, 1), 45)];
    consumer.seek(&start).await.unwrap();
    let records = read(&mut consumer, 15).await;
    assert_eq!(records.len(), 15);
    assert_eq!(records.iter().filter(|r| r.partition == 0).map(|r| r.offset).min(), Some(40));
    assert_eq!(records.iter().filter(|r| r.partition == 1).map(|r| r.offset).min(), Some(45));

    // And back, while reading.
    consumer.seek(&[(TopicPartition::new(&*topic, 0), 10)]).await.unwrap();
    let records = read(&mut consumer, 40).await;
    let offsets: Vec<i64> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (10..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_read_without_a_group() {
    let bus = bus();
    let topic = topic(&bus, "assigned", 1).await;
    fill(&bus, &topic, 1, 30).await;
    let mut consumer = bus.consumer(None, ConsumerOptions::default()).unwrap();
    let partition = TopicPartition::new(&*topic, 0);
    consumer.assign(&[(partition.clone(), 5)]).await.unwrap();
    assert_eq!(read(&mut consumer, 25).await[0].offset, 5);
    consumer.assign(&[(partition.clone(), 20)]).await.unwrap();
    assert_eq!(read(&mut consumer, 10).await[0].offset, 20);

    let admin = bus.admin().unwrap();
    assert_eq!(admin.watermarks(&partition).await.unwrap(), (0, 30));
    assert_eq!(admin.read_last(&partition).await.unwrap().map(|r| r.offset), Some(29));
    let offsets: Vec<i64> =
        admin.read_range(&partition, 3, 6).await.unwrap().iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [3, 4, 5]);
    assert!(admin.topics().await.unwrap().contains_key(&topic));
    assert_eq!(admin.partitions("never-made").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_over_part_of_the_partitions() {
    let bus = bus();
    let (topic, group) = (topic(&bus, "shared", 4).await, affluent_testkit::unique("group"));
    let mut first = consumer(&bus, &group);
    first.subscribe(std::slice::from_ref(&topic)).unwrap();
    let Polled::Assigned(all) = event(&mut first).await else { panic!("an assignment") };
    assert_eq!(all.len(), 4);

    let mut second = consumer(&bus, &group);
    second.subscribe(std::slice::from_ref(&topic)).unwrap();
    let stop = CancellationToken::new();
    let owner = tokio::spawn({
        let stop = stop.clone();
        async move {
            let mut revoked = Vec::new();
            while !stop.is_cancelled() {
                match first.poll_batch(limits(100)).await.unwrap() {
                    Polled::Revoked(partitions) => {
                        // What was read of them is committed before they go.
                        let offsets: Vec<_> = partitions.iter().map(|p| (p.clone(), 0)).collect();
                        first.commit(&offsets).await.unwrap();
                        revoked.extend(partitions);
                    }
                    Polled::Records(_) => {}
                    Polled::Assigned(partitions) => panic!("assigned again: {partitions:?}"),
                }
            }
            (first, revoked)
        }
    });
    let Polled::Assigned(taken) = event_while(&mut second).await else { panic!("an assignment") };
    stop.cancel();
    let (mut first, revoked) = owner.await.unwrap();
    let set = |partitions: &[TopicPartition]| partitions.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(&taken), set(&revoked));
    assert_eq!(taken.len(), 2);

    fill(&bus, &topic, 4, 10).await;
    let (one, two) = tokio::join!(read(&mut first, 20), read(&mut second, 20));
    assert!(two.iter().all(|r| taken.contains(&r.topic_partition())));
    assert!(one.iter().all(|r| !taken.contains(&r.topic_partition())));
    second.close().await;
    let Polled::Assigned(back) = event_while(&mut first).await else { panic!("an assignment") };
    assert_eq!(set(&back), set(&taken));
}

/// The next event that names partitions.
async fn event_while(consumer: &mut Consumer) -> Polled {
    let started = Instant::now();
    loop {
        match consumer.poll_batch(limits(200)).await.unwrap() {
            Polled::Records(_) => {}
            event => return event,
        }
        assert!(started.elapsed() < crate::DEADLINE, "no event");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_caller_stays_in_the_group_and_misses_nothing() {
    let bus = bus();
    let (topic, group) = (topic(&bus, "slow", 1).await, affluent_testkit::unique("group"));
    fill(&bus, &topic, 1, 2_000).await;
    // A buffer of a few records: the polling thread has to stop, and after a while to pause.
    let options =
        ConsumerOptions { buffer_bytes: 200, session_timeout_ms: 6_000, ..ConsumerOptions::default() };
    let mut consumer = bus.consumer(Some(&group), options).unwrap();
    consumer.subscribe(std::slice::from_ref(&topic)).unwrap();
    let mut records = read(&mut consumer, 10).await;
    // Longer than the pause's threshold and the session timeout.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let rest = 2_000 - records.len();
    records.extend(read(&mut consumer, rest).await);
    let offsets: Vec<i64> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (0..2_000).collect::<Vec<_>>());
    consumer.commit(&[(TopicPartition::new(&*topic, 0), 2_000)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_topics_of_a_pattern_are_found() {
    let bus = bus();
    let prefix = affluent_testkit::unique("pattern");
    let group = affluent_testkit::unique("group");
    let mut consumer = consumer(&bus, &group);
    consumer.subscribe(&[format!("^{prefix}\\..*")]).unwrap();
    let admin = bus.admin().unwrap();
    for name in ["one", "two"] {
        let topic = format!("{prefix}.{name}");
        admin.ensure_topic(&topic, &affluent_bus::TopicSpec::new(1)).await.unwrap();
        fill(&bus, &topic, 1, 5).await;
        let records = read(&mut consumer, 5).await;
        assert!(records.iter().all(|r| *r.topic == *topic), "{records:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_while_it_is_read_is_read_from_its_beginning() {
    let bus = bus();
    let (topic, group) = (topic(&bus, "anew", 1).await, affluent_testkit::unique("group"));
    fill(&bus, &topic, 1, 50).await;
    let mut consumer = consumer(&bus, &group);
    consumer.subscribe(std::slice::from_ref(&topic)).unwrap();
    read(&mut consumer, 50).await;
    consumer.commit(&[(TopicPartition::new(&*topic, 0), 50)]).await.unwrap();

    // Fewer records than before: its end is before what was read.
    let admin = bus.admin().unwrap();
    admin.delete_topic(&topic).await.unwrap();
    wait_until("the topic is gone", || async { admin.partitions(&topic).await.unwrap().is_none() }).await;
    admin.ensure_topic(&topic, &affluent_bus::TopicSpec::new(1)).await.unwrap();
    fill(&bus, &topic, 1, 20).await;
    let records = read(&mut consumer, 20).await;
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

/// The next offset of every partition, as a store would keep it beside its data.
type Table = Arc<parking_lot::Mutex<BTreeMap<TopicPartition, i64>>>;

const RECORDS_OF_A_PARTITION: i64 = 50_000;

/// Reads like a sink that keeps offsets beside its data: every partition goes on where the table says,
/// whoever had it before; from its end it goes back to its beginning, so that there is always more to
/// read. Panics where a record comes twice, too early, or to someone else.
async fn store(mut consumer: Consumer, table: Table, read: Arc<AtomicUsize>, stop: CancellationToken) {
    let mut own = BTreeSet::new();
    let limits = affluent_bus::BatchLimits { max_records: 10_000, ..limits(5) };
    while !stop.is_cancelled() {
        let mut seeks = Vec::new();
        match consumer.poll_batch(limits).await.unwrap() {
            Polled::Assigned(partitions) => {
                let table = table.lock();
                seeks.extend(partitions.iter().map(|p| (p.clone(), table.get(p).copied().unwrap_or(0))));
                own.extend(partitions);
            }
            Polled::Revoked(partitions) => own.retain(|p| !partitions.contains(p)),
            Polled::Records(records) => {
                read.fetch_add(records.len(), Ordering::Relaxed);
                let mut table = table.lock();
                for record in records {
                    let partition = record.topic_partition();
                    assert!(own.contains(&partition), "{partition} belongs to another member");
                    let next = table.entry(partition.clone()).or_insert(0);
                    assert_eq!(record.offset, *next, "of {partition}");
                    *next += 1;
                    if *next == RECORDS_OF_A_PARTITION {
                        *next = 0;
                        seeks.push((partition, 0));
                    }
                }
            }
        }
        consumer.seek(&seeks).await.unwrap();
    }
    consumer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_under_load_and_each_record_is_read_once() {
    let bus = bus();
    let (topic, group) = (topic(&bus, "moving", 4).await, affluent_testkit::unique("group"));
    fill(&bus, &topic, 4, RECORDS_OF_A_PARTITION as i32).await;
    let (table, stop) = (Table::default(), CancellationToken::new());
    let join = |stop: &CancellationToken| {
        let options = ConsumerOptions { session_timeout_ms: 6_000, ..ConsumerOptions::default() };
        let consumer = bus.consumer(Some(&group), options).unwrap();
        consumer.subscribe(std::slice::from_ref(&topic)).unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        (tokio::spawn(store(consumer, Arc::clone(&table), Arc::clone(&read), stop.clone())), read)
    };
    let (stays, read) = join(&stop);
    wait_until("the first reads", || async { read.load(Ordering::Relaxed) > 0 }).await;
    for _ in 0..4 {
        let leave = CancellationToken::new();
        let (comes_and_goes, read) = join(&leave);
        let goes = || async { read.load(Ordering::Relaxed) > 1_000 || stays.is_finished() };
        wait_until("both read", goes).await;
        leave.cancel();
        comes_and_goes.await.unwrap();
    }
    stop.cancel();
    stays.await.unwrap();
}
