//! Which requests are answered, and in which versions: what librdkafka 2.x, the Java clients 3.x and
//! 4.x and kcat negotiate.

use kafka_protocol::messages::ApiKey;

/// The versions spoken of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub key: ApiKey,
    /// Lowest version that is told to clients.
    pub told_from: i16,
    /// Lowest version that is really answered.
    pub from: i16,
    pub to: i16,
}

impl Spoken {
    pub(crate) fn speaks(&self, version: i16) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

const fn api(key: ApiKey, from: i16, to: i16) -> Spoken {
    Spoken { key, told_from: from, from, to }
}

/// Every request that is answered.
///
/// Produce is told from version 0 on although 0 to 2 are refused, as Apache Kafka 4 does: librdkafka
/// takes the lack of version 0 for the lack of compression (KAFKA-18659).
pub(crate) const SPOKEN: &[Spoken] = &[
    Spoken { key: ApiKey::Produce, told_from: 0, from: 3, to: 12 },
    api(ApiKey::Fetch, 4, 17),
    api(ApiKey::ListOffsets, 1, 9),
    api(ApiKey::Metadata, 0, 13),
    api(ApiKey::OffsetCommit, 2, 9),
    api(ApiKey::OffsetFetch, 1, 9),
    api(ApiKey::FindCoordinator, 0, 5),
    api(ApiKey::JoinGroup, 0, 9),
    api(ApiKey::Heartbeat, 0, 4),
    api(ApiKey::LeaveGroup, 0, 5),
    api(ApiKey::SyncGroup, 0, 5),
    api(ApiKey::DescribeGroups, 0, 6),
    api(ApiKey::ListGroups, 0, 5),
    api(ApiKey::ApiVersions, 0, 4),
    api(ApiKey::CreateTopics, 2, 7),
    api(ApiKey::DeleteTopics, 1, 6),
    api(ApiKey::DeleteRecords, 0, 2),
    api(ApiKey::InitProducerId, 0, 5),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4),
    api(ApiKey::DescribeConfigs, 1, 4),
    api(ApiKey::AlterConfigs, 0, 2),
    api(ApiKey::CreatePartitions, 0, 3),
    api(ApiKey::DeleteGroups, 0, 2),
    api(ApiKey::IncrementalAlterConfigs, 0, 1),
    api(ApiKey::DescribeCluster, 0, 2),
];

/// The versions spoken of `key`, if any.
pub(crate) fn spoken(key: ApiKey) -> Option<&'static Spoken> {
    SPOKEN.iter().find(|api| api.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_the_message_library_has_are_spoken() {
        for api in SPOKEN {
            let known = api.key.valid_versions();
            assert!(api.from >= known.min && api.to <= known.max, "{:?}", api.key);
        }
    }
}
