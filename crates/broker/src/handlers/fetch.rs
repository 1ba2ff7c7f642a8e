//! Fetch: waits until there is enough, then reads whole batches. Fetch sessions are not kept: the
//! answer says session 0, and clients send full requests.

use super::{Caller, LEADER_EPOCH, blocking};
use crate::log::{PartitionLog, ReadError};
use crate::topics::Topic;
use crate::wire::{Answer, Malformed, RequestHead, encode};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// The longest poll that is granted.
const MOST_WAIT: Duration = Duration::from_secs(60);

struct Wanted {
    topic: usize,
    partition: i32,
    offset: i64,
    most_bytes: usize,
    log: Result<Arc<PartitionLog>, ResponseError>,
}

/// What was found for one wanted partition.
type Found = Result<Bytes, ResponseError>;

/// Answers a consumer's fetch.
pub(super) async fn fetch(
    caller: &Caller,
    head: &RequestHead,
    request: FetchRequest,
) -> Result<Answer, Malformed> {
    if request.session_id != 0 {
        let unknown = ResponseError::FetchSessionIdNotFound.code();
        return Ok(Answer::Now(encode(head, &FetchResponse::default().with_error_code(unknown))?, None));
    }
    let options = &caller.shared.options;
    let most_bytes = usize::try_from(request.max_bytes).unwrap_or(0).clamp(1, options.max_fetch_bytes);
    let least_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(most_bytes);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MOST_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    let (topics, wanted) = lay_out(caller, &request, head.version);
    let wanted = Arc::new(wanted);
    let sleeper = Arc::new(Notify::new());
    loop {
        for log in wanted.iter().filter_map(|w| w.log.as_ref().ok()) {
            log.watch(&sleeper);
        }
        let timed_out = tokio::time::Instant::now() >= deadline || caller.stop.is_cancelled();
        if timed_out || least_bytes == 0 || wanted.iter().any(is_due) {
            let mut memory =
                Arc::clone(&caller.shared.outbound).acquire_many_owned(most_bytes as u32).await.ok();
            let reading = Arc::clone(&wanted);
            let found = blocking(move || read_all(&reading, most_bytes)).await;
            let found = found.unwrap_or_else(|error| wanted.iter().map(|_| Err(error)).collect());
            let bytes: usize = found.iter().flatten().map(Bytes::len).sum();
            if timed_out || bytes >= least_bytes || found.iter().any(Result::is_err) {
                let frame = encode(head, &response(topics, &wanted, found))?;
                // What was not needed is given back at once, the rest when the peer has taken it.
                let held = memory.as_mut().and_then(|all| all.split(bytes.min(all.num_permits())));
                return Ok(Answer::Now(frame, held));
            }
        }
        tokio::select! {
            () = sleeper.notified() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = caller.stop.cancelled() => {}
        }
    }
}

fn is_due(wanted: &Wanted) -> bool {
    match &wanted.log {
        Ok(log) => wanted.offset < log.visible() || wanted.offset > log.end(),
        Err(_) => true,
    }
}

fn lay_out(caller: &Caller, request: &FetchRequest, version: i16) -> (Vec<(TopicName, Uuid)>, Vec<Wanted>) {
    let catalog = &caller.shared.catalog;
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut wanted = Vec::new();
    for (n, asked) in request.topics.iter().enumerate() {
        let by_id = version >= 13;
        let topic: Option<Arc<Topic>> =
            if by_id { catalog.topic_by_id(asked.topic_id) } else { catalog.topic(&asked.topic) };
        for part in &asked.partitions {
            let log = match &topic {
                None if by_id => Err(ResponseError::UnknownTopicId),
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(_) if part.current_leader_epoch > LEADER_EPOCH => Err(ResponseError::UnknownLeaderEpoch),
                Some(topic) => topic.partition(part.partition).ok_or(ResponseError::UnknownTopicOrPartition),
            };
            wanted.push(Wanted {
                topic: n,
                partition: part.partition,
                offset: part.fetch_offset,
                most_bytes: usize::try_from(part.partition_max_bytes).unwrap_or(0),
                log,
            });
        }
        topics.push((asked.topic.clone(), asked.topic_id));
    }
    (topics, wanted)
}

fn read_all(wanted: &[Wanted], most_bytes: usize) -> Vec<Found> {
    let mut left = most_bytes;
    let mut some = false;
    let read = |wanted: &Wanted| {
        let log = wanted.log.as_ref().map_err(|error| *error)?;
        if left == 0 {
            return Ok(Bytes::new());
        }
        // The first batch of a response may be larger than every limit, so that consumers get on.
        let bytes =
            log.read(wanted.offset, wanted.most_bytes.min(left), !some).map_err(|error| match error {
                ReadError::OutOfRange => ResponseError::OffsetOutOfRange,
                ReadError::Storage => ResponseError::KafkaStorageError,
            })?;
        left = left.saturating_sub(bytes.len());
        some |= !bytes.is_empty();
        Ok(bytes)
    };
    wanted.iter().map(read).collect()
}

fn response(topics: Vec<(TopicName, Uuid)>, wanted: &[Wanted], found: Vec<Found>) -> FetchResponse {
    let mut responses: Vec<_> = topics
        .into_iter()
        .map(|(name, id)| FetchableTopicResponse::default().with_topic(name).with_topic_id(id))
        .collect();
    for (wanted, found) in wanted.iter().zip(found) {
        let (visible, start) = wanted.log.as_ref().map_or((-1, -1), |log| (log.visible(), log.start()));
        let data = PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_error_code(super::code(&found))
            .with_high_watermark(visible)
            .with_last_stable_offset(visible)
            .with_log_start_offset(start)
            .with_aborted_transactions(None)
            .with_preferred_read_replica((-1).into())
            .with_records(Some(found.unwrap_or_default()));
        responses[wanted.topic].partitions.push(data);
    }
    FetchResponse::default().with_responses(responses)
}
