//! Alerts into the topic `ops.alerts`, in JSON: compacted, so that it keeps how each rule stands.

use crate::{Bus, BusError, Outgoing, Producer, ProducerOptions, TopicSpec};
use affluent_model::Alert;
use affluent_model::names::TOPIC_ALERTS;
use std::time::Duration;

/// How long is waited for the broker.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends alerts. Connects at the first one.
#[derive(Debug)]
pub struct Alerts {
    bus: Bus,
    producer: Option<Producer>,
}

impl Alerts {
    /// Alerts on `bus`.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Alerts { bus, producer: None }
    }

    /// Sends the alerts; when this returns `Ok`, every replica has them.
    ///
    /// # Errors
    /// [`BusError`], also where the broker does not answer for ten seconds. Some may have been sent: repeating says the same of the same rules.
    pub async fn send(&mut self, alerts: &[Alert]) -> Result<(), BusError> {
        if alerts.is_empty() {
            return Ok(());
        }
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect().await?,
        };
        for alert in alerts {
            producer.send(outgoing(alert)).await?;
        }
        producer.flush(PATIENCE).await?;
        // Kept only after success: a producer that failed once accepts nothing any more.
        self.producer = Some(producer);
        Ok(())
    }

    async fn connect(&self) -> Result<Producer, BusError> {
        let spec = TopicSpec::new(1).set("cleanup.policy", "compact");
        let made = tokio::time::timeout(PATIENCE, self.bus.admin()?.ensure_topic(TOPIC_ALERTS, &spec)).await;
        made.map_err(|_| BusError::FlushTimeout(PATIENCE.as_millis()))??;
        self.bus.producer(ProducerOptions { linger_ms: 1, ..ProducerOptions::default() })
    }
}

fn outgoing(alert: &Alert) -> Outgoing {
    Outgoing {
        topic: TOPIC_ALERTS.into(),
        partition: None,
        key: Some(alert.rule.clone().into()),
        // Text and numbers, and strings as keys: this cannot fail.
        value: Some(serde_json::to_vec(alert).unwrap_or_default().into()),
        headers: Vec::new(),
        timestamp_ms: None,
    }
}
