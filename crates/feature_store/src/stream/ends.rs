//! Where partitions end now, asked of the broker.

use affluent_bus::{Admin, BusError, TopicPartition};
use affluent_model::time::now_micros;
use std::collections::BTreeMap;

/// The offsets that the next records of these partitions get, as far as there are such partitions: a topic may be gone, or have fewer than before.
///
/// # Errors
/// [`BusError::Kafka`] while the broker is away.
pub async fn ends_of(
    admin: &Admin,
    partitions: Vec<TopicPartition>,
) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
    let mut ends = BTreeMap::new();
    if partitions.is_empty() {
        return Ok(ends);
    }
    let topics = admin.topics().await?;
    for partition in partitions {
        let count = topics.get(&*partition.topic).copied().unwrap_or(0);
        if (0..count).contains(&partition.partition) {
            let (_, end) = admin.watermarks(&partition).await?;
            ends.insert(partition, end);
        }
    }
    Ok(ends)
}

/// Asks where all partitions that are read end, so that what is over can be let go.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) admin: Admin,
    pub(super) partitions: Vec<TopicPartition>,
    /// How late an event may come, microseconds.
    pub(super) lateness: i64,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) ends: BTreeMap<TopicPartition, i64>,
    /// Whoever has read a partition to its end has what had arrived by then; microseconds UTC.
    pub(super) until: i64,
}

impl Look {
    /// None where not every partition can be asked now.
    pub(super) async fn see(self) -> Option<Seen> {
        let (until, count) = (now_micros().saturating_sub(self.lateness), self.partitions.len());
        let ends = ends_of(&self.admin, self.partitions).await;
        let ends = ends.inspect_err(|error| tracing::warn!(%error, "keys that are over stay until later"));
        ends.ok().filter(|ends| ends.len() == count).map(|ends| Seen { ends, until })
    }
}
