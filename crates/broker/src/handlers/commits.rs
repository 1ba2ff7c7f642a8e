//! Committed offsets: storing and asking.

use super::{Caller, text};
use crate::broker::now_ms;
use crate::groups::{CommitTarget, Committed};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

/// Words that a consumer may leave with an offset.
const METADATA_BYTES: usize = 4096;

/// Stores offsets; durable when answered.
pub(super) async fn commit(caller: &Caller, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let now = now_ms();
    let mut commits = Vec::new();
    let mut errors: Vec<Vec<Option<ResponseError>>> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let known = caller.shared.catalog.topic(&topic.name);
        let mut of_topic = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let exists = known.as_ref().is_some_and(|t| t.partition(partition.partition_index).is_some());
            let metadata = partition.committed_metadata.as_ref().map_or("", |words| words.as_str());
            of_topic.push(if !exists {
                Some(ResponseError::UnknownTopicOrPartition)
            } else if metadata.len() > METADATA_BYTES {
                Some(ResponseError::OffsetMetadataTooLarge)
            } else {
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: metadata.to_owned(),
                    at_ms: now,
                };
                commits.push((topic.name.as_str(), partition.partition_index, committed));
                None
            });
        }
        errors.push(of_topic);
    }
    let target = CommitTarget {
        group: &request.group_id,
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
    };
    let stored = caller.shared.groups.commit(target, &commits, &caller.shared.flusher).await;
    let topics = request.topics.iter().zip(errors).map(|(topic, errors)| {
        let partitions = topic.partitions.iter().zip(errors).map(|(partition, error)| {
            let error = error.or(stored.err()).map_or(0, |error| error.code());
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// One answer line: partition, offset, leader epoch, metadata.
type Line = (i32, i64, i32, StrBytes);

/// Offsets of one group (up to version 7) or of several.
pub(super) fn fetch(caller: &Caller, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    if version < 8 {
        let asked =
            request.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = lookup(caller, &request.group_id, asked).into_iter().map(|(name, lines)| {
            let partition = |(index, offset, epoch, metadata): Line| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(epoch)
                    .with_metadata(Some(metadata))
            };
            let partitions = lines.into_iter().map(partition).collect();
            OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let groups = request.groups.into_iter().map(|group| {
        let asked =
            group.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = lookup(caller, &group.group_id, asked).into_iter().map(|(name, lines)| {
            let partition = |(index, offset, epoch, metadata): Line| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(epoch)
                    .with_metadata(Some(metadata))
            };
            let partitions = lines.into_iter().map(partition).collect();
            OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
        });
        OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn lookup(
    caller: &Caller,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Vec<(TopicName, Vec<Line>)> {
    let offsets = caller.shared.groups.offsets(group);
    let line = |index: i32, committed: Option<&Committed>| match committed {
        Some(c) => (index, c.offset, c.leader_epoch, text(&c.metadata)),
        None => (index, -1, -1, StrBytes::default()),
    };
    match asked {
        Some(asked) => {
            let find = |(name, indexes): (TopicName, Vec<i32>)| {
                let of_topic = offsets.get(name.as_str());
                let lines = indexes.iter().map(|i| line(*i, of_topic.and_then(|t| t.get(i)))).collect();
                (name, lines)
            };
            asked.into_iter().map(find).collect()
        }
        None => {
            let all = |(name, partitions): (&String, &std::collections::BTreeMap<i32, Committed>)| {
                (TopicName(text(name)), partitions.iter().map(|(i, c)| line(*i, Some(c))).collect())
            };
            offsets.iter().map(all).collect()
        }
    }
}
