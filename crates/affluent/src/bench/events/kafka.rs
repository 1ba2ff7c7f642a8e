//! The generator that writes to the topic itself, as a service of your own would: Avro in Confluent's
//! wire format under the registered schema, keyed like the collector's records, `acks=all`.

use super::http::id;
use super::{BATCH, Stream};
use crate::platform::Platform;
use affluent_bus::codec::{EventEncoder, EventFormat};
use affluent_bus::{Outgoing, ProducerOptions};
use affluent_model::names::{TOPIC_CLICKS, TOPIC_LOGS};
use affluent_model::time::now_micros;
use affluent_model::{ClickEvent, EventKind, LogEvent};
use std::time::{Duration, Instant};

/// What is still queued at the end has this long.
const FLUSH: Duration = Duration::from_secs(60);

/// The click that [`super::http::click`] sends.
fn click(number: u64, now_us: i64) -> ClickEvent {
    let (user, session, product) = (number % 50_000, number % 200_000, number % 9_973);
    ClickEvent {
        event_id: id(now_us),
        user_id: Some(format!("user-{user}")),
        session_id: Some(format!("session-{session}")),
        event_type: "page_view".to_owned(),
        occurred_at: now_us,
        received_at: now_us,
        url: Some(format!("https://shop.example/products/{product}?utm_source=newsletter")),
        referrer: Some("https://shop.example/".to_owned()),
        device: Some("mobile".to_owned()),
        properties: format!(r#"{{"product":{product},"position":{}}}"#, number % 40),
        ..ClickEvent::default()
    }
}

/// The log line that [`super::http::log`] sends.
fn log(number: u64, now_us: i64) -> LogEvent {
    LogEvent {
        event_id: id(now_us),
        occurred_at: now_us,
        received_at: now_us,
        service: format!("service-{}", number % 12),
        severity: if number.is_multiple_of(50) { LogEvent::SEVERITY_ERROR } else { 9 },
        message: format!("request {number} answered in {} ms", number % 300),
        attributes: format!(r#"{{"path":"/v1/payments","status":200,"request":{number}}}"#),
        ..LogEvent::default()
    }
}

/// Writes `total` events at the stream's rate, or as fast as the bus takes them, and waits until all are
/// acknowledged.
pub(super) async fn generate(platform: &Platform, stream: &Stream, total: u64) -> anyhow::Result<()> {
    let producer = platform.bus().producer(ProducerOptions::default())?;
    let mut encoder = EventEncoder::new(EventFormat::Avro, Some(platform.registry().clone()));
    let topic = match stream.kind {
        EventKind::Clicks => TOPIC_CLICKS,
        EventKind::Logs => TOPIC_LOGS,
    };
    let begun = Instant::now();
    for first in (0..total).step_by(usize::try_from(BATCH)?) {
        let due = Duration::from_secs_f64(first as f64 / stream.rate as f64);
        tokio::time::sleep_until((begun + due).into()).await;
        let now = now_micros();
        for number in first..first + BATCH {
            let (key, value) = match stream.kind {
                EventKind::Clicks => {
                    let click = click(number, now);
                    (click.user_id.clone(), encoder.click(topic, &click).await?)
                }
                EventKind::Logs => {
                    let log = log(number, now);
                    (Some(log.service.clone()), encoder.log(topic, &log).await?)
                }
            };
            let record = Outgoing {
                topic: topic.into(),
                partition: None,
                key: key.map(Into::into),
                value: Some(value),
                headers: Vec::new(),
                timestamp_ms: None,
            };
            producer.send(record).await?;
        }
    }
    Ok(producer.flush(FLUSH).await?)
}
