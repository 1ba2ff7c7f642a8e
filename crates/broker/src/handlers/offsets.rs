//! Where partitions begin and end, offsets by time, and moving the beginning.

use super::{Caller, LEADER_EPOCH, blocking, code};
use crate::log::PartitionLog;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use std::sync::Arc;

/// Times that are no times but questions.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

fn partition(
    caller: &Caller,
    topic: &str,
    index: i32,
    epoch: i32,
) -> Result<Arc<PartitionLog>, ResponseError> {
    let topic = caller.shared.catalog.topic(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    topic.partition(index).ok_or(ResponseError::UnknownTopicOrPartition)
}

/// Offsets by time.
pub(super) async fn list(caller: &Caller, request: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let found =
                match partition(caller, &topic.name, asked.partition_index, asked.current_leader_epoch) {
                    Ok(log) => offset_for(log, asked.timestamp).await,
                    Err(error) => Err(error),
                };
            let (offset, timestamp) = found.unwrap_or((-1, -1));
            partitions.push(
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_error_code(code(&found))
                    .with_timestamp(timestamp)
                    .with_offset(offset)
                    .with_leader_epoch(if offset >= 0 && version >= 4 { LEADER_EPOCH } else { -1 }),
            );
        }
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn offset_for(log: Arc<PartitionLog>, timestamp: i64) -> Result<(i64, i64), ResponseError> {
    let found = match timestamp {
        LATEST => return Ok((log.visible(), -1)),
        EARLIEST | EARLIEST_LOCAL => return Ok((log.start(), -1)),
        LATEST_TIERED => return Ok((-1, -1)),
        MAX_TIMESTAMP => blocking(move || log.offset_of_max_timestamp()).await?,
        timestamp if timestamp >= 0 => blocking(move || log.offset_at(timestamp)).await?,
        _ => return Err(ResponseError::InvalidRequest),
    };
    found.map(|found| found.unwrap_or((-1, -1))).map_err(|error| {
        tracing::error!(%error, "offset by time could not be read");
        ResponseError::KafkaStorageError
    })
}

/// Where a leader epoch ended; there has only ever been one.
pub(super) fn for_leader_epoch(
    caller: &Caller,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let answers = topic.partitions.iter().map(|asked| {
            let log = partition(caller, &topic.topic, asked.partition, asked.current_leader_epoch);
            let (epoch, end) = match &log {
                Ok(log) if asked.leader_epoch == LEADER_EPOCH => (LEADER_EPOCH, log.visible()),
                _ => (-1, -1),
            };
            EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_error_code(code(&log))
                .with_leader_epoch(epoch)
                .with_end_offset(end)
        });
        let answers = answers.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(answers)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// Moves the beginning of partitions forward.
pub(super) async fn delete_records(caller: &Caller, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let moved = match partition(caller, &topic.name, asked.partition_index, -1) {
                Ok(log) => delete_before(log, asked.offset).await,
                Err(error) => Err(error),
            };
            partitions.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(asked.partition_index)
                    .with_error_code(code(&moved))
                    .with_low_watermark(moved.unwrap_or(-1)),
            );
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn delete_before(log: Arc<PartitionLog>, offset: i64) -> Result<i64, ResponseError> {
    if !log.config().delete {
        return Err(ResponseError::PolicyViolation);
    }
    let offset = if offset == -1 { log.visible() } else { offset };
    if offset < 0 {
        return Err(ResponseError::OffsetOutOfRange);
    }
    match blocking(move || log.delete_before(offset)).await? {
        Ok(Some(start)) => Ok(start),
        Ok(None) => Err(ResponseError::OffsetOutOfRange),
        Err(error) => {
            tracing::error!(%error, "records could not be deleted");
            Err(ResponseError::KafkaStorageError)
        }
    }
}
