//! Produce, and the ids of idempotent producers.

use super::{Caller, blocking, code};
use crate::broker::{Shared, now_ms};
use crate::flush::Durable;
use crate::log::batch::{BatchError, BatchHeader};
use crate::log::{AppendError, Appended, PartitionLog};
use crate::wire::{Answer, Malformed, RequestHead, encode};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, TopicName,
};
use std::sync::Arc;

/// One partition's share of a request.
struct Part {
    topic: usize,
    index: i32,
    log: Option<Arc<PartitionLog>>,
    records: Option<Bytes>,
    outcome: Result<Appended, ResponseError>,
}

/// Appends in order; answers at once for `acks=1`, after the flush for `acks=all`.
pub(super) async fn produce(
    caller: &Caller,
    head: &RequestHead,
    request: ProduceRequest,
) -> Result<Answer, Malformed> {
    let acks = request.acks;
    let shared = Arc::clone(&caller.shared);
    let names: Vec<TopicName> = request.topic_data.iter().map(|t| t.name.clone()).collect();
    let refused = refusal(&request);
    let mut parts = lay_out(&shared, request, refused);
    if refused.is_none() {
        parts = match blocking(move || append_all(parts)).await {
            Ok(parts) => parts,
            Err(_) => return Err(Malformed::Response("append was interrupted".to_owned())),
        };
    }
    let mut round = None;
    for part in &parts {
        if let (Ok(appended), Some(log)) = (&part.outcome, &part.log)
            && appended.wants_sync
        {
            let target: Arc<dyn Durable> = Arc::clone(log) as _;
            round = Some(shared.flusher.mark(&target));
        }
    }
    match acks {
        0 => Ok(Answer::Nothing),
        -1 => {
            let head = head.clone();
            Ok(Answer::Later(Box::pin(async move {
                if let Some(round) = round {
                    shared.flusher.flushed(round).await;
                }
                for part in &mut parts {
                    if let (Ok(appended), Some(log)) = (&part.outcome, &part.log)
                        && !log.is_promised(appended)
                    {
                        part.outcome = Err(ResponseError::KafkaStorageError);
                    }
                }
                encode(&head, &response(names, parts))
            })))
        }
        _ => Ok(Answer::Now(encode(head, &response(names, parts))?, None)),
    }
}

fn refusal(request: &ProduceRequest) -> Option<ResponseError> {
    if !matches!(request.acks, -1..=1) {
        return Some(ResponseError::InvalidRequiredAcks);
    }
    request.transactional_id.as_ref().map(|_| ResponseError::TransactionalIdAuthorizationFailed)
}

fn lay_out(shared: &Shared, request: ProduceRequest, refused: Option<ResponseError>) -> Vec<Part> {
    let mut parts = Vec::new();
    for (n, data) in request.topic_data.into_iter().enumerate() {
        let topic = shared.catalog.topic(&data.name);
        for partition in data.partition_data {
            let log = topic.as_ref().and_then(|topic| topic.partition(partition.index));
            parts.push(Part {
                topic: n,
                index: partition.index,
                log,
                records: partition.records,
                outcome: Err(refused.unwrap_or(ResponseError::UnknownTopicOrPartition)),
            });
        }
    }
    parts
}

fn append_all(mut parts: Vec<Part>) -> Vec<Part> {
    let now = now_ms();
    for part in &mut parts {
        // The records go as soon as they are written, long before the answer.
        let records = part.records.take().unwrap_or_default();
        if let Some(log) = &part.log {
            part.outcome = append(log, &records, now);
        }
    }
    parts
}

fn append(log: &PartitionLog, records: &[u8], now: i64) -> Result<Appended, ResponseError> {
    let header = BatchHeader::accept(records).map_err(|error| match error {
        BatchError::Magic => ResponseError::UnsupportedForMessageFormat,
        BatchError::Count | BatchError::Transactional => ResponseError::InvalidRecord,
        BatchError::Short | BatchError::Length | BatchError::Checksum => ResponseError::CorruptMessage,
    })?;
    if header.size != records.len() {
        // The protocol has exactly one batch for each partition.
        return Err(ResponseError::InvalidRecord);
    }
    log.append(records, &header, now).map_err(|error| match error {
        AppendError::TooLarge => ResponseError::MessageTooLarge,
        AppendError::Fenced => ResponseError::InvalidProducerEpoch,
        AppendError::OutOfOrder => ResponseError::OutOfOrderSequenceNumber,
        AppendError::Storage => ResponseError::KafkaStorageError,
    })
}

fn response(names: Vec<TopicName>, parts: Vec<Part>) -> ProduceResponse {
    let mut topics: Vec<_> =
        names.into_iter().map(|name| TopicProduceResponse::default().with_name(name)).collect();
    for part in parts {
        let base_offset = part.outcome.as_ref().map_or(-1, |appended| appended.base_offset);
        let answer = PartitionProduceResponse::default()
            .with_index(part.index)
            .with_error_code(code(&part.outcome))
            .with_base_offset(base_offset)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(part.log.map_or(-1, |log| log.start()));
        topics[part.topic].partition_responses.push(answer);
    }
    ProduceResponse::default().with_responses(topics)
}

/// A fresh id for an idempotent producer; transactions are not offered.
pub(super) async fn init_producer_id(
    caller: &Caller,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refuse = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refuse(ResponseError::TransactionalIdAuthorizationFailed);
    }
    let shared = Arc::clone(&caller.shared);
    match blocking(move || shared.producer_ids.take()).await {
        Ok(Ok(id)) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0),
        Ok(Err(error)) => {
            tracing::error!(%error, "producer id could not be reserved");
            refuse(ResponseError::CoordinatorNotAvailable)
        }
        Err(error) => refuse(error),
    }
}
