//! `affluent bench broker`: the embedded broker under librdkafka in the same process, on the same
//! cores: records in, records out, and the latency of a steady load. Group fsync, as by default.

use super::{Context, Report};
use affluent_broker::{Broker, BrokerOptions};
use affluent_bus::{
    BatchLimits, Bus, BusOptions, ConsumerOptions, Outgoing, Polled, Producer, ProducerOptions,
    TopicPartition, TopicSpec,
};
use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const RECORDS: u64 = 3_000_000;
const RECORD_BYTES: usize = 300;
const PARTITIONS: i32 = 4;
const STEADY_RATE: u64 = 20_000;
const STEADY_SECONDS: u64 = 10;
const TOPIC: &str = "bench";
/// One partition, so that acknowledgements come in the order of the records and each is timed by itself.
const STEADY_TOPIC: &str = "steady";
/// Nothing here takes longer on a machine that is worth measuring.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures.
///
/// # Errors
/// When the broker cannot be started or a stage does not end.
pub(crate) async fn run(context: Context) -> anyhow::Result<Report> {
    let mut report = Report::new("broker");
    let directory = tempfile::tempdir().context("temporary directory")?;
    let broker = Broker::open(BrokerOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: directory.path().join("broker"),
        ..BrokerOptions::default()
    })?;
    let bus =
        Bus::new(BusOptions { bootstrap_servers: broker.local_addr().to_string(), ..BusOptions::default() })?;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(broker.run(shutdown.clone()));
    for (topic, partitions) in [(TOPIC, PARTITIONS), (STEADY_TOPIC, 1)] {
        bus.admin()?.ensure_topic(topic, &TopicSpec::new(partitions)).await?;
    }
    let count = context.scaled(RECORDS);

    let rate = produce(&bus, count).await.context("produce")?;
    report.at_least("broker.produce", 300_000.0, rate, "msg/s");
    let rate = consume(&bus, count).await.context("consume")?;
    report.at_least("broker.fetch", 500_000.0, rate, "msg/s");
    let latencies =
        steady(&bus, context.scaled(STEADY_RATE * STEADY_SECONDS)).await.context("steady load")?;
    let seconds = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e6;
    report.at_most("broker.produce.p99", 0.015, seconds(0.99), "s");

    report.note(format!(
        "{count} records of {RECORD_BYTES} B in {PARTITIONS} partitions, lz4, acks=all, group fsync"
    ));
    report.note(format!(
        "steady {STEADY_RATE} msg/s into one partition, from send until acknowledged: p50 {:.4} s, max {:.4} s",
        seconds(0.5),
        seconds(1.0)
    ));
    shutdown.cancel();
    serving.await?.context("broker")?;
    Ok(report)
}

/// Records that compress about as JSON events do, used in turn.
fn records(topic: &str, partitions: i32) -> Vec<Outgoing> {
    let one = |n: u64| {
        let mut text = String::with_capacity(RECORD_BYTES + 32);
        let mut word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while text.len() < RECORD_BYTES {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            let _ = write!(text, "{{\"field\":\"{word:x}\",\"currency\":\"EUR\"}}");
        }
        text.truncate(RECORD_BYTES);
        Outgoing {
            topic: topic.into(),
            partition: i32::try_from(n).ok().map(|n| n % partitions),
            key: None,
            value: Some(text.into_bytes().into()),
            headers: Vec::new(),
            timestamp_ms: None,
        }
    };
    (0..4096).map(one).collect()
}

/// Records acknowledged a second, from the first that is sent to the last acknowledgement.
async fn produce(bus: &Bus, count: u64) -> anyhow::Result<f64> {
    let producer = bus.producer(ProducerOptions::default())?;
    let records = records(TOPIC, PARTITIONS);
    let started = Instant::now();
    for record in records.iter().cycle().take(usize::try_from(count)?) {
        producer.send(record.clone()).await?;
    }
    producer.flush(PATIENCE).await?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Records read a second, from the assignment to the last record.
async fn consume(bus: &Bus, count: u64) -> anyhow::Result<f64> {
    let mut consumer = bus.consumer(None, ConsumerOptions::default())?;
    let start: Vec<_> = (0..PARTITIONS).map(|n| (TopicPartition::new(TOPIC, n), 0)).collect();
    let limits = BatchLimits { max_records: 10_000, max_bytes: 8 << 20, linger: Duration::from_millis(100) };
    let started = Instant::now();
    consumer.assign(&start).await?;
    let mut seen = 0;
    while seen < count {
        if let Polled::Records(batch) = consumer.poll_batch(limits).await? {
            seen += batch.len() as u64;
        }
        if started.elapsed() > PATIENCE {
            bail!("only {seen} of {count} records were read in {PATIENCE:?}");
        }
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Microseconds from send to acknowledgement, at a fixed rate that does not wait for the broker.
async fn steady(bus: &Bus, count: u64) -> anyhow::Result<Histogram<u64>> {
    let producer = bus.producer(ProducerOptions::default())?;
    let records = records(STEADY_TOPIC, 1);
    // The first records pay for the connection.
    producer.send(records[0].clone()).await?;
    producer.flush(PATIENCE).await?;
    let warm = producer.sent();
    let (began, per_tick) = (Instant::now(), STEADY_RATE / 1000);
    let watching = tokio::spawn(watch(producer.clone(), began, warm, count));
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut sent = 0;
    while sent < count {
        tick.tick().await;
        // What is due by the clock, so that a late tick is made up for.
        let due = (began.elapsed().as_millis() as u64 * per_tick).min(count);
        while sent < due {
            producer.send(records[(sent % 4096) as usize].clone()).await?;
            sent += 1;
        }
    }
    producer.flush(PATIENCE).await?;
    watching.await?
}

/// Record `n` is due at `n / rate` after `began`: a stall of the sender counts as latency, too.
async fn watch(producer: Producer, began: Instant, warm: u64, count: u64) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new(3)?;
    let mut acked = producer.acked();
    let mut judged = 0;
    while judged < count {
        tokio::time::timeout(PATIENCE, acked.changed()).await??;
        let (now, upto) =
            (began.elapsed().as_micros() as u64, acked.borrow_and_update().saturating_sub(warm));
        while judged < upto {
            let due = judged * 1_000_000 / STEADY_RATE;
            latencies.record(now.saturating_sub(due))?;
            judged += 1;
        }
    }
    Ok(latencies)
}
