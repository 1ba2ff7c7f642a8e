//! The producer: order, watermark, bounds, and outages.

use crate::{bus, bus_at, message, read_topic, topic, wait_until};
use affluent_bus::{BusError, ProducerOptions, TopicSpec, partition_for};
use affluent_testkit::broker::Broker;
use bytes::Bytes;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn records_arrive_once_in_order_and_the_watermark_follows() {
    let bus = bus();
    let topic = topic(&bus, "ordered", 3).await;
    let timestamp = message(&topic, 0, "").timestamp_ms.unwrap();
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for sequence in 1_u64..=3_000 {
        let partition = i32::try_from(sequence % 3).unwrap();
        let mut record = message(&topic, partition, &sequence.to_string());
        record.timestamp_ms = Some(timestamp);
        let sent = producer.send(record).await.unwrap();
        assert_eq!(sent, sequence);
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
    assert_eq!(*producer.acked().borrow(), 3_000);

    let records = read_topic(&bus, &topic).await;
    assert_eq!(records.len(), 3_000);
    let numbers = records.iter().map(|r| std::str::from_utf8(r.value.as_ref().unwrap()).unwrap().parse());
    let numbers: Vec<u64> = numbers.map(Result::unwrap).collect();
    for partition in 0..3 {
        let expected: Vec<u64> = (1..=3_000).filter(|n| n % 3 == partition).collect();
        let found: Vec<u64> = numbers.iter().copied().filter(|n| n % 3 == partition).collect();
        assert_eq!(found, expected);
    }
    let first = &records[0];
    assert_eq!(first.timestamp_ms, timestamp);
    assert_eq!(first.header("event_type"), Some(&Bytes::from_static(b"tested")));
    assert_eq!(first.key, first.value);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_choose_partitions_as_computed() {
    let bus = bus();
    let topic = topic(&bus, "keyed", 5).await;
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for number in 0..50 {
        let mut record = message(&topic, 0, &format!("key-{number}"));
        record.partition = None;
        producer.send(record).await.unwrap();
    }
    producer.flush(Duration::from_secs(30)).await.unwrap();
    for record in read_topic(&bus, &topic).await {
        assert_eq!(partition_for(record.key.as_ref().unwrap(), 5), record.partition);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_is_refused_alone() {
    let bus = bus();
    let topic = topic(&bus, "large", 1).await;
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    let mut large = message(&topic, 0, "x");
    large.value = Some(vec![0; 2_000_000].into());
    let refused = producer.send(large).await;
    assert!(matches!(refused, Err(BusError::TooLarge { bytes: 2_000_000, .. })), "{refused:?}");
    assert_eq!(producer.send(message(&topic, 0, "small")).await.unwrap(), 1);
    producer.flush(Duration::from_secs(30)).await.unwrap();
    assert_eq!(read_topic(&bus, &topic).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delivery_stops_the_producer() {
    let bus = bus();
    let topic = affluent_testkit::unique("poisoned");
    let spec = TopicSpec::new(1).set("max.message.bytes", "2000");
    bus.admin().unwrap().ensure_topic(&topic, &spec).await.unwrap();
    let options = ProducerOptions { compression: "none".to_owned(), ..ProducerOptions::default() };
    let producer = bus.producer(options).unwrap();
    producer.send(message(&topic, 0, "good")).await.unwrap();
    producer.flush(Duration::from_secs(30)).await.unwrap();
    // Within the producer's limit, but not within the topic's.
    producer.send(message(&topic, 0, &"x".repeat(5_000))).await.unwrap();
    let failure = tokio::time::timeout(Duration::from_secs(60), producer.failed()).await.unwrap();
    assert!(matches!(failure, BusError::Poisoned(_)), "{failure}");
    assert!(matches!(producer.send(message(&topic, 0, "late")).await, Err(BusError::Poisoned(_))));
    assert!(matches!(producer.flush(Duration::from_secs(5)).await, Err(BusError::Poisoned(_))));
    assert_eq!(*producer.acked().borrow(), 1);
    assert_eq!(read_topic(&bus, &topic).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_out_in_bounded_memory() {
    // Of its own, to be stopped; an external broker would be other tests' too.
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let topic = topic(&bus, "outage", 1).await;
    let options = ProducerOptions { queue_records: 100, ..ProducerOptions::default() };
    let producer = bus.producer(options).unwrap();
    producer.send(message(&topic, 0, "0")).await.unwrap();
    producer.flush(Duration::from_secs(30)).await.unwrap();

    broker.stop().unwrap();
    let sender = tokio::spawn({
        let (producer, topic) = (producer.clone(), topic.clone());
        async move {
            for number in 1..=300 {
                producer.send(message(&topic, 0, &number.to_string())).await.unwrap();
            }
        }
    });
    // The queue fills and the sender waits.
    wait_until("a full queue", || async { producer.sent() > 100 }).await;
    assert!(!sender.is_finished());
    assert!(producer.sent() <= 101);
    assert_eq!(*producer.acked().borrow(), 1);

    broker.start_again().unwrap();
    sender.await.unwrap();
    producer.flush(Duration::from_secs(60)).await.unwrap();
    let values: Vec<String> = read_topic(&bus, &topic)
        .await
        .iter()
        .map(|r| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap())
        .collect();
    let expected: Vec<String> = (0..=300).map(|n| n.to_string()).collect();
    assert_eq!(values, expected);
}
