//! Topics, offsets of partitions and groups, and short reads of a partition.
//!
//! For administration and recovery; a stream of records is [`crate::Consumer`]'s.

use crate::bus::LogContext;
use crate::consumer::{blocking, known_offsets, thread};
use crate::{BusError, Incoming, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Before a partition without a leader, or a group without a coordinator, is asked about again.
const ELECTION_PAUSE: Duration = Duration::from_millis(50);
/// A read that makes no progress for this long fails.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

impl ConsumerContext for LogContext {}

/// How a topic is made.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    pub partitions: i32,
    /// -1 takes the broker's default.
    pub replication: i32,
    /// Topic configuration: `cleanup.policy`, `retention.ms`, …
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A topic with the broker's default replication and configuration.
    #[must_use]
    pub fn new(partitions: i32) -> Self {
        TopicSpec { partitions, replication: -1, config: BTreeMap::new() }
    }

    /// With one more configuration entry.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// Administration of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    admin: Arc<AdminClient<LogContext>>,
    reader: Arc<BaseConsumer<LogContext>>,
    config: ClientConfig,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, BusError> {
        let admin = AdminClient::from_config_and_context(config, LogContext)
            .map_err(BusError::kafka("start admin client"))?;
        let mut config = config.clone();
        config.set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
        let reader = BaseConsumer::from_config_and_context(&config, LogContext)
            .map_err(BusError::kafka("start admin client"))?;
        Ok(Admin { admin: Arc::new(admin), reader: Arc::new(reader), config })
    }

    /// Makes the topic unless it exists, and waits until it can be written. An existing topic is
    /// left as it is, also where it differs from `spec`.
    ///
    /// # Errors
    /// [`BusError::Kafka`].
    pub async fn ensure_topic(&self, name: &str, spec: &TopicSpec) -> Result<(), BusError> {
        if self.partitions(name).await?.is_some() {
            return Ok(());
        }
        let mut topic = NewTopic::new(name, spec.partitions, TopicReplication::Fixed(spec.replication));
        for (key, value) in &spec.config {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let outcomes =
            self.admin.create_topics([&topic], &options).await.map_err(BusError::kafka("create topic"))?;
        for outcome in outcomes {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    return Err(BusError::Kafka {
                        action: "create topic",
                        source: KafkaError::AdminOp(code),
                    });
                }
            }
        }
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        while self.partitions(name).await?.is_none() {
            if Instant::now() > deadline {
                return Err(BusError::UnknownTopic(name.to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Deletes a topic; one that does not exist is no error.
    ///
    /// # Errors
    /// [`BusError::Kafka`].
    pub async fn delete_topic(&self, name: &str) -> Result<(), BusError> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let outcomes =
            self.admin.delete_topics(&[name], &options).await.map_err(BusError::kafka("delete topic"))?;
        match outcomes.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(()),
            Some(Err((_, code))) => {
                Err(BusError::Kafka { action: "delete topic", source: KafkaError::AdminOp(code) })
            }
        }
    }

    /// The number of partitions, `None` where the topic does not exist (or has no leader yet).
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the broker is away.
    pub async fn partitions(&self, topic: &str) -> Result<Option<i32>, BusError> {
        let (reader, topic) = (Arc::clone(&self.reader), topic.to_owned());
        blocking("read metadata", move || {
            let metadata = reader.fetch_metadata(Some(&topic), REQUEST_TIMEOUT)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
            Ok(found
                .filter(|t| t.partitions().iter().all(|p| p.leader() >= 0))
                .and_then(|t| i32::try_from(t.partitions().len()).ok())
                .filter(|&count| count > 0))
        })
        .await
    }

    /// Every topic with its number of partitions.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the broker is away.
    pub async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        let reader = Arc::clone(&self.reader);
        blocking("read metadata", move || {
            let metadata = reader.fetch_metadata(None, REQUEST_TIMEOUT)?;
            Ok(metadata
                .topics()
                .iter()
                .filter(|t| t.error().is_none())
                .map(|t| (t.name().to_owned(), i32::try_from(t.partitions().len()).unwrap_or(i32::MAX)))
                .collect())
        })
        .await
    }

    /// The first offset and the next offset to be written.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the broker is away or where the partition does not exist.
    pub async fn watermarks(&self, partition: &TopicPartition) -> Result<(i64, i64), BusError> {
        let (reader, partition) = (Arc::clone(&self.reader), partition.clone());
        blocking("read watermarks", move || {
            let deadline = Instant::now() + REQUEST_TIMEOUT;
            loop {
                let found = reader.fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT);
                match found {
                    Err(error) if lacks_leader(&error) && Instant::now() < deadline => {
                        std::thread::sleep(ELECTION_PAUSE);
                    }
                    found => return found,
                }
            }
        })
        .await
    }

    /// Every record with `from <= offset < to`; the caller bounds the range to what memory holds.
    ///
    /// # Errors
    /// [`BusError::Kafka`], also when nothing comes for 30 seconds.
    pub async fn read_range(
        &self,
        partition: &TopicPartition,
        from: i64,
        to: i64,
    ) -> Result<Vec<Incoming>, BusError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut config = self.config.clone();
        config.set("group.id", "affluent.admin").set("enable.partition.eof", "true");
        config.set("check.crcs", "true").set("auto.offset.reset", "earliest");
        let start = thread::offsets_list(&[(partition.clone(), from)])?;
        blocking("read partition", move || read(&config, &start, to)).await
    }

    /// The last record of a partition, `None` where it is empty.
    ///
    /// # Errors
    /// As [`Admin::read_range`].
    pub async fn read_last(&self, partition: &TopicPartition) -> Result<Option<Incoming>, BusError> {
        let (low, high) = self.watermarks(partition).await?;
        // The newest offsets may hold no record (transaction marks, compaction): look further back.
        for back in [1, 64, 4_096, i64::MAX] {
            let from = high.saturating_sub(back).max(low);
            if let Some(last) = self.read_range(partition, from, high).await?.pop() {
                return Ok(Some(last));
            }
            if from == low {
                break;
            }
        }
        Ok(None)
    }

    /// The group's committed next offsets of `topics`; partitions without one are absent.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the coordinator is away.
    pub async fn group_offsets(
        &self,
        group: &str,
        topics: &[&str],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let mut partitions = Vec::new();
        for topic in topics {
            let count = self.partitions(topic).await?.unwrap_or(0);
            partitions.extend((0..count).map(|number| TopicPartition::new(*topic, number)));
        }
        self.committed(group, &partitions).await
    }

    /// The group's committed next offsets of `partitions`; those without one are absent.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the coordinator is away.
    pub async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let mut config = self.config.clone();
        config.set("group.id", group);
        blocking("read group offsets", move || {
            let member = BaseConsumer::from_config_and_context(&config, DefaultConsumerContext)?;
            let deadline = Instant::now() + REQUEST_TIMEOUT;
            loop {
                match member.committed_offsets(list.clone(), REQUEST_TIMEOUT) {
                    Err(error) if lacks_coordinator(&error) && Instant::now() < deadline => {
                        std::thread::sleep(ELECTION_PAUSE);
                    }
                    found => return Ok(known_offsets(&found?)),
                }
            }
        })
        .await
    }

    /// Every consumer group of the cluster.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the broker is away.
    pub async fn groups(&self) -> Result<Vec<String>, BusError> {
        let reader = Arc::clone(&self.reader);
        blocking("list groups", move || {
            let found = reader.fetch_group_list(None, REQUEST_TIMEOUT)?;
            Ok(found.groups().iter().map(|group| group.name().to_owned()).collect())
        })
        .await
    }

    /// Records between the group's committed offset (the first offset, where it has none) and the
    /// end of each partition of `topics`.
    ///
    /// # Errors
    /// [`BusError::Kafka`] while the broker is away.
    pub async fn group_lag(
        &self,
        group: &str,
        topics: &[&str],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let offsets = self.group_offsets(group, topics).await?;
        let mut lag = BTreeMap::new();
        for topic in topics {
            for partition in 0..self.partitions(topic).await?.unwrap_or(0) {
                let partition = TopicPartition::new(*topic, partition);
                let (low, high) = self.watermarks(&partition).await?;
                let next = offsets.get(&partition).copied().unwrap_or(low);
                lag.insert(partition, (high - next).max(0));
            }
        }
        Ok(lag)
    }
}

