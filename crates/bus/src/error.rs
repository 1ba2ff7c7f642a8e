//! What can go wrong on the bus.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// An error of the producer, the consumer or the admin client.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    #[error("kafka configuration: {0}")]
    Config(String),
    /// The record exceeds the configured or the broker's limit; it was not enqueued.
    #[error("record of {bytes} bytes for topic {topic} is larger than max_message_bytes")]
    TooLarge { topic: String, bytes: usize },
    /// A record could not be delivered; the producer accepts nothing any more.
    #[error("producer stopped: {0}")]
    Poisoned(String),
    #[error("not acknowledged within {0} ms")]
    FlushTimeout(u128),
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("kafka: {action}: {source}")]
    Kafka { action: &'static str, source: KafkaError },
    /// The consumer's thread has ended.
    #[error("consumer stopped: {0}")]
    ConsumerStopped(String),
}

impl BusError {
    pub(crate) fn kafka(action: &'static str) -> impl FnOnce(KafkaError) -> BusError {
        move |source| BusError::Kafka { action, source }
    }

    /// True where the same call may succeed later without anyone's doing: the broker is away, a
    /// coordinator moves, a group rebalances.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use RDKafkaErrorCode as Code;
        match self {
            BusError::FlushTimeout(_) => true,
            BusError::Kafka { source, .. } => source.rdkafka_error_code().is_none_or(|code| {
                !matches!(
                    code,
                    Code::TopicAuthorizationFailed
                        | Code::GroupAuthorizationFailed
                        | Code::ClusterAuthorizationFailed
                        | Code::SaslAuthenticationFailed
                        | Code::Authentication
                        | Code::InvalidTopic
                        | Code::InvalidArgument
                        | Code::UnsupportedVersion
                        | Code::Fatal
                        | Code::InvalidReplicationFactor
                        | Code::InvalidPartitions
                        | Code::InvalidConfig
                        | Code::PolicyViolation
                )
            }),
            BusError::Config(_)
            | BusError::TooLarge { .. }
            | BusError::Poisoned(_)
            | BusError::UnknownTopic(_)
            | BusError::ConsumerStopped(_) => false,
        }
    }
}
