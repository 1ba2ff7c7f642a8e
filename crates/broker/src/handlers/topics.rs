//! Creating, deleting and growing topics.

use super::{Caller, NODE_ID, blocking, text};
use crate::topics::{CatalogError, KEYS, Overrides};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use std::sync::Arc;
use uuid::Uuid;

/// The protocol's name for what the catalogue refused.
pub(super) fn catalog_error(error: &CatalogError) -> ResponseError {
    match error {
        CatalogError::Name => ResponseError::InvalidTopicException,
        CatalogError::Exists => ResponseError::TopicAlreadyExists,
        CatalogError::Unknown => ResponseError::UnknownTopicOrPartition,
        CatalogError::Partitions(_) => ResponseError::InvalidPartitions,
        CatalogError::Config(_) => ResponseError::InvalidConfig,
        CatalogError::Storage(error) => {
            tracing::error!(%error, "catalogue could not be changed");
            ResponseError::KafkaStorageError
        }
    }
}

/// An error for the client, with words.
pub(super) type Refusal = (ResponseError, Option<String>);

pub(super) fn refusal(error: &CatalogError) -> Refusal {
    (catalog_error(error), Some(error.to_string()))
}

/// Creates topics, or only checks whether they could be.
pub(super) async fn create(caller: &Caller, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    let mut seen: Vec<TopicName> = Vec::new();
    for topic in request.topics {
        let name = topic.name.clone();
        let outcome = if seen.contains(&name) {
            Err((ResponseError::InvalidRequest, Some("topic is named twice in the request".to_owned())))
        } else {
            create_one(caller, topic, request.validate_only).await
        };
        seen.push(name.clone());
        let result = CreatableTopicResult::default().with_name(name.clone());
        results.push(match outcome {
            Ok((id, partitions)) => result
                .with_topic_id(id)
                .with_num_partitions(partitions as i32)
                .with_replication_factor(1)
                .with_configs(Some(configs_of(caller, &name))),
            Err((error, words)) => result
                .with_error_code(error.code())
                .with_error_message(words.map(text))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn create_one(
    caller: &Caller,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, usize), Refusal> {
    let assigned = topic.assignments.len();
    let elsewhere = topic.assignments.iter().any(|a| a.broker_ids.iter().any(|id| **id != NODE_ID));
    if elsewhere || topic.assignments.iter().any(|a| a.broker_ids.len() != 1) {
        return Err((
            ResponseError::InvalidReplicaAssignment,
            Some("there is one broker, number 1".to_owned()),
        ));
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        let words = format!("replication factor {}: there is one broker", topic.replication_factor);
        return Err((ResponseError::InvalidReplicationFactor, Some(words)));
    }
    let partitions = match topic.num_partitions {
        -1 if assigned > 0 => assigned,
        -1 => caller.shared.options.default_partitions as usize,
        n => usize::try_from(n).unwrap_or(0),
    };
    let overrides: Overrides = topic
        .configs
        .iter()
        .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
        .collect();
    let name = topic.name.to_string();
    let catalog = Arc::clone(&caller.shared.catalog);
    let created = blocking(move || {
        if validate_only {
            return catalog.check_new(&name, partitions, &overrides).map(|()| Uuid::nil());
        }
        catalog.create(&name, partitions, overrides).map(|topic| topic.id)
    });
    match created.await {
        Ok(Ok(id)) => Ok((id, partitions)),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(error) => Err((error, None)),
    }
}

fn configs_of(caller: &Caller, name: &str) -> Vec<CreatableTopicConfigs> {
    let overrides = caller.shared.catalog.topic(name).map(|topic| topic.overrides()).unwrap_or_default();
    let line = |key: &crate::topics::ConfigKey| {
        let set = overrides.get(key.name).cloned();
        CreatableTopicConfigs::default()
            .with_name(text(key.name))
            .with_config_source(if set.is_some() { 1 } else { 5 })
            .with_value(Some(text(set.unwrap_or_else(|| key.default_value(&caller.shared.options)))))
    };
    KEYS.iter().map(line).collect()
}

/// Deletes topics by name, or by id from version 6 on.
pub(super) async fn delete(caller: &Caller, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_list = request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil()));
    let by_state = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id));
    let mut responses = Vec::new();
    for (name, id) in by_list.chain(by_state) {
        let named = name.clone().or_else(|| {
            let topic = caller.shared.catalog.topic_by_id(id)?;
            Some(TopicName(text(&topic.name)))
        });
        let mut result = DeletableTopicResult::default().with_name(named.clone()).with_topic_id(id);
        let Some(named) = named else {
            responses.push(result.with_error_code(ResponseError::UnknownTopicId.code()));
            continue;
        };
        let shared = Arc::clone(&caller.shared);
        let deleted = blocking(move || {
            let topic = shared.catalog.delete(&named)?;
            shared.groups.forget_topic(&named);
            Ok::<_, CatalogError>(topic.id)
        });
        let error = match deleted.await {
            Ok(Ok(id)) => {
                result = result.with_topic_id(id);
                None
            }
            Ok(Err(error)) => Some(refusal(&error)),
            Err(error) => Some((error, None)),
        };
        if let Some((error, words)) = error {
            result = result.with_error_code(error.code()).with_error_message(words.map(text));
        }
        responses.push(result);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

/// Adds partitions to topics.
pub(super) async fn grow(caller: &Caller, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (catalog, name) = (Arc::clone(&caller.shared.catalog), topic.name.to_string());
        let count = usize::try_from(topic.count).unwrap_or(0);
        let grown = blocking(move || catalog.grow(&name, count, request.validate_only)).await;
        let refused = match grown {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(refusal(&error)),
            Err(error) => Some((error, None)),
        };
        let (error, words) = refused.map_or((0, None), |(error, words)| (error.code(), words));
        let result = CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(error);
        results.push(result.with_error_message(words.map(text)));
    }
    CreatePartitionsResponse::default().with_results(results)
}
