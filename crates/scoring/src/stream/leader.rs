//! Which process sends: the member of a consumer group that has the only partition of a topic that nobody writes to.
//!
//! A member that is killed loses it when its session ends, one that stops gives it back, one that falls behind is told by the group when it commits an
//! offset: so the leader commits one each time before it sends. The embedded broker has no transactions that could do more.

use affluent_bus::{
    Admin, BatchLimits, Bus, BusError, Committer, ConsumerOptions, Polled, TopicPartition, TopicSpec,
};
use async_trait::async_trait;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The topic whose only partition the leader has.
const TOPIC: &str = "score.leader";
const POLL: Duration = Duration::from_millis(500);
/// A member that is silent for this long is out of the group.
const SESSION_MS: u64 = 6_000;

/// The right to send, as long as the group grants it.
pub(super) struct Lease(Committer);

impl Lease {
    /// Asks the group whether this process still leads.
    ///
    /// # Errors
    /// It does not, or the group cannot say now.
    pub(super) async fn check(&self) -> Result<(), BusError> {
        self.0.commit(&[(TopicPartition::new(TOPIC, 0), 0)]).await
    }
}

/// Who is told to lead and to follow. Both may wait: the group does, as long as a session may last without a poll.
#[async_trait]
pub(super) trait Led: Send + Sync {
    async fn lead(&self, lease: Lease);

    async fn follow(&self);

    /// Called again and again while this process leads: what was not sent before is tried again.
    async fn again(&self);
}

/// Makes the topic.
///
/// # Errors
/// As the bus.
pub(super) async fn ensure(admin: &Admin, replication: i32) -> Result<(), BusError> {
    let spec = TopicSpec { replication, ..TopicSpec::new(1) };
    admin.ensure_topic(TOPIC, &spec).await
}

/// Takes part in the group until `shutdown`, under the name of the process: with one, it has the partition back at once after a restart.
///
/// # Errors
/// What no waiting mends.
pub(super) async fn run(
    bus: &Bus,
    group: &str,
    instance: &str,
    led: &dyn Led,
    shutdown: &CancellationToken,
) -> Result<(), BusError> {
    let instance_id = Some(instance.to_owned()).filter(|id| !id.is_empty());
    let options =
        ConsumerOptions { session_timeout_ms: SESSION_MS, instance_id, ..ConsumerOptions::default() };
    let mut consumer = bus.consumer(Some(group), options)?;
    consumer.subscribe(&[TOPIC.to_owned()])?;
    let limits = BatchLimits { max_records: 1, max_bytes: 1, linger: POLL };
    loop {
        let polled = tokio::select! {
            () = shutdown.cancelled() => break,
            polled = consumer.poll_batch(limits) => polled?,
        };
        match polled {
            Polled::Assigned(partitions) if !partitions.is_empty() => {
                tracing::info!(group, "this process records and sends scores");
                led.lead(Lease(consumer.committer())).await;
            }
            Polled::Revoked(partitions) if !partitions.is_empty() => {
                tracing::info!(group, "another process records and sends scores");
                led.follow().await;
            }
            Polled::Assigned(_) | Polled::Revoked(_) | Polled::Records(_) => led.again().await,
        }
    }
    led.follow().await;
    consumer.close().await;
    Ok(())
}