/// The partition was just made, or moves to another broker: it has a leader in a moment.
fn lacks_leader(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(error.rdkafka_error_code(), Some(LeaderNotAvailable | NotLeaderForPartition))
}

/// The group's coordinator is being chosen, moves, or reads its log: Kafka marks these as to be asked again
/// (<https://kafka.apache.org/protocol#protocol_error_codes>).
fn lacks_coordinator(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator, WaitingForCoordinator,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator | WaitingForCoordinator)
    )
}

fn read(config: &ClientConfig, start: &TopicPartitionList, to: i64) -> Result<Vec<Incoming>, KafkaError> {
    let reader: BaseConsumer<LogContext> = BaseConsumer::from_config_and_context(config, LogContext)?;
    reader.assign(start)?;
    let (mut records, mut intake) = (Vec::new(), thread::Intake::default());
    let mut deadline = Instant::now() + READ_TIMEOUT;
    loop {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if message.offset() < to {
                    records.push(intake.incoming(&message));
                    deadline = Instant::now() + READ_TIMEOUT;
                }
                if message.offset() + 1 >= to {
                    return Ok(records);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
            Some(Err(error)) => tracing::debug!(%error, "admin read waits"),
            None => {}
        }
        if Instant::now() > deadline {
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka says of a group's offsets before it has chosen who keeps them.
    #[test]
    fn a_group_without_a_coordinator_is_asked_again() {
        use RDKafkaErrorCode as Code;
        for (code, again) in [
            (Code::NotCoordinator, true),
            (Code::CoordinatorNotAvailable, true),
            (Code::CoordinatorLoadInProgress, true),
            (Code::GroupAuthorizationFailed, false),
            (Code::OperationTimedOut, false),
        ] {
            assert_eq!(lacks_coordinator(&KafkaError::MetadataFetch(code)), again, "{code:?}");
        }
    }
}
